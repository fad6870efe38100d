/* SPDX-License-Identifier: GPL-2.0-only */
/* The wall clock, in whose time stores keep buckets, and the monotonic clock, which the XDP program reads. */
#ifndef EB_CLOCK_H
#define EB_CLOCK_H

#include <stdint.h>
#include <time.h>

/* Nanoseconds. */
static inline uint64_t eb_clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

/* Nanoseconds since the Unix epoch. */
static inline uint64_t eb_wallclock_ns(void)
{
	return eb_clock_ns(CLOCK_REALTIME);
}

/* Nanoseconds of CLOCK_MONOTONIC. */
static inline uint64_t eb_monotonic_ns(void)
{
	return eb_clock_ns(CLOCK_MONOTONIC);
}

/* Microseconds of CLOCK_MONOTONIC, as sd-event takes them. */
static inline uint64_t eb_monotonic_us(void)
{
	return eb_monotonic_ns() / 1000;
}

#endif
