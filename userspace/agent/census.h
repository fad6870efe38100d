/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How many buckets there are, for metrics. Counting walks the tables, so it is done in slices, every few seconds, and
 * what is read is the last count.
 */
#ifndef EB_CENSUS_H
#define EB_CENSUS_H

#include <systemd/sd-event.h>

#include "maps/buckets.h"

struct eb_census; /* opaque */

/* Counts from now on. `buckets` must outlive it. Returns 0 or negative errno. */
int eb_census_new(sd_event *loop, const struct eb_buckets *buckets, struct eb_census **out);

/* Of one family, 4 or 6. Zeros until the first count is done. */
void eb_census_read(const struct eb_census *census, int family, struct eb_bucket_count *out);

/* Accepts NULL. */
void eb_census_free(struct eb_census *census);

#endif
