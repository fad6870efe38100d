/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Counts the buckets, for metrics. A count walks the tables, so it runs in slices every few seconds; readers get the
 * result of the last complete count.
 */
#ifndef EB_CENSUS_H
#define EB_CENSUS_H

#include <systemd/sd-event.h>

#include "maps/buckets.h"

struct eb_census; /* opaque */

/* Starts to count. `buckets` must outlive it. Returns 0 or negative errno. */
int eb_census_new(sd_event *loop, const struct eb_buckets *buckets, struct eb_census **out);

/* Gets the last count of one family, 4 or 6; zeros until the first count is complete. */
void eb_census_read(const struct eb_census *census, int family, struct eb_bucket_count *out);

/* Accepts NULL. */
void eb_census_free(struct eb_census *census);

#endif
