// SPDX-License-Identifier: GPL-2.0-only
/* Bans: who is refused before any rule is asked, until when, and what a narrower word within a wider one does. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/bpf.h>
#include <cmocka.h>

#include "base/clock.h"
#include "config/prefix.h"
#include "edgebucket.h"
#include "maps/bans.h"
#include "xdp.h"

#define SETS 64

/*
 * A step is "PREFIX=SECONDS" to ban until then, from now; "=ever" for good; "-PREFIX" to lift; "*" to sweep, "o" to
 * open the maps anew, as the next agent does. Then the frames, and what was counted.
 */
struct row {
	const char *name;
	const char *rules;
	const char *steps;
	const char *frames;
	const char *counts;
};

#define NONE "[]"
#define OWN "[{ name: own, match: { src: [10.0.0.0/24] }, action: allow }, { name: all, action: deny, mode: monitor }]"

#define FROM(n) "ip4:src=10.0.0." #n " udp:1; "
#define FROM6(prefix) "ip6:src=2001:db8:" prefix " udp:1; "

static const struct row rows[] = {
	{ "nobody", NONE, "", FROM(1), "unmatched:1" },
	{ "an address", NONE, "10.0.0.1=60", FROM(1) FROM(2), "unmatched:1 banned:1" },
	{ "for good", NONE, "10.0.0.1=ever", FROM(1), "banned:1" },
	{ "a prefix", NONE, "10.0.0.0/30=60", FROM(0) FROM(3) FROM(4), "unmatched:1 banned:2" },
	{ "a short prefix", NONE, "10.0.0.0/7=60", FROM(1) "ip4:src=11.255.255.255 udp:1; ip4:src=12.0.0.0 udp:1",
	  "unmatched:1 banned:2" },
	{ "all of IPv4", NONE, "0.0.0.0/0=60", FROM(1) "ip4:src=255.255.255.255 udp:1; ip6 udp:1",
	  "unmatched:1 banned:2" },
	{ "an address of IPv6", NONE, "2001:db8:1::1=60", FROM6("1::1") FROM6("1::2") FROM(1), "unmatched:2 banned:1" },
	{ "a prefix of IPv6", NONE, "2001:db8:1::/64=60", FROM6("1::1") FROM6("1:0:ffff::1") FROM6("1:1::1"),
	  "unmatched:1 banned:2" },
	{ "a short prefix of IPv6", NONE, "2001:db8:4::/46=60", FROM6("4::1") FROM6("7:ffff::1") FROM6("8::1"),
	  "unmatched:1 banned:2" },
	{ "a very short prefix of IPv6", NONE, "2000::/20=60", FROM6("4::1") "ip6:src=2000:fff:: udp:1",
	  "unmatched:1 banned:1" },
	{ "all of IPv6", NONE, "::/0=60", FROM6("1::1") "ip6:src=:: udp:1; ip4 udp:1", "unmatched:1 banned:2" },
	{ "that ran out", NONE, "10.0.0.1=-1", FROM(1), "unmatched:1" },
	{ "that ran out, swept", NONE, "10.0.0.1=-1 * 10.0.0.2=60", FROM(1) FROM(2), "unmatched:1 banned:1" },
	{ "that runs on, swept", NONE, "10.0.0.1=60 2001:db8:1::/48=60 *", FROM(1) FROM6("1::1"), "banned:2" },
	{ "found by the next agent", NONE, "10.0.0.1=60 2001:db8:1::/48=60 o", FROM(1) FROM6("1::1") FROM(2),
	  "unmatched:1 banned:2" },
	{ "lifted", NONE, "10.0.0.1=60 -10.0.0.1", FROM(1), "unmatched:1" },
	{ "again, shorter", NONE, "10.0.0.1=60 10.0.0.1=-1", FROM(1), "unmatched:1" },
	{ "again, longer", NONE, "10.0.0.1=-1 10.0.0.1=60", FROM(1), "banned:1" },

	/* One within another */
	{ "a narrower one that ran out", NONE, "10.0.0.0/24=60 10.0.0.1=-1", FROM(1) FROM(2), "banned:2" },
	{ "a wider one that ran out", NONE, "10.0.0.0/24=-1 10.0.0.1=60", FROM(1) FROM(2), "unmatched:1 banned:1" },
	{ "both ran out", NONE, "10.0.0.0/24=-1 10.0.0.1=-1", FROM(1) FROM(2), "unmatched:2" },
	{ "some ran out", NONE, "10.0.0.0/8=60 10.0.0.0/16=-1 10.0.0.0/24=-1 10.0.0.0/31=-1 10.0.0.1=-1", FROM(1),
	  "banned:1" },
	{ "lifted within", NONE, "10.0.0.0/24=60 -10.0.0.1", FROM(1) FROM(2), "unmatched:1 banned:1" },
	{ "lifted within, swept", NONE, "10.0.0.0/24=60 -10.0.0.1 *", FROM(1) FROM(2), "unmatched:1 banned:1" },
	{ "a prefix lifted within", NONE, "2001:db8::/32=ever -2001:db8:1::/48", FROM6("1::1") FROM6("2::1"),
	  "unmatched:1 banned:1" },
	{ "banned again within what was lifted", NONE, "10.0.0.0/8=60 -10.0.0.0/24 10.0.0.1=60", FROM(1) FROM(2),
	  "unmatched:1 banned:1" },
	{ "and that ran out", NONE, "10.0.0.0/8=60 -10.0.0.0/24 10.0.0.1=-1", FROM(1), "unmatched:1" },
	{ "a wider one later", NONE, "10.0.0.0/24=60 -10.0.0.1 10.0.0.0/24=60", FROM(1), "banned:1" },
	{ "a much wider one later", NONE, "10.0.0.0/24=60 -10.0.0.1 10.0.0.0/8=60", FROM(1), "banned:1" },
	{ "the wider one lifted, with those within", NONE, "10.0.0.0/24=60 10.0.0.1=60 -10.0.0.0/24", FROM(1) FROM(2),
	  "unmatched:2" },
	{ "what is around stays", NONE, "10.0.0.0/8=60 10.0.0.1=60 -10.0.0.0/24", FROM(1) "ip4:src=10.0.1.1 udp:1",
	  "unmatched:1 banned:1" },
	{ "a hole in what ran out", NONE, "10.0.0.0/24=60 -10.0.0.1 10.0.0.0/24=-1 * 10.0.0.0/8=60", FROM(1),
	  "banned:1" },

	/* Rules */
	{ "what an allow rule matches first", OWN, "10.0.0.1=60 0.0.0.0/0=60", FROM(1) "ip4:src=10.0.1.1 udp:1",
	  "own.pass:1 banned:1" },
	{ "an allow rule behind another",
	  "[{ name: a, match: { proto: tcp }, action: deny, mode: monitor }, { name: b, action: allow }]",
	  "10.0.0.1=60", "ip4 udp:1; ip4 tcp:1", "b.pass:1 banned:1" },
	{ "an allow rule for some packets", "[{ name: ssh, match: { proto: tcp, dport: 22 }, action: allow }]",
	  "10.0.0.1=60", "ip4 tcp:22; ip4 tcp:80; ip4 udp:22", "ssh.pass:1 banned:2" },
	{ "a rule that limits is not asked",
	  "[{ name: a, action: limit, packets: { rate: 1/h, burst: 1 } }]", "10.0.0.1=60", FROM(1) FROM(2),
	  "a.pass:1 banned:1" },
};

