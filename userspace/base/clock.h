/* SPDX-License-Identifier: GPL-2.0-only */
/* The wall's clock, in which stores keep buckets, and the one that nobody sets, which the XDP program reads. */
#ifndef EB_CLOCK_H
#define EB_CLOCK_H

#include <stdint.h>
#include <time.h>

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

static inline uint64_t eb_monotonic_ns(void)
{
	return eb_clock_ns(CLOCK_MONOTONIC);
}

/* As sd-event counts. */
static inline uint64_t eb_monotonic_us(void)
{
	return eb_monotonic_ns() / 1000;
}

#endif
