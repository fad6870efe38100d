// SPDX-License-Identifier: GPL-2.0-only
/*
 * Rules: the compiled form, read by the XDP program's own classify.h, against a first-match evaluation of the
 * configuration; and identities, slots, conversions. Random; EB_TEST_SEED repeats a run.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "config/limit.h"
#include "policy/rules.h"

/* classify.h runs on these instead of the maps of bpf/maps.h, which their addresses stand for. */
#define EB_MAPS_H
static char numbers, interfaces, prefixes_v4, prefixes_v6, filters;
static struct eb_ruleset *in_force;
static struct eb_trie *looked_in; /* whose filter was found last */
static void *bpf_map_lookup_elem(void *map, const void *key);

#include "../../bpf/classify.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define NO_RULE (-1)

static uint64_t seed, random_state;

/* splitmix64 */
static uint64_t random_u64(void)
{
	uint64_t x = random_state += 0x9e3779b97f4a7c15;

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
	x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
	return x ^ (x >> 31);
}

static uint64_t random_below(uint64_t end)
{
	return random_u64() % end;
}

static bool random_chance(unsigned int percent)
{
	return random_below(100) < percent;
}

/* Every test starts with the same numbers whichever tests ran before. */
static int restart_random(void **state)
{
	(void)state;
	random_state = seed;
	return 0;
}

static bool bits_equal(const void *left, const void *right, unsigned int bits)
{
	const uint8_t *a = left, *b = right;

	for (unsigned int i = 0; i < bits; i++)
		if ((a[i / 8] ^ b[i / 8]) & (0x80 >> i % 8))
			return false;
	return true;
}

/* What the kernel does with a trie: the longest prefix that matches. `key` is a struct eb_lpm4 or eb_lpm6. */
static uint64_t *longest_match(struct eb_trie *trie, const void *key)
{
	const uint8_t *addr = (const uint8_t *)key + sizeof(uint32_t);
	struct eb_trie_entry *best = NULL;

	for (size_t i = 0; i < trie->count; i++) {
		struct eb_trie_entry *entry = &trie->items[i];

		if ((!best || entry->len > best->len) && bits_equal(entry->addr, addr, entry->len))
			best = entry;
	}
	return best ? &best->rules : NULL;
}

/* As the agent would lay them out; no two numbers share a place. */
static uint64_t *number_entry(uint32_t index)
{
	enum eb_number number = index / 65536;

	assert_true(number < EB_NUMBERS && index % 65536 < (uint32_t)EB_NUMBER_SIZE(number));
	return &in_force->numbers[number][index % 65536];
}

/* Index n is that of interface n - 1. */
static uint64_t *interface_entry(uint32_t ifindex)
{
	static uint64_t found;

	if (!ifindex || ifindex > in_force->interfaces.count)
		return NULL;
	found = eb_rules_of_interface(&in_force->interfaces, 1ULL << (ifindex - 1));
	return &found;
}

static void *bpf_map_lookup_elem(void *map, const void *key)
{
	uint32_t index = *(const uint32_t *)key;

	if (map == &numbers)
		return number_entry(index);
	if (map == &interfaces)
		return interface_entry(((const struct eb_interface_key *)key)->ifindex);
	if (map == &prefixes_v4)
		return &in_force->v4[index];
	if (map == &prefixes_v6)
		return &in_force->v6[index];
	if (map == &filters) {
		looked_in = index < EB_TRIES ? &in_force->v4[index] : &in_force->v6[index - EB_TRIES];
		return looked_in->filter;
	}
	if (looked_in && map == looked_in->filter)
		return index < looked_in->filter_words ? &looked_in->filter[index] : NULL;
	return longest_match(map, key);
}

/* The compiled rules' answer: the index of the rule, or NO_RULE. */
static int classify_on(struct eb_ruleset *ruleset, const struct eb_packet *packet, uint32_t ifindex)
{
	uint64_t rules;

	in_force = ruleset;
	looked_in = NULL;
	rules = eb_classify(&ruleset->policy, 0, ifindex, packet);
	return rules ? eb_first_rule(&ruleset->policy, rules) - ruleset->policy.rules : NO_RULE;
}

static int classify(struct eb_ruleset *ruleset, const struct eb_packet *packet)
{
	return classify_on(ruleset, packet, 0);
}

/* The configuration's own answer. */

static bool list_has(const struct eb_prefix_list *list, int family, const void *addr)
{
	for (size_t i = 0; i < list->count; i++)
		if (list->items[i].family == family && bits_equal(list->items[i].addr, addr, list->items[i].len))
			return true;
	return false;
}

static bool ranges_have(const struct eb_ranges *ranges, unsigned int value)
{
	for (size_t i = 0; i < ranges->count; i++)
		if (value >= ranges->items[i].first && value <= ranges->items[i].last)
			return true;
	return !ranges->count;
}

static bool takes_hidden(const struct eb_rule_config *rule)
{
	return rule->action != EB_ALLOW && !rule->monitor;
}

static bool detail_matches(const struct eb_rule_config *rule, const struct eb_packet *packet)
{
	const struct eb_match *match = &rule->match;
	bool wants_flags = match->flags_set || match->flags_clear;

	if (!wants_flags && !match->has_icmp_type)
		return true;
	if (wants_flags ? packet->proto != 6 : packet->proto != 1 && packet->proto != 58)
		return false;
	if (packet->detail_of == EB_DETAIL_NONE)
		return takes_hidden(rule);
	if (wants_flags)
		return (packet->detail & (match->flags_set | match->flags_clear)) == match->flags_set;
	return eb_octets_have(packet->proto == 1 ? &match->icmp_types : &match->icmpv6_types, packet->detail);
}

static bool ports_match(const struct eb_rule_config *rule, const struct eb_packet *packet)
{
	const struct eb_ranges *dports = &rule->match.numbers[EB_DPORT], *sports = &rule->match.numbers[EB_SPORT];

	if (!dports->count && !sports->count)
		return true;
	if (packet->l4 == EB_L4_PORT)
		return ranges_have(dports, packet->dport) && ranges_have(sports, packet->sport);
	return packet->l4 == EB_L4_LATER && eb_proto_has_port(packet->proto) && takes_hidden(rule);
}

static bool l4_matches(const struct eb_rule_config *rule, const struct eb_packet *packet)
{
	const struct eb_match *match = &rule->match;
	bool asks = match->has_proto || match->numbers[EB_DPORT].count || match->numbers[EB_SPORT].count ||
		    match->flags_set || match->flags_clear || match->has_icmp_type;

	if (packet->l4 == EB_L4_UNKNOWN)
		return !asks || takes_hidden(rule);
	if (match->has_proto && !eb_octets_have(&match->protos, packet->proto))
		return false;
	return ports_match(rule, packet) && detail_matches(rule, packet);
}

static bool rest_matches(const struct eb_rule_config *rule, const struct eb_packet *packet, uint32_t ifindex)
{
	const struct eb_match *match = &rule->match;

	if (match->has_fragment && packet->fragment == EB_FRAGMENT_UNKNOWN && !takes_hidden(rule))
		return false;
	if (match->has_fragment && packet->fragment != EB_FRAGMENT_UNKNOWN &&
	    match->is_fragment != (packet->fragment == EB_FRAGMENT))
		return false;
	if (match->interfaces && !(ifindex && match->interfaces >> (ifindex - 1) & 1))
		return false;
	return ranges_have(&match->numbers[EB_LENGTH], packet->ip_len > 65535 ? 65535 : packet->ip_len) &&
	       ranges_have(&match->numbers[EB_VLAN], packet->vlan);
}

