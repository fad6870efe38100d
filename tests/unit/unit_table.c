// SPDX-License-Identifier: GPL-2.0-only
/* The table of buckets, on the host: the text that the XDP program and the agent compile, with a clock of our own. */
#include <pthread.h>
#include <sched.h>
#include <endian.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "random.h"
#include "table.h"

#define SECOND (1000000000ULL * EB_TICKS_PER_NS)

/* --- A table of either family --- */

struct table {
	struct eb_state state;
	uint32_t sets;
	int words;
	char *memory;
	struct eb_tags *tags;
};

static struct table *table_new(uint32_t sets, int words)
{
	struct table *table = aligned_alloc(64, (sizeof(*table) + 63) & ~63UL);

	assert_non_null(table);
	memset(table, 0, sizeof(*table));
	table->sets = sets;
	table->words = words;
	table->state.seed[0] = 0x243f6a8885a308d3;
	table->state.seed[1] = 0x13198a2e03707344;
	table->memory = calloc(sets, EB_WAYS * (words * 8 + sizeof(struct eb_bucket)));
	table->tags = calloc(sets, sizeof(*table->tags));
	assert_non_null(table->memory);
	assert_non_null(table->tags);
	return table;
}

static void table_free(struct table *table)
{
	free(table->memory);
	free(table->tags);
	free(table);
}

static void *table_set(const struct table *table, uint32_t set)
{
	return table->memory + set * EB_WAYS * (table->words * 8 + sizeof(struct eb_bucket));
}

struct slot {
	__u64 key[EB_WORDS6];
	struct eb_sets sets;
	__u64 hash;
};

static struct slot slot_of(const struct table *table, uint64_t number)
{
	struct slot slot = { .key = { number | 1ULL << 63 } };

	if (table->words == EB_WORDS6) {
		slot.key[1] = number * 7;
		slot.key[EB_WORDS6 - 1] = 99;
	}
	slot.hash = eb_key_hash(slot.key, table->words, table->state.seed);
	for (int choice = 0; choice < EB_CHOICES; choice++) {
		uint32_t set = eb_choose_set(slot.hash, table->sets, choice);

		slot.sets.set[choice] = table_set(table, set);
		slot.sets.tags[choice] = &table->tags[set];
	}
	return slot;
}

static int find(const struct table *table, const struct slot *slot)
{
	return eb_table_find(&slot->sets, slot->key, table->words, eb_tag(slot->hash));
}

static int find_or_insert(struct table *table, const struct slot *slot, uint64_t now)
{
	int place = find(table, slot);

	if (place != EB_PLACE_NONE)
		return place;
	place = eb_table_room(&slot->sets, table->words, now);
	if (place < 0)
		return place;
	return eb_table_insert(&slot->sets, slot->key, table->words, eb_tag(slot->hash),
			       eb_key_lock(&table->state, slot->hash), place, now);
}

static struct eb_bucket *bucket_at(const struct table *table, const struct slot *slot, int place)
{
	return eb_key_bucket(eb_place_key(&slot->sets, table->words, place), table->words);
}

/* As the XDP program does it, gate aside. *place is where, or why not. */
static enum eb_charge charge(struct table *table, uint64_t number, const struct eb_rule *rule, uint64_t len,
			     uint64_t now, int *place)
{
	struct slot slot = slot_of(table, number);
	enum eb_charge outcome;

	*place = find_or_insert(table, &slot, now);
	if (*place < 0)
		return EB_BUSY;
	outcome = eb_bucket_charge(bucket_at(table, &slot, *place), rule, len, now);
	if (outcome == EB_ADMITTED &&
	    !eb_key_equal(eb_place_key(&slot.sets, table->words, *place), slot.key, table->words))
		return EB_BUSY;
	return outcome;
}

static void check_unlocked(const struct table *table)
{
	for (int i = 0; i < EB_LOCKS; i++)
		assert_int_equal(table->state.locks[i], 0);
	for (uint32_t set = 0; set < table->sets; set++) {
		for (int way = 0; way < EB_WAYS; way++) {
			__u64 *key = eb_set_key(table_set(table, set), table->words, way);

			assert_int_not_equal(eb_key_bucket(key, table->words)->packets_full_at, EB_LOCKED);
			assert_int_not_equal(eb_key_bucket(key, table->words)->bytes_full_at, EB_LOCKED);
		}
	}
}

