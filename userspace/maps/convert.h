/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Carries debts from the buckets of one policy to those of another, while packets are charged.
 *
 * A reload that changes limits, within one table: no source may get more than its limit at any moment. So at every
 * moment, exactly one bucket decides. Let O be the bucket of a source under the old rule, and N its bucket under the
 * new rule.
 *
 *  1. The agent writes the new policy beside the old one. Then each old rule announces its successor (eb_rule.next).
 *     The old policy stays in force. After a grace period, the program on every CPU has seen the announcement: it
 *     charges O if the source has an O, and N with the new limits otherwise. From then on, no CPU creates an O.
 *  2. eb_convert_move(), for each O: gives the converted debt of O to N. Then it takes O away if nothing was charged
 *     to O since it was read, and else repeats. While O exists, no CPU charges N, so the later of both times is
 *     exactly the debt of O. O is taken away by one compare-and-swap of the time that every charge changes, so no
 *     charge is lost. A packet whose CPU found O before it was taken away sees that O is gone, and is refused.
 *  3. The agent puts the new policy into force. It charges N, as the old policy already does.
 *
 * A reload changes the verdict of no packet, except one that is being processed when its O is taken away. The agent can
 * die between any two steps: the buckets stay exact, and the next agent continues with step 2. If sources become
 * coarser (`per`), several O are merged into one N, which other sources of the group might already charge: N gets the
 * largest of their debts, and from the first merge on, the group has one bucket.
 *
 * Other maps (an upgrade, another table_size) have a program that does not know of this. eb_convert_copy() runs before
 * the new program is attached, and eb_convert_catch_up() afterwards; it adds what the old program admitted in between.
 * During these milliseconds, a source can exceed its limit by that amount. It is in debt for it, and is refused for
 * longer until the debt is repaid.
 */
#ifndef EB_CONVERT_H
#define EB_CONVERT_H

#include <stdbool.h>
#include <stddef.h>

#include "maps/buckets.h"
#include "maps/foreign.h"

struct eb_convert; /* opaque */

/*
 * Copies `from` and `to`. With `same_table`, converts only the buckets of rules whose id changes. Returns an object for
 * eb_convert_free(); NULL if out of memory.
 */
struct eb_convert *eb_convert_new(const struct eb_policy *from, const struct eb_policy *to, bool same_table);

/* True if no rule's buckets are to be converted. */
bool eb_convert_is_empty(const struct eb_convert *convert);

/* Accepts NULL. */
void eb_convert_free(struct eb_convert *convert);

/* Step 1: sets eb_rule.next in `policy`, a copy of `from`. Returns false if no buckets change. */
bool eb_convert_announce(const struct eb_convert *convert, struct eb_policy *policy);

/* Step 2. The tables must be mapped (eb_buckets_map()), so it cannot fail. Returns the number of buckets for which the
 * table had no room: their sources start with full buckets. */
size_t eb_convert_move(struct eb_convert *convert, struct eb_buckets *buckets);

/* Adds the debts in `foreign` to the buckets of `into`, and remembers them for eb_convert_catch_up(). With `into` NULL
 * it only remembers them, for buckets that have these debts already. Returns 0 or negative errno. *lost counts the
 * sources for which the table had no room. */
int eb_convert_copy(struct eb_convert *convert, const struct eb_foreign *foreign, struct eb_buckets *into,
		    size_t *lost);

/* Adds what was charged in `foreign` since eb_convert_copy() or the last call. Returns 0, or negative errno with
 * nothing added. */
int eb_convert_catch_up(struct eb_convert *convert, const struct eb_foreign *foreign, struct eb_buckets *into,
			size_t *lost);

#endif