static int first_match(const struct eb_config *config, const struct eb_packet *packet, uint32_t ifindex)
{
	for (size_t i = 0; i < config->rule_count; i++) {
		const struct eb_match *match = &config->rules[i].match;

		if (list_has(&match->src_except, packet->family, packet->saddr) ||
		    list_has(&match->dst_except, packet->family, packet->daddr))
			continue;
		if (match->has_src && !list_has(&match->src, packet->family, packet->saddr))
			continue;
		if (match->has_dst && !list_has(&match->dst, packet->family, packet->daddr))
			continue;
		if (l4_matches(&config->rules[i], packet) && rest_matches(&config->rules[i], packet, ifindex))
			return i;
	}
	return NO_RULE;
}

/* Configurations made by hand */

static void add_proto(struct eb_rule_config *rule, int proto)
{
	rule->match.has_proto = true;
	eb_octets_add(&rule->match.protos, proto);
}

static struct eb_interface_entry entries[] = {
	{ .text = "eth0" }, { .text = "eth1" }, { .text = "wan" },
};

static struct eb_config *config_new(size_t rule_count)
{
	struct eb_config *config = calloc(1, sizeof(*config));

	assert_non_null(config);
	config->path = "test.yaml";
	config->malformed_drop = true;
	config->entries = entries;
	config->interface_count = config->entry_count = COUNT(entries);
	config->rule_count = rule_count;
	config->rules = calloc(rule_count + 1, sizeof(*config->rules));
	assert_non_null(config->rules);
	for (size_t i = 0; i < rule_count; i++) {
		struct eb_rule_config *rule = &config->rules[i];

		snprintf(rule->name, sizeof(rule->name), "rule-%zu", i);
		rule->action = EB_DENY;
		rule->per_ipv4 = 32;
		rule->per_ipv6 = 64;
		rule->line = 10 + i;
	}
	return config;
}

static void config_free(struct eb_config *config)
{
	for (size_t i = 0; i < config->rule_count; i++) {
		free(config->rules[i].match.src.items);
		free(config->rules[i].match.dst.items);
		free(config->rules[i].match.src_except.items);
		free(config->rules[i].match.dst_except.items);
		for (int number = 0; number < EB_NUMBERS; number++)
			free(config->rules[i].match.numbers[number].items);
	}
	free(config->rules);
	free(config);
}

static void mask_address(uint8_t addr[16], unsigned int len)
{
	for (unsigned int bit = len; bit < 128; bit++)
		addr[bit / 8] &= ~(0x80 >> bit % 8);
}

static struct eb_prefix *list_add(struct eb_prefix_list *list)
{
	list->items = reallocarray(list->items, list->count + 1, sizeof(*list->items));
	assert_non_null(list->items);
	memset(&list->items[list->count], 0, sizeof(*list->items));
	return &list->items[list->count++];
}

static void add_prefix(struct eb_prefix_list *list, const char *addr, uint8_t len)
{
	struct eb_prefix *prefix = list_add(list);

	prefix->family = strchr(addr, ':') ? 6 : 4;
	prefix->len = len;
	assert_int_equal(inet_pton(prefix->family == 4 ? AF_INET : AF_INET6, addr, prefix->addr), 1);
}

static void add_range(struct eb_match *match, enum eb_number number, uint16_t first, uint16_t last)
{
	struct eb_ranges *ranges = &match->numbers[number];

	ranges->items = reallocarray(ranges->items, ranges->count + 1, sizeof(*ranges->items));
	assert_non_null(ranges->items);
	ranges->items[ranges->count++] = (struct eb_range){ first, last };
}

static void add_ports(struct eb_match *match, uint16_t first, uint16_t last)
{
	add_range(match, EB_DPORT, first, last);
}

static struct eb_ruleset *compile(const struct eb_config *config, const struct eb_policy *previous)
{
	struct eb_ruleset *ruleset = NULL;
	char *error = NULL;

	assert_int_equal(eb_rules_compile(config, previous, &ruleset, &error), 0);
	assert_null(error);
	return ruleset;
}

static struct eb_packet packet_of(const char *src, const char *dst, uint8_t proto, int port)
{
	struct eb_packet packet = { .family = strchr(src, ':') ? 6 : 4, .proto = proto, .l4 = EB_L4_LATER };
	int family = packet.family == 4 ? AF_INET : AF_INET6;

	assert_int_equal(inet_pton(family, src, packet.saddr), 1);
	assert_int_equal(inet_pton(family, dst, packet.daddr), 1);
	if (port >= 0) {
		packet.l4 = EB_L4_PORT;
		packet.dport = port;
	}
	return packet;
}

/* Random rule sets: few addresses, protocols and ports, so that rules overlap and packets hit. */

static const uint8_t protos[] = { 0, 1, 6, 17, 33, 47, 58, 132, 136, 255 };
static const uint16_t ports_of_interest[] = { 0, 1, 52, 53, 54, 80, 443, 1023, 1024, 5353, 65534, 65535 };

#define PICK(array) ((array)[random_below(COUNT(array))])

static void random_address(int family, uint8_t addr[16])
{
	static const uint8_t bases[][16] = {
		{ 192, 0, 2, 1 }, { 198, 51, 100, 53 }, { 10, 255, 255, 255 }, { 0 }, { 255, 255, 255, 255 },
		{ 0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 1 }, { 0xfe, 0x80, [15] = 7 },
	};

	memcpy(addr, PICK(bases), 16);
	while (random_chance(60)) {
		unsigned int bit = random_below(family == 4 ? 32 : 128);

		addr[bit / 8] ^= 0x80 >> bit % 8;
	}
	if (family == 4)
		mask_address(addr, 32);
}

static void random_prefix(struct eb_prefix *out)
{
	static const uint8_t lens4[] = { 0, 1, 8, 15, 16, 17, 24, 31, 32 };
	static const uint8_t lens6[] = { 0, 1, 32, 48, 63, 64, 65, 96, 127, 128 };

	out->family = random_chance(60) ? 4 : 6;
	if (out->family == 4)
		out->len = random_chance(50) ? PICK(lens4) : random_below(33);
	else
		out->len = random_chance(50) ? PICK(lens6) : random_below(129);
	random_address(out->family, out->addr);
	mask_address(out->addr, out->len);
}

static void random_prefixes(struct eb_prefix_list *list)
{
	while (random_chance(75))
		random_prefix(list_add(list));
}

/* Few of them, so that packets hit. */
static unsigned int random_value(enum eb_number number)
{
	static const uint16_t values[][6] = {
		[EB_LENGTH] = { 20, 40, 63, 64, 1500, 65535 }, [EB_VLAN] = { 0, 1, 2, 100, 101, 4094 },
	};

	if (number == EB_DPORT || number == EB_SPORT)
		return random_chance(70) ? PICK(ports_of_interest) : random_below(65536);
	return values[number][random_below(6)];
}

static void random_ranges(struct eb_match *match, enum eb_number number)
{
	do {
		unsigned int first = random_value(number), last = random_chance(50) ? first : random_value(number);

		add_range(match, number, first < last ? first : last, first < last ? last : first);
	} while (random_chance(40));
}

/* None for half of the rules, else one or more. Returns whether all of them have ports. */
static bool random_protos(struct eb_rule_config *rule)
{
	bool has_ports = true;

	if (random_chance(50))
		return true;
	do {
		uint8_t proto = PICK(protos);

		add_proto(rule, proto);
		has_ports &= eb_proto_has_port(proto);
	} while (random_chance(30));
	return has_ports;
}

