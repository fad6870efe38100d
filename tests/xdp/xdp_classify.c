// SPDX-License-Identifier: GPL-2.0-only
/*
 * classify.h: which rule a flow meets, read from the policy maps. Compared with a first-match evaluation of the
 * configuration, and for whole flows with what the program decides about such a packet. A run prints its seed on
 * failure; EB_TEST_SEED repeats it.
 */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "config/config.h"
#include "config/protocol.h"
#include "maps/buckets.h"
#include "maps/classify.h"
#include "xdp.h"

#define SETS 16
#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

static uint64_t seed, random_state;

static uint64_t random_below(uint64_t limit)
{
	uint64_t x = random_state += 0x9e3779b97f4a7c15ULL; /* splitmix64 */

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
	return (x ^ x >> 31) % limit;
}

static void get_maps(const struct rig *rig, struct eb_maps *maps)
{
	for (int i = 0; i < EB_MAPS; i++)
		maps->fd[i] = rig_fd(rig, eb_map_name(i));
}

static const char *const number_names[EB_NUMBERS] = { "dport", "sport", "length", "vlan" };

/* "sport=53" and the like. */
static void set_property(struct eb_flow *flow, const char *name, int value)
{
	for (int number = 0; number < EB_NUMBERS; number++)
		if (!strcmp(name, number_names[number]))
			flow->numbers[number] = value;
	if (!strcmp(name, "detail"))
		flow->detail = value;
	if (!strcmp(name, "fragment"))
		flow->fragment = value ? EB_FRAGMENT : EB_WHOLE;
	if (!strcmp(name, "later")) {
		flow->fragment = EB_FRAGMENT;
		flow->is_later = true;
	}
	if (!strcmp(name, "ifindex"))
		flow->ifindex = value;
}

/* A flow as text: "src dst proto dport", "-" for what is not known; and more, see set_property(). */
static struct eb_flow parse_flow(const char *text)
{
	char src[64], dst[64], proto[16], dport[16], name[16];
	struct eb_flow flow;
	int used, value, more;

	assert_int_equal(sscanf(text, "%63s %63s %15s %15s%n", src, dst, proto, dport, &used), 4);
	eb_flow_init(strchr(src, ':') ? 6 : 4, &flow);
	for (; sscanf(text + used, " %15[a-z]=%d%n", name, &value, &more) == 2; used += more)
		set_property(&flow, name, value);
	assert_string_equal(text + used, "");
	assert_int_equal(inet_pton(flow.family == 4 ? AF_INET : AF_INET6, src, flow.src), 1);
	flow.has_dst = strcmp(dst, "-");
	if (flow.has_dst)
		assert_int_equal(inet_pton(flow.family == 4 ? AF_INET : AF_INET6, dst, flow.dst), 1);
	if (strcmp(proto, "-"))
		flow.proto = eb_protocol_parse(proto);
	if (strcmp(dport, "-"))
		flow.numbers[EB_DPORT] = atoi(dport);
	return flow;
}

/* "rule" and behind it "; rule dst proto dport" of each candidate, and what else it needs. */
static const char *show(const struct eb_flow_rule *found, int family)
{
	static char text[4096];
	int used;

	used = snprintf(text, sizeof(text), "%.32s", found->rule < 0 ? "-" : found->policy.names[found->rule]);
	for (int i = 0; i < found->candidate_count; i++) {
		const struct eb_flow_candidate *candidate = &found->candidates[i];
		char dst[INET6_ADDRSTRLEN] = "-", proto[EB_PROTOCOL_NAME_MAX] = "-", dport[16] = "-";

		if (candidate->has_dst)
			inet_ntop(family == 4 ? AF_INET : AF_INET6, candidate->dst, dst, sizeof(dst));
		if (candidate->proto >= 0)
			eb_protocol_print(candidate->proto, proto);
		if (candidate->numbers[EB_DPORT] >= 0)
			snprintf(dport, sizeof(dport), "%d", candidate->numbers[EB_DPORT]);
		used += snprintf(text + used, sizeof(text) - used, "; %.32s %s %s %s",
				 found->policy.names[candidate->rule], dst, proto, dport);
		for (int number = EB_SPORT; number < EB_NUMBERS; number++)
			if (candidate->numbers[number] >= 0)
				used += snprintf(text + used, sizeof(text) - used, " %s=%d", number_names[number],
						 candidate->numbers[number]);
		if (candidate->detail >= 0)
			used += snprintf(text + used, sizeof(text) - used, " detail=%d", candidate->detail);
		if (candidate->fragment >= 0)
			used += snprintf(text + used, sizeof(text) - used, " fragment=%d", candidate->fragment);
		if (candidate->ifindex)
			used += snprintf(text + used, sizeof(text) - used, " ifindex=%d", candidate->ifindex);
	}
	return text;
}

