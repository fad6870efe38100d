// SPDX-License-Identifier: GPL-2.0-only
/* Tunnels of every kind: whose packet the program sees, by the rule that decides and the bucket that is charged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "edgebucket.h"
#include "xdp.h"

#define SETS 64

/* An unknown transport header is taken by `web`, the first rule that asks for one and does not allow. */
static const char rules[] =
	"tunnels:\n"
	"- { type: ipip, from: [10.8.0.0/16, \"2001:db8:8::/48\"] }\n"
	"- { type: gre, from: [10.8.0.0/16, 10.7.0.0/16, \"2001:db8:8::/48\"] }\n"
	"- { type: gue, from: [10.8.0.0/16, \"2001:db8:8::/48\"] }\n"
	"- { type: vxlan, from: 10.8.0.0/16 }\n"
	"- { type: vxlan, from: \"2001:db8:8::/48\" }\n"
	"- { type: geneve, from: [10.8.0.0/16, \"2001:db8:8::/48\"] }\n"
	"rules:\n"
	"- { name: friend, match: { src: [10.9.0.0/16, \"2001:db8:9::/48\"] }, action: allow }\n"
	"- { name: allowed, match: { proto: udp, dport: 7777 }, action: allow }\n"
	"- { name: web, match: { proto: tcp, dport: 80 }, action: limit, packets: { rate: 1/h, burst: 9 } }\n"
	"- { name: dns, match: { dst: [198.51.100.53, \"2001:db8::53\"], proto: udp, dport: 53 },\n"
	"    action: limit, packets: { rate: 1/h, burst: 9 } }\n"
	"- { name: pieces, match: { fragment: true }, action: limit, packets: { rate: 1/h, burst: 9 } }\n"
	"- { name: udp, match: { proto: udp }, action: limit, packets: { rate: 1/h, burst: 9 } }\n"
	"- { name: rest, action: limit, packets: { rate: 1/h, burst: 9 } }\n";

#define LB4 "10.8.0.5"
#define LB6 "2001:db8:8::5"
#define INNER4 FRAME_SRC4
#define INNER6 "2001:db8:1::"
#define OUT4 "ip4:src=" LB4 " "
#define OUT6 "ip6:src=" LB6 " "

struct row {
	const char *frame;
	const char *counted; /* "rule.pass" or a kind */
	const char *source;  /* that has the bucket; NULL without one */
};

