/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Making the filters of include/filter.h. Pure: prefixes -> bits in memory.
 */
#ifndef EB_PREFIX_FILTER_H
#define EB_PREFIX_FILTER_H

#include "policy/rules.h"

/*
 * Makes the filter in front of a trie: trie->filter, and how it is asked in *out. Where one would let nearly every
 * address through, as short prefixes do, or there is no prefix, none is made, and out->shift is 0. Returns 0 or
 * -ENOMEM.
 */
int eb_filter_make(struct eb_trie *trie, int family, struct eb_filter *out);

#endif
