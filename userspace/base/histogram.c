// SPDX-License-Identifier: GPL-2.0-only
#include "base/histogram.h"

#define US 1000ULL
#define MS (1000 * US)
#define SECOND (1000 * MS)

const uint64_t eb_histogram_bounds_ns[EB_HISTOGRAM_BOUNDS] = {
	50 * US,  100 * US, 250 * US, 500 * US,     /* one machine */
	1 * MS,   2500 * US, 5 * MS,  10 * MS,      /* one site */
	25 * MS,  50 * MS,  100 * MS, 250 * MS,     /* far away, or overloaded */
	500 * MS, SECOND,   2500 * MS, 5 * SECOND, 10 * SECOND, 30 * SECOND,
};

void eb_histogram_add(struct eb_histogram *histogram, uint64_t duration_ns)
{
	int i = 0;

	while (i < EB_HISTOGRAM_BOUNDS && duration_ns > eb_histogram_bounds_ns[i])
		i++;
	histogram->counts[i]++;
	histogram->sum_ns += duration_ns;
}

void eb_histogram_join(struct eb_histogram *histogram, const struct eb_histogram *other)
{
	for (int i = 0; i <= EB_HISTOGRAM_BOUNDS; i++)
		histogram->counts[i] += other->counts[i];
	histogram->sum_ns += other->sum_ns;
}