static int count_entries(const struct table *table, uint64_t number)
{
	struct slot slot = slot_of(table, number);
	int count = 0;

	for (uint32_t set = 0; set < table->sets; set++)
		for (int way = 0; way < EB_WAYS; way++)
			count += eb_key_equal(eb_set_key(table_set(table, set), table->words, way), slot.key,
					      table->words);
	return count;
}

/* --- Hash and fill --- */

/* Consecutive addresses, as in a scan, spread over the sets as if drawn at random: chi squared, within six sigma. */
static void check_spread(uint32_t (*set_of)(__u64 hash, __u32 sets), int words, int step)
{
	enum { CELLS = 1000, KEYS = 1000000 };
	struct table *table = table_new(CELLS, words);
	uint32_t *cells = calloc(CELLS, sizeof(*cells));
	double sum = 0, mean = (double)KEYS / CELLS;

	for (uint64_t i = 0; i < KEYS; i++)
		cells[set_of(slot_of(table, i << step).hash, CELLS)]++;
	for (int i = 0; i < CELLS; i++)
		sum += (cells[i] - mean) * (cells[i] - mean) / mean;
	assert_true(sum > CELLS - 6 * 45 && sum < CELLS + 6 * 45); /* sigma is sqrt(2 * CELLS) */
	free(cells);
	table_free(table);
}

/* In a table of as many sets that the rest is `sets`. */
static uint32_t first_set(__u64 hash, __u32 sets)
{
	__u32 dense = sets / (EB_DENSE_SHARE - 1);

	return eb_choose_set(hash, sets + dense, EB_CHOICE_FIRST) - dense;
}

static uint32_t dense_set(__u64 hash, __u32 sets)
{
	return eb_choose_set(hash, sets * EB_DENSE_SHARE, EB_CHOICE_DENSE);
}

static void test_spread(void **state)
{
	(void)state;
	check_spread(first_set, EB_WORDS4, 0);
	check_spread(first_set, EB_WORDS4, 12);
	check_spread(dense_set, EB_WORDS4, 0);
	check_spread(first_set, EB_WORDS6, 0);
	check_spread(first_set, EB_WORDS6, 40);
}

/* As another implementation of SipHash-1-3 has it: CPython's hash() of the same bytes, with PYTHONHASHSEED=0. Every bit
 * of a key counts, those of the rule included; those of a target where there is one. */
static void test_hash(void **state)
{
	const __u64 zero[2] = { 0 }, one_word = htole64(0x0123456789abcdef);
	const __u64 three_words[] = { htole64(1), htole64(2), htole64(3) };
	const __u64 seeds[2] = { 1, 2 };
	__u64 key[EB_WORDS6] = { 11, 22, 33, 44 };

	(void)state;
	assert_true(eb_hash(&one_word, 1, zero) == 0x8662046e52264db8);
	assert_true(eb_hash(three_words, 3, zero) == 0x8acb65135d8f2da1);
	for (int also = EB_ALSO_NONE; also < EB_ALSOS; also++) {
		__u64 hash;

		((struct eb_key6 *)key)->also = also;
		hash = eb_key_hash(key, EB_WORDS6, seeds);
		for (int bit = 0; bit < 64 * EB_WORDS6; bit++) {
			bool counts = also || !(EB_TARGET_WORDS >> bit / 64 & 1);

			key[bit / 64] ^= 1ULL << bit % 64;
			assert_true((eb_key_hash(key, EB_WORDS6, seeds) != hash) == counts);
			key[bit / 64] ^= 1ULL << bit % 64;
		}
	}
}

/* Every set is inside, whatever their number. */
static void test_ranges(void **state)
{
	static const uint32_t sizes[] = { 1, 2, 3, 31, 32, 33, 63, 1000, 524288, 8388608, 16777215 };

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		static const __u64 edges[] = { 0, UINT32_MAX, 0xffffffff00000000, UINT64_MAX, 0x7fffffff80000000 };

		for (int k = 0; k < 10000; k++) {
			__u64 hash = k < 5 ? edges[k] : draw() ^ draw() << 20;

			for (int choice = 0; choice < EB_CHOICES; choice++)
				assert_true(eb_choose_set(hash, sizes[i], choice) < sizes[i]);
		}
	}
}

