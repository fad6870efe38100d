// SPDX-License-Identifier: GPL-2.0-only
/* Bucket arithmetic against the same in integers that cannot wrap. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gcra.h"
#include "random.h"

typedef unsigned __int128 u128;

/* Of any size from 1 to `most`, small ones as likely as large ones. */
static uint64_t draw_size(uint64_t most)
{
	uint64_t value = draw() >> draw() % 64;

	return value % most + 1;
}

/* A bucket whose time never wraps; it makes the same detour around the two values that are no times. */
struct reference {
	u128 full_at;
};

static u128 reference_debt(const struct reference *bucket, u128 now)
{
	return bucket->full_at > now ? bucket->full_at - now : 0;
}

static u128 reference_cost(const struct eb_limit *limit, uint64_t tokens)
{
	u128 one = (u128)1 << limit->shift;

	return ((u128)tokens * limit->mult + one - 1) / one;
}

static bool reference_charge(struct reference *bucket, const struct eb_limit *limit, uint64_t tokens, u128 now)
{
	u128 full_at = now + reference_debt(bucket, now) + reference_cost(limit, tokens);

	if (full_at - now > limit->burst)
		return false;
	bucket->full_at = (uint64_t)full_at < EB_FIRST_TIME ? full_at + EB_FIRST_TIME - (uint64_t)full_at : full_at;
	return true;
}

static bool charge(__u64 *full_at, const struct eb_limit *limit, uint64_t tokens, __u64 now)
{
	__u64 debt = eb_gcra_debt(*full_at, now), cost = eb_gcra_cost(limit, tokens);

	if (!eb_gcra_conforms(limit, debt, cost))
		return false;
	*full_at = eb_gcra_full_at(now, debt + cost);
	return true;
}

/* Limits over the whole of what gcra.h allows, not only what a configuration makes. */
static struct eb_limit draw_limit(uint64_t *most_tokens)
{
	struct eb_limit limit = { .burst = draw_size(EB_BURST_MAX) };

	if (draw() % 2) {
		limit.mult = draw_size(limit.burst);
		*most_tokens = 1;
	} else {
		limit.shift = draw() % 2 ? 32 : 0;
		limit.mult = draw_size(EB_MULT_MAX - 1);
		*most_tokens = EB_TOKENS_MAX;
	}
	if (draw() % 16 == 0)
		limit.burst = EB_BURST_MAX;
	return limit;
}

static void check_run(void)
{
	uint64_t most_tokens;
	struct eb_limit limit = draw_limit(&most_tokens);
	u128 start = draw() % 4 ? draw() : (u128)UINT64_MAX - draw_size(limit.burst);
	u128 now = start, admitted = 0;
	struct reference reference = { .full_at = 0 };
	__u64 full_at = EB_FULL;

	for (int i = 0; i < 200; i++) {
		uint64_t tokens = most_tokens == 1 ? 1 : draw_size(most_tokens);
		bool expected = reference_charge(&reference, &limit, tokens, now);

		assert_int_equal(charge(&full_at, &limit, tokens, now), expected);
		assert_true(eb_gcra_debt(full_at, now) == reference_debt(&reference, now));
		if (expected)
			admitted += reference_cost(&limit, tokens);
		assert_true(admitted <= limit.burst + (now - start));
		now += one_in(3) ? draw_size(limit.burst) : draw_size(eb_gcra_cost(&limit, tokens) + 1) % EB_BURST_MAX;
		/* As the agent does for buckets idle for so long that the next wrap would make a debt of them. */
		if (now > reference.full_at + EB_DEBT_MAX)
			full_at = EB_FULL;
	}
}

static void test_random(void **state)
{
	(void)state;
	for (int i = 0; i < 20000; i++)
		check_run();
}

