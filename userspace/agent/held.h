/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a store has from us, as 32 bits for each entry of the tables: a fingerprint of the bucket that was written last,
 * nothing, or that it is not known. The mirror's own; not a copy of the table. A fingerprint that collides (1 in 4
 * billion changes) leaves a bucket's last change unwritten until its next one.
 */
#ifndef EB_HELD_H
#define EB_HELD_H

#include <stdint.h>

#include "maps/buckets.h"

#define EB_HELD_NOTHING 0u
#define EB_HELD_DOUBTFUL 2u /* fingerprints are odd */

struct eb_held {
	uint32_t *slots[2]; /* by family and entry */
	uint32_t entries[2];
	uint64_t count; /* of slots that are not EB_HELD_NOTHING */
};

/* 0 or -ENOMEM; to be given to eb_held_done() in any case. */
int eb_held_init(struct eb_held *held, const struct eb_buckets *buckets);
void eb_held_done(struct eb_held *held);

/* `family` is 4 or 6, `index` below its entries. */
uint32_t *eb_held_slot(const struct eb_held *held, int family, uint32_t index);
void eb_held_set(struct eb_held *held, uint32_t *slot, uint32_t value);

/* Whether the store still has anything of it is not known any more. */
void eb_held_doubt(struct eb_held *held);

uint32_t eb_held_fingerprint(const struct eb_bucket_view *view);

#endif
