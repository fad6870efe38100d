/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is offered to each bucket of one rule, or of one level of a rule: the program counts packets and bytes, admitted
 * or not, in the map `demand` while somebody measures. Times of buckets would not do: a bucket that is full in between
 * does not tell how much it was charged, and what it refused is charged nowhere.
 *
 * While it lasts, each packet of the rule costs two atomic additions more, and the kernel holds 64 bytes for each set
 * of four entries. The one who measures says again and again that it is there; when it was killed, the program stops
 * by itself.
 */
#ifndef EB_DEMAND_H
#define EB_DEMAND_H

#include <stdint.h>

#include "maps/buckets.h"

struct eb_demand; /* opaque */

/* How long the program goes on without a call of eb_demand_collect(). */
#define EB_DEMAND_LEASE_NS 10000000000ULL

/* Starts to count what is offered to the buckets of `slot` (struct eb_rule). `buckets` must outlive it. Returns 0,
 * -EBUSY while another process measures, or other negative errno. */
int eb_demand_open(const struct eb_maps *maps, struct eb_buckets *buckets, uint32_t slot, struct eb_demand **out);

/* Ends counting. Accepts NULL. */
void eb_demand_close(struct eb_demand *demand);

/* Packets and bytes since the last collection. Returns 0 to go on. */
typedef int (*eb_demand_visit)(const struct eb_source *source, uint64_t packets, uint64_t bytes, void *arg);

/*
 * Visits the sources that were offered packets since the last call. Exact, as long as calls are less than
 * EB_IDLE_MARGIN (table.h) apart: an entry that another source gets in that time had no packet of the source before it.
 * Returns 0; -ESTALE when another process has taken over; -ETIMEDOUT when calls were so far apart that packets might be
 * missing, which the next call does not repeat; or what `visit` returned.
 */
int eb_demand_collect(struct eb_demand *demand, eb_demand_visit visit, void *arg);

/* Gives back the memory of one who was killed. */
void eb_demand_clean(const struct eb_maps *maps);

#endif
