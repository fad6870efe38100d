/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Creates the filters of include/filter.h from prefixes, in memory.
 */
#ifndef EB_PREFIX_FILTER_H
#define EB_PREFIX_FILTER_H

#include "policy/rules.h"

/*
 * Creates the filter in front of a trie: trie->filter, and its parameters in *out. Creates none, and sets out->shift to
 * 0, if there is no prefix, or if nearly every address would pass the filter, as with short prefixes. Returns 0 or
 * -ENOMEM.
 */
int eb_filter_make(struct eb_trie *trie, int family, struct eb_filter *out);

#endif