/* What the configuration lets a rule of these protocols ask for. */
static void random_detail(struct eb_match *match)
{
	static const uint8_t flags[] = { 0x02, 0x10, 0x12, 0x01, 0x80 }, types[] = { 0, 3, 8, 128, 255 };
	bool is_tcp = !match->has_proto, is_icmp = !match->has_proto;

	for (int proto = 0, count = 0; proto < 256; proto++) {
		if (!eb_octets_have(&match->protos, proto))
			continue;
		is_tcp = !count && proto == 6;
		is_icmp = (!count || is_icmp) && (proto == 1 || proto == 58);
		count++;
	}
	if (is_tcp && random_chance(60)) {
		match->flags_set = random_chance(70) ? PICK(flags) : 0;
		match->flags_clear = random_chance(50) ? PICK(flags) & ~match->flags_set : 0;
	} else if (is_icmp && random_chance(60)) {
		match->has_icmp_type = true;
		eb_octets_add(&match->icmp_types, PICK(types));
		eb_octets_add(&match->icmpv6_types, PICK(types));
	}
}

static void random_rest(struct eb_match *match)
{
	if (random_chance(15))
		random_ranges(match, EB_LENGTH);
	if (random_chance(15))
		random_ranges(match, EB_VLAN);
	if (random_chance(15)) {
		match->has_fragment = true;
		match->is_fragment = random_chance(50);
	}
	if (random_chance(15))
		match->interfaces = 1 + random_below(7);
}

static void random_rule(struct eb_rule_config *rule)
{
	bool has_ports;

	rule->action = random_below(3);
	rule->monitor = random_chance(20);
	rule->match.has_src = random_chance(70);
	rule->match.has_dst = random_chance(50);
	if (rule->match.has_src)
		random_prefixes(&rule->match.src);
	if (rule->match.has_dst)
		random_prefixes(&rule->match.dst);
	if (random_chance(30))
		random_prefixes(&rule->match.src_except);
	if (random_chance(20))
		random_prefixes(&rule->match.dst_except);
	has_ports = random_protos(rule);
	/* The configuration refuses ports of protocols that have none. */
	if (random_chance(40) && has_ports)
		random_ranges(&rule->match, EB_DPORT);
	if (random_chance(30) && has_ports)
		random_ranges(&rule->match, EB_SPORT);
	if (!rule->match.numbers[EB_DPORT].count && !rule->match.numbers[EB_SPORT].count)
		random_detail(&rule->match);
	random_rest(&rule->match);
}

static struct eb_config *random_config(void)
{
	struct eb_config *config = config_new(random_below(EB_RULES_MAX + 1));

	for (size_t i = 0; i < config->rule_count; i++)
		random_rule(&config->rules[i]);
	return config;
}

/* Mostly inside or right beside one of the prefixes. */
static void random_packet_address(const struct eb_prefix_list *list, int family, void *out)
{
	uint8_t addr[16] = { 0 };
	const struct eb_prefix *prefix = NULL;

	random_address(family, addr);
	if (list && list->count)
		prefix = &list->items[random_below(list->count)];
	if (prefix && prefix->family == family) {
		for (unsigned int bit = 0; bit < prefix->len; bit++) {
			addr[bit / 8] &= ~(0x80 >> bit % 8);
			addr[bit / 8] |= prefix->addr[bit / 8] & (0x80 >> bit % 8);
		}
		if (prefix->len && random_chance(10))
			addr[(prefix->len - 1) / 8] ^= 0x80 >> (prefix->len - 1) % 8;
	}
	memcpy(out, addr, family == 4 ? 4 : 16);
}

static void random_packet_detail(struct eb_packet *packet)
{
	static const uint8_t details[] = { 0, 2, 3, 8, 16, 18, 128, 255 };
	enum eb_detail kind = packet->proto == 6 ? EB_DETAIL_TCP : packet->proto == 1 ? EB_DETAIL_ICMP : EB_DETAIL_NONE;

	if (packet->proto == 58)
		kind = EB_DETAIL_ICMPV6;
	if (kind == EB_DETAIL_NONE || packet->l4 == EB_L4_LATER || packet->l4 == EB_L4_UNKNOWN || random_chance(10))
		return;
	packet->detail_of = kind;
	packet->detail = random_chance(80) ? PICK(details) : random_below(256);
}

/* As the parser makes them: with a port, of a protocol without one, a later fragment, unknown. */
static void random_l4(const struct eb_match *near, struct eb_packet *packet)
{
	bool like = near && near->has_proto && random_chance(70);

	do
		packet->proto = PICK(protos);
	while (like && !eb_octets_have(&near->protos, packet->proto));
	packet->l4 = random_chance(20) ? EB_L4_LATER : eb_proto_has_port(packet->proto) ? EB_L4_PORT : EB_L4_NO_PORT;
	if (packet->l4 == EB_L4_PORT) {
		packet->dport = random_value(EB_DPORT);
		packet->sport = random_value(EB_SPORT);
		if (near && near->numbers[EB_DPORT].count && random_chance(50))
			packet->dport = near->numbers[EB_DPORT].items[0].last + random_below(2);
	}
	if (random_chance(10)) {
		packet->l4 = EB_L4_UNKNOWN;
		packet->proto = 0;
		packet->dport = packet->sport = 0;
	}
	random_packet_detail(packet);
}

static struct eb_packet random_packet(const struct eb_config *config)
{
	struct eb_packet packet = { .len = 60, .family = random_chance(60) ? 4 : 6 };
	const struct eb_match *near = NULL;

	if (config->rule_count && random_chance(90))
		near = &config->rules[random_below(config->rule_count)].match;
	random_packet_address(near ? &near->src : NULL, packet.family, packet.saddr);
	random_packet_address(near ? &near->dst : NULL, packet.family, packet.daddr);
	random_l4(near, &packet);
	packet.ip_len = random_chance(10) ? 65536 + random_below(9) : random_value(EB_LENGTH) + random_below(2);
	packet.vlan = random_value(EB_VLAN);
	packet.fragment = packet.l4 == EB_L4_LATER ? EB_FRAGMENT : random_below(2);
	if (packet.l4 == EB_L4_UNKNOWN && random_chance(50))
		packet.fragment = EB_FRAGMENT_UNKNOWN;
	return packet;
}

static void describe(const struct eb_packet *packet, char *out, size_t size)
{
	int family = packet->family == 4 ? AF_INET : AF_INET6;
	char src[INET6_ADDRSTRLEN], dst[INET6_ADDRSTRLEN];

	inet_ntop(family, packet->saddr, src, sizeof(src));
	inet_ntop(family, packet->daddr, dst, sizeof(dst));
	snprintf(out, size, "%s -> %s proto %d ports %d %d l4 %d detail %d %d length %u fragment %d vlan %d", src, dst,
		 packet->proto, packet->sport, packet->dport, packet->l4, packet->detail_of, packet->detail,
		 packet->ip_len, packet->fragment, packet->vlan);
}

/* Returns the rule that both agree on. */
static int check_packet(const struct eb_config *config, struct eb_ruleset *ruleset, const struct eb_packet *packet)
{
	uint32_t ifindex = random_below(COUNT(entries) + 1);
	int expected = first_match(config, packet, ifindex), got = classify_on(ruleset, packet, ifindex);
	char text[256];

	if (expected == got)
		return got;
	describe(packet, text, sizeof(text));
	fail_msg("%s: rule %d expected, got %d", text, expected, got);
	return NO_RULE;
}

#define CONFIGS 3000
#define PACKETS 100

