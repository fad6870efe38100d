/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A histogram of durations. All histograms have the same bounds, in steps of 2 to 2.5: they cover a command to a Redis
 * on the same machine as well as a restore of millions of buckets.
 */
#ifndef EB_HISTOGRAM_H
#define EB_HISTOGRAM_H

#include <stdint.h>

#define EB_HISTOGRAM_BOUNDS 18

struct eb_histogram {
	uint64_t counts[EB_HISTOGRAM_BOUNDS + 1]; /* not cumulative; the last counts what exceeds all bounds */
	uint64_t sum_ns;
};

/* Ascending. A duration belongs to the first bound that is not smaller than it. */
extern const uint64_t eb_histogram_bounds_ns[EB_HISTOGRAM_BOUNDS];

void eb_histogram_add(struct eb_histogram *histogram, uint64_t duration_ns);

/* Adds the counts of `other`. */
void eb_histogram_join(struct eb_histogram *histogram, const struct eb_histogram *other);

#endif