static const struct row rows[] = {
	/* Each kind, over and with both families. */
	{ OUT4 "ip4 udp:53", "dns.pass", INNER4 },
	{ OUT4 "ip6 udp:53", "dns.pass", INNER6 },
	{ OUT6 "ip4 udp:53", "dns.pass", INNER4 },
	{ OUT6 "ip6 tcp:80", "web.pass", INNER6 },
	{ OUT4 "gre ip4 udp:53", "dns.pass", INNER4 },
	{ OUT6 "gre ip6 udp:53", "dns.pass", INNER6 },
	{ OUT4 "gre:flags=8000 ip4 udp:53", "dns.pass", INNER4 },
	{ OUT4 "gre:flags=b000 ip4 tcp:80", "web.pass", INNER4 },
	{ OUT4 "gre:flags=03f8 ip4 udp:53", "dns.pass", INNER4 },
	{ OUT4 "gre mac ip4 udp:53", "dns.pass", INNER4 },
	{ OUT4 "udp:6080 gue ip4 udp:53", "dns.pass", INNER4 },
	{ OUT4 "udp:6080 gue:31 ip6 udp:53", "dns.pass", INNER6 },
	{ OUT6 "udp:6080 ip4 udp:53", "dns.pass", INNER4 },
	{ OUT6 "udp:6080 ip6 udp:53", "dns.pass", INNER6 },
	{ OUT4 "udp:4789 vxlan mac ip4 udp:53", "dns.pass", INNER4 },
	{ OUT6 "udp:4789 vxlan mac ip6 udp:53", "dns.pass", INNER6 },
	{ OUT4 "udp:4789 vxlan mac tag:88a8 tag pppoe ip4 udp:53", "dns.pass", INNER4 },
	{ OUT4 "udp:6081 geneve mac ip4 udp:53", "dns.pass", INNER4 },
	{ OUT4 "udp:6081 geneve:63 mac tag tag ip6 udp:53", "dns.pass", INNER6 },
	{ OUT6 "udp:6081 geneve:1 ip4 tcp:80", "web.pass", INNER4 },

	/* What comes before and behind the tunnel's header. */
	{ "tag:88a8 tag pppoe ip4:src=" LB4 ",opts=40 ah:4 gre ip4:opts=40 udp:53", "dns.pass", INNER4 },
	{ OUT6 "hop dst:3 rt frag ah:4 udp:4789 vxlan mac ip6 hop dst frag udp:53", "dns.pass", INNER6 },
	{ OUT4 "ip4 udp:7777", "allowed.pass", NULL },
	{ OUT4 "ip4:src=10.9.1.1 tcp:80", "friend.pass", NULL },
	{ OUT4 "ip6:src=2001:db8:9::1 tcp:80", "friend.pass", NULL },
	{ OUT4 "ip4 udp:53 pad:10", "dns.pass", INNER4 },
	{ OUT4 "ip4 icmp:8", "rest.pass", INNER4 },

	/* Fragments inside are the client's, outside the tunnel's. */
	{ OUT4 "ip4:frag=2000 udp:53", "dns.pass", INNER4 },
	{ OUT4 "ip4:frag=0003,proto=17 raw:8", "dns.pass", INNER4 },
	{ OUT4 "ip6 frag:off=9 udp:53", "web.pass", INNER6 },
	{ "ip4:src=" LB4 ",frag=2000 ip4 udp:53", "web.pass", LB4 },
	{ "ip4:src=" LB4 ",frag=0003,proto=4 raw:40", "web.pass", LB4 },
	{ "ip4:src=" LB4 ",frag=0003,proto=17 raw:40", "web.pass", LB4 },
	{ "ip4:src=10.7.0.5,frag=0003,proto=17 raw:40", "dns.pass", "10.7.0.5" },
	{ "ip4:src=" LB4 ",frag=2000 udp:53", "dns.pass", LB4 },
	{ OUT6 "frag:more=1 gre ip4 udp:53", "web.pass", "2001:db8:8::" },
	{ OUT6 "frag:off=9 gre ip4 udp:53", "web.pass", "2001:db8:8::" },

	/* Trust is for a source and a kind. */
	{ "ip4:src=10.7.0.5 gre ip4 udp:53", "dns.pass", INNER4 },
	{ "ip4:src=10.7.0.5 ip4 udp:53", "rest.pass", "10.7.0.5" },
	{ "ip4:src=10.7.0.5 udp:4789 vxlan mac ip4 udp:53", "udp.pass", "10.7.0.5" },
	{ "ip4:src=10.6.0.5 ip4:src=10.9.1.1 udp:53", "rest.pass", "10.6.0.5" },
	{ "ip4:src=10.6.0.5 gre ip4:src=10.9.1.1 udp:53", "rest.pass", "10.6.0.5" },
	{ "ip4:src=10.6.0.5 udp:6080 gue ip4:src=10.9.1.1 tcp:80", "udp.pass", "10.6.0.5" },
	{ "ip4:src=10.6.0.5 udp:6081 geneve mac ip4:src=10.9.1.1 tcp:80", "udp.pass", "10.6.0.5" },
	{ "ip6:src=2001:db8:6::5 ip6:src=2001:db8:9::1 udp:53", "rest.pass", "2001:db8:6::" },
	{ "ip4:src=10.9.0.5 ip4:src=10.6.0.6 udp:53", "friend.pass", NULL },

	/* One tunnel is opened; a second one hides what it carries. */
	{ OUT4 "ip4:src=" LB4 " ip4:src=10.9.1.1 udp:7777", "web.pass", LB4 },
	{ OUT4 "ip4 gre ip4:src=10.9.1.1 udp:7777", "web.pass", INNER4 },
	{ OUT4 "gre ip4 udp:6080 gue ip4:src=10.9.1.1 udp:7777", "web.pass", INNER4 },
	{ OUT6 "udp:4789 vxlan mac ip6 udp:6081 geneve mac ip4 udp:53", "web.pass", INNER6 },

	/* No tunnel with IP. */
	{ OUT4 "udp:53", "dns.pass", LB4 },
	{ OUT4 "tcp:80", "web.pass", LB4 },
	{ OUT4 "udp:4790 vxlan mac ip4 udp:53", "udp.pass", LB4 },
	{ OUT4 "gre:type=880b raw:20", "rest.pass", LB4 },
	{ OUT4 "gre:flags=4000 ip4 udp:53", "rest.pass", LB4 },
	{ OUT4 "gre:flags=0400 ip4 udp:53", "rest.pass", LB4 },
	{ OUT4 "gre:flags=0001 ip4 udp:53", "rest.pass", LB4 },
	{ OUT4 "udp:6080 gue:first=20 ip4 udp:53", "udp.pass", LB4 },
	{ OUT4 "udp:6080 gue:first=80 ip4 udp:53", "udp.pass", LB4 },
	{ OUT4 "udp:6080 gue:proto=17 udp:53", "udp.pass", LB4 },
	{ OUT4 "udp:4789 vxlan:flags=0 mac ip4 udp:53", "udp.pass", LB4 },
	{ OUT4 "udp:4789 vxlan mac eth:0806 raw:28", "udp.pass", LB4 },
	{ OUT4 "udp:6081 geneve:first=40 mac ip4 udp:53", "udp.pass", LB4 },
	{ OUT4 "udp:6081 geneve:second=80 mac ip4 udp:53", "udp.pass", LB4 },

	/* A link's own packets are a link's: of an Ethernet in a tunnel, not of IP in IP. */
	{ OUT4 "udp:4789 vxlan mac ip6:hl=255 icmp6:135", "nd", NULL },
	{ OUT4 "udp:6081 geneve mac ip4:dst=224.0.0.22,ttl=1,opts=4,ra=1 igmp:34", "group", NULL },
	{ OUT4 "ip6:hl=255 icmp6:135", "web.pass", INNER6 },
	{ OUT4 "gre ip4:dst=224.0.0.22,ttl=1,opts=4,ra=1 igmp:34", "web.pass", INNER4 },

	/* Cut. */
	{ OUT4 "ip4:len=29 udp:53", "malformed", NULL },
	{ OUT4 "ip4:len=19 udp:53", "malformed", NULL },
	{ OUT4 "ip4:ver=6 udp:53", "malformed", NULL },
	{ OUT4 "next:4", "malformed", NULL },
	{ OUT4 "next:47 raw:3", "malformed", NULL },
	{ OUT4 "gre:flags=2000 cut:38", "malformed", NULL },
	{ OUT4 "udp:6080", "malformed", NULL },
	{ OUT4 "udp:6080 raw:3", "malformed", NULL },
	{ OUT4 "udp:6080 gue:first=1 ip4:len=24", "malformed", NULL },
	{ OUT4 "udp:4789 raw:7", "malformed", NULL },
	{ OUT4 "udp:4789 vxlan raw:13", "malformed", NULL },
	{ OUT4 "udp:6081 geneve:first=3f mac ip4 udp:53", "malformed", NULL },
	{ "ip4:src=" LB4 ",len=40 ip4:len=28 udp:53", "malformed", NULL },

	/* The tunnel's headers in the second buffer, which begins some 3.5 KiB into a frame. */
	{ OUT6 "dst:255 dst:200 ip4 udp:53", "web.pass", "2001:db8:8::" },
	{ OUT4 "ip6 dst:255 dst:255 udp:53", "web.pass", INNER6 },
	{ OUT4 "udp:4789 vxlan mac ip4 udp:53 raw:8000", "dns.pass", INNER4 },
};

