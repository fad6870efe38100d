// SPDX-License-Identifier: GPL-2.0-only
/* Resets fill buckets and forget their refusals, which are counted exactly again. */
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

static int open_rig(void **state)
{
	rig_setup(state, 64);
	rig_apply(*state, RULES);
	return 0;
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
	assert_int_equal(eb_buckets_each(rig->buckets, find_dropped, &sum), 0);
	assert_int_equal(sum.dropped, want);
}

static void reset(const struct rig *rig, int family, int number)
{
	struct eb_source source = source_of(rig, family, number);

	assert_int_equal(eb_buckets_reset(rig->buckets, &source, 1), 0);
}

static void check_source(const struct rig *rig, int family)
{
	send_from(rig, family, 1, 600);
	send_from(rig, family, 2, 11);
	check_dropped(rig, family, 1, 599);
	reset(rig, family, 1);
	check_dropped(rig, family, 1, 0);
	check_dropped(rig, family, 2, 10);
	/* The bucket is full. */
	send_from(rig, family, 1, 901);
	check_dropped(rig, family, 1, 900);
	reset(rig, family, 1);
	reset(rig, family, 1);
	check_dropped(rig, family, 1, 0);
}

static void test_one(void **state)
{
	check_source(*state, 4);
	check_source(*state, 6);
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_rig, rig_teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(test_one),
		TEST(test_some_and_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
