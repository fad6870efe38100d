// SPDX-License-Identifier: GPL-2.0-only
/*
 * limit.c and the charges of gcra.h, against exact arithmetic.
 *
 * The reference never rounds: with c = period * 1024 / tokens ticks a token, everything is compared after multiplying
 * by `tokens`, in 128 bits. A run prints its seed on failure; EB_TEST_SEED repeats it.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "config/config.h"
#include "config/limit.h"

typedef unsigned __int128 u128;
typedef __int128 s128;

#define SECOND_NS 1000000000ULL
#define HOUR_NS (3600 * SECOND_NS)

static uint64_t seed, random_state;

static uint64_t random_bits(void)
{
	uint64_t x = random_state += 0x9e3779b97f4a7c15ULL; /* splitmix64 */

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
	return x ^ x >> 31;
}

static uint64_t random_below(uint64_t limit)
{
	return random_bits() % limit;
}

/* From 1 to max, each order of magnitude equally likely. */
static uint64_t random_scale(uint64_t max)
{
	uint64_t mask = ~0ULL >> random_below(64), value = random_bits() & mask;

	return 1 + value % max;
}

#define check(condition, rate) \
	do { \
		if (!(condition)) \
			fail_msg("%s: %llu tokens every %llu ns, burst %llu (EB_TEST_SEED=%llu)", #condition, \
				 (unsigned long long)(rate)->tokens, (unsigned long long)(rate)->period_ns, \
				 (unsigned long long)(rate)->burst, (unsigned long long)seed); \
	} while (0)

static u128 cost_of(const struct eb_limit *limit, u128 tokens)
{
	u128 unit = (u128)1 << limit->shift;

	return (tokens * limit->mult + unit - 1) / unit;
}

static uint64_t period_for(bool is_bytes, uint64_t tokens, uint64_t period_ns)
{
	u128 ticks = (u128)period_ns * EB_TICKS_PER_NS;
	/* 100M/s and 400Gbit/s at most; 1/h and 1B/s at least. */
	bool too_fast = ticks * (is_bytes ? 50 : 1) < (u128)tokens * (is_bytes ? 1024 : 10240);
	bool too_slow = period_ns > (u128)tokens * (is_bytes ? SECOND_NS : HOUR_NS);

	return too_fast || too_slow ? 0 : period_ns;
}

static struct eb_rate random_rate(bool is_bytes)
{
	static const uint64_t periods[] = { SECOND_NS, 60 * SECOND_NS, HOUR_NS, 8 * SECOND_NS, 480 * SECOND_NS,
					    10 * SECOND_NS };
	struct eb_rate rate = { 0 };

	while (!rate.period_ns) {
		rate.tokens = random_scale(is_bytes ? 400000000000ULL * 3600 : 360000000000ULL);
		rate.period_ns = period_for(is_bytes, rate.tokens, periods[random_below(6)]);
	}
	rate.burst = random_scale(1ULL << random_below(41));
	return rate;
}

/* What limit.h promises, of one limit alone. */
static void check_limit(const struct eb_rate *rate, bool is_bytes, const struct eb_limit *limit)
{
	u128 unit = (u128)1 << limit->shift, exact = ((u128)rate->period_ns * EB_TICKS_PER_NS) << limit->shift;
	u128 mult = (u128)limit->mult * rate->tokens;
	s128 over = (s128)((u128)limit->burst << limit->shift) - (s128)((u128)rate->burst * limit->mult);

	check(mult >= exact, rate);                     /* never faster */
	check((mult - exact) * 1000 <= exact, rate);    /* within 0.1 % */
	/* What the burst rounds up is made good by what the first token rounds up: never above burst + rate * time. */
	check(over <= 0 || (u128)over * rate->tokens <= mult - exact, rate);
	check(limit->burst <= EB_BURST_MAX, rate);
	check(eb_limit_burst(limit) == rate->burst, rate);
	check(eb_limit_tokens(limit, 0) == rate->burst, rate);
	check(eb_limit_wait_ns(limit, 0, rate->burst) == 0, rate);
	check(eb_limit_wait_ns(limit, 0, rate->burst + 1) == EB_LIMIT_NEVER, rate);
	check(cost_of(limit, rate->burst + 1) > limit->burst, rate); /* burst + 1 never passes */
	if (is_bytes) {
		check(limit->mult < EB_MULT_MAX, rate);
		check((u128)EB_TOKENS_MAX * limit->mult + unit < (u128)1 << 64, rate);
	} else {
		check(limit->shift == 0, rate);
	}
	if (!is_bytes || rate->burst <= EB_TOKENS_MAX)
		check(cost_of(limit, rate->burst) <= limit->burst, rate); /* burst passes in one */
	else
		check(cost_of(limit, rate->burst - 1) <= limit->burst, rate);
}