static struct eb_bans *open_bans(const struct rig *rig)
{
	static struct eb_maps maps;
	struct eb_bans *bans;

	for (int i = 0; i < EB_MAPS; i++)
		maps.fd[i] = rig_fd(rig, eb_map_name(i));
	assert_int_equal(eb_bans_open(&maps, true, &bans), 0);
	return bans;
}

static struct eb_prefix parse_prefix(const char *text)
{
	struct eb_prefix_error error;
	struct eb_prefix prefix;

	if (eb_prefix_parse(text, &prefix, &error))
		fail_msg("%s %s", text, error.text);
	return prefix;
}

static void add(struct eb_bans *bans, char *text)
{
	struct eb_ban_order order = { .until_ns = EB_BAN_FOREVER };
	struct eb_ban_outcome added;
	char *time = strchr(text, '=');

	*time++ = '\0';
	if (strcmp(time, "ever") != 0)
		order.until_ns = eb_monotonic_ns() + strtol(time, NULL, 10) * 1000000000;
	order.prefix = parse_prefix(text);
	assert_int_equal(eb_bans_add(bans, &order, 1, EB_BANS_MAX, &added), 0);
	assert_int_equal(added.done, 1);
}

static void lift(struct eb_bans *bans, const char *text)
{
	struct eb_prefix prefix = parse_prefix(text);
	size_t lifted;

	assert_int_equal(eb_bans_lift(bans, &prefix, 1, &lifted), 0);
}

static void sweep(struct eb_bans *bans)
{
	int left;

	do
		left = eb_bans_sweep(bans);
	while (left > 0);
	assert_int_equal(left, 0);
}