static const char example[] =
    "rules:\n"
    "- { name: office, match: { src: [192.0.2.0/24] }, action: allow }\n"
    "- { name: dns, match: { dst: [198.51.100.53], proto: udp, dport: [53] }, action: deny }\n"
    "- { name: ping, match: { proto: icmp }, action: deny }\n"
    "- { name: web, match: { dport: \"80-90\" }, action: deny }\n"
    "- { name: six, match: { dst: [\"2001:db8::/32\"] }, action: deny }\n"
    "- { name: rest, action: allow }\n"
    "- { name: never, match: { proto: tcp }, action: deny }\n";

/* One rule for each of what few packets are asked for. */
static const char details[] =
    "rules:\n"
    "- { name: ntp, match: { proto: udp, sport: 123 }, action: deny }\n"
    "- { name: syn, match: { tcp_flags: syn }, action: deny }\n"
    "- { name: ping, match: { icmp_type: echo-request }, action: deny }\n"
    "- { name: short, match: { length: \"0-63\" }, action: deny }\n"
    "- { name: pieces, match: { fragment: true }, action: deny }\n"
    "- { name: tagged, match: { vlan: [100, \"200-299\"] }, action: deny }\n"
    "- { name: here, match: { interface: lo }, action: deny }\n";

struct flow_row {
	const char *flow;
	const char *found;
};

static const struct flow_row detail_rows[] = {
	{ "10.0.0.1 - - -", "-; ntp - udp - sport=123; syn - tcp - detail=2; ping - icmp - detail=8; short - - - "
			    "length=0; pieces - - - fragment=1; tagged - - - vlan=100; here - - - ifindex=1" },
	{ "10.0.0.1 - tcp 80 detail=2", "syn" },
	{ "10.0.0.1 - tcp 80 detail=18 length=64 fragment=0 vlan=0 ifindex=2", "-" },
	{ "10.0.0.1 - tcp 80 detail=18 length=63 fragment=0 vlan=0 ifindex=2", "short" },
	{ "10.0.0.1 - tcp 80 detail=18 length=64 fragment=1 vlan=0 ifindex=2", "pieces" },
	{ "10.0.0.1 - tcp 80 detail=18 length=64 fragment=0 vlan=299 ifindex=2", "tagged" },
	{ "10.0.0.1 - tcp 80 detail=18 length=64 fragment=0 vlan=300 ifindex=1", "here" },
	{ "10.0.0.1 - icmp - detail=8", "ping" },
	{ "2001:db8::1 - icmpv6 - detail=128", "ping" },
	{ "2001:db8::1 - icmpv6 - detail=8 length=64 fragment=0 vlan=0 ifindex=2", "-" },
	{ "10.0.0.1 - udp 9 sport=123", "ntp" },
	/* A later fragment hides its ports and flags, in IPv6 its protocol too. */
	{ "10.0.0.1 - udp - later=1", "ntp" },
	{ "10.0.0.1 - tcp - later=1", "syn" },
	{ "10.0.0.1 - gre - later=1 length=64", "pieces" },
	{ "2001:db8::1 - gre - later=1", "ntp" },
};

static const struct flow_row rows[] = {
	{ "192.0.2.1 - - -", "office" },
	{ "10.0.0.1 - - -", "rest; dns 198.51.100.53 udp 53; ping - icmp -; web - - 80" },
	{ "10.0.0.1 198.51.100.53 udp 53", "dns" },
	{ "10.0.0.1 198.51.100.53 udp -", "rest; dns - - 53; web - - 80" },
	{ "10.0.0.1 198.51.100.53 - 53", "rest; dns - udp -" },
	{ "10.0.0.1 198.51.100.1 udp 53", "rest" },
	{ "10.0.0.1 - icmp -", "ping" },
	{ "10.0.0.1 - - 85", "web" },
	{ "10.0.0.1 - tcp 90", "web" },
	{ "10.0.0.1 - tcp 91", "rest" },
	{ "10.0.0.1 - gre -", "rest" },
	{ "2001:db8::1 - tcp 1", "rest; six 2001:db8:: - -" },
	{ "2001:db8::1 2001:db8::2 tcp 1", "six" },
};