static void check_refused(const struct eb_rate *rate, bool is_bytes, int err)
{
	u128 exact = (u128)rate->period_ns * EB_TICKS_PER_NS * rate->burst;
	u128 slack = (u128)rate->burst * rate->tokens; /* of rounding mult up */

	if (err == -ERANGE)
		check(exact + slack > (u128)EB_BURST_MAX * rate->tokens, rate);
	else if (err == -EDOM)
		check(is_bytes && exact <= (u128)2000 * rate->tokens, rate);
	else
		check(!err, rate);
}

static void test_random_limits(void **state)
{
	(void)state;
	for (int i = 0; i < 200000; i++) {
		bool is_bytes = i % 2;
		struct eb_rate rate = random_rate(is_bytes);
		struct eb_limit limit;
		int err = eb_limit_compile(&rate, is_bytes, &limit);

		if (err)
			check_refused(&rate, is_bytes, err);
		else
			check_limit(&rate, is_bytes, &limit);
	}
}

static void check_compiles(uint64_t tokens, uint64_t period_ns, uint64_t burst, bool is_bytes)
{
	struct eb_rate rate = { .tokens = tokens, .period_ns = period_ns, .burst = burst };
	struct eb_limit limit;

	check(eb_limit_compile(&rate, is_bytes, &limit) == 0, &rate);
	check_limit(&rate, is_bytes, &limit);
}

static int compile(uint64_t tokens, uint64_t period_ns, uint64_t burst, bool is_bytes)
{
	struct eb_rate rate = { .tokens = tokens, .period_ns = period_ns, .burst = burst };
	struct eb_limit limit;

	return eb_limit_compile(&rate, is_bytes, &limit);
}

static void test_ends_of_ranges(void **state)
{
	(void)state;
	check_compiles(1, HOUR_NS, 1, false);
	check_compiles(1, HOUR_NS, 1250, false);
	assert_int_equal(compile(1, HOUR_NS, 1251, false), -ERANGE);
	check_compiles(100000000, SECOND_NS, 1, false);
	check_compiles(100000000, SECOND_NS, 450353962737049ULL, false);
	assert_int_equal(compile(100000000, SECOND_NS, 450353962737050ULL, false), -ERANGE);
	check_compiles(1, SECOND_NS, 1, true);
	check_compiles(1, SECOND_NS, 4503539, true);
	assert_int_equal(compile(1, SECOND_NS, 4503540, true), -ERANGE);
	check_compiles(400000000000, 8 * SECOND_NS, 98, true);
	check_compiles(400000000000, 8 * SECOND_NS, 1514, true);
	check_compiles(400000000000, 8 * SECOND_NS, EB_TOKENS_MAX, true);
	check_compiles(400000000000, 8 * SECOND_NS, EB_TOKENS_MAX + 1, true);
	check_compiles(400000000000, 8 * SECOND_NS, 225176981000000000ULL, true);
	assert_int_equal(compile(400000000000, 8 * SECOND_NS, 225176982000000000ULL, true), -ERANGE);
	assert_int_equal(compile(400000000000, 8 * SECOND_NS, 40, true), -EDOM);
	assert_int_equal(compile(1, HOUR_NS, INT64_MAX, false), -ERANGE);
	assert_int_equal(compile(1, INT64_MAX, 1, false), -ERANGE);
	assert_int_equal(compile(1, INT64_MAX, INT64_MAX, true), -ERANGE);
}

