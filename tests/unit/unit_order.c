// SPDX-License-Identifier: GPL-2.0-only
/*
 * The order of memory that table.h relies on, as litmus tests: two threads work on the same cells, one after the other,
 * and meet on many of them. For each pair, one outcome would need a load or store that passed a barrier.
 *
 * A machine shows only those that it reorders, which test_machine() prints. x86-64 lets loads pass stores, so that a
 * barrier that is missing between them is found there; loads that pass loads, and stores that pass stores, are found on
 * arm64 alone. Emulated on x86-64, arm64 shows what x86-64 shows.
 */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "maps/bucket_table.h"
#include "table.h"

#define SECOND (1000000000ULL * EB_TICKS_PER_NS)
#define NOW (1000 * SECOND)

enum { CELLS = 2048, ROUNDS = 25 };

static const struct eb_limit limit = { .mult = SECOND, .burst = 5 * SECOND };
static const __u64 old_key = 0x100000001, new_key = 0x200000001;
static const __u16 old_tag = 3, new_tag = 5;

/* Each word that both threads use has a line of its own. */
struct cell {
	_Alignas(64) struct eb_set4 set;
	_Alignas(64) struct eb_tags tags;
	_Alignas(64) __u8 mark;
	_Alignas(64) __u64 lock;
	_Alignas(64) __u64 number;
	_Alignas(64) int first; /* what the first thread did or saw */
	_Alignas(64) int second;
	__u64 seen; /* by the second */
};

struct litmus {
	const char *name;
	void (*prepare)(struct cell *cell);
	void (*first)(struct cell *cell);
	void (*second)(struct cell *cell);
	bool (*is_forbidden)(const struct cell *cell);
};

static struct eb_sets sets_of(struct cell *cell)
{
	return (struct eb_sets){
		{ &cell->set, &cell->set, &cell->set },
		{ &cell->tags, &cell->tags, &cell->tags },
	};
}

static __u64 *key_of(struct cell *cell)
{
	return eb_set_key(&cell->set, EB_WORDS4, 0);
}

static __u64 *time_of(struct cell *cell)
{
	return &cell->set.way[0].bucket.packets_full_at;
}

static void prepare_nothing(struct cell *cell)
{
	(void)cell;
}

/* An entry whose bucket is idle. */
static void prepare_entry(struct cell *cell)
{
	*key_of(cell) = old_key;
	cell->tags.way[0] = old_tag;
}

static void prepare_mark(struct cell *cell)
{
	prepare_entry(cell);
	cell->mark = 1;
}

/* ---- what a machine does without barriers ---- */

static void store_then_load(struct cell *cell)
{
	EB_WRITE(cell->number, 1);
	cell->first = EB_READ(cell->lock);
}

static void store_other_then_load(struct cell *cell)
{
	EB_WRITE(cell->lock, 1);
	cell->second = EB_READ(cell->number);
}

static bool passed_each_other(const struct cell *cell)
{
	return !cell->first && !cell->second;
}

static void store_twice(struct cell *cell)
{
	EB_WRITE(cell->number, 1);
	EB_WRITE(cell->lock, 1);
	cell->first = 1;
}

static void load_twice(struct cell *cell)
{
	cell->second = EB_READ(cell->lock);
	cell->seen = EB_READ(cell->number);
}

static bool came_too_late(const struct cell *cell)
{
	return cell->second && !cell->seen;
}

/* ---- charge and takeover ---- */

static void charge_old(struct cell *cell)
{
	cell->first = eb_limit_charge(time_of(cell), &limit, 1, NOW) == EB_ADMITTED &&
		      eb_key_equal(key_of(cell), &old_key, EB_WORDS4);
}

static int take_over(struct cell *cell)
{
	const struct eb_sets sets = sets_of(cell);

	if (!eb_place_take(&sets, &new_key, EB_WORDS4, new_tag, 0, EB_LOCKED, NOW))
		return 0;
	eb_bucket_unlock(&cell->set.way[0].bucket, EB_LOCKED, EB_FULL, EB_FULL);
	return 1;
}

static void take_over_second(struct cell *cell)
{
	cell->second = take_over(cell);
}

static bool was_charged_and_taken(const struct cell *cell)
{
	return cell->first && cell->second;
}

/* ---- two entries ---- */

static void make_as_cpu(struct cell *cell)
{
	const struct eb_sets sets = sets_of(cell);

	cell->first = eb_place_take(&sets, &new_key, EB_WORDS4, new_tag, 0, EB_LOCKED, NOW);
}

static void make_as_agent(struct cell *cell)
{
	const struct eb_sets sets = sets_of(cell);

	cell->second = eb_place_take(&sets, &new_key, EB_WORDS4, new_tag, EB_WAYS - 1, EB_HELD, NOW);
}

static void insert_first(struct cell *cell)
{
	const struct eb_sets sets = sets_of(cell);

	cell->first = eb_table_insert(&sets, &new_key, EB_WORDS4, new_tag, &cell->lock, 0, NOW) == 0;
}

static void insert_last(struct cell *cell)
{
	const struct eb_sets sets = sets_of(cell);

	cell->second = eb_table_insert(&sets, &new_key, EB_WORDS4, new_tag, &cell->lock, EB_WAYS - 1, NOW) ==
		       EB_WAYS - 1;
}

/* ---- changes ---- */