static void check_row(struct rig *rig, const struct row *row)
{
	static struct frame frame;
	char expected[64], rule[EB_RULE_NAME_MAX];
	int verdict;

	frame_make(row->frame, &frame);
	rig_clear(rig);
	verdict = rig_send(rig, &frame);
	snprintf(expected, sizeof(expected), "%s:1", row->counted);
	if (strcmp(rig_counts(rig, frame.len), expected))
		fail_msg("%s: counted \"%s\", not \"%s\"", row->frame, rig_counts(rig, frame.len), expected);
	if (verdict != (strcmp(row->counted, "malformed") ? XDP_PASS : XDP_DROP))
		fail_msg("%s: verdict %d", row->frame, verdict);
	if (!row->source)
		return;
	snprintf(rule, sizeof(rule), "%.*s", (int)strcspn(row->counted, "."), row->counted);
	if (!rig_bucket_of(rig, rule, row->source))
		fail_msg("%s: %s has no bucket of %s", row->frame, row->source, rule);
}

static void test_tunnels(void **state)
{
	struct rig *rig = *state;

	rig_apply(rig, rules);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		check_row(rig, &rows[i]);
	rig_check_table(rig);
}

/* The same frames without the section: all are charged to their outer source. */
static void test_no_tunnels(void **state)
{
	struct rig *rig = *state;

	rig_apply(rig, strstr(rules, "rules:"));
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		rig_clear(rig);
		rig_send_text(rig, "%s", rows[i].frame);
		assert_null(rig_bucket_of(rig, "dns", INNER4));
		assert_null(rig_bucket_of(rig, "web", INNER4));
		assert_null(rig_bucket_of(rig, "web", INNER6));
	}
}