static void test_absent(void **state)
{
	struct eb_limit limit = { .mult = 1 };
	struct eb_rate rate = { 0 };

	(void)state;
	assert_int_equal(eb_limit_compile(&rate, false, &limit), 0);
	assert_int_equal(limit.mult, 0);
	assert_int_equal(limit.burst, 0);
	assert_int_equal(eb_limit_burst(&limit), 0);
	assert_int_equal(eb_limit_tokens(&limit, 0), 0);
}

static void test_known_values(void **state)
{
	struct eb_rate packets = { .tokens = 200, .period_ns = SECOND_NS, .burst = 400 };
	struct eb_rate bytes = { .tokens = 8000000, .period_ns = 8 * SECOND_NS, .burst = 1000000 };
	struct eb_limit limit;

	(void)state;
	assert_int_equal(eb_limit_compile(&packets, false, &limit), 0);
	assert_int_equal(limit.mult, 5000000 * EB_TICKS_PER_NS);
	assert_int_equal(limit.burst, 2 * SECOND_NS * EB_TICKS_PER_NS);
	assert_int_equal(eb_limit_tokens(&limit, 1), 399);
	assert_int_equal(eb_limit_tokens(&limit, limit.burst), 0);
	assert_int_equal(eb_limit_tokens(&limit, limit.burst + 1), 0);
	assert_int_equal(eb_limit_wait_ns(&limit, limit.burst, 1), 5000000);
	assert_int_equal(eb_limit_wait_ns(&limit, limit.burst - 1, 1), 5000000);
	assert_int_equal(eb_limit_wait_ns(&limit, limit.burst - EB_TICKS_PER_NS, 1), 4999999);
	assert_int_equal(eb_limit_wait_ns(&limit, limit.burst, 0), 0);
	assert_int_equal(eb_limit_compile(&bytes, true, &limit), 0);
	assert_int_equal(limit.mult, 1000 * EB_TICKS_PER_NS);
	assert_int_equal(limit.shift, 0);
}

/* The inverse against the charge itself, at random debts. */
static void test_tokens_and_wait(void **state)
{
	(void)state;
	for (int i = 0; i < 100000; i++) {
		struct eb_rate rate = random_rate(i % 2);
		struct eb_limit limit;
		uint64_t debt, tokens, wait, after;

		if (eb_limit_compile(&rate, i % 2, &limit))
			continue;
		debt = 1 + random_below(limit.burst);
		tokens = eb_limit_tokens(&limit, debt);
		check(debt + cost_of(&limit, tokens) <= limit.burst, &rate);
		check(debt + cost_of(&limit, tokens + 1) > limit.burst, &rate);
		if (tokens + 1 >= rate.burst)
			continue;
		wait = eb_limit_wait_ns(&limit, debt, tokens + 1);
		check(wait > 0 && wait != EB_LIMIT_NEVER, &rate);
		after = (u128)wait * EB_TICKS_PER_NS >= debt ? 0 : debt - wait * EB_TICKS_PER_NS;
		check(after + cost_of(&limit, tokens + 1) <= limit.burst, &rate);
		check(debt - (wait - 1) * EB_TICKS_PER_NS + cost_of(&limit, tokens + 1) > limit.burst, &rate);
	}
}

/* A token bucket that never rounds: its level times `tokens`, in ticks. */
struct reference {
	u128 level, most, per_token;
	uint64_t tokens;
};

static void fill_reference(struct reference *reference, uint64_t ns)
{
	reference->level += (u128)ns * EB_TICKS_PER_NS * reference->tokens;
	if (reference->level > reference->most)
		reference->level = reference->most;
}

