/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The slot of a key in Redis Cluster.
 */
#ifndef EB_SLOT_H
#define EB_SLOT_H

#include <stddef.h>
#include <stdint.h>

#define EB_SLOTS_OF_CLUSTER 16384

/* Of what stands between the first '{' and the next '}', if anything does; else of the whole key. */
uint16_t eb_slot_of_key(const char *key);

#endif
