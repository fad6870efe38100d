/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Carries debts from the buckets of one policy into those of another, while packets are charged.
 *
 * A reload that changes limits, in one table: no source may be admitted more than its limit at any moment, so at every
 * moment one bucket decides. Let O be a source's bucket of the old rule, N that of the new one.
 *
 *  1. The new policy is filled in beside the old one, whose rules then say which rule of it comes next (eb_rule.next).
 *     The old one stays in force. After a grace period every packet knows: it charges O if its source has one, and N,
 *     under the new limits, if not. Nobody makes an O any more.
 *  2. eb_convert_move(), for each O: N gets the debt that O has, converted; then O is taken away, if nothing was
 *     charged to it since it was read, else again. Until O is gone nobody charges N, so the later of both times is
 *     exactly O's debt; taking away is one compare-and-swap of the time that every charge changes, so no charge is
 *     lost. A packet that found O before it went sees that it is gone, and is refused.
 *  3. The new policy is put into force: it charges N, as the old one has done.
 *
 * No source is refused or admitted for the sake of a reload but for a packet that is on the way when its O goes. All of
 * it can end between any two steps: the maps then stay as exact as they are, and the next agent goes on with step 2.
 * Where sources become coarser (`per`), several O go into one N, which siblings may be charging: it gets the largest of
 * their debts, and from the first on, the group has one bucket.
 *
 * From other maps (an upgrade, another table_size), whose program knows nothing of that: eb_convert_copy() before the
 * new program is attached, eb_convert_catch_up() after it, which adds what the old one admitted in between. The limit
 * may be exceeded by as much for those milliseconds; what was admitted is owed, and repaid by refusing for longer.
 */
#ifndef EB_CONVERT_H
#define EB_CONVERT_H

#include <stdbool.h>
#include <stddef.h>

#include "maps/buckets.h"
#include "maps/foreign.h"

struct eb_convert; /* opaque */

/*
 * `from` and `to` are copied. With `same_table` only the buckets of rules whose identity changes are converted. Returns
 * NULL when out of memory.
 */
struct eb_convert *eb_convert_new(const struct eb_policy *from, const struct eb_policy *to, bool same_table);

/* Accepts NULL. */
void eb_convert_free(struct eb_convert *convert);

/* Sets eb_rule.next in `policy`, a copy of `from`. False when no buckets change. */
bool eb_convert_announce(const struct eb_convert *convert, struct eb_policy *policy);

/* Step 2. The tables are mapped (eb_buckets_map()), so it cannot fail. Returns how many buckets found no room: their
 * sources begin with full ones. */
size_t eb_convert_move(struct eb_convert *convert, struct eb_buckets *buckets);

/* Gives the buckets the debts in `foreign`, and remembers them; or only remembers, for what `into` has already (NULL).
 * Returns 0 or negative errno. Sources that find no room are counted in *lost. */
int eb_convert_copy(struct eb_convert *convert, const struct eb_foreign *foreign, struct eb_buckets *into,
		    size_t *lost);

/* Adds what was charged in `foreign` since that or the last time. Returns 0, or negative errno with nothing added. */
int eb_convert_catch_up(struct eb_convert *convert, const struct eb_foreign *foreign, struct eb_buckets *into,
			size_t *lost);

#endif
