// SPDX-License-Identifier: GPL-2.0-only
/* Rules: which one decides about a packet, and what becomes of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "edgebucket.h"
#include "xdp.h"

#define SETS 64

#define LIMIT(burst) "action: limit, packets: { rate: 1/h, burst: " #burst " }"

struct row {
	const char *name;
	const char *rules;  /* items of `rules:` */
	const char *frames; /* frame.h; "; " between, "N*" before one to send N times */
	const char *counts; /* rig_counts() */
	int verdict;        /* the last frame's */
};

static const struct row rows[] = {
	/* Actions and modes */
	{ "no rules", "[]", "ip4 udp:53; ip6 tcp:80", "unmatched:2", XDP_PASS },
	{ "allow", "[{ name: a, action: allow }]", "3*ip4 udp:53; ip6 udp:53", "a.pass:4", XDP_PASS },
	{ "deny", "[{ name: a, action: deny }]", "3*ip4 udp:53; ip6 udp:53", "a.drop:4", XDP_DROP },
	{ "deny, monitored", "[{ name: a, action: deny, mode: monitor }]", "3*ip4 udp:53", "a.would_drop:3", XDP_PASS },
	{ "limit", "[{ name: a, " LIMIT(2) " }]", "5*ip4 udp:53", "a.pass:2 a.drop:3", XDP_DROP },
	{ "limit of IPv6", "[{ name: a, " LIMIT(2) " }]", "5*ip6 udp:53", "a.pass:2 a.drop:3", XDP_DROP },
	{ "limit, monitored", "[{ name: a, mode: monitor, " LIMIT(2) " }]", "5*ip4 udp:53",
	  "a.pass:2 a.would_drop:3", XDP_PASS },
	{ "limit, one token", "[{ name: a, " LIMIT(1) " }]", "2*ip4 udp:53", "a.pass:1 a.drop:1", XDP_DROP },
	{ "sources are apart", "[{ name: a, " LIMIT(1) " }]", "2*ip4:src=10.0.0.1 udp:53; 2*ip4:src=10.0.0.2 udp:53",
	  "a.pass:2 a.drop:2", XDP_DROP },
	{ "families are apart", "[{ name: a, " LIMIT(1) " }]", "2*ip4 udp:53; 2*ip6 udp:53", "a.pass:2 a.drop:2",
	  XDP_DROP },
	{ "rules are apart",
	  "[{ name: a, match: { proto: udp }, " LIMIT(1) " }, { name: b, match: { proto: tcp }, " LIMIT(1) " }]",
	  "2*ip4 udp:53; 2*ip4 tcp:80", "a.pass:1 a.drop:1 b.pass:1 b.drop:1", XDP_DROP },
	{ "ports of one rule share a bucket", "[{ name: a, match: { proto: udp, dport: [1, 2] }, " LIMIT(1) " }]",
	  "ip4 udp:1; ip4 udp:2", "a.pass:1 a.drop:1", XDP_DROP },

	/* Order */
	{ "the first decides", "[{ name: a, action: deny }, { name: b, action: allow }]", "ip4 udp:53", "a.drop:1",
	  XDP_DROP },
	{ "the first that matches decides",
	  "[{ name: a, match: { src: [10.0.0.2] }, action: deny }, { name: b, action: allow }]", "ip4 udp:53",
	  "b.pass:1", XDP_PASS },
	{ "a refusal is final", "[{ name: a, " LIMIT(1) " }, { name: b, action: allow }]", "2*ip4 udp:53",
	  "a.pass:1 a.drop:1", XDP_DROP },
	{ "a monitored refusal is final too", "[{ name: a, mode: monitor, " LIMIT(1) " }, { name: b, action: deny }]",
	  "2*ip4 udp:53", "a.pass:1 a.would_drop:1", XDP_PASS },

	/* Addresses */
	{ "order, not length of prefix, decides",
	  "[{ name: a, match: { src: [10.0.0.0/8] }, action: allow }, "
	  "{ name: b, match: { src: [10.0.0.1] }, action: deny }]",
	  "ip4 udp:53", "a.pass:1", XDP_PASS },
	{ "the longer prefix first",
	  "[{ name: a, match: { src: [10.0.0.1] }, action: deny }, "
	  "{ name: b, match: { src: [10.0.0.0/8] }, action: allow }]",
	  "ip4 udp:53; ip4:src=10.0.0.2 udp:53", "a.drop:1 b.pass:1", XDP_PASS },
	{ "edges of a prefix", "[{ name: a, match: { src: [10.1.2.0/23] }, action: deny }]",
	  "ip4:src=10.1.2.0 udp:1; ip4:src=10.1.3.255 udp:1; ip4:src=10.1.1.255 udp:1; ip4:src=10.1.4.0 udp:1",
	  "a.drop:2 unmatched:2", XDP_PASS },
	{ "edges of an IPv6 prefix", "[{ name: a, match: { src: [\"2001:db8:4::/47\"] }, action: deny }]",
	  "ip6:src=2001:db8:4:: udp:1; ip6:src=2001:db8:5:ffff:ffff:ffff:ffff:ffff udp:1; "
	  "ip6:src=2001:db8:3:ffff:ffff:ffff:ffff:ffff udp:1; ip6:src=2001:db8:6:: udp:1",
	  "a.drop:2 unmatched:2", XDP_PASS },
	{ "all of IPv4", "[{ name: a, match: { src: [0.0.0.0/0] }, action: deny }]",
	  "ip4:src=0.0.0.0 udp:1; ip4:src=255.255.255.255 udp:1; ip6 udp:1", "a.drop:2 unmatched:1", XDP_PASS },
	{ "all of IPv6", "[{ name: a, match: { src: [\"::/0\"] }, action: deny }]", "ip6:src=:: udp:1; ip4 udp:1",
	  "a.drop:1 unmatched:1", XDP_PASS },
	{ "a destination", "[{ name: a, match: { dst: [198.51.100.0/24, \"2001:db8::/64\"] }, action: deny }]",
	  "ip4 udp:1; ip6 udp:1; ip4:dst=198.51.101.1 udp:1; ip6:dst=2001:db8:0:1:: udp:1; "
	  "ip4:src=198.51.100.1,dst=1.1.1.1 udp:1",
	  "a.drop:2 unmatched:3", XDP_PASS },
	{ "source and destination", "[{ name: a, match: { src: [10.0.0.0/24], dst: [198.51.100.53] }, action: deny }]",
	  "ip4 udp:1; ip4:src=10.0.1.1 udp:1; ip4:dst=198.51.100.54 udp:1; ip6 udp:1", "a.drop:1 unmatched:3",
	  XDP_PASS },
	{ "a rule without a source beside one with",
	  "[{ name: a, match: { src: [10.0.0.0/8] }, action: deny }, "
	  "{ name: b, match: { proto: udp }, action: allow }]",
	  "ip4:src=11.0.0.1 udp:1; ip6 udp:1; ip4:src=11.0.0.1 tcp:1; ip4 udp:1", "a.drop:1 b.pass:2 unmatched:1",
	  XDP_DROP },

	/* Protocols and ports */
	{ "a protocol by name", "[{ name: a, match: { proto: icmp }, action: deny }]",
	  "ip4 icmp; ip4 udp:1; ip6 icmp6:128",
	  "a.drop:1 unmatched:2", XDP_PASS },
	{ "a protocol by number", "[{ name: a, match: { proto: 47 }, action: deny }]",
	  "ip4:proto=47 raw:4; ip6:nh=47 raw:4; ip4 tcp:47",
	  "a.drop:2 unmatched:1", XDP_PASS },
	{ "protocols 0 and 255",
	  "[{ name: a, match: { proto: 0 }, action: deny }, { name: b, match: { proto: 255 }, action: deny }]",
	  "ip4:proto=0 raw:4; ip4:proto=255 raw:4", "a.drop:1 b.drop:1", XDP_DROP },
	{ "edges of port ranges",
	  "[{ name: a, match: { proto: udp, dport: [5, \"1000-2000\", 65535] }, action: deny }]",
	  "ip4 udp:5; ip4 udp:1000; ip4 udp:1500; ip4 udp:2000; ip4 udp:65535; "
	  "ip4 udp:4; ip4 udp:6; ip4 udp:999; ip4 udp:2001; ip4 udp:65534; ip4 udp:0; ip4 tcp:5",
	  "a.drop:5 unmatched:7", XDP_PASS },
	{ "a rule without a port beside one with",
	  "[{ name: a, match: { proto: udp, dport: 53 }, action: deny }, "
	  "{ name: b, match: { proto: udp }, action: allow }]",
	  "ip4 udp:53; ip4 udp:54; ip4:frag=0001 udp:53", "a.drop:2 b.pass:1", XDP_DROP },
	{ "the source port does not count",
	  "[{ name: a, match: { proto: udp, dport: 40000 }, action: deny }]",
	  "ip4 udp:53", "unmatched:1", XDP_PASS },

	/* What else rules can ask for */
	{ "source ports", "[{ name: a, match: { proto: udp, sport: [53, \"1024-2047\"] }, action: deny }]",
	  "ip4 udp:9,sport=53; ip6 udp:9,sport=1024; ip4 udp:9,sport=2047; ip4 udp:9,sport=2048; ip4 udp:53,sport=52; "
	  "ip4 tcp:9,sport=53", "a.drop:3 unmatched:3", XDP_PASS },
	{ "source and destination port", "[{ name: a, match: { sport: 53, dport: 9 }, action: deny }]",
	  "ip4 udp:9,sport=53; ip4 udp:53,sport=9; ip4 tcp:9,sport=53; ip4 icmp", "a.drop:2 unmatched:2", XDP_PASS },
	{ "protocols as a list", "[{ name: a, match: { proto: [icmp, 47] }, action: deny }]",
	  "ip4 icmp; ip4:proto=47 raw:4; ip4 udp:9; ip4 tcp:9", "a.drop:2 unmatched:2", XDP_PASS },
	{ "a connection's start", "[{ name: a, match: { tcp_flags: syn }, action: deny }]",
	  "ip4 tcp:9,flags=02; ip6 tcp:9,flags=c2; ip4 tcp:9,flags=12; ip4 tcp:9,flags=10; ip4 udp:9",
	  "a.drop:2 unmatched:3", XDP_PASS },
	{ "flags set and not set",
	  "[{ name: a, match: { proto: tcp, tcp_flags: [fin, psh, \"!ack\"] }, action: deny }]",
	  "ip4 tcp:9,flags=29; ip6 hop dst tcp:9,flags=09; ip4 tcp:9,flags=19; ip4 tcp:9,flags=01; ip4:opts=40 "
	  "tcp:9,flags=09", "a.drop:3 unmatched:2", XDP_DROP },
	{ "flags behind another fragment", "[{ name: a, match: { tcp_flags: syn }, action: deny }, "
	  "{ name: b, match: { proto: tcp, dport: 9 }, action: allow }]",
	  "ip4:frag=2000,len=28 tcp:9,flags=10 cut:42; ip4:frag=0001 tcp; ip6 frag:off=1 tcp; "
	  "ip4 tcp:9,flags=10", "a.drop:3 b.pass:1", XDP_PASS },
	{ "flags behind another fragment, allowed", "[{ name: a, match: { tcp_flags: ack }, action: allow }]",
	  "ip4:frag=2000,len=28 tcp:9,flags=10 cut:42; ip4:frag=0001 tcp; ip4 tcp:9,flags=10", "a.pass:1 unmatched:2",
	  XDP_PASS },
	{ "types of ICMP", "[{ name: a, match: { proto: icmp, icmp_type: [echo-request, 3] }, action: deny }]",
	  "ip4 icmp:8; ip4 icmp:3; ip4 icmp:0; ip6 icmp6:3; ip6 icmp6:128; ip4:frag=0001 icmp:0; ip4 udp:8",
	  "a.drop:3 unmatched:4", XDP_PASS },
	{ "types of both ICMP", "[{ name: a, match: { icmp_type: echo-request }, action: deny }]",
	  "ip4 icmp:8; ip6 icmp6:128; ip6 hop icmp6:128; ip4 icmp:128; ip6 icmp6:8", "a.drop:3 unmatched:2", XDP_PASS },
	{ "a type that is not there", "[{ name: a, match: { icmp_type: echo-request }, action: deny }]",
	  "ip4 next:1; ip4 next:17", "a.drop:1 malformed:1", XDP_DROP },
	{ "the IP packet's length", "[{ name: a, match: { length: \"0-63\" }, action: deny }]",
	  "ip4 udp:9 raw:35; ip4 udp:9 raw:36; ip6 udp:9 raw:15; ip6 udp:9 raw:16; tag tag ip4 udp:9 raw:35 pad:99; "
	  "ip6 hop udp:9 raw:7; ip4 udp:9 raw:30000", "a.drop:4 unmatched:3", XDP_PASS },
	{ "the longest", "[{ name: a, match: { length: [65535] }, action: deny }]",
	  "ip4 udp:9 raw:65507; ip4 udp:9 raw:65506; ip4:len=0 udp:9 raw:70000; ip6 udp:9 raw:65487",
	  "a.drop:3 unmatched:1", XDP_DROP },
	{ "fragments", "[{ name: a, match: { fragment: true }, action: deny }]",
	  "ip4:frag=2000 udp:9; ip4:frag=0001 udp:9; ip4:frag=4000 udp:9; ip6 frag:more=1 udp:9; ip6 frag:off=1 udp:9; "
	  "ip6 frag udp:9; ip6 hop hop udp:9; ip6 hop hop hop hop hop hop hop hop hop udp:9",
	  "a.drop:5 unmatched:3", XDP_DROP },
	{ "no fragments", "[{ name: a, match: { fragment: false }, action: allow }, { name: b, action: deny }]",
	  "ip4 udp:9; ip6 dst frag udp:9; ip4:frag=2000 udp:9; ip6 frag:more=1 udp:9; ip6 frag:off=1 udp:9; "
	  "ip6 hop hop hop hop hop hop hop hop hop udp:9", "a.pass:2 b.drop:4", XDP_DROP },
	{ "VLANs", "[{ name: a, match: { vlan: [7, \"200-299\"] }, action: deny }]",
	  "tag:id=7 ip4 udp:9; tag:id=57607 ip6 udp:9; tag:88a8,id=299 tag:id=1 ip4 udp:9; "
	  "tag:id=1 tag:id=7 ip4 udp:9; ip4 udp:9; tag:id=300 ip4 udp:9; tag:id=0 tag:id=200 ip4 udp:9",
	  "a.drop:4 unmatched:3", XDP_DROP },
	{ "no VLAN", "[{ name: a, match: { vlan: none }, action: deny }]",
	  "ip4 udp:9; tag:id=0 ip6 udp:9; tag:id=57344 ip4 udp:9; tag:id=4094 ip4 udp:9", "a.drop:3 unmatched:1",
	  XDP_PASS },
	{ "this interface", "[{ name: a, match: { interface: lo }, action: deny }]", "ip4 udp:9; ip6 udp:9", "a.drop:2",
	  XDP_DROP },

	/* What cannot be known fails closed: no rule may be gone past, and none allows. */
	{ "hidden header, deny by port", "[{ name: a, match: { proto: udp, dport: 53 }, action: deny }]",
	  "ip6 hop hop hop hop hop hop hop hop hop tcp:80; ip4:frag=2000,proto=17", "a.drop:2", XDP_DROP },
	{ "hidden header, allow by port", "[{ name: a, match: { proto: udp, dport: 53 }, action: allow }]",
	  "ip6 hop hop hop hop hop hop hop hop hop udp:53; ip4:frag=2000,proto=17", "unmatched:2", XDP_PASS },
	{ "hidden header, allow by protocol", "[{ name: a, match: { proto: udp }, action: allow }]",
	  "ip4:frag=2000,proto=17", "unmatched:1", XDP_PASS },
	{ "hidden header, allow by source",
	  "[{ name: a, match: { src: [10.0.0.0/8] }, action: allow }, { name: b, action: deny }]",
	  "ip4:frag=2000,proto=17; ip4:src=11.0.0.1,frag=2000,proto=17", "a.pass:1 b.drop:1", XDP_DROP },
	{ "hidden header, other source",
	  "[{ name: a, match: { src: [10.0.0.2], proto: udp, dport: 53 }, action: deny }]",
	  "ip4:frag=2000,proto=17", "unmatched:1", XDP_PASS },
	{ "hidden header, other destination",
	  "[{ name: a, match: { dst: [10.0.0.2], proto: udp, dport: 53 }, action: deny }]",
	  "ip4:frag=2000,proto=17", "unmatched:1", XDP_PASS },
	{ "later fragment, deny by port", "[{ name: a, match: { proto: udp, dport: 53 }, action: deny }]",
	  "ip4:frag=0001 udp:53; ip6 frag:off=1 udp:53; ip4:frag=0001 icmp; ip4:frag=0001 tcp:53",
	  "a.drop:2 unmatched:2", XDP_PASS },
	{ "later fragment, limit by port without protocol",
	  "[{ name: a, match: { dport: 53 }, " LIMIT(1) " }]",
	  "2*ip4:frag=0001 udp:53; 2*ip4:frag=0001 tcp:53; 2*ip6 frag:off=1 udp:53; ip4:frag=0001 icmp",
	  "a.pass:2 a.drop:4 unmatched:1", XDP_PASS },
	{ "later fragment, allow by port", "[{ name: a, match: { proto: udp, dport: 53 }, action: allow }]",
	  "ip4:frag=0001 udp:53; ip6 frag:off=1 udp:53", "unmatched:2", XDP_PASS },
	{ "later fragment, monitored by port",
	  "[{ name: a, match: { proto: udp, dport: 53 }, action: deny, mode: monitor }]",
	  "ip4:frag=0001 udp:53; ip6 frag:off=1 udp:53", "unmatched:2", XDP_PASS },
	{ "later fragment, deny by protocol", "[{ name: a, match: { proto: udp }, action: deny }]",
	  "ip4:frag=0001 udp:53; ip6 frag:off=1 udp:53; ip6 frag:off=1,nh=59 udp:53; ip4:frag=0001 tcp:80",
	  "a.drop:3 unmatched:1", XDP_PASS },
	{ "later fragment, allow by protocol", "[{ name: a, match: { proto: udp }, action: allow }]",
	  "ip4:frag=0001 udp:53; ip6 frag:off=1 udp:53", "a.pass:1 unmatched:1", XDP_PASS },

	/* New sources */
	{ "gate closed, drop",
	  "[{ name: a, " LIMIT(1) ", new_sources: { rate: 1/h, burst: 2 }, when_crowded: drop }]",
	  "ip4:src=10.0.0.1 udp:1; ip4:src=10.0.0.2 udp:1; 3*ip4:src=10.0.0.3 udp:1; 3*ip4:src=10.0.0.4 udp:1",
	  "a.pass:2 a.crowded:6", XDP_DROP },
	{ "gate closed, pass",
	  "[{ name: a, " LIMIT(1) ", new_sources: { rate: 1/h, burst: 2 }, when_crowded: pass }]",
	  "ip4:src=10.0.0.1 udp:1; ip4:src=10.0.0.2 udp:1; 3*ip4:src=10.0.0.3 udp:1; 3*ip4:src=10.0.0.4 udp:1",
	  "a.pass:2 a.crowded:6", XDP_PASS },
	{ "gate closed, monitored",
	  "[{ name: a, mode: monitor, " LIMIT(1) ", new_sources: { rate: 1/h, burst: 2 }, when_crowded: drop }]",
	  "ip4:src=10.0.0.1 udp:1; ip4:src=10.0.0.2 udp:1; 3*ip4:src=10.0.0.3 udp:1", "a.pass:2 a.crowded:3",
	  XDP_PASS },
	{ "gate closed, known sources go on",
	  "[{ name: a, " LIMIT(3) ", new_sources: { rate: 1/h, burst: 1 } }]",
	  "ip4:src=10.0.0.1 udp:1; 9*ip4:src=10.0.0.3 udp:1; 3*ip4:src=10.0.0.1 udp:1", "a.pass:3 a.drop:1 a.crowded:9",
	  XDP_DROP },
	{ "one gate for both families", "[{ name: a, " LIMIT(3) ", new_sources: { rate: 1/h, burst: 1 } }]",
	  "ip4 udp:1; ip6 udp:1", "a.pass:1 a.crowded:1", XDP_DROP },
	{ "a gate for each rule",
	  "[{ name: a, match: { proto: udp }, " LIMIT(3) ", new_sources: { rate: 1/h, burst: 1 } }, "
	  "{ name: b, " LIMIT(3) ", new_sources: { rate: 1/h, burst: 1 } }]",
	  "ip4 udp:1; ip4:src=10.0.0.2 udp:1; ip4 tcp:1; ip4:src=10.0.0.2 tcp:1",
	  "a.pass:1 a.crowded:1 b.pass:1 b.crowded:1", XDP_DROP },
};

