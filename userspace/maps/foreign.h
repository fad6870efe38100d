/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Buckets in pinned maps that this build did not make: of another schema or of another size. Read by the names that
 * their BTF gives to the fields, so that an upgrade can carry the buckets over whatever the layout was.
 *
 * What it relies on: buckets_v4 and buckets_v6 are memory-mapped arrays of sets `way[]` of { key { addr, rule_id },
 * bucket { packets_full_at, bytes_full_at } }, `policy` has rules[] with ids and limits and names[], `state` has active
 * and ticks_per_ns. A schema that breaks this needs a reader of its own here.
 */
#ifndef EB_FOREIGN_H
#define EB_FOREIGN_H

#include "maps/buckets.h"

struct eb_foreign; /* opaque */

/* Opens the maps pinned in `pin_dir`. Returns 0, or negative errno with a malloc'ed line in *error. */
int eb_foreign_open(const char *pin_dir, struct eb_foreign **out, char **error);

/* Accepts NULL. */
void eb_foreign_close(struct eb_foreign *foreign);

/* The rules in force there: names, ids, prefix lengths, masks and limits; nothing else is filled in. */
const struct eb_policy *eb_foreign_policy(const struct eb_foreign *foreign);

/* The id of the map `state`, which tells the programs that use these maps. */
uint32_t eb_foreign_state_id(const struct eb_foreign *foreign);

/* As eb_buckets_each(), without refusals. Programs may go on charging meanwhile. */
int eb_foreign_each(const struct eb_foreign *foreign, int (*visit)(const struct eb_bucket_view *view, void *arg),
		    void *arg);

#endif