static void test_random_rules(void **state)
{
	unsigned int hits = 0, late_hits = 0, unknown_hits = 0, fragment_hits = 0;

	(void)state;
	for (int i = 0; i < CONFIGS; i++) {
		struct eb_config *config = random_config();
		struct eb_ruleset *ruleset = compile(config, NULL);

		for (int j = 0; j < PACKETS; j++) {
			struct eb_packet packet = random_packet(config);
			int rule = check_packet(config, ruleset, &packet);

			hits += rule != NO_RULE;
			late_hits += rule >= 8;
			unknown_hits += rule != NO_RULE && packet.l4 == EB_L4_UNKNOWN;
			fragment_hits +=
			    rule != NO_RULE && packet.l4 == EB_L4_LATER && eb_proto_has_port(packet.proto);
		}
		eb_rules_free(ruleset);
		config_free(config);
	}
	/* The random rules are worth something only if packets hit them, and not just the first few. */
	assert_in_range(hits, CONFIGS * PACKETS / 4, CONFIGS * PACKETS * 99 / 100);
	assert_true(late_hits > CONFIGS * PACKETS / 50);
	assert_true(unknown_hits > CONFIGS);
	assert_true(fragment_hits > CONFIGS);
}

/* Each of the dimensions by itself, where a reader can check the expectation. */
static struct eb_config *example_config(void)
{
	struct eb_config *config = config_new(7);
	struct eb_rule_config *rules = config->rules;

	rules[0].match.has_src = true; /* an address inside rule 1's prefix, for one protocol */
	add_proto(&rules[0], IPPROTO_ICMP);
	add_prefix(&rules[0].match.src, "192.0.2.7", 32);
	rules[1].match.has_src = true;
	add_prefix(&rules[1].match.src, "192.0.2.0", 24);
	rules[2].match.has_dst = true;
	add_proto(&rules[2], IPPROTO_UDP);
	rules[2].action = EB_LIMIT;
	add_prefix(&rules[2].match.dst, "198.51.100.53", 32);
	add_ports(&rules[2].match, 53, 53);
	add_ports(&rules[2].match, 5353, 5353);
	rules[3].match.has_src = true; /* the whole of IPv6, nothing of IPv4 */
	add_proto(&rules[3], IPPROTO_TCP);
	rules[3].action = EB_ALLOW;
	add_prefix(&rules[3].match.src, "::", 0);
	rules[4].match.has_src = true; /* an empty file: nobody */
	rules[5].match.has_dst = true;
	add_prefix(&rules[5].match.dst, "2001:db8::1", 128);
	add_prefix(&rules[5].match.dst, "203.0.113.0", 25);
	rules[6].action = EB_LIMIT;
	add_ports(&rules[6].match, 1000, 2000);
	return config;
}

static void test_example(void **state)
{
	static const struct {
		const char *name, *src, *dst;
		uint8_t proto;
		int port; /* -1: none known */
		int rule;
	} rows[] = {
		{ "longest prefix, first rule", "192.0.2.7", "10.0.0.1", 1, -1, 0 },
		{ "longest prefix, covering rule", "192.0.2.7", "10.0.0.1", 6, 80, 1 },
		{ "last of /24", "192.0.2.255", "10.0.0.1", 1, -1, 1 },
		{ "behind /24", "192.0.3.0", "10.0.0.1", 1, -1, NO_RULE },
		{ "port of a list", "10.0.0.2", "198.51.100.53", 17, 5353, 2 },
		{ "other port", "10.0.0.2", "198.51.100.53", 17, 54, NO_RULE },
		{ "other protocol", "10.0.0.2", "198.51.100.53", 6, 53, NO_RULE },
		{ "a later fragment may be of any port", "10.0.0.2", "198.51.100.53", 17, -1, 2 },
		{ "later fragment, rule without protocol", "10.0.0.2", "198.51.100.53", 6, -1, 6 },
		{ "later fragment of what has no ports", "10.0.0.2", "198.51.100.53", 47, -1, NO_RULE },
		{ "::/0", "2001:db8::2", "2001:db8::1", 6, 80, 3 },
		{ "::/0, later fragment", "2001:db8::2", "2001:db8::1", 6, -1, 3 },
		{ "::/0 is not for IPv4", "10.0.0.2", "10.0.0.3", 6, 80, NO_RULE },
		{ "/128", "2001:db8::2", "2001:db8::1", 17, 80, 5 },
		{ "beside /128", "2001:db8::2", "2001:db8::2", 17, 80, NO_RULE },
		{ "last of /25", "10.0.0.2", "203.0.113.127", 47, -1, 5 },
		{ "behind /25", "10.0.0.2", "203.0.113.128", 47, -1, NO_RULE },
		{ "first of range", "10.0.0.2", "10.0.0.3", 132, 1000, 6 },
		{ "last of range", "10.0.0.2", "10.0.0.3", 136, 2000, 6 },
		{ "before range", "10.0.0.2", "10.0.0.3", 6, 999, NO_RULE },
		{ "behind range", "10.0.0.2", "10.0.0.3", 6, 2001, NO_RULE },
	};
	struct eb_config *config = example_config();
	struct eb_ruleset *ruleset = compile(config, NULL);

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct eb_packet packet = packet_of(rows[i].src, rows[i].dst, rows[i].proto, rows[i].port);
		int rule = classify(ruleset, &packet);

		if (rule != rows[i].rule)
			fail_msg("%s: rule %d expected, got %d", rows[i].name, rows[i].rule, rule);
	}
	eb_rules_free(ruleset);
	config_free(config);
}

/* Hiding protocol or port must not carry a packet past a rule that may refuse it. */
static void test_unknown_l4(void **state)
{
	static const struct {
		enum eb_action action;
		bool monitor, proto, port, accepts;
	} rows[] = {
		{ EB_ALLOW, false, false, false, true }, { EB_ALLOW, false, true, false, false },
		{ EB_ALLOW, false, false, true, false }, { EB_DENY, false, true, false, true },
		{ EB_DENY, false, false, true, true },   { EB_LIMIT, false, true, true, true },
		{ EB_DENY, true, false, false, true },   { EB_DENY, true, true, false, false },
		{ EB_LIMIT, true, false, true, false },
	};
	struct eb_config *config = config_new(COUNT(rows));
	struct eb_ruleset *ruleset;

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		config->rules[i].action = rows[i].action;
		config->rules[i].monitor = rows[i].monitor;
		if (rows[i].proto)
			add_proto(&config->rules[i], IPPROTO_TCP);
		if (rows[i].port)
			add_ports(&config->rules[i].match, 80, 80);
	}
	ruleset = compile(config, NULL);
	for (size_t i = 0; i < COUNT(rows); i++)
		if ((ruleset->policy.l4_unknown >> i & 1) != rows[i].accepts)
			fail_msg("row %zu: unknown protocol and port should %smatch", i, rows[i].accepts ? "" : "not ");
	for (size_t i = 0; i < COUNT(rows); i++)
		if ((ruleset->policy.port_unknown >> i & 1) != (rows[i].accepts || !rows[i].port))
			fail_msg("row %zu: a wrong answer to an unknown port", i);
	eb_rules_free(ruleset);
	config_free(config);
}

static void test_proto_sets(void **state)
{
	struct eb_config *config = config_new(3);
	struct eb_ruleset *ruleset;

	(void)state;
	add_proto(&config->rules[1], IPPROTO_ICMPV6);
	add_ports(&config->rules[2].match, 443, 443);
	ruleset = compile(config, NULL);
	for (int proto = 0; proto < 256; proto++) {
		uint64_t expected = 1 << 0 | (proto == IPPROTO_ICMPV6) << 1 | !!eb_proto_has_port(proto) << 2;

		assert_int_equal(ruleset->policy.proto[proto], expected);
	}
	eb_rules_free(ruleset);
	config_free(config);
}

