/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Rates and bursts as the operator thinks of them <-> struct eb_limit (gcra.h) as packets are charged.
 *
 * Pure arithmetic, in exact integers. What holds for every limit that eb_limit_compile() accepts:
 *  - over any time the amount admitted is at most burst + rate * time, exactly;
 *  - the rate in the long run is at most the configured one and within 0.1 % of it;
 *  - a single frame of as much as the burst passes a full bucket.
 */
#ifndef EB_LIMIT_H
#define EB_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

#include "edgebucket.h"

struct eb_rate;

#define EB_LIMIT_NEVER UINT64_MAX

/* `is_bytes`: charged by the frame's length; otherwise one token at a time. An absent rate gives an absent limit.
 * Returns 0; -ERANGE when an empty bucket would take longer to fill than EB_BURST_MAX; -EDOM when the burst is less
 * than about two nanoseconds of the rate, too little to keep the rate. */
int eb_limit_compile(const struct eb_rate *rate, bool is_bytes, struct eb_limit *out);

/* The burst it was compiled from, in tokens. */
uint64_t eb_limit_burst(const struct eb_limit *limit);

/* How many tokens a bucket with `debt` ticks of debt can pay now. */
uint64_t eb_limit_tokens(const struct eb_limit *limit, uint64_t debt);

/* Nanoseconds until a bucket with `debt` can pay `tokens`; 0 for now, EB_LIMIT_NEVER for more than the burst. */
uint64_t eb_limit_wait_ns(const struct eb_limit *limit, uint64_t debt, uint64_t tokens);

#endif