static int send_one(const struct rig *rig, char *text)
{
	static struct frame frame;
	char *star = strchr(text, '*');
	long count = star ? strtol(text, NULL, 10) : 1;
	int verdict = -1;

	frame_make(star ? star + 1 : text, &frame);
	while (count--)
		verdict = rig_send(rig, &frame);
	return verdict;
}

static int send_all(const struct rig *rig, const char *frames)
{
	char *copy = strdup(frames), *save = NULL;
	int verdict = -1;

	for (char *text = strtok_r(copy, ";", &save); text; text = strtok_r(NULL, ";", &save))
		verdict = send_one(rig, text);
	free(copy);
	return verdict;
}

static void test_rules(void **state)
{
	struct rig *rig = *state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char config[1024];
		int verdict;

		snprintf(config, sizeof(config), "rules: %s\n", rows[i].rules);
		rig_apply(rig, config);
		rig_clear(rig);
		verdict = send_all(rig, rows[i].frames);
		if (strcmp(rig_counts(rig, 0), rows[i].counts))
			fail_msg("%s: counted \"%s\", not \"%s\"", rows[i].name, rig_counts(rig, 0), rows[i].counts);
		if (verdict != rows[i].verdict)
			fail_msg("%s: verdict %d", rows[i].name, verdict);
	}
	rig_check_table(rig);
}