/* Returns how many were in force. */
static size_t lift_all(struct eb_bans *bans)
{
	struct eb_prefix all[] = { parse_prefix("0.0.0.0/0"), parse_prefix("::/0") };
	size_t lifted;

	assert_int_equal(eb_bans_lift(bans, all, 2, &lifted), 0);
	return lifted;
}

static void step(const struct rig *rig, struct eb_bans **bans, char *text)
{
	switch (*text) {
	case '-':
		lift(*bans, text + 1);
		break;
	case '*':
		sweep(*bans);
		break;
	case 'o':
		eb_bans_close(*bans);
		*bans = open_bans(rig);
		break;
	default:
		add(*bans, text);
	}
}

static void send_all(const struct rig *rig, const char *frames)
{
	char text[512], *rest = text;

	snprintf(text, sizeof(text), "%s", frames);
	for (char *frame; (frame = strsep(&rest, ";"));)
		if (frame[strspn(frame, " ")])
			rig_send_text(rig, "%s", frame);
}

static void test_bans(void **state)
{
	struct rig *rig = *state;
	struct eb_bans *bans = open_bans(rig);

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *row = &rows[i];
		char text[256], *rest = text;

		rig_apply(rig, "");
		if (strcmp(row->rules, NONE) != 0) {
			snprintf(text, sizeof(text), "rules: %s\n", row->rules);
			rig_apply(rig, text);
		}
		rig_clear(rig);
		snprintf(text, sizeof(text), "%s", row->steps);
		for (char *one; (one = strsep(&rest, " "));)
			if (*one)
				step(rig, &bans, one);
		send_all(rig, row->frames);
		if (strcmp(rig_counts(rig, 0), row->counts) != 0)
			fail_msg("%s: counted %s, expected %s", row->name, rig_counts(rig, 0), row->counts);
		lift_all(bans);
		assert_int_equal(eb_bans_count(bans), 0);
		assert_int_equal(rig->state->bans & (EB_BANS_V4 | EB_BANS_V6), 0);
	}
	eb_bans_close(bans);
}

/* Of a ban of one IPv4 address. */
static void set_refused(const struct rig *rig, const struct eb_prefix *prefix, uint64_t refused)
{
	struct eb_lpm4 key = { .prefixlen = 32 };
	struct eb_ban ban;

	memcpy(&key.addr, prefix->addr, sizeof(key.addr));
	assert_int_equal(bpf_map_lookup_elem(rig_fd(rig, "bans_v4"), &key, &ban), 0);
	ban.refused = refused;
	assert_int_equal(bpf_map_update_elem(rig_fd(rig, "bans_v4"), &key, &ban, BPF_EXIST), 0);
}

/* What each ban refused, and what does not fit. */
static void test_counts(void **state)
{
	const struct eb_ban_order orders[] = {
		{ .prefix = parse_prefix("10.0.0.0/24"), .until_ns = EB_BAN_FOREVER, .reason = "first" },
		{ .prefix = parse_prefix("10.0.0.1"), .until_ns = EB_BAN_FOREVER },
		{ .prefix = parse_prefix("10.0.0.9"), .until_ns = EB_BAN_FOREVER, .index = 2 },
	};
	struct eb_ban_order given[3];
	struct eb_ban_outcome added;
	struct rig *rig = *state;
	struct eb_bans *bans = open_bans(rig);
	struct eb_ban_view view;
	struct frame frame;

	rig_apply(rig, "");
	memcpy(given, orders, sizeof(given));
	assert_int_equal(eb_bans_add(bans, given, 3, 2, &added), 0);
	assert_int_equal(added.done, 2);
	assert_int_equal(added.refused, 1);
	assert_int_equal(given[0].index, 2);
	memcpy(given, orders, sizeof(given));
	assert_int_equal(eb_bans_add(bans, given, 2, 2, &added), 0);
	assert_int_equal(added.done, 2);
	for (int i = 0; i < 3; i++)
		rig_send_text(rig, "ip4:src=10.0.0.2 udp:1");
	rig_send_text(rig, "ip4:src=10.0.0.1 udp:1");
	assert_true(eb_bans_find(bans, &orders[2].prefix, eb_monotonic_ns(), &view));
	assert_int_equal(view.prefix.len, 24);
	assert_int_equal(view.ban.refused, 3);
	assert_string_equal(view.ban.reason, "first");
	memcpy(given, orders, sizeof(given));
	assert_int_equal(eb_bans_add(bans, given, 1, 2, &added), 0);
	assert_true(eb_bans_find(bans, &orders[0].prefix, eb_monotonic_ns(), &view));
	assert_int_equal(view.ban.refused, 3);
	frame_make("ip4:src=10.0.0.1 udp:1", &frame);
	rig_repeat(rig, &frame, 1022); /* the last that count one by one */
	assert_true(eb_bans_find(bans, &orders[1].prefix, eb_monotonic_ns(), &view));
	assert_int_equal(view.ban.refused, 1023);
	rig_repeat(rig, &frame, 100000);
	assert_true(eb_bans_find(bans, &orders[1].prefix, eb_monotonic_ns(), &view));
	assert_in_range(view.ban.refused, 80000, 120000); /* eight times the standard deviation */
	set_refused(rig, &orders[1].prefix, UINT32_MAX);
	rig_repeat(rig, &frame, 100000);
	assert_true(eb_bans_find(bans, &orders[1].prefix, eb_monotonic_ns(), &view));
	assert_in_range(view.ban.refused, UINT32_MAX + 80000ULL, UINT32_MAX + 120000ULL);
	assert_int_equal(lift_all(bans), 2);
	eb_bans_close(bans);
}