/* The largest cost of each kind fits. */
static void test_cost(void **state)
{
	struct eb_limit limit = { .mult = EB_MULT_MAX - 1, .burst = EB_BURST_MAX, .shift = 0 };
	const struct eb_limit one_token = { .mult = EB_BURST_MAX, .burst = EB_BURST_MAX };
	const struct eb_limit fast = { .mult = 1, .burst = 1, .shift = 32 };

	(void)state;
	assert_true(eb_gcra_cost(&limit, EB_TOKENS_MAX) == reference_cost(&limit, EB_TOKENS_MAX));
	assert_false(eb_gcra_conforms(&limit, EB_BURST_MAX, eb_gcra_cost(&limit, EB_TOKENS_MAX)));
	limit.shift = 32;
	assert_true(eb_gcra_cost(&limit, EB_TOKENS_MAX) == reference_cost(&limit, EB_TOKENS_MAX));
	assert_true(eb_gcra_cost(&limit, 0) == 0);
	assert_true(eb_gcra_cost(&one_token, 1) == EB_BURST_MAX);
	assert_true(eb_gcra_conforms(&one_token, 0, EB_BURST_MAX));
	assert_false(eb_gcra_conforms(&one_token, 1, EB_BURST_MAX));
	assert_false(eb_gcra_conforms(&one_token, EB_DEBT_MAX, EB_BURST_MAX));
	/* However little it is, nothing is free. */
	assert_true(eb_gcra_cost(&fast, 1) == 1);
	assert_true(eb_gcra_cost(&fast, EB_TOKENS_MAX) == 1);
}

/* A node's part of the burst, or one packet, on top of what it has heard of; never more than the burst. */
static void test_care(void **state)
{
	const struct eb_limit limit = { .mult = 10, .burst = 100 };
	const struct eb_limit longest = { .mult = 10, .burst = EB_BURST_MAX };

	(void)state;
	assert_int_equal(eb_gcra_ceiling(&limit, 10, 0, 0), 100);
	assert_int_equal(eb_gcra_ceiling(&limit, 10, 0, 2), 50);
	assert_int_equal(eb_gcra_ceiling(&limit, 10, 20, 2), 70);
	assert_int_equal(eb_gcra_ceiling(&limit, 10, 70, 2), 100);
	assert_int_equal(eb_gcra_ceiling(&limit, 10, 20, 100), 30);
	assert_true(eb_gcra_ceiling(&longest, 1ULL << 63, EB_DEBT_MAX, 1) == EB_BURST_MAX);
}

static void test_debt(void **state)
{
	static const __u64 nows[] = { 0, 1, 2, 1000, EB_DEBT_MAX, 1ULL << 63, UINT64_MAX - 1000, UINT64_MAX };

	(void)state;
	for (size_t i = 0; i < sizeof(nows) / sizeof(nows[0]); i++) {
		__u64 now = nows[i];

		assert_true(eb_gcra_debt(EB_FULL, now) == 0);
		assert_true(eb_gcra_debt(eb_gcra_full_at(now, 0), now) <= EB_FIRST_TIME);
		assert_true(eb_gcra_debt(eb_gcra_full_at(now, 5000), now) == 5000);
		assert_true(eb_gcra_debt(eb_gcra_full_at(now, EB_BURST_MAX), now) == EB_BURST_MAX);
		/* A clock reading that is old by up to a minute still sees it all. */
		assert_true(eb_gcra_debt(eb_gcra_full_at(now, EB_BURST_MAX), now - (EB_DEBT_MAX - EB_BURST_MAX)) ==
			    EB_DEBT_MAX);
		assert_true(eb_gcra_debt(now + EB_DEBT_MAX + 1, now) == 0);
		if (now > EB_FIRST_TIME)
			assert_true(eb_gcra_debt(now - 1, now) == 0);
	}
}

/* No time that a charge can make is one of the three that are none. */
static void test_reserved(void **state)
{
	(void)state;
	for (__u64 debt = 0; debt < 10; debt++) {
		for (__u64 before = 0; before < 10; before++) {
			__u64 full_at = eb_gcra_full_at(-before, debt);

			assert_true(full_at != EB_FULL && !eb_gcra_is_locked(full_at));
			assert_true(eb_gcra_debt(full_at, -before) >= debt);
			assert_true(eb_gcra_debt(full_at, -before) <= debt + EB_FIRST_TIME);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_cost),
		cmocka_unit_test(test_care),
		cmocka_unit_test(test_debt),
		cmocka_unit_test(test_reserved),
	};

	return cmocka_run_group_tests_name("gcra", tests, random_start, NULL);
}