/* As many sources in debt as the operator asked for: hardly any finds no room, and none below three quarters. */
static void check_fill(uint32_t size, int words)
{
	struct table *table = table_new(size / (EB_WAYS / 2), words);
	uint64_t now = 1000 * SECOND;
	uint32_t refused = 0, early = 0;

	for (uint32_t i = 0; i < size; i++) {
		struct slot slot = slot_of(table, i);
		int place = find_or_insert(table, &slot, now);

		assert_int_not_equal(place, EB_PLACE_BUSY);
		if (place == EB_PLACE_FULL) {
			refused++;
			early += i < size / 4 * 3;
		} else {
			bucket_at(table, &slot, place)->packets_full_at = now + SECOND;
		}
	}
	print_message("%u of %u refused (%.4f %%), %u of them below three quarters\n", refused, size,
		      100.0 * refused / size, early);
	assert_true(refused < size / 5000);
	assert_true(early <= size / 100000);
	/* They are all found again. */
	for (uint32_t i = 0; i < size; i++) {
		struct slot slot = slot_of(table, i);

		refused -= find(table, &slot) == EB_PLACE_NONE;
	}
	assert_int_equal(refused, 0);
	check_unlocked(table);
	table_free(table);
}

/* As long as the dense part is not fuller than half, nearly all sources are there. */
static void test_dense(void **state)
{
	enum { SIZE = 1 << 18, SETS = SIZE / 2, DENSE = SETS / EB_DENSE_SHARE * EB_WAYS };
	uint64_t now = 1000 * SECOND;

	(void)state;
	for (uint32_t count = DENSE / 8; count <= DENSE / 2; count *= 2) {
		struct table *table = table_new(SETS, EB_WORDS4);
		uint32_t dense = 0;

		for (uint32_t i = 0; i < count; i++) {
			struct slot slot = slot_of(table, i);
			int place = find_or_insert(table, &slot, now);

			bucket_at(table, &slot, place)->packets_full_at = now + SECOND;
			dense += eb_place_choice(place) == EB_CHOICE_DENSE;
		}
		assert_true(dense >= 0.95 * count);
		table_free(table);
	}
}

/* Who comes back within a minute keeps an entry of the dense part; a later one is somebody else's. */
static void test_dense_idle(void **state)
{
	static const struct {
		uint64_t idle;
		int choice;
	} rows[] = {
		{ EB_IDLE_MARGIN, EB_CHOICE_FIRST },
		{ EB_IDLE_MARGIN + EB_DENSE_IDLE - SECOND, EB_CHOICE_FIRST },
		{ EB_IDLE_MARGIN + EB_DENSE_IDLE + SECOND, EB_CHOICE_DENSE },
	};
	uint64_t now = 1000 * SECOND;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct eb_set4 set[EB_CHOICES] = { 0 };
		struct eb_tags tags[EB_CHOICES] = { 0 };
		const struct eb_sets sets = { { &set[0], &set[1], &set[2] }, { &tags[0], &tags[1], &tags[2] } };

		for (int way = 0; way < EB_WAYS; way++) {
			set[EB_CHOICE_DENSE].way[way].key = (struct eb_key4){ .addr = way, .rule_id = 1 };
			set[EB_CHOICE_DENSE].way[way].bucket.packets_full_at = now + SECOND;
		}
		set[EB_CHOICE_DENSE].way[2].bucket.packets_full_at = now - rows[i].idle;
		assert_int_equal(eb_place_choice(eb_table_room(&sets, EB_WORDS4, now)), rows[i].choice);
	}
}

static void test_fill(void **state)
{
	(void)state;
	check_fill(1 << 18, EB_WORDS4);
	check_fill(100000, EB_WORDS6);
}

/* --- Taking over --- */

