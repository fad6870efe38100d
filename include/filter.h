/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A filter in front of a trie of prefixes: bits by a hash of the first bits of an address, set where some prefix of the
 * trie begins with these, or covers all that do. A bit that is not set answers for the trie, with one access to memory
 * instead of one for each level: of a million prefixes about twenty. The agent makes it, with 16 bits for a prefix
 * (userspace/policy/prefix_filter.c), so that one address in 16 that is on no list asks the trie for nothing.
 */
#ifndef EB_FILTER_H
#define EB_FILTER_H

#include "edgebucket.h"

#define EB_FILTER_FACTOR 0x9e3779b97f4a7c15ULL /* 2^64 by the golden ratio: Fibonacci hashing, Knuth 6.4 */

/* The bit of an address, given as its first 4 (IPv4) or 8 bytes (IPv6) as they are in memory. */
static __always_inline __u32 eb_filter_bit(const struct eb_filter *filter, __u64 addr)
{
	return ((addr & filter->mask) * EB_FILTER_FACTOR) >> (filter->shift & 63);
}

#endif