#define MANY 3000 /* more than one system call takes */

/* The same prefixes in the same mix of orders each time: 10.0.N.M or 2001:db8:0:N::M. */
static void make_many(struct eb_ban_order *orders, uint64_t until_ns)
{
	for (uint32_t i = 0; i < MANY; i++) {
		uint32_t mixed = i * 1999 % MANY;
		struct eb_prefix *prefix = &orders[i].prefix;

		orders[i] = (struct eb_ban_order){ .until_ns = until_ns, .index = i };
		*prefix = parse_prefix(mixed % 2 ? "10.0.0.0" : "2001:db8::");
		prefix->addr[mixed % 2 ? 2 : 7] = mixed / 256;
		prefix->addr[mixed % 2 ? 3 : 15] = mixed % 256;
	}
}

static size_t add_many(struct eb_bans *bans, struct eb_ban_order *orders, size_t count)
{
	struct eb_ban_outcome added;

	assert_int_equal(eb_bans_add(bans, orders, count, EB_BANS_MAX, &added), 0);
	assert_int_equal(added.refused, 0);
	return added.done;
}

/* More than a step of each: added twice, with others between; all within a prefix lifted; the rest run out. */
static void test_many(void **state)
{
	struct eb_ban_order *orders = calloc(2 * MANY, sizeof(*orders));
	struct rig *rig = *state;
	struct eb_bans *bans = open_bans(rig);
	struct eb_prefix wide = parse_prefix("10.0.4.0/22"), *own = calloc(MANY, sizeof(*own));
	struct eb_ban_view view;
	struct eb_ban_lift *lift;
	size_t lifted;
	int steps = 0;

	assert_non_null(orders);
	assert_non_null(own);
	make_many(orders, EB_BAN_FOREVER);
	make_many(orders + MANY, eb_monotonic_ns() + 3600000000000ULL);
	for (size_t i = MANY; i < 2 * MANY; i++)
		orders[i].index = i;
	assert_int_equal(add_many(bans, orders, 2 * MANY), MANY); /* of two, the later one */
	assert_int_equal(eb_bans_count(bans), MANY);
	assert_int_equal(eb_bans_count_of(bans, EB_BAN_OPERATOR), MANY);
	assert_true(eb_bans_get(bans, &orders[0].prefix, &view) && view.ban.until_ns != EB_BAN_FOREVER);
	assert_int_equal(rig_send_text(rig, "ip4:src=10.0.5.1 udp:1"), XDP_DROP);
	assert_int_equal(eb_ban_lift_new(bans, &wide, 1, &lift), 0);
	while (eb_ban_lift_step(lift) > 0)
		steps++;
	assert_in_range(steps, 4, 6);
	assert_int_equal(eb_ban_lift_lifted(lift), 512); /* every other address of 1024 */
	eb_ban_lift_free(lift);
	assert_int_equal(eb_bans_count(bans), MANY - 512);
	assert_int_equal(rig_send_text(rig, "ip4:src=10.0.5.1 udp:1"), XDP_PASS);
	assert_int_equal(rig_send_text(rig, "ip4:src=10.0.8.1 udp:1"), XDP_DROP);
	assert_int_equal(rig_send_text(rig, "ip6:src=2001:db8:0:5::2 udp:1"), XDP_DROP);

	/* A list of them, of which some are not banned. */
	make_many(orders, EB_BAN_FOREVER);
	for (size_t i = 0; i < MANY; i++)
		own[i] = orders[i].prefix;
	assert_int_equal(eb_bans_lift(bans, own, MANY, &lifted), 0);
	assert_int_equal(lifted, MANY - 512);
	assert_int_equal(eb_bans_count(bans), 0);
	assert_int_equal(rig_send_text(rig, "ip4:src=10.0.8.1 udp:1"), XDP_PASS);

	make_many(orders, eb_monotonic_ns() - 1);
	assert_int_equal(add_many(bans, orders, MANY), MANY);
	for (steps = 0; eb_bans_sweep(bans) > 0; steps++)
		;
	assert_in_range(steps, 3, 6);
	assert_int_equal(eb_bans_count(bans), 0);
	free(own);
	free(orders);
	eb_bans_close(bans);
}

