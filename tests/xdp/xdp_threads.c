// SPDX-License-Identifier: GPL-2.0-only
/* Several CPUs at once: what all of them admit together never exceeds the limit, whatever they meet on. */
#include <arpa/inet.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "edgebucket.h"
#include "maps/buckets.h"
#include "xdp.h"

#define SETS 4096
#define THREADS 4 /* more than CPUs, on small machines, so that some are interrupted in the middle */

static atomic_bool should_stop;

struct worker {
	pthread_t thread;
	struct rig *rig;
	struct frame frame;
	int index;
	uint32_t repeat;
	uint64_t sent;
	uint8_t admitted[256]; /* by source, where a test asks for it */
};

static void start_on_cpu(struct worker *worker, int index, void *(*work)(void *worker))
{
	int cpus = sysconf(_SC_NPROCESSORS_ONLN);
	cpu_set_t set;

	worker->index = index;
	assert_int_equal(pthread_create(&worker->thread, NULL, work, worker), 0);
	CPU_ZERO(&set);
	CPU_SET(index % cpus, &set);
	(void)pthread_setaffinity_np(worker->thread, sizeof(set), &set);
}

static void run_workers(struct rig *rig, struct worker *workers, int count, void *(*work)(void *worker))
{
	for (int i = 0; i < count; i++) {
		workers[i].rig = rig;
		start_on_cpu(&workers[i], i, work);
	}
	for (int i = 0; i < count; i++)
		pthread_join(workers[i].thread, NULL);
}

static struct worker *make_workers(void)
{
	struct worker *workers = calloc(THREADS, sizeof(*workers));

	assert_non_null(workers);
	return workers;
}

/* --- One bucket --- */

static void *send_flood(void *arg)
{
	struct worker *worker = arg;

	rig_repeat(worker->rig, &worker->frame, worker->repeat);
	return NULL;
}

/* Floods one source from all threads with `packets` each. Returns how long it took at most, in ns. */
static uint64_t flood(struct rig *rig, const char *frame, uint32_t packets)
{
	struct worker *workers = make_workers();
	uint64_t since;

	for (int i = 0; i < THREADS; i++) {
		frame_make(frame, &workers[i].frame);
		workers[i].repeat = packets;
	}
	since = eb_monotonic_ns();
	run_workers(rig, workers, THREADS, send_flood);
	free(workers);
	assert_int_equal(rig_count(rig, "a", EB_PASS) + rig_count(rig, "a", EB_DROP), THREADS * (uint64_t)packets);
	rig_check_table(rig);
	return eb_monotonic_ns() - since;
}

static void test_slow_rate(void **state)
{
	struct rig *rig = *state;

	rig_apply(rig, "rules: [{ name: a, action: limit, packets: { rate: 1/h, burst: 1000 } }]\n");
	for (int round = 0; round < 5; round++) {
		rig_clear(rig);
		flood(rig, round % 2 ? "ip6 udp:1" : "ip4 udp:1", 100000);
		assert_int_equal(rig_count(rig, "a", EB_PASS), 1000);
		/* 1024, and of 400,000 an estimate whose standard deviation is 5020. */
		assert_in_range(rig_dropped(rig, "a", round % 2 ? "2001:db8:1::" : FRAME_SRC4),
				rig_count(rig, "a", EB_DROP) - rig_count_kind(rig, EB_CONTENDED) - 6 * 5020,
				rig_count(rig, "a", EB_DROP) - rig_count_kind(rig, EB_CONTENDED) + 6 * 5020);
	}
}

