/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The slot of a key in Redis Cluster.
 */
#ifndef EB_SLOT_H
#define EB_SLOT_H

#include <stddef.h>
#include <stdint.h>

#define EB_SLOTS_OF_CLUSTER 16384

/* Returns the slot, 0 to 16383. Hashes the text between the first '{' and the next '}', or the whole key if there is no
 * such text. */
uint16_t eb_slot_of_key(const char *key);

#endif
