/* SPDX-License-Identifier: GPL-2.0-only */
/* Random numbers for tests. Each run takes another seed and says which; EB_TEST_SEED repeats one. */
#ifndef EB_TEST_RANDOM_H
#define EB_TEST_RANDOM_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include <setjmp.h>

#include <cmocka.h>

static uint64_t random_state;

/* For cmocka, as the setup of a group. */
static inline int random_start(void **state)
{
	const char *seed = getenv("EB_TEST_SEED");

	(void)state;
	random_state = seed ? strtoull(seed, NULL, 10) : (uint64_t)time(NULL) * 2654435761u + 1;
	print_message("EB_TEST_SEED=%llu\n", (unsigned long long)random_state);
	return 0;
}

/* Marsaglia's xorshift*: 64 bits, of which the lower ones are good enough for `draw() % n` once the worst are gone. */
static inline uint64_t draw(void)
{
	uint64_t value;

	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	value = random_state * 0x2545f4914f6cdd1d;
	return value >> 32 | value << 32;
}

static inline bool one_in(int n)
{
	return draw() % n == 0;
}

#endif