static void check_rows(const char *rules, const struct flow_row *rows, size_t count)
{
	struct eb_flow_rule found;
	struct eb_maps maps;
	struct rig rig;

	rig_open(&rig, SETS);
	rig_apply(&rig, rules);
	get_maps(&rig, &maps);
	for (size_t i = 0; i < count; i++) {
		struct eb_flow flow = parse_flow(rows[i].flow);

		assert_int_equal(eb_flow_classify(&maps, &flow, &found), 0);
		if (strcmp(show(&found, flow.family), rows[i].found))
			fail_msg("%s: %s, not %s", rows[i].flow, show(&found, flow.family), rows[i].found);
	}
	rig_close(&rig);
}

static void test_examples(void **state)
{
	(void)state;
	check_rows(example, rows, ARRAY_SIZE(rows));
}

static void test_details(void **state)
{
	(void)state;
	check_rows(details, detail_rows, ARRAY_SIZE(detail_rows));
}

/* Random rules over few addresses, protocols and ports, so that they often meet. */
static const char *const sources[] = { "10.0.0.0/8", "10.1.0.0/16", "10.1.1.1", "\"2001:db8::/32\"", "0.0.0.0/0" };
static const char *const targets[] = { "198.51.100.0/24", "198.51.100.53", "203.0.113.0/25", "\"2001:db8:1::/48\"" };
static const char *const protos[] = { "udp", "tcp", "icmp", "47" };
static const char *const dports[] = { "53", "[53, 80]", "\"50-60\"", "\"0-65535\"" };
static const char *const flags[] = { "syn", "[syn, ack]", "[\"!ack\"]" };
static const char *const lengths[] = { "\"0-59\"", "[60, 100]", "\"28-65535\"" };
static const char *const vlans[] = { "none", "[7, none]", "\"1-4094\"" };

static void add_condition(char *text, const char *key, const char *value, const char *open, const char *close)
{
	size_t used = strlen(text);

	snprintf(text + used, 1024 - used, "%s%s: %s%s%s", used ? ", " : "", key, open, value, close);
}

static void make_rules(char *out, size_t size)
{
	size_t used = snprintf(out, size, "rules:\n"), count = 1 + random_below(12);

	for (size_t i = 0; i < count; i++) {
		char match[1024] = "";
		bool has_proto = random_below(2);
		const char *proto = protos[random_below(ARRAY_SIZE(protos))];

		if (random_below(2))
			add_condition(match, "src", sources[random_below(ARRAY_SIZE(sources))], "[", "]");
		if (random_below(2))
			add_condition(match, "dst", targets[random_below(ARRAY_SIZE(targets))], "[", "]");
		if (has_proto)
			add_condition(match, "proto", proto, "", "");
		if (random_below(2) && (!has_proto || eb_protocol_has_port(eb_protocol_parse(proto))))
			add_condition(match, random_below(3) ? "dport" : "sport",
				      dports[random_below(ARRAY_SIZE(dports))], "", "");
		if (!random_below(4) && has_proto && !strcmp(proto, "tcp"))
			add_condition(match, "tcp_flags", flags[random_below(ARRAY_SIZE(flags))], "", "");
		if (!random_below(6))
			add_condition(match, "length", lengths[random_below(ARRAY_SIZE(lengths))], "", "");
		if (!random_below(6))
			add_condition(match, "vlan", vlans[random_below(ARRAY_SIZE(vlans))], "", "");
		if (!random_below(6))
			add_condition(match, "fragment", random_below(2) ? "true" : "false", "", "");
		used += snprintf(out + used, size - used, "- { name: r%zu, %s%s%s action: deny }\n", i,
				 *match ? "match: { " : "", match, *match ? " }," : "");
	}
}

