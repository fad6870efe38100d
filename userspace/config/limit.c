// SPDX-License-Identifier: GPL-2.0-only
/*
 * A token takes c = period * 1024 / tokens ticks to refill, a fraction. What is charged for it is x = mult / 2^shift,
 * which must not be below c, or the rate would be exceeded. A frame of n tokens is charged ceil(n * x).
 *
 * With the shift 0 all is exact: x is a whole number of ticks, charges do not round, and `burst` tokens cost burst * x
 * however they come. The price is a rate that is too low by up to 1 in c. Packets (c >= 10240) and rates up to
 * 2 Gbit/s (c >= 4096) are done so; so are faster ones with a whole c.
 *
 * Faster byte rates need a fraction, with the shift 30 throughout. Then burst * x is no whole number of ticks. Rounded
 * down, a frame of the very size of the burst would never pass; rounded up, a byte might pass up to a tick early.
 * Which is right depends on whether there can be such a frame:
 *  - burst > EB_TOKENS_MAX: there is none; round down.
 *  - otherwise choose T, the ticks of the burst, first, and x such that burst * x is just below T, by e < burst / 2^30.
 *    Up to the time t, N tokens pass at most, where N * x <= T + t. With N = burst + k that is k * x <= t + e. It is
 *    within the rate, k * c <= t, for every k >= 1 if x - c >= e. As x is more than T / burst - 1 / 2^30, it is
 *    enough that T >= burst * c + burst * (burst + 1) / 2^30. That slows the rate by (T - burst * c) in burst * c.
 */
#include <errno.h>

#include "config/config.h"
#include "config/limit.h"

#define RATE_ERROR 1000 /* one in so many */
#define WHOLE_TICKS 4096
#define FAST_SHIFT 30

typedef unsigned __int128 u128;

static u128 divide_up(u128 a, u128 b)
{
	return a / b + (a % b != 0);
}

static int store(u128 mult, u128 burst, uint32_t shift, struct eb_limit *out)
{
	if (burst > EB_BURST_MAX)
		return -ERANGE;
	*out = (struct eb_limit){ .mult = mult, .burst = burst, .shift = shift };
	return 0;
}

/* The products below stay in 128 bits: the period is below 2^63 ns, the burst below 2^63 tokens. */
static u128 period_ticks(const struct eb_rate *rate)
{
	return (u128)rate->period_ns * EB_TICKS_PER_NS;
}

static int compile_whole(const struct eb_rate *rate, bool is_bytes, struct eb_limit *out)
{
	u128 mult = divide_up(period_ticks(rate), rate->tokens);

	if (mult > EB_BURST_MAX || (is_bytes && mult >= EB_MULT_MAX))
		return -ERANGE;
	return store(mult, mult * rate->burst, 0, out);
}

/* c is below WHOLE_TICKS where the shift is not 0, and x at most 0.1 % above c. */
_Static_assert(((WHOLE_TICKS + WHOLE_TICKS / RATE_ERROR + 1ULL) << FAST_SHIFT) < EB_MULT_MAX, "mult fits");

static int compile_large(const struct eb_rate *rate, struct eb_limit *out)
{
	u128 mult = divide_up(period_ticks(rate) << FAST_SHIFT, rate->tokens);

	return store(mult, mult * rate->burst >> FAST_SHIFT, FAST_SHIFT, out);
}

static int compile_small(const struct eb_rate *rate, struct eb_limit *out)
{
	u128 exact = period_ticks(rate) * rate->burst; /* burst * c * tokens */
	u128 spare = 1 + ((u128)rate->burst * (rate->burst + 1) >> FAST_SHIFT);
	u128 ticks = divide_up(exact, rate->tokens) + spare;

	if ((ticks * rate->tokens - exact) * RATE_ERROR > exact)
		return -EDOM;
	return store((ticks << FAST_SHIFT) / rate->burst, ticks, FAST_SHIFT, out);
}

int eb_limit_compile(const struct eb_rate *rate, bool is_bytes, struct eb_limit *out)
{
	bool is_slow;

	if (!rate->tokens) {
		*out = (struct eb_limit){ 0 };
		return 0;
	}
	is_slow = period_ticks(rate) >= (u128)rate->tokens * WHOLE_TICKS;
	if (!is_bytes || is_slow || period_ticks(rate) % rate->tokens == 0)
		return compile_whole(rate, is_bytes, out);
	return rate->burst > EB_TOKENS_MAX ? compile_large(rate, out) : compile_small(rate, out);
}

/* Rounded to the nearest: `burst` is less than a tick off, and a token takes at least twenty. */
uint64_t eb_limit_burst(const struct eb_limit *limit)
{
	return limit->mult ? (((u128)limit->burst << limit->shift) + limit->mult / 2) / limit->mult : 0;
}

uint64_t eb_limit_tokens(const struct eb_limit *limit, uint64_t debt)
{
	if (!limit->mult || debt > limit->burst)
		return 0;
	if (!debt)
		return eb_limit_burst(limit);
	return ((u128)(limit->burst - debt) << limit->shift) / limit->mult;
}

uint64_t eb_limit_wait_ns(const struct eb_limit *limit, uint64_t debt, uint64_t tokens)
{
	u128 cost;

	if (tokens > eb_limit_burst(limit))
		return EB_LIMIT_NEVER;
	cost = divide_up((u128)tokens * limit->mult, (u128)1 << limit->shift);
	if (cost > limit->burst)
		cost = limit->burst; /* rounding, where the burst is larger than any frame */
	if (debt + cost <= limit->burst)
		return 0;
	return (debt + cost - limit->burst + EB_TICKS_PER_NS - 1) / EB_TICKS_PER_NS;
}
