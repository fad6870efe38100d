/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Buckets in pinned maps of another schema or size, which another build or configuration created. This module finds the
 * fields by the names in the BTF of the maps, so that an upgrade can carry the buckets over from any layout.
 *
 * It assumes that buckets_v4 and buckets_v6 are memory-mapped arrays of sets `way[]` of { key { addr, rule_id }, bucket
 * { packets_full_at, bytes_full_at } }, that `policy` has rules[] with ids and limits, and names[], and that `state`
 * has active and ticks_per_ns. A schema for which this does not hold needs its own reader here.
 */
#ifndef EB_FOREIGN_H
#define EB_FOREIGN_H

#include "maps/buckets.h"

struct eb_foreign; /* opaque */

/* Opens the maps pinned in `pin_dir`. Returns 0, or negative errno with a malloc'ed line in *error. */
int eb_foreign_open(const char *pin_dir, struct eb_foreign **out, char **error);

/* Accepts NULL. */
void eb_foreign_close(struct eb_foreign *foreign);

/* The rules in force in these maps. Only names, ids, prefix lengths, masks and limits are set. It belongs to
 * `legacy`. */
const struct eb_policy *eb_foreign_policy(const struct eb_foreign *foreign);

/* The id of the map `state`, by which programs that use these maps are recognized. */
uint32_t eb_foreign_state_id(const struct eb_foreign *foreign);

/* As eb_buckets_each(), but `dropped` is 0. Programs can charge the buckets during the walk. */
int eb_foreign_each(const struct eb_foreign *foreign, int (*visit)(const struct eb_bucket_view *view, void *arg),
		    void *arg);

#endif