static void test_rates(void **state)
{
	static const struct {
		const char *limit;
		uint64_t rate, burst; /* packets, and per second */
	} rows[] = {
		{ "packets: { rate: 1000/s, burst: 1000 }", 1000, 1000 },
		{ "packets: { rate: 1M/s, burst: 100 }", 1000000, 100 },
		{ "packets: { rate: 3M/s, burst: 1 }", 3000000, 1 },
		{ "bytes: { rate: 60kB/s, burst: 6000 }", 1000, 100 },
		{ "bytes: { rate: 240Mbit/s, burst: 60 }", 500000, 1 },
		{ "packets: { rate: 500/s, burst: 1000 }, bytes: { rate: 60kB/s, burst: 6000 }", 1000, 100 },
		{ "packets: { rate: 2000/s, burst: 100 }, bytes: { rate: 60kB/s, burst: 60kB }", 2000, 100 },
	};
	struct rig *rig = *state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char config[192];
		uint64_t most;

		snprintf(config, sizeof(config), "rules: [{ name: a, action: limit, %s }]\n", rows[i].limit);
		rig_apply(rig, config);
		rig_clear(rig);
		most = flood(rig, "ip4 udp:1 raw:18", 200000);
		most = rows[i].burst + most * rows[i].rate / 1000000000;
		if (rig_count(rig, "a", EB_PASS) > most)
			fail_msg("%s: %llu admitted, %llu allowed", rows[i].limit,
				 (unsigned long long)rig_count(rig, "a", EB_PASS), (unsigned long long)most);
		assert_true(rig_count(rig, "a", EB_PASS) >= rows[i].burst / 2);
	}
}

/* A packet that loses the race for the bytes has paid for itself, never less. */
static void test_both_limits(void **state)
{
	struct rig *rig = *state;
	struct eb_bucket *bucket;
	uint64_t passed, hour = 3600000000000 * EB_TICKS_PER_NS;

	rig_apply(rig, "rules: [{ name: a, action: limit, packets: { rate: 1/h, burst: 1000 },"
		       " bytes: { rate: 1B/s, burst: 30000 } }]\n");
	for (int round = 0; round < 3; round++) {
		rig_clear(rig);
		flood(rig, "ip4 udp:1 raw:18", 100000);
		passed = rig_count(rig, "a", EB_PASS);
		bucket = rig_bucket_of(rig, "a", FRAME_SRC4);
		assert_true(passed >= 500 && passed <= 501); /* 60 s have not passed since */
		assert_true(eb_gcra_debt(bucket->packets_full_at, eb_gcra_now(eb_monotonic_ns())) / hour >= passed - 1);
	}
}

/* --- Many sources at once --- */

enum { SOURCES = 2000, PACKETS = 5 };

static atomic_int arrived;

/* All threads come to the same source at the same time. */
static void wait_for_all(int round)
{
	atomic_fetch_add(&arrived, 1);
	while (atomic_load(&arrived) < (round + 1) * THREADS)
		sched_yield();
}

static void *send_each_source(void *arg)
{
	struct worker *worker = arg;

	for (int source = 0; source < SOURCES; source++) {
		worker->frame.data[worker->frame.saddr_at + 2] = source >> 8;
		worker->frame.data[worker->frame.saddr_at + 3] = source;
		wait_for_all(source);
		for (int i = 0; i < PACKETS; i++)
			rig_send(worker->rig, &worker->frame);
	}
	return NULL;
}

/* The agent's part: it gives each source a debt of a token, at the same time as its packets come. */
static void *owe_each_source(void *arg)
{
	struct worker *worker = arg;
	const struct eb_rule *rule = rig_rule(worker->rig, "a");
	struct eb_bucket_view view = { .source.family = worker->frame.family };

	view.source.rule_id = view.source.family == 4 ? rule->id4 : rule->id6;
	memcpy(view.source.addr, worker->frame.saddr, view.source.family == 4 ? 4 : 16);
	for (int source = 0; source < SOURCES; source++) {
		uint64_t now = eb_buckets_now();

		view.source.addr[2] = source >> 8;
		view.source.addr[3] = source;
		view.packets_full_at = eb_gcra_full_at(now, eb_gcra_cost(&rule->packets, 1));
		wait_for_all(source);
		assert_int_equal(eb_buckets_merge(worker->rig->buckets, &view, EB_MERGE_ADD, now), 1);
	}
	return NULL;
}

static void *work_on_each_source(void *arg)
{
	struct worker *worker = arg;

	return worker->index == 0 && worker->repeat ? owe_each_source(arg) : send_each_source(arg);
}

