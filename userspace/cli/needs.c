// SPDX-License-Identifier: GPL-2.0-only
#include <math.h>
#include <stdlib.h>

#include "cli/needs.h"

#define HALF_NS (NEEDS_WINDOW_NS / 2)

/* clang-format off */
static const double packet_rates[NEEDS_RATES] = {
	1 / 60.0, 2 / 60.0, 5 / 60.0, 10 / 60.0, 20 / 60.0,
	1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6, 2e6, 5e6, 1e7,
};
static const double byte_rates[NEEDS_RATES] = {
	1e2, 2e2, 5e2, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6, 2e6, 5e6, 1e7, 2e7, 5e7, 1e8, 2e8, 5e8, 1e9,
	2e9, 5e9, 1e10, 2e10, 5e10,
};
/* clang-format on */

static double seconds(uint64_t ns)
{
	return ns / 1e9;
}

double needs_rate(bool is_bytes, size_t step)
{
	return (is_bytes ? byte_rates : packet_rates)[step];
}

size_t needs_step(bool is_bytes, double rate)
{
	size_t step = 0;

	while (step < NEEDS_RATES - 1 && needs_rate(is_bytes, step) < rate)
		step++;
	return step;
}

/* What is left of a used burst after it has been refilled for a while. */
static double refilled(double used, double rate, uint64_t ns)
{
	double left = used - rate * seconds(ns);

	return left > 0 ? left : 0;
}

static float more(float a, double b)
{
	return b > a ? b : a;
}

/* A look belongs to the half in which it ends. */
static void add_to_window(struct needs *needs, uint64_t to_ns, double amount)
{
	uint32_t half = to_ns / HALF_NS;

	if (half != needs->half) {
		needs->before = half == needs->half + 1 ? needs->current : 0;
		needs->current = 0;
		needs->half = half;
	}
	needs->current += amount;
	needs->most = more(needs->most, needs->before + needs->current);
}

/* What the last look found may have come at its end, yet what this one found may have come since that look began: until
 * then alone is it certain that what was used before has been refilled. */
void needs_add(struct needs *needs, bool is_bytes, const struct needs_look *look, double amount)
{
	const double *rates = is_bytes ? byte_rates : packet_rates;
	uint64_t since = look->from_ns > needs->seen_ns ? look->from_ns - needs->seen_ns : 0;
	uint64_t until = since ? needs->seen_ns : look->from_ns;

	for (size_t i = 0; i < NEEDS_RATES; i++) {
		double used = needs->found + refilled(needs->used[i], rates[i], until - needs->before_ns);

		needs->burst[i] = more(needs->burst[i], amount + refilled(used, rates[i], since));
		needs->used[i] =
			needs->found + refilled(needs->used[i], rates[i], needs->seen_ns - needs->before_ns);
	}
	needs->before_ns = needs->seen_ns;
	needs->seen_ns = look->to_ns;
	needs->found = amount;
	add_to_window(needs, look->to_ns, amount);
}

double needs_highest_rate(const struct needs *needs, uint64_t measured_ns)
{
	uint64_t window = measured_ns < NEEDS_WINDOW_NS ? measured_ns : NEEDS_WINDOW_NS;

	return window ? needs->most / seconds(window) : 0;
}

double needs_refused(const struct needs *needs, const struct needs_limit *limit, double total)
{
	double rate = needs_rate(limit->is_bytes, limit->step), looks = 2 * rate * seconds(limit->longest_ns);
	double at_worst = needs->burst[limit->step] - looks - limit->burst;
	double in_all = total - rate * seconds(limit->measured_ns) - looks - limit->burst;
	double most = at_worst > in_all ? at_worst : in_all;

	return most > 0 ? most : 0;
}

static int compare(const void *left, const void *right)
{
	float a = *(const float *)left, b = *(const float *)right;

	return (a > b) - (a < b);
}

void needs_sort(float *values, size_t count)
{
	qsort(values, count, sizeof(*values), compare);
}

/* 99.9 has no exact double, hence thousandths. */
float needs_percentile(const float *values, size_t count, double percent)
{
	uint64_t thousandths = llround(percent * 1000);
	size_t rank = ((uint64_t)count * thousandths + 99999) / 100000;

	return values[rank ? rank - 1 : 0];
}

uint64_t needs_round_up(double burst)
{
	static const double digits[] = { 1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9, 10 };
	uint64_t power = 10, whole = burst < power ? burst : power;
	size_t i = 0;

	if (burst <= power)
		return burst > 1 ? whole + (burst > whole) : 1;
	while (burst > 10.0 * power && power < 100000000000000000ULL)
		power *= 10;
	while (i < sizeof(digits) / sizeof(digits[0]) - 1 && digits[i] * power < burst)
		i++;
	return digits[i] * power;
}
