/* SPDX-License-Identifier: GPL-2.0-only */
/* Wall-clock time, in which stores keep buckets. */
#ifndef EB_WALLCLOCK_H
#define EB_WALLCLOCK_H

#include <stdint.h>
#include <time.h>

/* Nanoseconds since the Unix epoch. */
static inline uint64_t eb_wallclock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

#endif