static bool charge(const struct eb_limit *limit, uint64_t *full_at, uint64_t now, uint64_t tokens)
{
	uint64_t debt = eb_gcra_debt(*full_at, now), cost = eb_gcra_cost(limit, tokens);

	if (!eb_gcra_conforms(limit, debt, cost))
		return false;
	*full_at = eb_gcra_full_at(now, debt + cost);
	return true;
}

struct run {
	struct eb_rate rate;
	struct eb_limit limit;
	bool is_bytes;
	bool is_greedy;      /* takes all that there is, every time */
	uint64_t start_ns;   /* so that ticks wrap at some point, or not */
	uint64_t mean_gap_ns;
	uint64_t largest;    /* tokens a charge */
	unsigned int charges;
};

/* Charges both. What passes must never be more than the exact bucket holds. */
static void charge_both(const struct run *run, struct reference *reference, uint64_t *full_at, uint64_t ns,
			uint64_t tokens)
{
	if (!charge(&run->limit, full_at, eb_gcra_now(ns), tokens))
		return;
	check(reference->per_token * tokens <= reference->level, &run->rate);
	reference->level -= reference->per_token * tokens;
}

static void drain(const struct run *run, struct reference *reference, uint64_t *full_at, uint64_t ns)
{
	uint64_t left;

	while ((left = eb_limit_tokens(&run->limit, eb_gcra_debt(*full_at, eb_gcra_now(ns)))))
		charge_both(run, reference, full_at, ns, left < EB_TOKENS_MAX ? left : EB_TOKENS_MAX);
}

/* As the exact bucket is charged with what passes, this tests burst + rate * time over every stretch of time, not just
 * from the start. */
static void simulate(const struct run *run)
{
	const struct eb_rate *rate = &run->rate;
	struct reference reference = {
		.tokens = rate->tokens, .per_token = (u128)rate->period_ns * EB_TICKS_PER_NS,
	};
	uint64_t full_at = EB_FULL, ns = run->start_ns;

	reference.level = reference.most = reference.per_token * rate->burst;
	for (unsigned int i = 0; i < run->charges; i++) {
		uint64_t gap = random_below(2 * run->mean_gap_ns + 1);

		ns += gap;
		fill_reference(&reference, gap);
		if (run->is_greedy)
			drain(run, &reference, &full_at, ns);
		else
			charge_both(run, &reference, &full_at, ns, run->is_bytes ? 1 + random_below(run->largest) : 1);
	}
}

static uint64_t before_wrap(uint64_t ns)
{
	return (UINT64_MAX / EB_TICKS_PER_NS) - random_below(ns + 1);
}

static void test_never_above_the_exact_bucket(void **state)
{
	(void)state;
	for (int i = 0; i < 4000; i++) {
		struct run run = { .rate = random_rate(i % 2), .is_bytes = i % 2, .charges = 300 };
		uint64_t token_ns;

		if (i % 4 == 3) /* fast and shallow: where rounding shows most */
			run.rate = (struct eb_rate){ .tokens = 1000000000 + random_below(49000000000),
						     .period_ns = SECOND_NS, .burst = 100 + random_below(3000) };
		run.rate.burst = 1 + run.rate.burst % 100000;
		if (eb_limit_compile(&run.rate, run.is_bytes, &run.limit))
			continue;
		run.largest = run.is_bytes ? 1 + random_below(run.rate.burst < 9000 ? run.rate.burst : 9000) : 1;
		token_ns = run.rate.period_ns / run.rate.tokens;
		run.mean_gap_ns = random_below(2 * (token_ns + 1) * run.largest + 2);
		run.start_ns = i % 3 ? before_wrap(run.mean_gap_ns * run.charges + 1) : random_below(1ULL << 40);
		simulate(&run);
	}
}