/* Holes that a wider ban closes or leaves, also in the tries of the next agent. */
static void test_holes(void **state)
{
	struct eb_ban_order *orders = calloc(MANY, sizeof(*orders));
	struct eb_ban_order around = { .prefix = parse_prefix("10.0.0.0/8"), .until_ns = EB_BAN_FOREVER };
	struct eb_ban_order within = { .prefix = parse_prefix("10.0.4.0/24"), .until_ns = EB_BAN_FOREVER };
	struct eb_prefix *own = calloc(MANY, sizeof(*own));
	struct rig *rig = *state;
	struct eb_bans *bans = open_bans(rig);
	struct eb_ban_outcome added;
	size_t lifted;

	assert_non_null(orders);
	assert_non_null(own);
	make_many(orders, EB_BAN_FOREVER);
	for (size_t i = 0; i < MANY; i++)
		own[i] = orders[i].prefix;
	assert_int_equal(add_many(bans, &around, 1), 1);
	assert_int_equal(eb_bans_lift(bans, own, MANY, &lifted), 0);
	assert_int_equal(lifted, MANY / 2);
	assert_int_equal(eb_bans_count(bans), MANY / 2 + 1);
	assert_int_equal(rig_send_text(rig, "ip4:src=10.0.4.1 udp:1"), XDP_PASS);
	assert_int_equal(add_many(bans, &within, 1), 1);
	assert_int_equal(eb_bans_count(bans), MANY / 2 + 2 - 128);
	assert_int_equal(rig_send_text(rig, "ip4:src=10.0.4.1 udp:1"), XDP_DROP);
	assert_int_equal(rig_send_text(rig, "ip4:src=10.0.3.1 udp:1"), XDP_PASS);
	eb_bans_close(bans);
	bans = open_bans(rig);
	around.since_ns = 1; /* of a store: earlier than what is there */
	orders[0] = (struct eb_ban_order){
		.prefix = parse_prefix("10.0.4.1"), .until_ns = EB_BAN_FOREVER, .kind = EB_BAN_HOLE, .since_ns = 1
	};
	assert_int_equal(eb_bans_restore(bans, orders, 1, EB_BANS_MAX, &added), 0);
	assert_int_equal(eb_bans_restore(bans, &around, 1, EB_BANS_MAX, &added), 0);
	assert_int_equal(eb_bans_count(bans), MANY / 2 + 2 - 128);
	around.since_ns = 0;
	assert_int_equal(add_many(bans, &around, 1), 1);
	assert_int_equal(eb_bans_count(bans), 2);
	assert_int_equal(rig_send_text(rig, "ip4:src=10.0.3.1 udp:1"), XDP_DROP);
	assert_int_equal(lift_all(bans), 2);
	free(own);
	free(orders);
	eb_bans_close(bans);
}

/* Where all is only watched, bans are too, and the rules decide. */
static void test_monitor(void **state)
{
	struct rig *rig = *state;
	struct eb_bans *bans = open_bans(rig);
	uint32_t index;
	char order[] = "10.0.0.1=60";

	rig_apply(rig, "rules: [{ name: a, action: deny, mode: monitor }]\n");
	rig_clear(rig);
	add(bans, order);
	index = rig->state->active;
	rig->policy->bans_monitor = 1;
	assert_int_equal(bpf_map_update_elem(rig_fd(rig, "policy"), &index, rig->policy, 0), 0);
	assert_int_equal(rig_send_text(rig, "ip4 udp:1"), XDP_PASS);
	assert_string_equal(rig_counts(rig, 0), "a.would_drop:1 would_ban:1");
	lift_all(bans);
	eb_bans_close(bans);
}

static int open_rig(void **state)
{
	return rig_setup(state, SETS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bans),
		cmocka_unit_test(test_counts),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_holes),
		cmocka_unit_test(test_monitor),
	};

	return cmocka_run_group_tests_name("bans", tests, open_rig, rig_teardown);
}