/* Time of an entry against now, and whether another source may have it. */
static void test_idle(void **state)
{
	static const struct {
		uint64_t packets, bytes; /* EB_FULL, EB_LOCKED and EB_HELD as they are; others relative to now */
		bool is_free;
	} rows[] = {
		{ EB_FULL, EB_FULL, true },
		{ -EB_IDLE_MARGIN, EB_FULL, true },
		{ EB_FULL, -EB_IDLE_MARGIN, true },
		{ -EB_IDLE_MARGIN, -EB_IDLE_MARGIN, true },
		{ -EB_IDLE_MARGIN + 1, EB_FULL, false },
		{ EB_FULL, -EB_IDLE_MARGIN + 1, false },
		{ -EB_IDLE_MARGIN + 1, -EB_IDLE_MARGIN, false },
		{ SECOND, EB_FULL, false },
		{ EB_FULL, SECOND, false },
		{ SECOND, -10 * SECOND, false },
		{ -10 * SECOND, SECOND, false },
		{ EB_BURST_MAX, EB_FULL, false },
		{ EB_LOCKED, EB_FULL, false },
		{ EB_FULL, EB_LOCKED, false },
		{ EB_LOCKED, EB_LOCKED, false },
		{ EB_HELD, EB_FULL, false },
		{ EB_FULL, EB_HELD, false },
		{ -10 * SECOND, EB_LOCKED, false },
		{ 1ULL << 63, EB_FULL, true },
	};
	static const uint64_t nows[] = { 1000 * SECOND, 5, 1ULL << 62, 1ULL << 63, (1ULL << 63) + 5, UINT64_MAX - 5 };

	(void)state;
	for (size_t n = 0; n < sizeof(nows) / sizeof(nows[0]); n++) {
		for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
			uint64_t now = nows[n];
			struct eb_set4 set = { .way = { { .key = { .addr = 1, .rule_id = 1 } } } }, before;
			struct eb_tags tags = { { 3 } };
			const struct eb_sets sets = { { &set, &set, &set }, { &tags, &tags, &tags } };
			struct eb_bucket *bucket = &set.way[0].bucket;
			const __u64 key = 77;

			bucket->packets_full_at = rows[i].packets + (rows[i].packets > EB_HELD ? now : 0);
			bucket->bytes_full_at = rows[i].bytes + (rows[i].bytes > EB_HELD ? now : 0);
			bucket->dropped = 5;
			before = set;
			assert_int_equal(eb_bucket_idle(bucket, now) != 0, rows[i].is_free);
			assert_int_equal(eb_place_take(&sets, &key, 1, 9, 0, EB_HELD, now), rows[i].is_free);
			assert_int_equal(tags.way[0], rows[i].is_free ? 9 : 3);
			if (!rows[i].is_free) {
				assert_memory_equal(&set, &before, sizeof(set));
				continue;
			}
			assert_memory_equal(&set.way[0].key, &key, sizeof(key));
			assert_int_equal(bucket->packets_full_at, EB_HELD);
			assert_int_equal(bucket->bytes_full_at, EB_HELD);
			assert_int_equal(bucket->dropped, 0);
		}
	}
}

/* An empty entry is free whatever it owes: a CPU that found it before it was emptied charged it in vain. Not while it
 * is being given away. */
static void test_empty(void **state)
{
	static const struct {
		uint64_t packets, bytes;
		bool is_free;
	} rows[] = {
		{ EB_FULL, EB_FULL, true },    { SECOND, EB_FULL, true },     { EB_FULL, 9 * SECOND, true },
		{ 9 * SECOND, SECOND, true },  { EB_LOCKED, SECOND, false },  { SECOND, EB_LOCKED, false },
		{ EB_HELD, EB_FULL, false },   { EB_HELD, EB_HELD, false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct eb_set4 set = { 0 };
		struct eb_tags tags = { 0 };
		const struct eb_sets sets = { { &set, &set, &set }, { &tags, &tags, &tags } };
		struct eb_bucket *bucket = &set.way[0].bucket;
		const __u64 key = 77;

		bucket->packets_full_at = rows[i].packets;
		bucket->bytes_full_at = rows[i].bytes;
		assert_int_equal(eb_place_take(&sets, &key, 1, 9, 0, EB_HELD, SECOND / 2), rows[i].is_free);
		assert_int_equal(tags.way[0], rows[i].is_free ? 9 : 0);
		assert_int_equal(bucket->packets_full_at, rows[i].is_free ? EB_HELD : rows[i].packets);
		assert_int_equal(bucket->bytes_full_at, rows[i].is_free ? EB_HELD : rows[i].bytes);
	}
}

/* Who sees that another one made an entry for the same key, finished or not, gives its own up. */
static void test_only_one(void **state)
{
	static const uint64_t times[] = { EB_FULL, EB_LOCKED, EB_HELD, SECOND };

	(void)state;
	for (int other = 1; other < EB_CHOICES * EB_WAYS; other++) {
		for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
			struct eb_set4 set[EB_CHOICES] = { 0 }, before[EB_CHOICES];
			struct eb_tags tags[EB_CHOICES] = { 0 };
			const struct eb_sets sets = { { &set[0], &set[1], &set[2] }, { &tags[0], &tags[1], &tags[2] } };
			struct eb_entry4 *entry = &set[other / EB_WAYS].way[other % EB_WAYS];
			const __u64 key = 77;

			tags[other / EB_WAYS].way[other % EB_WAYS] = 9;
			memcpy(&entry->key, &key, sizeof(key));
			entry->bucket.packets_full_at = times[i];
			memcpy(before, set, sizeof(set));
			assert_int_equal(eb_place_take(&sets, &key, 1, 9, 0, EB_LOCKED, SECOND), 0);
			assert_memory_equal(set, before, sizeof(set));
			assert_int_equal(tags[0].way[0], 0);
		}
	}
}