/* Finds a byte that passes even a tick early, of shallow buckets and of those deeper than a frame. */
static void test_every_byte_in_time(void **state)
{
	(void)state;
	for (int i = 0; i < 4000; i++) {
		struct run run = {
			.rate = { .tokens = 500000000 + random_below(49500000000), .period_ns = SECOND_NS },
			.is_bytes = true, .is_greedy = true, .mean_gap_ns = 1, .charges = 300,
		};

		run.rate.burst = 1 + (i % 2 ? random_below(2000) : EB_TOKENS_MAX + random_below(EB_TOKENS_MAX));
		if (eb_limit_compile(&run.rate, true, &run.limit))
			continue;
		run.start_ns = before_wrap(1000);
		simulate(&run);
	}
}

/* The whole burst in one frame passes a full bucket, once. */
static void test_burst_in_one(void **state)
{
	(void)state;
	for (int i = 0; i < 100000; i++) {
		struct eb_rate rate = random_rate(true);
		uint64_t full_at = EB_FULL, now = random_bits();
		struct eb_limit limit;

		rate.burst = 1 + rate.burst % EB_TOKENS_MAX;
		if (eb_limit_compile(&rate, true, &limit))
			continue;
		check(!charge(&limit, &full_at, now, rate.burst + 1), &rate);
		check(charge(&limit, &full_at, now, rate.burst), &rate);
		check(!charge(&limit, &full_at, now, 1), &rate);
	}
}