/* Every one of 64 rules can be the one that decides. */
static void test_all_rules(void **state)
{
	struct rig *rig = *state;
	char *config = NULL;
	size_t size;
	FILE *out = open_memstream(&config, &size);

	fputs("rules:\n", out);
	for (int i = 0; i < EB_RULES_MAX; i++)
		fprintf(out, "- { name: r%d, match: { src: [10.0.%d.0/24], dport: %d, proto: udp }, action: deny }\n",
			i, i / 2, 1000 + i);
	fclose(out);
	rig_apply(rig, config);
	free(config);
	for (int i = 0; i < EB_RULES_MAX; i++) {
		char expected[32];

		rig_clear(rig);
		assert_int_equal(rig_send_text(rig, "ip4:src=10.0.%d.7 udp:%d", i / 2, 1000 + i), XDP_DROP);
		assert_int_equal(rig_send_text(rig, "ip4:src=10.0.%d.7 udp:%d", i / 2 + 1, 1000 + i), XDP_PASS);
		snprintf(expected, sizeof(expected), "r%d.drop:1 unmatched:1", i);
		assert_string_equal(rig_counts(rig, 0), expected);
	}
}

/* Both places for rules work, the index alone chooses, and what stays keeps counters and buckets. */
static void test_swap(void **state)
{
	static const char first[] =
		"rules: [{ name: keep, match: { proto: udp }, " LIMIT(3) " }, { name: old, action: allow }]\n";
	static const char second[] =
		"rules: [{ name: new, match: { src: [10.0.0.9] }, action: deny },"
		" { name: keep, match: { proto: udp }, " LIMIT(3) " }]\n";
	struct rig *rig = *state;
	struct eb_bucket before, *after;
	uint32_t slot;

	rig_apply(rig, first);
	rig_clear(rig);
	rig_send_text(rig, "ip4 udp:1");
	rig_send_text(rig, "ip4 udp:1");
	rig_send_text(rig, "ip4 tcp:1");
	assert_string_equal(rig_counts(rig, 0), "keep.pass:2 old.pass:1");
	slot = rig_rule(rig, "keep")->slot;
	before = *rig_bucket_of(rig, "keep", FRAME_SRC4);

	rig_apply(rig, second);
	assert_int_equal(rig_rule(rig, "keep")->slot, slot);
	after = rig_bucket_of(rig, "keep", FRAME_SRC4);
	assert_non_null(after);
	assert_memory_equal(after, &before, sizeof(before));
	assert_string_equal(rig_counts(rig, 0), "keep.pass:2");
	rig_send_text(rig, "ip4 udp:1");
	rig_send_text(rig, "ip4 udp:1");
	rig_send_text(rig, "ip4:src=10.0.0.9 tcp:1");
	rig_send_text(rig, "ip4 tcp:1");
	assert_string_equal(rig_counts(rig, 0), "new.drop:1 keep.pass:3 keep.drop:1 unmatched:1");

	rig->state->active ^= 1;
	assert_int_equal(rig_send_text(rig, "ip4:src=10.0.0.9 tcp:1"), XDP_PASS);
	rig->state->active ^= 1;
	assert_int_equal(rig_send_text(rig, "ip4:src=10.0.0.9 tcp:1"), XDP_DROP);
}