/* A locked time or lock refuses, and leaves it to its holder. */
static void test_locked(void **state)
{
	const struct eb_rule rule = { .packets = { .mult = SECOND, .burst = 5 * SECOND },
				      .bytes = { .mult = SECOND, .burst = 5 * SECOND } };
	struct table *table = table_new(1, EB_WORDS4);
	int place;

	(void)state;
	for (__u64 mark = EB_LOCKED; mark <= EB_HELD; mark++) {
		struct eb_bucket bucket = { .packets_full_at = mark };

		assert_int_equal(eb_bucket_charge(&bucket, &rule, 1, SECOND), EB_BUSY);
		assert_int_equal(bucket.packets_full_at, mark);
		bucket = (struct eb_bucket){ .bytes_full_at = mark };
		assert_int_equal(eb_bucket_charge(&bucket, &rule, 1, SECOND), EB_BUSY);
		assert_int_equal(bucket.bytes_full_at, mark);
	}
	for (int i = 0; i < EB_LOCKS; i++)
		table->state.locks[i] = 1;
	assert_int_equal(charge(table, 1, &rule, 1, SECOND, &place), EB_BUSY);
	assert_int_equal(place, EB_PLACE_BUSY);
	for (int i = 0; i < EB_LOCKS; i++)
		assert_int_equal(table->state.locks[i], 1);
	assert_int_equal(count_entries(table, 1), 0);
	table_free(table);
}

/* --- Against a bucket for everybody --- */

/* What a source should have: times in integers that do not wrap. */
struct reference {
	unsigned __int128 packets, bytes;
};

static bool reference_charge(struct reference *reference, const struct eb_rule *rule, uint64_t len,
			     unsigned __int128 now)
{
	unsigned __int128 packets = (reference->packets > now ? reference->packets : now) + rule->packets.mult;
	unsigned __int128 bytes = (reference->bytes > now ? reference->bytes : now) + len * rule->bytes.mult;

	if (rule->packets.mult && packets - now > rule->packets.burst)
		return false;
	if (rule->bytes.mult && bytes - now > rule->bytes.burst)
		return false;
	reference->packets = packets;
	if (rule->bytes.mult)
		reference->bytes = bytes;
	return true;
}

/*
 * Random packets of random sources through a table that is much too small for all of them, while its clock goes past
 * the wrap: whoever has an entry is treated exactly as if everybody had one, and the others are turned away.
 */