/* Where charges do not round, the burst passes exactly however it is cut. */
static void test_burst_in_pieces(void **state)
{
	static const struct eb_rate rates[] = {
		{ 8000000, 8 * SECOND_NS, 1000000 }, { 3000000, 8 * SECOND_NS, 65537 }, { 7, SECOND_NS, 1514 },
		{ 1999999999, 8 * SECOND_NS, 100001 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
		uint64_t full_at = EB_FULL, now = random_bits(), left = rates[i].burst;
		struct eb_limit limit;

		assert_int_equal(eb_limit_compile(&rates[i], true, &limit), 0);
		while (left) {
			uint64_t tokens = 1 + random_below(left < 1514 ? left : 1514);

			check(charge(&limit, &full_at, now, tokens), &rates[i]);
			left -= tokens;
		}
		check(!charge(&limit, &full_at, now, 1), &rates[i]);
	}
}

/* A greedy source over a long time: within 0.1 % below, never above. */
static void check_long_run(struct eb_rate rate, bool is_bytes, uint64_t frame)
{
	uint64_t full_at = EB_FULL, start = random_bits() >> 10, ns = start, admitted = 0;
	struct eb_limit limit;
	u128 admitted_ticks, allowed;

	check(eb_limit_compile(&rate, is_bytes, &limit) == 0, &rate);
	for (int i = 0; i < 20000; i++) {
		uint64_t wait = eb_limit_wait_ns(&limit, eb_gcra_debt(full_at, eb_gcra_now(ns)), frame);

		check(wait != EB_LIMIT_NEVER, &rate);
		ns += wait;
		check(charge(&limit, &full_at, eb_gcra_now(ns), frame), &rate);
		admitted += frame;
	}
	admitted_ticks = (u128)admitted * rate.period_ns;
	allowed = (u128)(ns - start) * rate.tokens + (u128)rate.burst * rate.period_ns;
	check(admitted_ticks <= allowed, &rate);
	/* One frame may still be to come, and waits are whole nanoseconds. */
	check((admitted_ticks + (u128)(frame + 1) * rate.period_ns + rate.tokens) * 1001 >= allowed * 1000, &rate);
}

static void test_long_run(void **state)
{
	(void)state;
	check_long_run((struct eb_rate){ 1, HOUR_NS, 1 }, false, 1);
	check_long_run((struct eb_rate){ 7, 60 * SECOND_NS, 3 }, false, 1);
	check_long_run((struct eb_rate){ 999983, SECOND_NS, 10 }, false, 1);
	check_long_run((struct eb_rate){ 100000000, SECOND_NS, 100 }, false, 1);
	check_long_run((struct eb_rate){ 99999989, SECOND_NS, 100 }, false, 1);
	check_long_run((struct eb_rate){ 1, SECOND_NS, 1514 }, true, 60);
	check_long_run((struct eb_rate){ 3000000, 8 * SECOND_NS, 3028 }, true, 1514);
	check_long_run((struct eb_rate){ 1999999973, 8 * SECOND_NS, 100000 }, true, 1514);
	check_long_run((struct eb_rate){ 2000000011, 8 * SECOND_NS, 100000 }, true, 1514);
	check_long_run((struct eb_rate){ 400000000000, 8 * SECOND_NS, 100000 }, true, 60);
	check_long_run((struct eb_rate){ 400000000000, 8 * SECOND_NS, 20000000 }, true, 9014);
	check_long_run((struct eb_rate){ 399999999989, 8 * SECOND_NS, 1000000 }, true, 1514);
}

/* Refills near EB_BURST_MAX: a debt is a debt to the last tick, and idle buckets are full. */
static void test_longest_refill(void **state)
{
	struct eb_rate rate = { .tokens = 1, .period_ns = HOUR_NS, .burst = 1250 };
	struct eb_limit limit;

	(void)state;
	assert_int_equal(eb_limit_compile(&rate, false, &limit), 0);
	for (int i = 0; i < 1000; i++) {
		uint64_t now = i % 2 ? random_bits() : 0 - random_below(limit.burst), full_at = EB_FULL;
		uint64_t idle = limit.burst + random_below(UINT64_MAX - EB_DEBT_MAX - limit.burst - EB_FIRST_TIME);
		int admitted = 0;

		while (charge(&limit, &full_at, now, 1))
			admitted++;
		assert_int_equal(admitted, 1250);
		assert_true(eb_gcra_debt(full_at, now) - limit.burst <= EB_FIRST_TIME);
		assert_false(charge(&limit, &full_at, now + limit.mult - 1, 1));
		assert_int_equal(eb_gcra_debt(full_at, now + limit.burst + EB_FIRST_TIME), 0);
		assert_int_equal(eb_gcra_debt(full_at, now + idle + EB_FIRST_TIME), 0);
	}
}

/* The two values that are no times are stepped over, towards more debt. */
static void test_reserved_values(void **state)
{
	(void)state;
	assert_int_equal(eb_gcra_full_at(UINT64_MAX - 9, 10), EB_FIRST_TIME);
	assert_int_equal(eb_gcra_full_at(UINT64_MAX - 9, 11), EB_FIRST_TIME);
	assert_int_equal(eb_gcra_full_at(UINT64_MAX - 9, 12), EB_FIRST_TIME);
	assert_int_equal(eb_gcra_full_at(UINT64_MAX - 9, 9), UINT64_MAX);
	assert_int_equal(eb_gcra_debt(EB_FULL, UINT64_MAX - 9), 0);
	assert_int_equal(eb_gcra_debt(EB_FIRST_TIME, UINT64_MAX - 9), 10 + EB_FIRST_TIME);
}

static int setup(void **state)
{
	const char *given = getenv("EB_TEST_SEED");
	struct timespec now;

	(void)state;
	clock_gettime(CLOCK_REALTIME, &now);
	seed = given ? strtoull(given, NULL, 10) : (uint64_t)now.tv_nsec;
	random_state = seed;
	return 0;
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_random_limits, setup),
		cmocka_unit_test_setup(test_ends_of_ranges, setup),
		cmocka_unit_test_setup(test_absent, setup),
		cmocka_unit_test_setup(test_known_values, setup),
		cmocka_unit_test_setup(test_tokens_and_wait, setup),
		cmocka_unit_test_setup(test_never_above_the_exact_bucket, setup),
		cmocka_unit_test_setup(test_every_byte_in_time, setup),
		cmocka_unit_test_setup(test_burst_in_one, setup),
		cmocka_unit_test_setup(test_burst_in_pieces, setup),
		cmocka_unit_test_setup(test_long_run, setup),
		cmocka_unit_test_setup(test_longest_refill, setup),
		cmocka_unit_test_setup(test_reserved_values, setup),
	};

	return cmocka_run_group_tests_name("limit", tests, NULL, NULL);
}
