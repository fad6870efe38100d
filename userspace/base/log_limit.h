/* SPDX-License-Identifier: GPL-2.0-only */
/* How often one message may be logged: a token bucket, by the arithmetic of gcra.h. The time is passed in. */
#ifndef EB_LOG_LIMIT_H
#define EB_LOG_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

/* As many lines as a configuration has interfaces at most: each of them gets its own when all go at once. */
#define EB_LOG_BURST 64
#define EB_LOG_REFILL_NS (10 * 1000000000ULL)

/* Full when all zeros. */
struct eb_log_limit {
	uint64_t full_at;
	uint64_t suppressed; /* since the last line that was admitted */
};

/* Whether a line may be written at `now_ns` of CLOCK_MONOTONIC. If so, *suppressed says how many were not since the
 * last one. */
bool eb_log_admit(struct eb_log_limit *limit, uint64_t now_ns, uint64_t *suppressed);

/* The same for a line that says how many were suppressed; false also when there were none. */
bool eb_log_admit_report(struct eb_log_limit *limit, uint64_t now_ns, uint64_t *suppressed);

#endif