static void assert_trie_empty(const struct eb_trie *trie)
{
	assert_int_equal(trie->count, 0);
	assert_null(trie->items);
}

static void test_dimensions_not_used(void **state)
{
	struct eb_config *config = config_new(2);
	struct eb_ruleset *ruleset;

	(void)state;
	config->rules[1].match.has_dst = true;
	add_prefix(&config->rules[1].match.dst, "2001:db8::", 32);
	ruleset = compile(config, NULL);
	assert_int_equal(ruleset->policy.uses, EB_USES_DST6);
	assert_int_equal(ruleset->policy.src_any, 3);
	assert_int_equal(ruleset->policy.dst_any, 1);
	for (int number = 0; number < EB_NUMBERS; number++) {
		assert_int_equal(ruleset->policy.number_any[number], 3);
		assert_null(ruleset->numbers[number]);
	}
	assert_int_equal(ruleset->interfaces.count, 0);
	assert_trie_empty(&ruleset->v4[EB_TRIE_SRC]);
	assert_trie_empty(&ruleset->v4[EB_TRIE_DST]);
	assert_trie_empty(&ruleset->v6[EB_TRIE_SRC]);
	assert_int_equal(ruleset->v6[EB_TRIE_DST].count, 1);
	assert_int_equal(ruleset->v6[EB_TRIE_DST].items[0].rules, 3);
	eb_rules_free(ruleset);
	config_free(config);
}

/* With --monitor nothing is dropped, and packets belong to the rules that they belong to without it. */
static void test_monitor(void **state)
{
	static const enum eb_action actions[] = { EB_ALLOW, EB_DENY, EB_LIMIT };
	struct eb_config *config = config_new(COUNT(actions));
	struct eb_ruleset *ruleset;

	(void)state;
	config->malformed_drop = true;
	for (size_t i = 0; i < COUNT(actions); i++) {
		config->rules[i].action = actions[i];
		add_proto(&config->rules[i], IPPROTO_TCP);
	}
	ruleset = compile(config, NULL);
	assert_false(eb_rules_drop_nothing(&ruleset->policy));
	eb_rules_monitor(ruleset);
	assert_true(eb_rules_drop_nothing(&ruleset->policy));
	assert_int_equal(ruleset->policy.malformed_drop, 0);
	assert_int_equal(ruleset->policy.l4_unknown, 1 << 1 | 1 << 2);
	for (size_t i = 0; i < COUNT(actions); i++)
		assert_int_equal(ruleset->policy.rules[i].monitor, actions[i] != EB_ALLOW);
	ruleset->policy.rules[2].monitor = false;
	assert_false(eb_rules_drop_nothing(&ruleset->policy));
	ruleset->policy.rules[2].monitor = ruleset->policy.malformed_drop = true;
	assert_false(eb_rules_drop_nothing(&ruleset->policy));
	eb_rules_free(ruleset);
	config_free(config);
}

static void test_no_rules(void **state)
{
	struct eb_config *config = config_new(0);
	struct eb_ruleset *ruleset;
	struct eb_policy empty = { .malformed_drop = 1 };

	(void)state;
	ruleset = compile(config, NULL);
	assert_memory_equal(&ruleset->policy, &empty, sizeof(empty));
	eb_rules_free(ruleset);
	eb_rules_free(NULL);
	config_free(config);
}

/* Two entries for one prefix would be one too many for the kernel's trie. */
static void test_prefixes_are_distinct(void **state)
{
	struct eb_config *config = config_new(3);
	const struct eb_trie_entry *items;
	struct eb_ruleset *ruleset;

	(void)state;
	config->rules[0].match.has_src = config->rules[1].match.has_src = true;
	add_prefix(&config->rules[0].match.src, "10.1.0.0", 16);
	add_prefix(&config->rules[0].match.src, "10.1.0.0", 24);
	add_prefix(&config->rules[0].match.src, "10.1.0.0", 16);
	add_prefix(&config->rules[1].match.src, "10.1.0.0", 24);
	add_prefix(&config->rules[1].match.src, "10.1.0.0", 16);
	add_prefix(&config->rules[1].match.src, "10.0.0.0", 8);
	ruleset = compile(config, NULL);
	items = ruleset->v4[EB_TRIE_SRC].items;
	assert_int_equal(ruleset->v4[EB_TRIE_SRC].count, 3);
	assert_int_equal(items[0].len, 8);
	assert_int_equal(items[0].rules, 6);
	assert_int_equal(items[1].len, 16);
	assert_int_equal(items[1].rules, 7);
	assert_int_equal(items[2].len, 24);
	assert_int_equal(items[2].rules, 7);
	eb_rules_free(ruleset);
	config_free(config);
}

/* Prefixes that are not meant, whatever else of the rule's list is within them or around them. */
static void test_exceptions(void **state)
{
	static const struct {
		const char *addr;
		int rule;
	} rows[] = {
		{ "10.0.0.1", 0 }, { "10.1.0.1", 1 }, { "10.1.2.3", 1 }, { "10.1.255.255", 1 }, { "10.2.0.0", 0 },
		{ "10.9.9.9", NO_RULE }, { "192.0.2.1", 1 }, { "2001:db8::1", NO_RULE }, { "2001:db9::1", 1 },
	};
	struct eb_config *config = config_new(2);
	struct eb_ruleset *ruleset;

	(void)state;
	config->rules[0].match.has_src = true;
	add_prefix(&config->rules[0].match.src, "10.0.0.0", 8);
	add_prefix(&config->rules[0].match.src, "10.1.2.3", 32);
	add_prefix(&config->rules[0].match.src, "10.9.9.9", 32);
	add_prefix(&config->rules[0].match.src_except, "10.1.0.0", 16);
	add_prefix(&config->rules[0].match.src_except, "10.9.9.9", 32);
	add_prefix(&config->rules[1].match.src_except, "10.9.0.0", 16);
	add_prefix(&config->rules[1].match.src_except, "2001:db8::", 32);
	ruleset = compile(config, NULL);
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct eb_packet packet = packet_of(rows[i].addr, strchr(rows[i].addr, ':') ? "::1" : "192.0.2.2",
						    IPPROTO_UDP, 53);

		assert_int_equal(classify(ruleset, &packet), rows[i].rule);
	}
	eb_rules_free(ruleset);
	config_free(config);
}

/* As large as a blocked list gets */

#define MANY 1000000

static void fill_many(struct eb_prefix_list *list, size_t count, int family)
{
	list->items = calloc(count, sizeof(*list->items));
	assert_non_null(list->items);
	list->count = count;
	for (size_t i = 0; i < count; i++) {
		struct eb_prefix *prefix = &list->items[i];
		uint64_t bits[2] = { random_u64(), random_u64() };

		prefix->family = family;
		prefix->len = family == 4 ? 8 + random_below(25) : 16 + random_below(113);
		memcpy(prefix->addr, bits, 16);
		prefix->addr[0] &= 0x3f; /* close together, so that they nest */
		mask_address(prefix->addr, prefix->len);
	}
}

