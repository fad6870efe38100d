// SPDX-License-Identifier: GPL-2.0-only
/* What limit a source would have needed (cli/needs.h), against brute force over packets whose times are known. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/needs.h"
#include "random.h"

#define MS 1000000ULL
#define S 1000000000ULL
#define PACKETS_MAX 400
#define LOOKS_MAX 2000
#define CASES 300

struct packet {
	uint64_t ns;
	double size;
};

/* What a source sent, and when somebody looked: a look begins, reads this source's number, notes the time, and ends. */
struct scene {
	struct packet packets[PACKETS_MAX];
	size_t count;
	uint64_t longest_ns; /* that a look stands for */
	uint64_t end_ns;
	double halves[64]; /* what looks found, by half windows */
};

static int refusals; /* scenes of which something is refused for sure */

static uint64_t up_to(uint64_t limit)
{
	return draw() % (limit + 1);
}

/* Runs of packets with pauses of any length between them, down to none. */
static void make_packets(struct scene *scene, bool is_bytes)
{
	uint64_t now = up_to(3 * S), gap = 1ULL << up_to(30);

	scene->count = 1 + up_to(PACKETS_MAX - 1);
	for (size_t i = 0; i < scene->count; i++) {
		scene->packets[i] = (struct packet){ now, is_bytes ? 60 + up_to(1454) : 1 };
		if (up_to(20) == 0)
			gap = 1ULL << up_to(30);
		now += up_to(3) ? up_to(gap) : 0;
	}
}

/* What came until the number is read, from *next on. */
static double collect(const struct scene *scene, size_t *next, uint64_t read_ns)
{
	double amount = 0;

	for (; *next < scene->count && scene->packets[*next].ns <= read_ns; (*next)++)
		amount += scene->packets[*next].size;
	return amount;
}

static void look(struct scene *scene, bool is_bytes, struct needs *needs)
{
	uint64_t pause = MS << up_to(9), begun = 0, before = 0;
	size_t next = 0;

	while (next < scene->count) {
		uint64_t read_ns, to_ns, ended;
		double amount;

		begun += 1 + up_to(pause);
		read_ns = begun + up_to(pause / 4);
		to_ns = read_ns + up_to(pause / 4);
		ended = to_ns + up_to(pause / 20);
		amount = collect(scene, &next, read_ns);
		if (amount > 0)
			needs_add(needs, is_bytes, &(struct needs_look){ before, to_ns }, amount);
		if (to_ns / (NEEDS_WINDOW_NS / 2) < 64)
			scene->halves[to_ns / (NEEDS_WINDOW_NS / 2)] += amount;
		if (ended - before > scene->longest_ns)
			scene->longest_ns = ended - before;
		before = begun;
		begun = scene->end_ns = ended;
	}
}

/* The largest excess of any run of packets over what the rate gives meanwhile. */
static double needed(const struct scene *scene, double rate)
{
	double most = 0;

	for (size_t i = 0; i < scene->count; i++) {
		double sum = 0;

		for (size_t j = i; j < scene->count; j++) {
			double excess;

			sum += scene->packets[j].size;
			excess = sum - rate * (scene->packets[j].ns - scene->packets[i].ns) / 1e9;
			most = excess > most ? excess : most;
		}
	}
	return most;
}

static void check_bursts(const struct scene *scene, bool is_bytes, const struct needs *needs)
{
	for (size_t i = 0; i < NEEDS_RATES; i++) {
		double rate = needs_rate(is_bytes, i), burst = needed(scene, rate);
		double most = burst + 2 * rate * scene->longest_ns / 1e9;

		/* Single precision, of sums of so many. */
		if (needs->burst[i] < burst * 0.9999 || needs->burst[i] > most * 1.0001)
			fail_msg("burst at %g/s: %g, needed %g, at most %g", rate, needs->burst[i], burst, most);
	}
}

static void check_rate(const struct scene *scene, const struct needs *needs)
{
	double most = 0, window = scene->end_ns < NEEDS_WINDOW_NS ? scene->end_ns / 1e9 : NEEDS_WINDOW_NS / 1e9, got;

	for (size_t i = 0; i < 64; i++) {
		double sum = scene->halves[i] + (i ? scene->halves[i - 1] : 0);

		most = sum > most ? sum : most;
	}
	got = needs_highest_rate(needs, scene->end_ns);
	if (fabs(got - most / window) > 0.0001 * got)
		fail_msg("rate: %g, expected %g", got, most / window);
}

/* What a bucket would have refused. */
static double refused(const struct scene *scene, double rate, double burst)
{
	double left = burst, sum = 0;

	for (size_t i = 0; i < scene->count; i++) {
		const struct packet *packet = &scene->packets[i];

		left = i ? fmin(burst, left + rate * (packet->ns - scene->packets[i - 1].ns) / 1e9) : burst;
		if (left >= packet->size)
			left -= packet->size;
		else
			sum += packet->size;
	}
	return sum;
}

