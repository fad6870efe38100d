/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a store holds of our buckets, as 32 bits per entry of the tables: a fingerprint of the bucket that was written
 * last, nothing, or unknown. The mirror owns it; it is not a copy of the table. If two fingerprints collide (1 in 4
 * billion changes), a change of a bucket is not written until its next change.
 *
 * For each group of entries (see eb_buckets_collect_changes()) it also has the time at which the first of them is full.
 * The mirror then visits the group, though nothing was charged, and removes the bucket from the store.
 */
#ifndef EB_HELD_H
#define EB_HELD_H

#include <stdbool.h>
#include <stdint.h>

#include "maps/buckets.h"

#define EB_HELD_NOTHING 0u
#define EB_HELD_DOUBTFUL 2u /* fingerprints are odd */

#define EB_DUE_NOW 0ULL
#define EB_DUE_NEVER (~0ULL)

struct eb_held {
	uint32_t *slots[2]; /* by family and entry */
	uint32_t entries[2];
	uint64_t count; /* of slots that are not EB_HELD_NOTHING */
	uint64_t *due[2]; /* by family and group; in ticks, or EB_DUE_NOW, EB_DUE_NEVER */
	uint32_t groups[2];
};

/* Returns 0 or -ENOMEM; in both cases call eb_held_done() afterwards. */
int eb_held_init(struct eb_held *held, const struct eb_buckets *buckets);
void eb_held_done(struct eb_held *held);

/* `family` is 4 or 6, `index` below its entries. */
uint32_t *eb_held_slot(const struct eb_held *held, int family, uint32_t index);
void eb_held_set(struct eb_held *held, uint32_t *slot, uint32_t value);

/* Marks one slot, or all that are not EB_HELD_NOTHING, as unknown: it is not known any more what the store holds. */
void eb_held_doubt(struct eb_held *held, uint32_t *slot);
void eb_held_doubt_all(struct eb_held *held);

/* Makes all groups due, as they are at first. */
void eb_held_look_at_all(struct eb_held *held);

bool eb_held_is_due(const struct eb_held *held, int family, uint32_t group, uint64_t now);

/* `due` is a time in ticks, or EB_DUE_NEVER. */
void eb_held_set_due(struct eb_held *held, int family, uint32_t group, uint64_t due);

uint32_t eb_held_fingerprint(const struct eb_bucket_view *view);

#endif