static void check_model(int words, bool has_bytes)
{
	enum { SOURCES = 60, PACKETS = 200000 };
	const struct eb_rule rule = {
		.packets = { .mult = SECOND / 3, .burst = 4 * (SECOND / 3) },
		.bytes = { .mult = has_bytes ? SECOND / 1000 : 0, .burst = 3 * SECOND },
	};
	struct table *table = table_new(3, words);
	struct reference sources[SOURCES] = { 0 };
	unsigned __int128 now = UINT64_MAX - 500 * SECOND;
	uint32_t served = 0, full = 0;

	for (int i = 0; i < PACKETS; i++) {
		/* The sources come and go: at any time a few of them are many. */
		int source = (i / 500 * 7 + draw() % 10) % SOURCES, place;
		uint64_t len = 60 + draw() % 1000;
		enum eb_charge outcome = charge(table, source, &rule, len, now, &place);

		if (place == EB_PLACE_FULL) {
			full++;
		} else {
			bool expected = reference_charge(&sources[source], &rule, len, now);

			assert_int_equal(outcome, expected ? EB_ADMITTED : EB_REFUSED);
			served += outcome == EB_ADMITTED;
		}
		now += draw() % (SECOND / 50);
	}
	assert_true(now >> 64);
	assert_true(served > PACKETS / 10);
	assert_true(full > 0);
	for (int i = 0; i < SOURCES; i++)
		assert_true(count_entries(table, i) <= 1);
	check_unlocked(table);
	table_free(table);
}

static void test_model(void **state)
{
	(void)state;
	check_model(EB_WORDS4, false);
	check_model(EB_WORDS4, true);
	check_model(EB_WORDS6, false);
	check_model(EB_WORDS6, true);
}

/* --- Refusals by an early time --- */

/* What the CPUs read of a clock: one reading in each jiffy, and jiffies that stand still for up to five ticks. */
struct timer {
	uint64_t now, tick, jiffy, jiffy_ends;
	struct {
		uint64_t jiffy, reading;
	} cpus[2];
};

static void timer_advance(struct timer *timer, uint64_t ticks)
{
	timer->now += ticks;
	while (timer->jiffy_ends <= timer->now) {
		timer->jiffy++;
		timer->jiffy_ends += timer->tick * (one_in(20) ? 1 + draw() % 5 : 1);
	}
}

/* As the XDP program does it: on either CPU, which keeps its readings. */
static enum eb_charge charge_early(struct eb_bucket *bucket, const struct eb_rule *rule, struct timer *timer)
{
	int cpu = draw() % 2;

	if (timer->cpus[cpu].jiffy != timer->jiffy) {
		timer->cpus[cpu].jiffy = timer->jiffy;
		timer->cpus[cpu].reading = timer->now;
	}
	if (eb_bucket_refuses_early(bucket, rule, 60, timer->cpus[cpu].reading))
		return EB_REFUSED;
	timer->cpus[cpu].reading = timer->now;
	return eb_bucket_charge(bucket, rule, 60, timer->now);
}

struct early_row {
	uint64_t cost_ns, burst; /* of a token; tokens */
	bool is_bytes;           /* a packet is 60 of them */
};

/*
 * A source that always wants more, beginning with nothing. What it is charged with is what it was admitted and what it
 * lost because the bucket was full: the former is never more than the time that passed, the latter at most 0.1 % of
 * that.
 */
static void check_early(const struct early_row *row, uint64_t tick)
{
	const struct eb_limit limit = {
		.mult = row->cost_ns * EB_TICKS_PER_NS, .burst = row->cost_ns * EB_TICKS_PER_NS * row->burst,
	};
	const struct eb_limit none = { 0 };
	const struct eb_rule rule = { .packets = row->is_bytes ? none : limit, .bytes = row->is_bytes ? limit : none };
	uint64_t cost = limit.mult * (row->is_bytes ? 60 : 1), room = limit.burst - cost;
	uint64_t gap = room ? room / 4 : cost / 5000;
	struct timer timer = { .now = draw(), .tick = tick, .jiffy = 1 };
	uint64_t start = timer.now, charged, admitted = 0;
	struct eb_bucket bucket = { 0 };
	__u64 *full_at = row->is_bytes ? &bucket.bytes_full_at : &bucket.packets_full_at;

	gap = gap < SECOND / 10000 ? gap : SECOND / 10000;
	timer.jiffy_ends = timer.now + draw() % tick;
	*full_at = eb_gcra_full_at(timer.now, limit.burst);
	for (int i = 0; i < 200000 && admitted < 3000000; i++) {
		timer_advance(&timer, 1 + draw() % (2 * gap));
		while (charge_early(&bucket, &rule, &timer) == EB_ADMITTED)
			admitted++;
	}
	charged = *full_at - (start + limit.burst);
	if (admitted * cost > timer.now - start || charged - admitted * cost > (timer.now - start) / 1000)
		fail_msg("%llu ns a token, burst %llu, tick %llu: %llu ticks admitted, %llu lost, in %llu",
			 (unsigned long long)row->cost_ns, (unsigned long long)row->burst, (unsigned long long)tick,
			 (unsigned long long)(admitted * cost), (unsigned long long)(charged - admitted * cost),
			 (unsigned long long)(timer.now - start));
}

