/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The filter in front of the bans: a bit for each /24 of IPv4, and for each hash of a /48 of IPv6, set where a ban
 * covers or lies within it. A bit that is not set answers for the trie, with one access to memory. Of IPv4 it is exact;
 * of IPv6, a million bans in as many /48 set one bit in 16.
 */
#ifndef EB_BAN_H
#define EB_BAN_H

#include "edgebucket.h"
#include "filter.h"

#define EB_BAN_HEAD4 24 /* bits of an address that count */
#define EB_BAN_HEAD6 48
#define EB_BAN_LOG_BITS 24
#define EB_BAN_WORDS (1U << (EB_BAN_LOG_BITS - 6)) /* of 64 bits, for each family */

/* The word of a bit in the map ban_bits. There are two arrays, for packets and to be made anew, see maps/bans.c. */
static __always_inline __u32 eb_ban_word(__u32 second, __u32 family, __u32 bit)
{
	return (2 * second + (family == 6)) * EB_BAN_WORDS + bit / 64;
}

/* The bit of an IPv4 address / of the first 8 bytes of an IPv6 address, in host byte order. */
static __always_inline __u32 eb_ban_bit4(__u32 addr)
{
	return addr >> (32 - EB_BAN_HEAD4);
}

static __always_inline __u32 eb_ban_bit6(__u64 head)
{
	return ((head >> (64 - EB_BAN_HEAD6)) * EB_FILTER_FACTOR) >> (64 - EB_BAN_LOG_BITS);
}

#endif