/* The frame's end at every byte, and with the end of the first buffer at every byte: no header is half used. */
static void test_cut(void **state)
{
	static const char *const frames[] = {
		OUT4 "gre:flags=b000 ip4:opts=8 udp:53",
		OUT4 "udp:6080 gue:2 ip6 hop udp:53",
		OUT6 "hop udp:4789 vxlan mac tag ip4 udp:53",
		OUT4 "udp:6081 geneve:3 mac ip6 frag udp:53",
	};
	static struct frame frame;
	struct rig *rig = *state;

	rig_apply(rig, rules);
	for (size_t i = 0; i < sizeof(frames) / sizeof(frames[0]); i++) {
		size_t full;

		frame_make(frames[i], &frame);
		full = frame.len;
		for (frame.len = 14; frame.len < full; frame.len++) {
			rig_clear(rig);
			assert_int_equal(rig_send(rig, &frame), XDP_DROP);
			assert_string_equal(rig_counts(rig, frame.len), "malformed:1");
		}
	}
}

/* The end of the first buffer at every byte: what lies behind it is unknown, and whose packet it is stays certain. */
static void test_split(void **state)
{
	static struct frame frame;
	struct rig *rig = *state;

	rig_apply(rig, rules);
	frame_make(OUT4 "udp:6081 geneve:3 mac ip4 udp:53 raw:4000", &frame);
	if (rig_send_split(rig, &frame, 1000) < 0) {
		print_message("skipped: this kernel (before 6.18) cannot split test frames\n");
		skip();
	}
	for (uint32_t linear = 14 + 20 + 8; linear < 400; linear++) {
		size_t inner = 14 + 20 + 8 + 20 + 14, ports_end = inner + 20 + 4;

		rig_clear(rig);
		assert_int_equal(rig_send_split(rig, &frame, linear), XDP_PASS);
		assert_string_equal(rig_counts(rig, frame.len), linear < ports_end ? "web.pass:1" : "dns.pass:1");
		assert_non_null(rig_bucket_of(rig, linear < ports_end ? "web" : "dns",
					      linear < inner + 20 ? LB4 : INNER4));
	}
}

static int open_rig(void **state)
{
	return rig_setup(state, SETS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tunnels),
		cmocka_unit_test(test_no_tunnels),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_split),
	};

	return cmocka_run_group_tests_name("tunnels", tests, open_rig, rig_teardown);
}