/* What all of them took, the agent its token and each packet one, is owed by one bucket. */
static void check_new_sources(struct rig *rig, const char *frame, bool with_agent)
{
	struct worker *workers = make_workers();
	int senders = with_agent ? THREADS - 1 : THREADS;
	uint64_t hour = 3600000000000 * EB_TICKS_PER_NS, owed = 0;

	for (int i = 0; i < THREADS; i++) {
		frame_make(frame, &workers[i].frame);
		workers[i].repeat = with_agent;
	}
	atomic_store(&arrived, 0);
	run_workers(rig, workers, THREADS, work_on_each_source);
	for (int source = 0; source < SOURCES; source++) {
		const struct eb_bucket *bucket;
		uint8_t addr[16];

		memcpy(addr, workers[0].frame.saddr, sizeof(addr));
		addr[2] = source >> 8;
		addr[3] = source;
		bucket = rig_bucket(rig, "a", workers[0].frame.family, addr);
		assert_non_null(bucket);
		owed += (eb_gcra_debt(bucket->packets_full_at, eb_buckets_now()) + hour / 2) / hour;
	}
	free(workers);
	/* Packets may have been faster than the agent, whose token is owed beyond the burst then. */
	assert_in_range(rig_count(rig, "a", EB_PASS), (with_agent ? 2 : 3) * SOURCES, 3 * SOURCES);
	assert_int_equal(owed, rig_count(rig, "a", EB_PASS) + (with_agent ? SOURCES : 0));
	assert_int_equal(rig_count(rig, "a", EB_PASS) + rig_count(rig, "a", EB_DROP), senders * PACKETS * SOURCES);
	rig_check_table(rig);
}

/* Nobody gets two buckets, and nobody's tokens are lost. */
static void test_new_sources(void **state)
{
	struct rig *rig = *state;

	rig_apply(rig, "rules: [{ name: a, action: limit, packets: { rate: 1/h, burst: 3 }, per: { ipv6: 128 } }]\n");
	for (int with_agent = 0; with_agent < 2; with_agent++) {
		rig_clear(rig);
		check_new_sources(rig, "ip4 udp:1", with_agent);
		rig_clear(rig);
		check_new_sources(rig, "ip6 udp:1", with_agent);
	}
}

/* --- Entries that change hands --- */

enum { RIVALS = 12, BURST = 2 };

static void *send_rivals(void *arg)
{
	struct worker *worker = arg;

	memset(worker->admitted, 0, sizeof(worker->admitted));
	for (int i = 0; i < 4 * RIVALS; i++) {
		/* Each thread in an order of its own. */
		int source = i * (2 * worker->index + 1) % RIVALS + i / RIVALS % 2;

		worker->frame.data[worker->frame.saddr_at + 3] = source;
		worker->admitted[source] += rig_send(worker->rig, &worker->frame) == XDP_PASS;
	}
	return NULL;
}

/* All buckets of a table of one set have been full for an hour: they go to some of the rivals, and stay with them. */
static void test_takeover(void **state)
{
	struct worker *workers = make_workers();
	struct rig rig;

	(void)state;
	rig_open(&rig, 1);
	rig_apply(&rig, "rules: [{ name: a, action: limit, packets: { rate: 1/h, burst: 2 },"
			" new_sources: { rate: 1M/s, burst: 1M } }]\n");
	for (int i = 0; i < THREADS; i++)
		frame_make("ip4 udp:1", &workers[i].frame);
	for (int round = 0; round < 200; round++) {
		int total = 0;

		for (int way = 0; way < EB_WAYS; way++)
			rig.v4->way[way].bucket.packets_full_at = eb_gcra_now(eb_monotonic_ns() - 3600000000000);
		run_workers(&rig, workers, THREADS, send_rivals);
		for (int source = 0; source <= RIVALS; source++) {
			int admitted = 0;

			for (int i = 0; i < THREADS; i++)
				admitted += workers[i].admitted[source];
			assert_true(admitted <= BURST);
			total += admitted;
		}
		assert_true(total <= EB_WAYS * BURST);
		assert_true(total >= EB_WAYS);
		rig_check_table(&rig);
	}
	rig_close(&rig);
	free(workers);
}

/* --- Changes that the agent collects under fire --- */

enum { ROUNDS = 60, GIVEN_BACK_ROUNDS = 5000, CHARGES = 3 };

static pthread_barrier_t round_begins;
static atomic_int finished;

static void *charge_in_rounds(void *arg)
{
	struct worker *worker = arg;

	worker->frame.data[worker->frame.saddr_at + 3] = worker->index;
	for (uint32_t round = 0; round < worker->repeat; round++) {
		pthread_barrier_wait(&round_begins);
		for (int i = 0; i < CHARGES; i++)
			rig_send(worker->rig, &worker->frame);
		atomic_fetch_add(&finished, 1);
	}
	return NULL;
}