static struct eb_flow make_flow(void)
{
	static const char *const src4[] = { "10.1.1.1", "10.1.1.2", "10.2.0.0", "11.0.0.1" };
	static const char *const dst4[] = { "198.51.100.53", "198.51.100.1", "203.0.113.128", "-" };
	static const char *const src6[] = { "2001:db8::1", "2001:db9::1" };
	static const char *const dst6[] = { "2001:db8:1::1", "2001:db8:2::1", "-" };
	static const char *const proto[] = { "udp", "tcp", "icmp", "47", "-" };
	static const char *const dport[] = { "53", "80", "55", "9", "-" };
	bool six = random_below(3) == 0;
	struct eb_flow flow;
	char text[256];

	snprintf(text, sizeof(text), "%s %s %s %s", six ? src6[random_below(2)] : src4[random_below(4)],
		 six ? dst6[random_below(3)] : dst4[random_below(4)], proto[random_below(5)], dport[random_below(5)]);
	flow = parse_flow(text);
	if (flow.proto >= 0 && !eb_protocol_has_port(flow.proto))
		flow.numbers[EB_DPORT] = -1;
	else if (random_below(2))
		flow.numbers[EB_SPORT] = 50 + random_below(5);
	if (flow.proto == 6 && random_below(2))
		flow.detail = random_below(2) ? 0x02 : 0x12;
	if (random_below(2))
		flow.numbers[EB_LENGTH] = 58 + random_below(50);
	if (random_below(2))
		flow.numbers[EB_VLAN] = random_below(2) * 7;
	if (random_below(2))
		flow.fragment = random_below(2);
	return flow;
}

static bool list_has(const struct eb_prefix_list *list, int family, const uint8_t *addr)
{
	for (size_t i = 0; i < list->count; i++) {
		const struct eb_prefix *prefix = &list->items[i];
		bool same = prefix->family == family;

		for (int bit = 0; same && bit < prefix->len; bit++)
			same = !((prefix->addr[bit / 8] ^ addr[bit / 8]) & 0x80 >> bit % 8);
		if (same)
			return true;
	}
	return false;
}

/* What is not known, -1, is in no range. */
static bool numbers_match(const struct eb_match *match, const struct eb_flow *flow)
{
	for (int number = 0; number < EB_NUMBERS; number++) {
		const struct eb_ranges *ranges = &match->numbers[number];
		bool has = !ranges->count;

		for (size_t i = 0; i < ranges->count; i++)
			has |= flow->numbers[number] >= ranges->items[i].first &&
			       flow->numbers[number] <= ranges->items[i].last;
		if (!has)
			return false;
	}
	return true;
}

static bool flags_match(const struct eb_match *match, const struct eb_flow *flow)
{
	if (!match->flags_set && !match->flags_clear)
		return true;
	return flow->proto == 6 && flow->detail >= 0 &&
	       (flow->detail & (match->flags_set | match->flags_clear)) == match->flags_set;
}

/* First match, one condition after the other; what is not known meets no condition. */
static int evaluate(const struct eb_config *config, const struct eb_flow *flow)
{
	for (size_t i = 0; i < config->rule_count; i++) {
		const struct eb_match *match = &config->rules[i].match;

		if (match->has_src && !list_has(&match->src, flow->family, flow->src))
			continue;
		if (match->has_dst && (!flow->has_dst || !list_has(&match->dst, flow->family, flow->dst)))
			continue;
		if (match->has_proto && (flow->proto < 0 || !eb_octets_have(&match->protos, flow->proto)))
			continue;
		if (!numbers_match(match, flow) || !flags_match(match, flow))
			continue;
		if (match->has_fragment && (flow->fragment < 0 || match->is_fragment != flow->fragment))
			continue;
		return i;
	}
	return -1;
}

static void check_candidates(const struct eb_config *config, const struct eb_flow *flow,
			     const struct eb_flow_rule *found)
{
	for (int i = 0; i < found->candidate_count; i++) {
		const struct eb_flow_candidate *candidate = &found->candidates[i];
		struct eb_flow completed = *flow;

		if (candidate->has_dst) {
			memcpy(completed.dst, candidate->dst, sizeof(completed.dst));
			completed.has_dst = true;
		}
		if (candidate->proto >= 0)
			completed.proto = candidate->proto;
		for (int number = 0; number < EB_NUMBERS; number++)
			if (candidate->numbers[number] >= 0)
				completed.numbers[number] = candidate->numbers[number];
		if (candidate->detail >= 0)
			completed.detail = candidate->detail;
		if (candidate->fragment >= 0)
			completed.fragment = candidate->fragment;
		if (evaluate(config, &completed) != candidate->rule)
			fail_msg("seed %llu: candidate %d", (unsigned long long)seed, candidate->rule);
	}
}

