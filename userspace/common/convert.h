/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Carries debts from the buckets of one policy into those of another: after a reload that changed limits (in the same
 * table), and after an upgrade or another table size (from other maps). While packets go on being charged to the old
 * buckets, in two passes: the first before the switch, the second after it adds what was charged in between.
 */
#ifndef EB_CONVERT_H
#define EB_CONVERT_H

#include <stdbool.h>
#include <stddef.h>

#include "buckets.h"

/* Calls `visit` for each bucket of `source`: eb_buckets_each() or eb_legacy_each(). */
typedef int (*eb_bucket_source)(const void *source, int (*visit)(const struct eb_bucket_view *view, void *arg),
				void *arg);

struct eb_convert; /* opaque */

/*
 * `from` and `to` are copied. With `same_table` only the buckets of rules whose identity changes are converted. Returns
 * NULL when out of memory.
 */
struct eb_convert *eb_convert_new(const struct eb_policy *from, const struct eb_policy *to, bool same_table);

/* Accepts NULL. */
void eb_convert_free(struct eb_convert *convert);

/* The first pass, into `into`. Returns 0 or negative errno. */
int eb_convert_begin(struct eb_convert *convert, eb_bucket_source each, const void *source, struct eb_buckets *into);

/* The second, when nothing is charged to the old buckets any more. Returns how many sources found no room in both. */
size_t eb_convert_finish(struct eb_convert *convert, eb_bucket_source each, const void *source,
			 struct eb_buckets *into);

#endif
