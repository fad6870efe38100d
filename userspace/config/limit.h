/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Converts rates and bursts of an operator into struct eb_limit (gcra.h), with which packets are charged, and back.
 *
 * Pure arithmetic with exact integers. For every limit that eb_limit_compile() accepts:
 *  - in any period of time, the bucket admits at most burst + rate * time, exactly;
 *  - in the long run, the rate is at most the configured one and within 0.1 % of it;
 *  - a full bucket admits a single frame of the size of the burst.
 */
#ifndef EB_LIMIT_H
#define EB_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

#include "edgebucket.h"

struct eb_rate;

#define EB_LIMIT_NEVER UINT64_MAX

/* Compiles a rate. With `is_bytes`, a frame costs its length in tokens; otherwise each frame costs one token. An absent
 * rate gives an absent limit. Returns 0; -ERANGE if an empty bucket would take longer than EB_BURST_MAX to fill; -EDOM
 * if the burst is less than about two nanoseconds of the rate, which is too little to reach the rate. */
int eb_limit_compile(const struct eb_rate *rate, bool is_bytes, struct eb_limit *out);

/* The burst from which the limit was compiled, in tokens. */
uint64_t eb_limit_burst(const struct eb_limit *limit);

/* The number of tokens that a bucket with a debt of `debt` ticks has now. */
uint64_t eb_limit_tokens(const struct eb_limit *limit, uint64_t debt);

/* Nanoseconds until a bucket with a debt of `debt` ticks has `tokens` tokens; 0 if it has them now, EB_LIMIT_NEVER if
 * they exceed the burst. */
uint64_t eb_limit_wait_ns(const struct eb_limit *limit, uint64_t debt, uint64_t tokens);

#endif