/* Whether a frame can be made of it: all is known that the rules may ask for. */
static bool is_complete(const struct eb_flow *flow)
{
	for (int number = 0; number < EB_NUMBERS; number++)
		if (flow->numbers[number] < 0)
			return false;
	return flow->has_dst && flow->fragment >= 0 && (flow->proto == 17 || (flow->proto == 6 && flow->detail >= 0));
}

/* Sends such a packet, and looks which rule counts it. */
static unsigned int check_program(struct rig *rig, const struct eb_flow *flow, int rule)
{
	char src[INET6_ADDRSTRLEN], dst[INET6_ADDRSTRLEN], expected[64] = "unmatched:1";
	char transport[64], fragment[32] = "";
	int family = flow->family == 4 ? AF_INET : AF_INET6, headers = flow->family == 4 ? 20 : 40;

	if (!is_complete(flow))
		return 0;
	if (rule >= 0)
		snprintf(expected, sizeof(expected), "r%d.drop:1", rule);
	inet_ntop(family, flow->src, src, sizeof(src));
	inet_ntop(family, flow->dst, dst, sizeof(dst));
	if (flow->proto == 6)
		snprintf(transport, sizeof(transport), "tcp:%d,sport=%d,flags=%x", flow->numbers[EB_DPORT],
			 flow->numbers[EB_SPORT], flow->detail);
	else
		snprintf(transport, sizeof(transport), "udp:%d,sport=%d", flow->numbers[EB_DPORT],
			 flow->numbers[EB_SPORT]);
	if (flow->fragment && family == AF_INET)
		strcpy(fragment, ",frag=2000");
	else if (flow->fragment)
		strcpy(fragment, " frag:more=1");
	headers += (flow->proto == 6 ? 20 : 8) + (flow->fragment && family == AF_INET6 ? 8 : 0);
	if (flow->numbers[EB_LENGTH] < headers)
		return 0;
	rig_clear(rig);
	rig_send_text(rig, "%s ip%d:src=%s,dst=%s%s %s raw:%d", flow->numbers[EB_VLAN] ? "tag:id=7" : "", flow->family,
		      src, dst, fragment, transport, flow->numbers[EB_LENGTH] - headers);
	if (strcmp(rig_counts(rig, 0), expected))
		fail_msg("seed %llu: the program counted %s, not %s", (unsigned long long)seed, rig_counts(rig, 0),
			 expected);
	return 1;
}

static struct eb_config *read_rules(const char *rules)
{
	struct eb_config *config = NULL;
	char text[16384], *error = NULL;

	snprintf(text, sizeof(text), "interfaces: [lo]\n%s", rules);
	if (eb_config_parse(text, strlen(text), "test", NULL, &config, &error))
		fail_msg("%s", error);
	return config;
}

static void test_random(void **state)
{
	unsigned int sent = 0;
	struct eb_maps maps;
	struct rig rig;

	(void)state;
	rig_open(&rig, SETS);
	for (int round = 0; round < 60; round++) {
		struct eb_config *config;
		char rules[8192];

		make_rules(rules, sizeof(rules));
		rig_apply(&rig, rules);
		get_maps(&rig, &maps);
		config = read_rules(rules);
		for (int i = 0; i < 30; i++) {
			struct eb_flow flow = make_flow();
			struct eb_flow_rule found;

			assert_int_equal(eb_flow_classify(&maps, &flow, &found), 0);
			if (found.rule != evaluate(config, &flow))
				fail_msg("seed %llu: rule %d, not %d", (unsigned long long)seed, found.rule,
					 evaluate(config, &flow));
			check_candidates(config, &flow, &found);
			sent += check_program(&rig, &flow, found.rule);
		}
		eb_config_free(config);
	}
	assert_true(sent >= 5);
	rig_close(&rig);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_examples),
		cmocka_unit_test(test_details),
		cmocka_unit_test(test_random),
	};
	const char *given = getenv("EB_TEST_SEED");

	seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL);
	random_state = seed;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
