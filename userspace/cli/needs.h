/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What limit a source would have needed: the rate that it sent at, and for each rate of a ladder the burst with which
 * nothing of it would have been refused. Pure arithmetic: amounts and times are passed in.
 *
 * Amounts (packets or bytes) are known by looks, for the time between two of them. Where in that time they came is not
 * known, so bursts assume the worst: all of it at once, at its end, and what the next look finds right behind it. So no
 * burst is too low, and each is too high by at most 2 x rate x the time between two looks.
 */
#ifndef EB_NEEDS_H
#define EB_NEEDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The ladder: 1, 2, 5, 10, 20, ... For packets, from 1/min to 20/min, then from 1/s to 10M/s; for bytes, from 100B/s to
 * 50GB/s. */
#define NEEDS_RATES 27

/* Rates are of windows of so long; one begins at each half of it. */
#define NEEDS_WINDOW_NS 10000000000ULL

/* Of one limit and one source. All zeros is the beginning. */
struct needs {
	uint64_t seen_ns, before_ns; /* the last look that found something, and the one before it */
	uint32_t half;               /* of a window, that is being filled: number since the beginning */
	float before, current, most; /* amounts of the last half and this one; the most of two */
	float found;              /* by the last look */
	float used[NEEDS_RATES];  /* of the burst, at the look before it */
	float burst[NEEDS_RATES]; /* most that was used */
};

/* Tokens per second. */
double needs_rate(bool is_bytes, size_t step);

/* The lowest step of at least `rate`, or the last one. */
size_t needs_step(bool is_bytes, double rate);

/* A look: what came after `from_ns` and until `to_ns`, since the measurement began. A look takes a while, so that the
 * times of two can overlap: from_ns is when the look before it began. */
struct needs_look {
	uint64_t from_ns, to_ns;
};

/* Adds an amount that is not 0. Looks follow one another; those that found nothing are left out. */
void needs_add(struct needs *needs, bool is_bytes, const struct needs_look *look, double amount);

/* The highest average rate of a window, in tokens per second, or of all `measured_ns` if that is less. */
double needs_highest_rate(const struct needs *needs, uint64_t measured_ns);

/* A rate of the ladder with a burst, over a measurement whose longest look stands for `longest_ns`. */
struct needs_limit {
	bool is_bytes;
	size_t step;
	double burst;
	uint64_t measured_ns, longest_ns;
};

/*
 * How much of `total`, all that the source sent, the limit would have refused at least: what exceeded it in the worst
 * time, or in all the time. For who sends steadily, or once a lot, that is all but what the rate gives in two looks;
 * who exceeds the burst again and again would have been refused more.
 */
double needs_refused(const struct needs *needs, const struct needs_limit *limit, double total);

/* Sorts `values`. */
void needs_sort(float *values, size_t count);

/* The least value of at least `percent` of sorted values: the nearest rank. There must be some. */
float needs_percentile(const float *values, size_t count, double percent);

/* A burst of at least `burst` that is easily read: one digit, or 1.5 x a power of ten. Below 10, a whole number. */
uint64_t needs_round_up(double burst);

#endif