/* What the agent knows of the buckets of one family. */
struct knowledge {
	struct eb_buckets *buckets;
	uint32_t since; /* the collection before */
	uint64_t full_at[SETS * EB_WAYS];
	int found, missed;
};

static bool enter_changed(int family, uint32_t group, void *arg)
{
	struct knowledge *known = arg;

	return eb_buckets_changed_in(known->buckets, family, group) > known->since;
}

static int learn_bucket(const struct eb_bucket_view *view, uint32_t index, void *arg)
{
	struct knowledge *known = arg;

	known->full_at[index] = view->packets_full_at;
	return 0;
}

static void leave_changed(int family, uint32_t group, void *arg)
{
	(void)family;
	(void)group;
	(void)arg;
}

static void learn(struct knowledge *known)
{
	static const struct eb_group_visitor visitor = { enter_changed, learn_bucket, leave_changed };
	struct eb_bucket_cursor cursor = { 0 };
	uint32_t number = eb_buckets_collect_changes(known->buckets);

	assert_int_equal(eb_buckets_walk_groups(known->buckets, &cursor, &visitor, known), 0);
	known->since = number;
}

static int is_known(const struct eb_bucket_view *view, uint32_t index, void *arg)
{
	struct knowledge *known = arg;

	known->found++;
	known->missed += known->full_at[index] != view->packets_full_at;
	return 0;
}

/* `prepare`, where it is not NULL, is called before each round. */
static void check_changes(struct rig *rig, const char *frame, int rounds, int buckets,
			  void (*prepare)(struct rig *rig, struct knowledge *known))
{
	struct worker *workers = make_workers();
	struct knowledge *known = calloc(1, sizeof(*known));
	int found = 0, missed;

	assert_non_null(known);
	known->buckets = rig->buckets;
	learn(known);
	pthread_barrier_init(&round_begins, NULL, THREADS + 1);
	for (int i = 0; i < THREADS; i++) {
		frame_make(frame, &workers[i].frame);
		workers[i].rig = rig;
		workers[i].repeat = rounds;
		start_on_cpu(&workers[i], i, charge_in_rounds);
	}
	for (int round = 0; round < rounds; round++) {
		struct eb_bucket_cursor cursor = { 0 };

		if (prepare)
			prepare(rig, known);
		atomic_store(&finished, 0);
		pthread_barrier_wait(&round_begins);
		while (atomic_load(&finished) < THREADS)
			learn(known);
		learn(known);
		(void)eb_buckets_walk(rig->buckets, &cursor, is_known, known);
		found += buckets;
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(workers[i].thread, NULL);
	pthread_barrier_destroy(&round_begins);
	missed = known->missed;
	found -= known->found;
	free(known);
	free(workers);
	assert_int_equal(missed, 0);
	assert_int_equal(found, 0);
}

/* While packets are charged and the agent takes marks away all the time, it misses no bucket's last change. */
static void test_changes(void **state)
{
	static const char *const frames[] = { "ip4 udp:1", "ip6 udp:1" };
	struct rig *rig = *state;

	rig_apply(rig, "rules:\n"
		  "- { name: a, action: limit, packets: { rate: 1/h, burst: 1000 }, per: { ipv6: 128 } }\n");
	for (int i = 0; i < 2; i++) {
		rig_clear(rig);
		check_changes(rig, frames[i], ROUNDS, THREADS, NULL);
		assert_int_equal(rig_count(rig, "a", EB_PASS), THREADS * ROUNDS * CHARGES);
	}
	rig_apply(rig, "rules: [{ name: a, action: limit, packets: { rate: 1/h, burst: 1000 }, per: { ipv6: 128 },"
		       " levels: [{ per: { ipv4: 8 }, times: 4 }, { per: { ipv6: 16 }, times: 4 }] }]\n");
	for (int i = 0; i < 2; i++) {
		rig_clear(rig);
		check_changes(rig, frames[i], ROUNDS, THREADS + 1, NULL);
	}
}

/* The level's bucket has been full for an hour, so that it is charged before new sources get entries. */
static void make_level_idle(struct rig *rig, struct knowledge *known)
{
	uint64_t idle = eb_gcra_now(eb_monotonic_ns() - 3600000000000);

	for (int way = 0; way < EB_WAYS; way++)
		if (rig->v4->way[way].key.addr == htonl(0x0a000000))
			known->full_at[way] = rig->v4->way[way].bucket.packets_full_at = idle;
}

/* In a table of one set that is full, new sources charge the level and give it back. The agent must not keep the
 * charge in between. */
static void test_given_back(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, 1);
	rig_apply(&rig, "rules: [{ name: a, action: limit, packets: { rate: 1/h, burst: 1000 },"
			" levels: [{ per: { ipv4: 8 }, times: 4 }] }]\n");
	for (int i = 1; i < EB_WAYS; i++) {
		struct frame frame;

		frame_make("ip4:src=10.1.1.1 udp:1", &frame);
		frame.data[frame.saddr_at + 3] = i;
		assert_int_equal(rig_send(&rig, &frame), XDP_PASS);
	}
	check_changes(&rig, "ip4:src=10.2.2.2 udp:1", GIVEN_BACK_ROUNDS, EB_WAYS, make_level_idle);
	assert_int_equal(rig_count(&rig, "a", EB_PASS), EB_WAYS - 1);
	rig_close(&rig);
}