static void test_early(void **state)
{
	static const struct early_row rows[] = {
		{ 3600000000000, 1, false }, { 3600000000000, 3, false }, { 60000000000, 1, false },
		{ 60000000000, 2, false }, { 1000000000, 1, false }, { 1000000000, 2, false },
		{ 90000000, 2, false }, { 110000000, 2, false }, { 20000000, 2, false }, { 1000000, 1, false },
		{ 1000000, 10, false }, { 1000000, 50, false }, { 1000000, 100, false }, { 1000000, 101, false },
		{ 1000000, 102, false }, { 1000000, 1000, false }, { 1000, 2, false }, { 1000, 1000, false },
		{ 1000, 100000, false }, { 1000, 100001, false }, { 10, 100, false }, { 10, 1000000, false },
		{ 10, 10000000, false }, { 10, 10000001, false }, { 10, 100000000, false }, { 1000, 120, true },
		{ 1000000, 60, true }, { 1000000, 159, true }, { 1000000, 160, true },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		for (uint64_t tick = SECOND / 1000; tick <= SECOND / 100; tick = tick * 5 / 2)
			check_early(&rows[i], tick);
}

/* --- Several threads --- */

enum { THREADS = 4, RIVALS = 40, OPERATIONS = 300000 };

/*
 * One clock for all, which every operation moves on. As in the kernel, time does not run away from an operation that
 * read it: it waits once it is half of EB_IDLE_MARGIN ahead of one.
 */
static struct {
	_Atomic uint64_t now;
	_Atomic uint64_t reading[THREADS]; /* what an operation in progress goes by; 0 for none */
} hammer_clock;

static uint64_t begin_operation(int thread)
{
	uint64_t now;

	do {
		now = atomic_load(&hammer_clock.now);
		atomic_store(&hammer_clock.reading[thread], now);
	} while (atomic_load(&hammer_clock.now) != now);
	return now;
}

static void end_operation(int thread, uint64_t step)
{
	uint64_t now = atomic_load(&hammer_clock.now);
	bool is_held_up = false;

	atomic_store(&hammer_clock.reading[thread], 0);
	for (int i = 0; i < THREADS; i++) {
		uint64_t reading = atomic_load(&hammer_clock.reading[i]);

		is_held_up |= reading && now + step - reading > EB_IDLE_MARGIN / 2;
	}
	if (!is_held_up)
		atomic_compare_exchange_strong(&hammer_clock.now, &now, now + step);
}

/* A packet that was let through. */
struct admitted {
	uint64_t since; /* ticks since the start */
	uint32_t source;
	uint32_t len;
};

struct hammer {
	pthread_t thread;
	int index;
	struct table *table;
	const struct eb_rule *rule;
	uint64_t start, random;
	struct admitted *admitted;
	size_t count;
	uint64_t taken; /* insertions */
};

static uint64_t draw_own(struct hammer *hammer)
{
	hammer->random = hammer->random * 6364136223846793005 + 1442695040888963407;
	return hammer->random >> 33;
}

static void *run_hammer(void *arg)
{
	struct hammer *hammer = arg;

	for (int i = 0; i < OPERATIONS; i++) {
		uint64_t now = begin_operation(hammer->index);
		/* All threads keep to the same few sources for a while, so that entries of the others grow idle. */
		int source = (now / (3 * SECOND) * 4 + draw_own(hammer) % 9) % RIVALS, place;
		uint64_t len = 60 + draw_own(hammer) % 1000;
		struct slot slot = slot_of(hammer->table, source);
		bool was_there = find(hammer->table, &slot) >= 0;

		if (i % 1000 == 0)
			sched_yield(); /* in the middle, as an interrupt would */
		if (charge(hammer->table, source, hammer->rule, len, now, &place) == EB_ADMITTED)
			hammer->admitted[hammer->count++] =
				(struct admitted){ .since = now - hammer->start, .source = source, .len = len };
		hammer->taken += !was_there && place >= 0;
		end_operation(hammer->index, draw_own(hammer) % (SECOND / 500));
	}
	return NULL;
}

static int by_source_and_time(const void *a, const void *b)
{
	const struct admitted *left = a, *right = b;

	if (left->source != right->source)
		return left->source < right->source ? -1 : 1;
	return left->since < right->since ? -1 : left->since > right->since;
}

/* Fails when a bucket would have had to refuse one of these packets, which are one source's in the order of time. That
 * is to say when, over any span of time, more was admitted than the burst and what the span adds to it. */
static size_t check_source(const struct admitted *packets, size_t count, const struct eb_rule *rule)
{
	struct reference reference = { 0 };
	size_t i;

	for (i = 0; i < count && packets[i].source == packets[0].source; i++)
		assert_true(reference_charge(&reference, rule, packets[i].len, packets[i].since));
	return i;
}

static void check_bound(const struct hammer *hammers, const struct eb_rule *rule)
{
	struct admitted *all = calloc(THREADS * OPERATIONS, sizeof(*all));
	size_t count = 0;
	uint64_t taken = 0;

	assert_non_null(all);
	for (int i = 0; i < THREADS; i++) {
		memcpy(all + count, hammers[i].admitted, hammers[i].count * sizeof(*all));
		count += hammers[i].count;
		taken += hammers[i].taken;
	}
	print_message("%zu admitted, %llu entries taken\n", count, (unsigned long long)taken);
	qsort(all, count, sizeof(*all), by_source_and_time);
	for (size_t i = 0; i < count;)
		i += check_source(all + i, count - i, rule);
	assert_true(taken > 4 * EB_WAYS); /* many more than the table has entries */
	assert_true(count > 100);
	free(all);
}

static void check_hammer(int words, const struct eb_rule *rule)
{
	struct hammer *hammers = calloc(THREADS, sizeof(*hammers));
	struct table *table = table_new(2, words);
	uint64_t start = UINT64_MAX - 5 * SECOND; /* wraps on the way */

	assert_non_null(hammers);
	atomic_store(&hammer_clock.now, start);
	for (int i = 0; i < THREADS; i++) {
		hammers[i] = (struct hammer){
			.index = i, .table = table, .rule = rule, .start = start, .random = draw(),
		};
		hammers[i].admitted = calloc(OPERATIONS, sizeof(*hammers[i].admitted));
		assert_non_null(hammers[i].admitted);
		assert_int_equal(pthread_create(&hammers[i].thread, NULL, run_hammer, &hammers[i]), 0);
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(hammers[i].thread, NULL);
	check_bound(hammers, rule);
	for (int i = 0; i < THREADS; i++)
		free(hammers[i].admitted);
	for (int i = 0; i < RIVALS; i++)
		assert_true(count_entries(table, i) <= 1);
	check_unlocked(table);
	table_free(table);
	free(hammers);
}

static void test_hammer(void **state)
{
	const struct eb_rule rules[] = {
		{ .packets = { .mult = SECOND / 10, .burst = 3 * (SECOND / 10) } },
		{ .packets = { .mult = 2 * SECOND, .burst = 4 * SECOND } },
		{ .bytes = { .mult = SECOND / 10000, .burst = SECOND / 2 } },
		{ .packets = { .mult = SECOND / 10, .burst = 3 * (SECOND / 10) },
		  .bytes = { .mult = SECOND / 5000, .burst = SECOND / 2 } },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		check_hammer(EB_WORDS4, &rules[i]);
		check_hammer(EB_WORDS6, &rules[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hash),
		cmocka_unit_test(test_spread),
		cmocka_unit_test(test_ranges),
		cmocka_unit_test(test_fill),
		cmocka_unit_test(test_dense),
		cmocka_unit_test(test_dense_idle),
		cmocka_unit_test(test_idle),
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_only_one),
		cmocka_unit_test(test_locked),
		cmocka_unit_test(test_model),
		cmocka_unit_test(test_early),
		cmocka_unit_test(test_hammer),
	};

	return cmocka_run_group_tests_name("table", tests, random_start, NULL);
}
