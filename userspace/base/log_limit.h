/* SPDX-License-Identifier: GPL-2.0-only */
/* Limits how often one message is logged: a token bucket with the arithmetic of gcra.h. The caller passes the time. */
#ifndef EB_LOG_LIMIT_H
#define EB_LOG_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

/* The maximum number of interfaces in a configuration: if all of them go down at once, each one gets its line. */
#define EB_LOG_BURST 64
#define EB_LOG_REFILL_NS (10 * 1000000000ULL)

/* All zeros is a full bucket. */
struct eb_log_limit {
	uint64_t full_at;
	uint64_t suppressed; /* lines since the last admitted one */
};

/* Whether the limit admits a line at `now_ns` of CLOCK_MONOTONIC. If so, *suppressed gets the number of lines that were
 * suppressed since the last admitted one. */
bool eb_log_admit(struct eb_log_limit *limit, uint64_t now_ns, uint64_t *suppressed);

/* The same for a line that reports suppressed lines; also false if none were suppressed. */
bool eb_log_admit_report(struct eb_log_limit *limit, uint64_t now_ns, uint64_t *suppressed);

#endif
