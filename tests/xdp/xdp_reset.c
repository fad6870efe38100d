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

#include "buckets.h"
#include "table.h"
#include "xdp.h"

#define RULES "rules: [{ name: a, action: limit, packets: { rate: 1/h, burst: 1 } }]\n"

struct setting {
	struct rig rig;
	struct eb_buckets *buckets;
	cpu_set_t before;
};

/* Tallies are a CPU's: stays on one, so that the numbers below are exact. */
static int open_setting(void **state)
{
	static struct setting setting;
	cpu_set_t one;

	sched_getaffinity(0, sizeof(setting.before), &setting.before);
	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	sched_setaffinity(0, sizeof(one), &one);
	rig_open(&setting.rig, 64);
	rig_apply(&setting.rig, RULES);
	setting.buckets = rig_open_buckets(&setting.rig);
	*state = &setting;
	return 0;
}

static int close_setting(void **state)
{
	struct setting *setting = *state;

	eb_buckets_close(setting->buckets);
	rig_close(&setting->rig);
	sched_setaffinity(0, sizeof(setting->before), &setting->before);
	return 0;
}

/* Packets of source 10.0.0.N or 2001:db8:N::/64. */
static void send_from(const struct setting *setting, int family, int number, int count)
{
	static struct frame frame;
	char text[64];

	snprintf(text, sizeof(text), family == 4 ? "ip4:src=10.0.0.%d udp:1" : "ip6:src=2001:db8:%d::1 udp:1", number);
	frame_make(text, &frame);
	for (int i = 0; i < count; i++)
		rig_send(&setting->rig, &frame);
}

static struct eb_source source_of(const struct setting *setting, int family, int number)
{
	const struct eb_rule *rule = rig_rule(&setting->rig, "a");
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
static void check_dropped(const struct setting *setting, int family, int number, uint64_t want)
{
	struct sum sum = { .source = source_of(setting, family, number), .dropped = UINT64_MAX };
	struct eb_bucket_view view;

	assert_int_equal(eb_buckets_find(setting->buckets, &sum.source, &view), 0);
	assert_int_equal(view.dropped, want);
	assert_int_equal(eb_buckets_each(setting->buckets, 0, find_dropped, &sum), 0);
	assert_int_equal(sum.dropped, want);
}

static void reset(const struct setting *setting, int family, int number)
{
	struct eb_source source = source_of(setting, family, number);

	assert_int_equal(eb_buckets_reset(setting->buckets, &source, 1), 0);
}

static void check_source(const struct setting *setting, int family)
{
	/* 512 are in the bucket by now, 87 in a tally. */
	send_from(setting, family, 1, 600);
	send_from(setting, family, 2, 11);
	check_dropped(setting, family, 1, 599);
	reset(setting, family, 1);
	check_dropped(setting, family, 1, 0);
	check_dropped(setting, family, 2, 10);
	/* The bucket is full, and what the tally had is not told again when it is written back. */
	send_from(setting, family, 1, 301);
	check_dropped(setting, family, 1, 300);
	reset(setting, family, 1);
	reset(setting, family, 1);
	check_dropped(setting, family, 1, 0);
}

static void test_one(void **state)
{
	check_source(*state, 4);
	check_source(*state, 6);
}

/* Tallies are written back when other sources need their place. */
static void test_others_come(void **state)
{
	struct setting *setting = *state;

	send_from(setting, 4, 1, 51);
	reset(setting, 4, 1);
	send_from(setting, 4, 1, 1); /* in debt again, so that nobody gets its entry */
	for (int i = 2; i < 90; i++)
		for (int k = 0; k < 3; k++)
			send_from(setting, 4, i, 2);
	check_dropped(setting, 4, 1, 0);
	send_from(setting, 4, 1, 3);
	check_dropped(setting, 4, 1, 3);
}

static void test_some_and_all(void **state)
{
	struct setting *setting = *state;
	struct eb_source sources[4];
	uint64_t in_debt = 0;

	for (int i = 1; i <= 6; i++) {
		send_from(setting, 4, i, 101);
		send_from(setting, 6, i, 21);
	}
	for (int i = 0; i < 4; i++)
		sources[i] = source_of(setting, i < 2 ? 4 : 6, 1 + i);
	sources[3] = source_of(setting, 4, 77); /* has no bucket: left out */
	assert_int_equal(eb_buckets_reset(setting->buckets, sources, 4), 0);
	check_dropped(setting, 4, 1, 0);
	check_dropped(setting, 4, 2, 0);
	check_dropped(setting, 4, 3, 100);
	check_dropped(setting, 6, 3, 0);
	check_dropped(setting, 6, 4, 20);
	assert_int_equal(eb_buckets_reset_all(setting->buckets, &in_debt), 0);
	assert_int_equal(in_debt, 9);
	for (int i = 1; i <= 6; i++) {
		check_dropped(setting, 4, i, 0);
		check_dropped(setting, 6, i, 0);
	}
	send_from(setting, 6, 5, 3);
	check_dropped(setting, 6, 5, 2);
}

/* A tally that is written back between the reading of bucket and tallies makes no huge number. */
static void test_below_zero(void **state)
{
	struct setting *setting = *state;

	send_from(setting, 4, 1, 2);
	rig_bucket_of(&setting->rig, "a", "10.0.0.1")->dropped = -(uint64_t)5;
	check_dropped(setting, 4, 1, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_setting, close_setting)

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
