/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How often something took how long. One set of bounds serves all: from a command to a Redis on the same machine to a
 * restore of millions of buckets, in steps of 2 to 2.5.
 */
#ifndef EB_HISTOGRAM_H
#define EB_HISTOGRAM_H

#include <stdint.h>

#define EB_HISTOGRAM_BOUNDS 18

struct eb_histogram {
	uint64_t counts[EB_HISTOGRAM_BOUNDS + 1]; /* not cumulative; the last is what exceeds all bounds */
	uint64_t sum_ns;
};

/* Ascending; a duration belongs to the first that is not smaller. */
extern const uint64_t eb_histogram_bounds_ns[EB_HISTOGRAM_BOUNDS];

void eb_histogram_add(struct eb_histogram *histogram, uint64_t duration_ns);

/* Adds all that the other one counted. */
void eb_histogram_join(struct eb_histogram *histogram, const struct eb_histogram *other);

#endif