static void test_million_prefixes(void **state)
{
	struct eb_config *config = config_new(4);
	struct eb_ruleset *ruleset;
	unsigned int hits[4] = { 0 };

	(void)state;
	for (size_t i = 0; i < 3; i++)
		config->rules[i].match.has_src = true;
	add_proto(&config->rules[0], IPPROTO_TCP);
	fill_many(&config->rules[0].match.src, MANY, 4);
	fill_many(&config->rules[1].match.src, MANY / 4, 4);
	fill_many(&config->rules[2].match.src, MANY / 4, 6);
	ruleset = compile(config, NULL);
	for (int i = 0; i < 50; i++) {
		struct eb_packet packet = { .family = i % 5 ? 4 : 6 };

		packet.proto = i % 2 ? IPPROTO_TCP : IPPROTO_GRE;
		packet.l4 = EB_L4_NO_PORT;
		random_packet_address(&config->rules[i % 5 ? i % 2 : 2].match.src, packet.family, packet.saddr);
		hits[check_packet(config, ruleset, &packet)]++;
	}
	assert_true(hits[0] && hits[1] && hits[2]);
	eb_rules_free(ruleset);
	config_free(config);
}

/* Rules, their slots and identities */

static void test_rule_fields(void **state)
{
	static const uint8_t mask6[16] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xe0 };
	struct eb_config *config = config_new(2);
	struct eb_rule_config *limited = &config->rules[1];
	struct eb_limit packets, bytes, new_sources;
	const struct eb_rule *rule;
	struct eb_ruleset *ruleset;

	(void)state;
	memset(limited->name, 'x', EB_RULE_NAME_MAX);
	limited->action = EB_LIMIT;
	limited->monitor = limited->crowded_pass = true;
	limited->per_ipv4 = 20;
	limited->per_ipv6 = 75;
	limited->packets = (struct eb_rate){ 200, 1000000000, 400 };
	limited->bytes = (struct eb_rate){ 8000000, 8000000000, 1000000 };
	limited->new_sources = (struct eb_rate){ 100000, 1000000000, 200000 };
	assert_int_equal(eb_limit_compile(&limited->packets, false, &packets), 0);
	assert_int_equal(eb_limit_compile(&limited->bytes, true, &bytes), 0);
	assert_int_equal(eb_limit_compile(&limited->new_sources, false, &new_sources), 0);
	config->malformed_drop = false;

	ruleset = compile(config, NULL);
	assert_int_equal(ruleset->policy.rule_count, 2);
	assert_int_equal(ruleset->policy.malformed_drop, 0);
	assert_int_equal(ruleset->policy.generation, 0);
	rule = &ruleset->policy.rules[1];
	assert_int_equal(rule->action, EB_LIMIT);
	assert_int_equal(rule->monitor, 1);
	assert_int_equal(rule->crowded_pass, 1);
	assert_int_equal(rule->prefix4, 20);
	assert_int_equal(rule->prefix6, 75);
	assert_int_equal(rule->mask4, htonl(0xfffff000));
	assert_memory_equal(rule->mask6, mask6, sizeof(mask6));
	assert_memory_equal(&rule->packets, &packets, sizeof(packets));
	assert_memory_equal(&rule->bytes, &bytes, sizeof(bytes));
	assert_memory_equal(&rule->new_sources, &new_sources, sizeof(new_sources));
	assert_int_equal(rule->id4, eb_rules_id(limited->name, 4, 20, EB_ALSO_NONE, &packets, &bytes));
	assert_int_equal(rule->id6, eb_rules_id(limited->name, 6, 75, EB_ALSO_NONE, &packets, &bytes));
	assert_memory_equal(ruleset->policy.names[1], limited->name, EB_RULE_NAME_MAX);
	assert_memory_equal(ruleset->policy.names[0], "rule-0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 32);
	assert_int_equal(ruleset->policy.rules[0].action, EB_DENY);
	assert_int_equal(ruleset->policy.rules[0].packets.mult, 0);
	eb_rules_free(ruleset);
	config_free(config);
}

static void test_masks(void **state)
{
	struct eb_config *config = config_new(1);

	(void)state;
	for (int len = 0; len <= 128; len++) {
		uint8_t mask[16], zero[16] = { 0 };
		struct eb_ruleset *ruleset;

		config->rules[0].per_ipv4 = len < 32 ? len : 32;
		config->rules[0].per_ipv6 = len;
		ruleset = compile(config, NULL);
		memset(mask, 0xff, 16);
		mask_address(mask, len);
		assert_memory_equal(ruleset->policy.rules[0].mask6, mask, 16);
		memset(mask, 0xff, 16);
		mask_address(mask, len < 32 ? len : 32);
		assert_memory_equal(&ruleset->policy.rules[0].mask4, mask, 4);
		assert_memory_equal(ruleset->policy.rules[0].pad2, zero, sizeof(ruleset->policy.rules[0].pad2));
		eb_rules_free(ruleset);
	}
	config_free(config);
}

/* The same name, the same slot; a new name, one that nobody had a moment ago. */
static void check_slots(const struct eb_policy *old, const struct eb_policy *new)
{
	bool was_used[EB_SLOTS] = { false }, is_used[EB_SLOTS] = { false };
	uint32_t highest_new = 0;

	for (size_t i = 0; i < old->rule_count; i++)
		was_used[old->rules[i].slot] = true;
	for (size_t i = 0; i < new->rule_count; i++) {
		uint32_t slot = new->rules[i].slot;
		size_t j = 0;

		assert_true(slot < EB_SLOTS);
		assert_false(is_used[slot]);
		is_used[slot] = true;
		while (j < old->rule_count && memcmp(old->names[j], new->names[i], EB_RULE_NAME_MAX))
			j++;
		if (j < old->rule_count) {
			assert_int_equal(slot, old->rules[j].slot);
			continue;
		}
		assert_false(was_used[slot]);
		if (slot > highest_new)
			highest_new = slot;
	}
	/* The lowest ones, that is: none is left out below a new one. */
	for (uint32_t slot = 0; slot < highest_new; slot++)
		assert_true(was_used[slot] || is_used[slot]);
}

static void test_slots(void **state)
{
	struct eb_policy policy = { 0 };

	(void)state;
	for (int round = 0; round < 500; round++) {
		struct eb_config *config =
		    config_new(random_chance(30) ? EB_RULES_MAX : random_below(EB_RULES_MAX + 1));
		unsigned int names = 1 + random_below(6), first = random_below(1000);
		struct eb_ruleset *ruleset;

		for (size_t i = 0; i < config->rule_count; i++) {
			size_t number = (first + i * 7) % (names * EB_RULES_MAX);

			snprintf(config->rules[i].name, sizeof(config->rules[i].name), "slot-%zu", number);
		}
		ruleset = compile(config, round ? &policy : NULL);
		check_slots(&policy, &ruleset->policy);
		policy = ruleset->policy;
		eb_rules_free(ruleset);
		config_free(config);
	}
}

static void test_slots_all_replaced(void **state)
{
	struct eb_config *config = config_new(EB_RULES_MAX);
	struct eb_ruleset *before = compile(config, NULL), *after;

	(void)state;
	for (size_t i = 0; i < EB_RULES_MAX; i++) {
		assert_int_equal(before->policy.rules[i].slot, i);
		snprintf(config->rules[i].name, sizeof(config->rules[i].name), "other-%zu", i);
	}
	after = compile(config, &before->policy);
	for (size_t i = 0; i < EB_RULES_MAX; i++)
		assert_int_equal(after->policy.rules[i].slot, EB_RULES_MAX + i);
	eb_rules_free(before);
	eb_rules_free(after);
	config_free(config);
}