/* Other limits are another identity: the old bucket is left alone, the new one starts apart. */
static void test_changed_limit(void **state)
{
	struct rig *rig = *state;
	uint32_t id;

	rig_apply(rig, "rules: [{ name: a, " LIMIT(2) " }]\n");
	rig_clear(rig);
	for (int i = 0; i < 3; i++)
		rig_send_text(rig, "ip4 udp:1");
	id = rig_rule(rig, "a")->id4;
	rig_apply(rig, "rules: [{ name: a, " LIMIT(5) " }]\n");
	assert_int_not_equal(rig_rule(rig, "a")->id4, id);
	assert_null(rig_bucket_of(rig, "a", FRAME_SRC4));
	rig_apply(rig, "rules: [{ name: a, " LIMIT(2) " }]\n");
	assert_int_equal(rig_rule(rig, "a")->id4, id);
	assert_non_null(rig_bucket_of(rig, "a", FRAME_SRC4));
	assert_int_equal(rig_send_text(rig, "ip4 udp:1"), XDP_DROP);
}

static int open_rig(void **state)
{
	return rig_setup(state, SETS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rules),
		cmocka_unit_test(test_all_rules),
		cmocka_unit_test(test_swap),
		cmocka_unit_test(test_changed_limit),
	};

	return cmocka_run_group_tests_name("rules", tests, open_rig, rig_teardown);
}