static void charge_and_mark(struct cell *cell)
{
	cell->first = eb_limit_charge(time_of(cell), &limit, 1, NOW) == EB_ADMITTED;
	eb_mark_changed(&cell->mark);
}

static void add_and_mark(struct cell *cell)
{
	eb_add_before_mark(&cell->number, 1);
	eb_mark_changed(&cell->mark);
	cell->first = 1;
}

static void collect_time(struct cell *cell)
{
	cell->second = eb_take_mark(&cell->mark);
	cell->seen = EB_READ(*time_of(cell));
}

static void collect_number(struct cell *cell)
{
	cell->second = eb_take_mark(&cell->mark);
	cell->seen = EB_READ(cell->number);
}

/* EB_FULL is 0. */
static bool is_lost(const struct cell *cell)
{
	return cell->second && !cell->mark && !cell->seen;
}

/* ---- an agent that reads ---- */

static void take_over_and_charge(struct cell *cell)
{
	(void)take_over(cell);
	cell->first = eb_limit_charge(time_of(cell), &limit, 1, NOW) == EB_ADMITTED;
}

static void read_entry(struct cell *cell)
{
	const struct eb_bucket_table table = { .family = 4, .words = EB_WORDS4 };
	struct eb_bucket_view view;
	__u64 key[EB_WORDS6];

	if (eb_bucket_read_entry(&table, key_of(cell), key, &view) && key[0] == old_key) {
		cell->second = 1;
		cell->seen = view.packets_full_at;
	}
}

static bool owes_for_another(const struct cell *cell)
{
	return cell->second && cell->seen;
}

/* ---- running them ---- */

struct run {
	const struct litmus *litmus;
	struct cell *cells;
	atomic_uint arrived;
};

/* Both leave at nearly the same moment, which those whom the kernel wakes do not: by up to `delay` steps. */
static void meet(struct run *run, int delay)
{
	unsigned int number = atomic_fetch_add(&run->arrived, 1) | 1;

	for (int i = 1; atomic_load(&run->arrived) <= number; i++)
		if (i % 1000 == 0)
			sched_yield();
	for (volatile int i = 0; i < delay; i++)
		;
}

/* Works on all cells, each with another lead or lag. */
static void work(struct run *run, void (*act)(struct cell *cell), uint32_t random)
{
	for (int i = 0; i < CELLS; i++) {
		random = random * 1664525 + 1013904223;
		meet(run, random >> 26);
		act(&run->cells[i]);
	}
	meet(run, 0);
}

static void *run_second(void *arg)
{
	struct run *run = arg;

	for (int round = 0; round < ROUNDS; round++) {
		meet(run, 0);
		work(run, run->litmus->second, ~round);
	}
	return NULL;
}

/* How often each of the four outcomes came: nobody had his way, the first, the second, both. */
static void count_outcomes(const struct run *run, int outcomes[4], int *forbidden)
{
	for (int i = 0; i < CELLS; i++) {
		outcomes[!!run->cells[i].first + 2 * !!run->cells[i].second]++;
		*forbidden += run->litmus->is_forbidden(&run->cells[i]);
	}
}

static int count_forbidden(const struct litmus *litmus)
{
	struct run run = { .litmus = litmus, .cells = aligned_alloc(64, CELLS * sizeof(struct cell)) };
	int outcomes[4] = { 0 }, forbidden = 0;
	pthread_t second;

	assert_non_null(run.cells);
	assert_int_equal(pthread_create(&second, NULL, run_second, &run), 0);
	for (int round = 0; round < ROUNDS; round++) {
		memset(run.cells, 0, CELLS * sizeof(*run.cells));
		for (int i = 0; i < CELLS; i++)
			litmus->prepare(&run.cells[i]);
		meet(&run, 0);
		work(&run, litmus->first, round);
		count_outcomes(&run, outcomes, &forbidden);
	}
	pthread_join(second, NULL);
	free(run.cells);
	print_message("%s: none %d, first %d, second %d, both %d; forbidden %d\n", litmus->name, outcomes[0],
		      outcomes[1], outcomes[2], outcomes[3], forbidden);
	return forbidden;
}

/* Not a condition: says which of the other tests could have failed here. */
static void test_machine(void **state)
{
	static const struct litmus rows[] = {
		{ "loads pass stores", prepare_nothing, store_then_load, store_other_then_load, passed_each_other },
		{ "loads pass loads", prepare_nothing, store_twice, load_twice, came_too_late },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		print_message("%s on this machine: %s\n", rows[i].name, count_forbidden(&rows[i]) ? "yes" : "not seen");
}

static void test_pairs(void **state)
{
	static const struct litmus rows[] = {
		{ "charge, takeover", prepare_entry, charge_old, take_over_second, was_charged_and_taken },
		{ "entry by CPU, by agent", prepare_nothing, make_as_cpu, make_as_agent, was_charged_and_taken },
		{ "entry by CPU, by CPU", prepare_nothing, insert_first, insert_last, was_charged_and_taken },
		{ "charge, collection", prepare_mark, charge_and_mark, collect_time, is_lost },
		{ "addition, collection", prepare_mark, add_and_mark, collect_number, is_lost },
		{ "takeover, reading", prepare_entry, take_over_and_charge, read_entry, owes_for_another },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (count_forbidden(&rows[i]))
			fail_msg("%s: memory out of order", rows[i].name);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_machine),
		cmocka_unit_test(test_pairs),
	};

	return cmocka_run_group_tests_name("order", tests, NULL, NULL);
}