/* Numbers out of a damaged map must not be used to address memory. */
static void test_slots_damaged(void **state)
{
	struct eb_config *config = config_new(EB_RULES_MAX);
	struct eb_policy policy = { .rule_count = UINT32_MAX };
	struct eb_ruleset *ruleset;

	(void)state;
	for (size_t i = 0; i < EB_LIMITS_MAX; i++) {
		snprintf(policy.names[i], EB_RULE_NAME_MAX, "rule-%zu", i);
		policy.rules[i].slot = i % 2 ? EB_SLOTS + i : UINT32_MAX - i;
	}
	ruleset = compile(config, &policy);
	for (size_t i = 0; i < EB_RULES_MAX; i++)
		assert_int_equal(ruleset->policy.rules[i].slot, i);
	eb_rules_free(ruleset);
	config_free(config);
}

/* Values computed elsewhere: buckets in a store outlive the program that wrote them. */
static void test_ids(void **state)
{
	static const struct eb_limit none, some = { .mult = 5120000000, .burst = 2048000000000 };
	static const struct eb_limit fast = { .mult = 4398046511104, .burst = 1024000000000, .shift = 32 };
	static const struct {
		const char *name;
		uint8_t family, len;
		const struct eb_limit *packets, *bytes;
		uint32_t id;
	} rows[] = {
		{ "dns", 4, 32, &some, &none, 0xbea2165e },
		{ "dns", 6, 64, &some, &none, 0x38d2a480 },
		{ "dns", 4, 32, &none, &some, 0x581ac240 },
		{ "dns", 4, 32, &some, &fast, 0xbbdd466f },
		{ "dns", 4, 24, &some, &none, 0xfbfd78f6 },
		{ "everyone", 4, 32, &none, &none, 0x391de62c },
		{ "zcth0v", 4, 32, &none, &none, 1 }, /* FNV-1a gives 0, which stands for an empty entry */
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		uint32_t id = eb_rules_id(rows[i].name, rows[i].family, rows[i].len, EB_ALSO_NONE, rows[i].packets,
					  rows[i].bytes);

		if (id != rows[i].id)
			fail_msg("row %zu: id %#" PRIx32 " expected, got %#" PRIx32, i, rows[i].id, id);
	}
}

static void test_ids_change_with_limits(void **state)
{
	static const struct eb_limit limit = { .mult = 1000, .burst = 100000, .shift = 3 }, none;
	struct eb_limit other[] = { limit, limit, limit };
	uint32_t id = eb_rules_id("a", 4, 32, EB_ALSO_NONE, &limit, &none);

	(void)state;
	other[0].mult++;
	other[1].burst++;
	other[2].shift++;
	for (size_t i = 0; i < COUNT(other); i++)
		assert_int_not_equal(eb_rules_id("a", 4, 32, EB_ALSO_NONE, &other[i], &none), id);
	assert_int_not_equal(eb_rules_id("a", 4, 32, EB_ALSO_NONE, &none, &limit), id);
	assert_int_not_equal(eb_rules_id("a", 4, 32, EB_ALSO_NONE, &limit, &limit), id);
	assert_int_not_equal(eb_rules_id("b", 4, 32, EB_ALSO_NONE, &limit, &none), id);
	assert_int_equal(eb_rules_id("a", 4, 32, EB_ALSO_NONE, &limit, &none), id);
}

/* Names found by search; FNV-1a keeps the collision of two names of one length whatever comes behind them. */
static void test_id_collision(void **state)
{
	static const struct {
		const char *first, *second, *error;
		uint8_t second_ipv4, second_ipv6;
	} rows[] = {
		{ "rule-179599", "rule-362382",
		  "test.yaml:12: the names of rules \"rule-362382\" and \"rule-179599\" (line 10) hash to the same "
		  "number; "
		  "rename one of them",
		  32, 64 },
		{ "rule-127833", "rule-274133", /* of their IPv4 buckets alone */
		  "test.yaml:12: the names of rules \"rule-274133\" and \"rule-127833\" (line 10) hash to the same "
		  "number; "
		  "rename one of them",
		  8, 64 },
		{ "rule-123875", "rule-278175", /* of their IPv6 buckets alone */
		  "test.yaml:12: the names of rules \"rule-278175\" and \"rule-123875\" (line 10) hash to the same "
		  "number; "
		  "rename one of them",
		  32, 56 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct eb_config *config = config_new(3);
		struct eb_ruleset *ruleset = NULL;
		char *error = NULL;

		strcpy(config->rules[0].name, rows[i].first);
		strcpy(config->rules[2].name, rows[i].second);
		config->rules[2].per_ipv4 = rows[i].second_ipv4;
		config->rules[2].per_ipv6 = rows[i].second_ipv6;
		assert_int_equal(eb_rules_compile(config, NULL, &ruleset, &error), -EEXIST);
		assert_null(ruleset);
		assert_string_equal(error, rows[i].error);
		free(error);
		config_free(config);
	}
}

static void test_limit_refused(void **state)
{
	struct eb_config *config = config_new(1);
	struct eb_ruleset *ruleset = NULL;
	char *error = NULL;

	(void)state;
	config->rules[0].packets = (struct eb_rate){ 1, 3600000000000, 1000000 }; /* 114 years to fill */
	assert_true(eb_rules_compile(config, NULL, &ruleset, &error) < 0);
	assert_null(ruleset);
	assert_string_equal(error, "test.yaml:10: rule \"rule-0\" has a limit that cannot be represented");
	free(error);
	config_free(config);
}

/* Debt under other limits */

#define SECOND (1000000000 * EB_TICKS_PER_NS)

static struct eb_limit limit_of(uint64_t tokens, uint64_t period_ns, uint64_t burst, bool bytes)
{
	const struct eb_rate rate = { tokens, period_ns, burst };
	struct eb_limit limit;

	assert_int_equal(eb_limit_compile(&rate, bytes, &limit), 0);
	return limit;
}

static void test_convert(void **state)
{
	const struct eb_limit none = { 0 };
	const struct eb_limit ten = limit_of(10, 1000000000, 10, false);
	const struct eb_limit one = limit_of(1, 1000000000, 10, false);
	const struct eb_limit few = limit_of(10, 1000000000, 2, false);
	const struct {
		const char *name;
		const struct eb_limit *from, *to;
		uint64_t debt, expected; /* 0: full */
	} rows[] = {
		{ "full stays full", &ten, &one, 0, 0 },
		{ "three tokens, ten times slower", &ten, &one, 3 * SECOND / 10, 3 * SECOND },
		{ "three tokens, ten times faster", &one, &ten, 3 * SECOND, 3 * SECOND / 10 },
		{ "a part of a token is missing as a whole", &ten, &one, 2 * SECOND / 10 + 1, 3 * SECOND },
		{ "one tick", &ten, &ten, 1, SECOND / 10 },
		{ "empty stays empty", &ten, &one, SECOND, 10 * SECOND },
		{ "more than the new burst", &ten, &few, 9 * SECOND / 10, 9 * SECOND / 10 },
		{ "more than the old burst", &few, &one, 9 * SECOND / 10, 9 * SECOND },
		{ "no limit before", &none, &one, SECOND, 0 },
		{ "no limit any more", &one, &none, SECOND, 0 },
	};
	const uint64_t nows[] = { 5 * SECOND, 1000, UINT64_MAX - SECOND / 2, UINT64_MAX };

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		for (size_t j = 0; j < COUNT(nows); j++) {
			uint64_t full_at = rows[i].debt ? eb_gcra_full_at(nows[j], rows[i].debt) : EB_FULL;
			uint64_t got = eb_rules_convert(full_at, nows[j], rows[i].from, rows[i].to);
			uint64_t expected = EB_FULL;

			if (rows[i].expected)
				expected = eb_gcra_full_at(nows[j], rows[i].expected);
			if (got != expected)
				fail_msg("%s (now %" PRIu64 "): %" PRIu64 " expected, got %" PRIu64, rows[i].name,
					 nows[j], expected, got);
		}
	}
	assert_int_equal(eb_rules_convert(EB_LOCKED, UINT64_MAX, &ten, &one), EB_FULL);
	assert_int_equal(eb_rules_convert(EB_HELD, UINT64_MAX, &ten, &one), EB_FULL);
	assert_int_equal(eb_rules_convert(SECOND, 2 * SECOND, &ten, &one), EB_FULL);
}