/* A source that is refused changes nothing, and is not looked at. */
static void test_refused_is_no_change(void **state)
{
	struct rig *rig = *state;
	struct knowledge known = { .buckets = rig->buckets };

	rig_apply(rig, "rules: [{ name: a, action: limit, packets: { rate: 1/h, burst: 1 } }]\n");
	rig_clear(rig);
	known.since = eb_buckets_collect_changes(rig->buckets);
	assert_int_equal(rig_send_text(rig, "ip4 udp:1"), XDP_PASS);
	learn(&known);
	memset(known.full_at, 0, sizeof(known.full_at));
	assert_int_equal(rig_send_text(rig, "ip4 udp:1"), XDP_DROP);
	learn(&known);
	for (size_t i = 0; i < SETS * EB_WAYS; i++)
		assert_int_equal(known.full_at[i], 0);
}

/* --- Rules that change under fire --- */

static void *send_until_stopped(void *arg)
{
	struct worker *worker = arg;

	while (!atomic_load(&should_stop)) {
		rig_send(worker->rig, &worker->frame);
		worker->sent++;
	}
	return NULL;
}

/* The same rule is first in one policy and last in the other: a mixture of their look-ups finds no rule at all. */
static void test_swap(void **state)
{
	static const char first[] =
		"rules: [{ name: a, match: { src: [10.0.0.1], dst: [198.51.100.53], dport: 1 }, action: allow }]\n";
	static const char second[] =
		"rules: [{ name: b, match: { src: [10.0.0.2], dst: [198.51.100.54], dport: 2 }, action: deny },"
		" { name: a, match: { src: [10.0.0.1], dst: [198.51.100.53], dport: 1 }, action: allow }]\n";
	struct worker *workers = make_workers();
	struct rig *rig = *state;
	uint64_t sent = 0;

	rig_apply(rig, first);
	rig_clear(rig);
	atomic_store(&should_stop, false);
	for (int i = 0; i < THREADS; i++) {
		frame_make("ip4 udp:1", &workers[i].frame);
		workers[i].rig = rig;
		start_on_cpu(&workers[i], i, send_until_stopped);
	}
	for (int i = 0; i < 20; i++)
		rig_apply(rig, i % 2 ? first : second);
	atomic_store(&should_stop, true);
	for (int i = 0; i < THREADS; i++) {
		pthread_join(workers[i].thread, NULL);
		sent += workers[i].sent;
	}
	free(workers);
	assert_int_equal(rig_count_kind(rig, EB_UNMATCHED), 0);
	assert_int_equal(rig_count(rig, "a", EB_PASS), sent);
}

static int open_rig(void **state)
{
	return rig_setup(state, SETS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_slow_rate),
		cmocka_unit_test(test_rates),
		cmocka_unit_test(test_both_limits),
		cmocka_unit_test(test_new_sources),
		cmocka_unit_test(test_takeover),
		cmocka_unit_test(test_changes),
		cmocka_unit_test(test_given_back),
		cmocka_unit_test(test_refused_is_no_change),
		cmocka_unit_test(test_swap),
	};

	return cmocka_run_group_tests_name("threads", tests, open_rig, rig_teardown);
}