static void check_refused(const struct scene *scene, bool is_bytes, const struct needs *needs)
{
	double total = 0, most = 0;

	for (size_t i = 0; i < scene->count; i++)
		total += scene->packets[i].size;
	for (size_t i = 0; i < NEEDS_RATES; i++) {
		struct needs_limit limit = {
			.is_bytes = is_bytes,
			.step = i,
			.burst = 1 + up_to(needs->burst[i] + 1),
			.measured_ns = scene->end_ns,
			.longest_ns = scene->longest_ns,
		};
		double least = needs_refused(needs, &limit, total);
		double truth = refused(scene, needs_rate(is_bytes, i), limit.burst);

		if (least > truth + 0.0002 * total)
			fail_msg("at %g/s, burst %g: %g refused at least, but it was %g", needs_rate(is_bytes, i),
				 limit.burst, least, truth);
		most = fmax(most, least);
	}
	refusals += most > 0;
}

static void test_random(void **state)
{
	(void)state;
	for (int i = 0; i < CASES; i++) {
		struct scene scene = { .count = 0 };
		struct needs needs = { .half = 0 };
		bool is_bytes = i % 2;

		make_packets(&scene, is_bytes);
		look(&scene, is_bytes, &needs);
		check_bursts(&scene, is_bytes, &needs);
		check_rate(&scene, &needs);
		check_refused(&scene, is_bytes, &needs);
	}
	assert_true(refusals > CASES / 2);
}

/* One packet each 20 ms, looked at each 10 ms: 50/s, and a burst of one packet at each rate from there on, but for what
 * two looks cannot tell. */
static void test_steady(void **state)
{
	struct needs_limit limit = { false, needs_step(false, 20), 100, 20 * S, 10 * MS };
	struct needs needs = { .half = 0 };

	(void)state;
	for (uint64_t ns = 20 * MS; ns <= 20 * S; ns += 20 * MS)
		needs_add(&needs, false, &(struct needs_look){ ns - 10 * MS, ns }, 1);
	assert_true(fabs(needs_highest_rate(&needs, 20 * S) - 50) < 0.2);
	assert_true(needs.burst[needs_step(false, 50)] >= 1 && needs.burst[needs_step(false, 50)] <= 2);
	assert_true(needs.burst[needs_step(false, 1000)] == 1);
	/* At 20/s, 30 of each 50 packets are too many. */
	assert_true(fabs((double)needs.burst[needs_step(false, 20)] - 30 * 20) < 2);
	assert_true(fabs(needs_refused(&needs, &limit, 1000) - (30 * 20 - 100)) < 3);
	limit.burst = 1000;
	assert_true(needs_refused(&needs, &limit, 1000) == 0);
}

static int is_percentile(const float *values, size_t count, double percent, float value)
{
	size_t below = 0, least = count;
	bool is_there = false;

	for (size_t i = 0; i < count; i++) {
		below += values[i] <= value;
		least -= values[i] >= value;
		is_there |= values[i] == value;
	}
	/* At least so many are not above it; with those below it alone there would be fewer. */
	return is_there && below * 1000 >= count * percent * 10 && least * 1000 < count * percent * 10;
}

static void test_percentiles(void **state)
{
	static const double percents[] = { 50, 90, 99, 99.9, 100 };
	static float values[2500];

	(void)state;
	for (size_t count = 1; count <= 2500; count += 1 + up_to(30)) {
		for (size_t i = 0; i < count; i++)
			values[i] = up_to(count);
		needs_sort(values, count);
		for (size_t i = 0; i < sizeof(percents) / sizeof(percents[0]); i++)
			if (!is_percentile(values, count, percents[i], needs_percentile(values, count, percents[i])))
				fail_msg("p%g of %zu: %g", percents[i], count,
					 needs_percentile(values, count, percents[i]));
	}
	assert_true(needs_percentile((float[]){ 1, 2, 3, 4 }, 4, 50) == 2);
}

static void test_ladder(void **state)
{
	(void)state;
	for (int is_bytes = 0; is_bytes < 2; is_bytes++) {
		for (size_t i = 0; i < NEEDS_RATES; i++) {
			assert_int_equal(needs_step(is_bytes, needs_rate(is_bytes, i)), i);
			if (i)
				assert_int_equal(needs_step(is_bytes, needs_rate(is_bytes, i - 1) * 1.001), i);
		}
		assert_int_equal(needs_step(is_bytes, 0), 0);
		assert_int_equal(needs_step(is_bytes, 1e18), NEEDS_RATES - 1);
	}
}

static void test_round_up(void **state)
{
	static const struct {
		double burst;
		uint64_t rounded;
	} rows[] = {
		{ 0, 1 },     { 1, 1 },         { 1.1, 2 },         { 9.5, 10 },
		{ 10, 10 },   { 11, 15 },       { 15, 15 },         { 15.5, 20 },
		{ 400, 400 }, { 401, 500 },     { 9000.5, 10000 },  { 10001, 15000 },
		{ 1e6, 1000000 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (needs_round_up(rows[i].burst) != rows[i].rounded)
			fail_msg("%g: %llu", rows[i].burst, (unsigned long long)needs_round_up(rows[i].burst));
	for (int i = 0; i < 500; i++) {
		double burst = pow(1.07, i);

		assert_true(needs_round_up(burst) >= burst);
		assert_true(needs_round_up(burst) <= burst * 1.5 + 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),      cmocka_unit_test(test_steady),   cmocka_unit_test(test_percentiles),
		cmocka_unit_test(test_ladder),      cmocka_unit_test(test_round_up),
	};

	return cmocka_run_group_tests_name("needs", tests, random_start, NULL);
}