typedef unsigned __int128 wide;

/* Powers of two first, so that small and large values are equally likely. */
static uint64_t random_scaled(uint64_t min, uint64_t max)
{
	uint64_t value = random_u64() >> random_below(64);

	return value < min || value > max ? min + random_below(max - min + 1) : value;
}

/* Over all of what can be configured; what cannot be represented is drawn again. */
static struct eb_limit random_limit(bool bytes)
{
	struct eb_limit limit;
	struct eb_rate rate;

	do {
		rate.period_ns = random_chance(50) ? 1000000000 : 3600000000000;
		rate.tokens = random_scaled(1, bytes ? 50000000000 : 100000000);
		rate.burst = random_scaled(1, 1ULL << 40);
	} while (eb_limit_compile(&rate, bytes, &limit));
	return limit;
}

static bool debt_is_covered(const struct eb_limit *limit, uint64_t debt, uint64_t tokens)
{
	return (wide)tokens * limit->mult >= (wide)debt << limit->shift;
}

/* The fewest whole tokens that take at least `debt` to refill, by bisection. */
static uint64_t missing_tokens(const struct eb_limit *limit, uint64_t debt)
{
	uint64_t low = 0, high = 1ULL << 60;

	while (low < high) {
		uint64_t middle = low + (high - low) / 2;

		if (debt_is_covered(limit, debt, middle))
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

static uint64_t convert_debt(uint64_t debt, const struct eb_limit *from, const struct eb_limit *to)
{
	uint64_t now = random_u64();

	return eb_gcra_debt(eb_rules_convert(eb_gcra_full_at(now, debt), now, from, to), now);
}

/* A time cannot be EB_FULL, EB_LOCKED or EB_HELD and moves on by up to three ticks instead. */
static void assert_near(uint64_t value, uint64_t expected)
{
	if (value < expected || value > expected + EB_FIRST_TIME)
		fail_msg("debt %" PRIu64 " expected, got %" PRIu64, expected, value);
}

static void check_conversion(const struct eb_limit *from, const struct eb_limit *to)
{
	uint64_t debt = 1 + random_scaled(0, from->burst - 1);
	uint64_t tokens = missing_tokens(from, debt);
	uint64_t got = convert_debt(debt, from, to);
	wide ticks = ((wide)tokens * to->mult + ((wide)1 << to->shift) - 1) >> to->shift;

	assert_near(got, ticks < EB_BURST_MAX ? ticks : EB_BURST_MAX);
	/* Never a token gained, other than by the longest refill that there is. */
	assert_true(got >= EB_BURST_MAX || missing_tokens(to, got) >= tokens);
	/* More debt never becomes less, also beyond the burst. */
	assert_true(convert_debt(debt + random_below(EB_BURST_MAX - debt + 1), from, to) + EB_FIRST_TIME >= got);
	/* There and back again gives nothing away. */
	assert_true(got >= EB_BURST_MAX || convert_debt(got, to, from) + EB_FIRST_TIME >= debt);
	/* Under the same limits, at most what is left of one token is lost. */
	got = convert_debt(debt, from, from);
	assert_true(got >= debt && got - debt <= (from->mult >> from->shift) + 4);
}

static void test_convert_random(void **state)
{
	(void)state;
	for (int i = 0; i < 20000; i++) {
		bool bytes = random_chance(50);
		struct eb_limit from = random_limit(bytes), to = random_limit(bytes);

		check_conversion(&from, &to);
	}
}

/* The largest numbers that a limit can hold must not overflow in between. */
static void test_convert_extremes(void **state)
{
	const struct eb_limit tiny = { .mult = 1, .burst = EB_DEBT_MAX, .shift = 32 };
	const struct eb_limit slow = { .mult = EB_DEBT_MAX, .burst = EB_DEBT_MAX };

	(void)state;
	assert_near(convert_debt(EB_DEBT_MAX, &tiny, &slow), EB_BURST_MAX);
	assert_near(convert_debt(1, &tiny, &slow), EB_BURST_MAX);
	assert_near(convert_debt(EB_DEBT_MAX, &slow, &slow), EB_BURST_MAX);
	assert_near(convert_debt(1, &slow, &slow), EB_BURST_MAX);
	assert_near(convert_debt(EB_DEBT_MAX, &slow, &tiny), 1);
	assert_near(convert_debt(EB_DEBT_MAX, &tiny, &tiny), EB_BURST_MAX);
}

static void test_names(void **state)
{
	(void)state;
	assert_string_equal(eb_action_name(EB_ALLOW), "allow");
	assert_string_equal(eb_action_name(EB_DENY), "deny");
	assert_string_equal(eb_action_name(EB_LIMIT), "limit");
	assert_string_equal(eb_verdict_name(EB_PASS), "pass");
	assert_string_equal(eb_verdict_name(EB_DROP), "drop");
	assert_string_equal(eb_verdict_name(EB_WOULD_DROP), "would_drop");
	assert_string_equal(eb_verdict_name(EB_CROWDED), "crowded");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_example, restart_random),
		cmocka_unit_test_setup(test_random_rules, restart_random),
		cmocka_unit_test_setup(test_unknown_l4, restart_random),
		cmocka_unit_test_setup(test_proto_sets, restart_random),
		cmocka_unit_test_setup(test_dimensions_not_used, restart_random),
		cmocka_unit_test_setup(test_monitor, restart_random),
		cmocka_unit_test_setup(test_no_rules, restart_random),
		cmocka_unit_test_setup(test_prefixes_are_distinct, restart_random),
		cmocka_unit_test_setup(test_exceptions, restart_random),
		cmocka_unit_test_setup(test_million_prefixes, restart_random),
		cmocka_unit_test_setup(test_rule_fields, restart_random),
		cmocka_unit_test_setup(test_masks, restart_random),
		cmocka_unit_test_setup(test_slots, restart_random),
		cmocka_unit_test_setup(test_slots_all_replaced, restart_random),
		cmocka_unit_test_setup(test_slots_damaged, restart_random),
		cmocka_unit_test_setup(test_ids, restart_random),
		cmocka_unit_test_setup(test_ids_change_with_limits, restart_random),
		cmocka_unit_test_setup(test_id_collision, restart_random),
		cmocka_unit_test_setup(test_limit_refused, restart_random),
		cmocka_unit_test_setup(test_convert, restart_random),
		cmocka_unit_test_setup(test_convert_random, restart_random),
		cmocka_unit_test_setup(test_convert_extremes, restart_random),
		cmocka_unit_test_setup(test_names, restart_random),
	};
	const char *text = getenv("EB_TEST_SEED");
	int failed;

	seed = text ? strtoull(text, NULL, 0) : (uint64_t)time(NULL);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	if (failed)
		print_error("repeat with EB_TEST_SEED=%" PRIu64 "\n", seed);
	return failed;
}
