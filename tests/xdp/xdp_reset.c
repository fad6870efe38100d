// SPDX-License-Identifier: GPL-2.0-only
/* Resets forget the refusals that CPUs have not written back, and go on counting exactly. */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <arpa/inet.h>

#include <cmocka.h>

#include "maps/buckets.h"
#include "table.h"
#include "xdp.h"

#define RULES "rules: [{ name: a, action: limit, packets: { rate: 1/h, burst: 1 } }]\n"

static cpu_set_t cpus_before;

/* Tallies are a CPU's: stays on one, so that the numbers below are exact. */
static int open_rig(void **state)
{
	cpu_set_t one;

	sched_getaffinity(0, sizeof(cpus_before), &cpus_before);
	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	sched_setaffinity(0, sizeof(one), &one);
	rig_setup(state, 64);
	rig_apply(*state, RULES);
	return 0;
}

static int close_rig(void **state)
{
	sched_setaffinity(0, sizeof(cpus_before), &cpus_before);
	return rig_teardown(state);
}

/* Packets of source 10.0.0.N or 2001:db8:N::/64. */
static void send_from(const struct rig *rig, int family, int number, int count)
{
	static struct frame frame;
	char text[64];

	snprintf(text, sizeof(text), family == 4 ? "ip4:src=10.0.0.%d udp:1" : "ip6:src=2001:db8:%d::1 udp:1", number);
	frame_make(text, &frame);
	for (int i = 0; i < count; i++)
		rig_send(rig, &frame);
}

static struct eb_source source_of(const struct rig *rig, int family, int number)
{
	const struct eb_rule *rule = rig_rule(rig, "a");
	struct eb_source source = { .family = family, .rule_id = family == 4 ? rule->id4 : rule->id6 };
	char text[64];

	snprintf(text, sizeof(text), family == 4 ? "10.0.0.%d" : "2001:db8:%d::", number);
	assert_int_equal(inet_pton(family == 4 ? AF_INET : AF_INET6, text, source.addr), 1);
	return source;
}

struct sum {
	struct eb_source source;
	uint64_t dropped;
};

static int find_dropped(const struct eb_bucket_view *view, void *arg)
{
	struct sum *sum = arg;

	if (view->source.family == sum->source.family && !memcmp(view->source.addr, sum->source.addr, 16))
		sum->dropped = view->dropped;
	return 0;
}

/* Both ways to read it agree. */
static void check_dropped(const struct rig *rig, int family, int number, uint64_t want)
{
	struct sum sum = { .source = source_of(rig, family, number), .dropped = UINT64_MAX };
	struct eb_bucket_view view;

	assert_int_equal(eb_buckets_find(rig->buckets, &sum.source, &view), 0);
	assert_int_equal(view.dropped, want);
	assert_int_equal(eb_buckets_each(rig->buckets, 0, find_dropped, &sum), 0);
	assert_int_equal(sum.dropped, want);
}

static void reset(const struct rig *rig, int family, int number)
{
	struct eb_source source = source_of(rig, family, number);

	assert_int_equal(eb_buckets_reset(rig->buckets, &source, 1), 0);
}

static void check_source(const struct rig *rig, int family)
{
	/* 512 are in the bucket by now, 87 in a tally. */
	send_from(rig, family, 1, 600);
	send_from(rig, family, 2, 11);
	check_dropped(rig, family, 1, 599);
	reset(rig, family, 1);
	check_dropped(rig, family, 1, 0);
	check_dropped(rig, family, 2, 10);
	/* The bucket is full, and what the tally had is not told again when it is written back. */
	send_from(rig, family, 1, 301);
	check_dropped(rig, family, 1, 300);
	reset(rig, family, 1);
	reset(rig, family, 1);
	check_dropped(rig, family, 1, 0);
}

static void test_one(void **state)
{
	check_source(*state, 4);
	check_source(*state, 6);
}

/* Tallies are written back when other sources need their place. */
static void test_others_come(void **state)
{
	struct rig *rig = *state;

	send_from(rig, 4, 1, 51);
	reset(rig, 4, 1);
	send_from(rig, 4, 1, 1); /* in debt again, so that nobody gets its entry */
	for (int i = 2; i < 90; i++)
		for (int k = 0; k < 3; k++)
			send_from(rig, 4, i, 2);
	check_dropped(rig, 4, 1, 0);
	send_from(rig, 4, 1, 3);
	check_dropped(rig, 4, 1, 3);
}

static void test_some_and_all(void **state)
{
	struct rig *rig = *state;
	struct eb_source sources[4];
	uint64_t in_debt = 0;

	for (int i = 1; i <= 6; i++) {
		send_from(rig, 4, i, 101);
		send_from(rig, 6, i, 21);
	}
	for (int i = 0; i < 4; i++)
		sources[i] = source_of(rig, i < 2 ? 4 : 6, 1 + i);
	sources[3] = source_of(rig, 4, 77); /* has no bucket: left out */
	assert_int_equal(eb_buckets_reset(rig->buckets, sources, 4), 0);
	check_dropped(rig, 4, 1, 0);
	check_dropped(rig, 4, 2, 0);
	check_dropped(rig, 4, 3, 100);
	check_dropped(rig, 6, 3, 0);
	check_dropped(rig, 6, 4, 20);
	assert_int_equal(eb_buckets_reset_all(rig->buckets, &in_debt), 0);
	assert_int_equal(in_debt, 9);
	for (int i = 1; i <= 6; i++) {
		check_dropped(rig, 4, i, 0);
		check_dropped(rig, 6, i, 0);
	}
	send_from(rig, 6, 5, 3);
	check_dropped(rig, 6, 5, 2);
}

/* A tally that is written back between the reading of bucket and tallies makes no huge number. */
static void test_below_zero(void **state)
{
	struct rig *rig = *state;

	send_from(rig, 4, 1, 2);
	rig_bucket_of(rig, "a", "10.0.0.1")->dropped = -(uint64_t)5;
	check_dropped(rig, 4, 1, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_rig, close_rig)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(test_one),
		TEST(test_others_come),
		TEST(test_some_and_all),
		TEST(test_below_zero),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
