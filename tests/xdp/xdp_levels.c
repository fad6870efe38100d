// SPDX-License-Identifier: GPL-2.0-only
/*
 * Packets that meet several buckets: levels of a rule, rules that go on. All buckets are charged or none, which a model
 * in whole numbers predicts for every packet, and several CPUs together never exceed any bucket.
 */
#include <arpa/inet.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "../unit/random.h"
#include "config/destination.h"
#include "edgebucket.h"
#include "maps/buckets.h"
#include "policy/rules.h"
#include "xdp.h"

#define SETS 1024

#define LIMIT(burst) "action: limit, packets: { rate: 1/h, burst: " #burst " }"
#define LEVEL(prefixes, burst) "{ per: { " prefixes " }, packets: { rate: 1/h, burst: " #burst " } }"

struct row {
	const char *name;
	const char *rules;  /* items of `rules:` */
	const char *frames; /* frame.h; "; " between, "N*" before one to send N times */
	const char *counts; /* rig_counts() */
	int verdict;        /* the last frame's */
};

static const struct row rows[] = {
	{ "a level refuses",
	  "[{ name: a, " LIMIT(3) ", levels: [" LEVEL("ipv4: 24", 4) "] }]",
	  "3*ip4:src=10.0.0.1 udp:1; 3*ip4:src=10.0.0.2 udp:1; ip4:src=10.0.1.1 udp:1",
	  "a.pass:5 a /24.drop:2", XDP_PASS },
	{ "what the level refuses is not charged to the source",
	  "[{ name: a, " LIMIT(2) ", levels: [" LEVEL("ipv4: 24", 2) "] }]",
	  "2*ip4:src=10.0.0.1 udp:1; 5*ip4:src=10.0.0.2 udp:1", "a.pass:2 a /24.drop:5", XDP_DROP },
	{ "what the rule refuses is not charged to the level",
	  "[{ name: a, " LIMIT(1) ", levels: [" LEVEL("ipv4: 24", 3) "] }]",
	  "5*ip4:src=10.0.0.1 udp:1; ip4:src=10.0.0.2 udp:1; ip4:src=10.0.0.3 udp:1; ip4:src=10.0.0.4 udp:1",
	  "a.pass:3 a.drop:4 a /24.drop:1", XDP_DROP },
	{ "three levels",
	  "[{ name: a, " LIMIT(1) ", levels: [" LEVEL("ipv6: 56", 2) ", " LEVEL("ipv6: 48", 3) ", "
	  LEVEL("ipv6: 32", 4) "] }]",
	  "ip6:src=2001:db8:1:1::1 udp:1; ip6:src=2001:db8:1:2::1 udp:1; ip6:src=2001:db8:1:3::1 udp:1; "
	  "ip6:src=2001:db8:1:100::1 udp:1; ip6:src=2001:db8:1:101::1 udp:1; ip6:src=2001:db8:2:1::1 udp:1; "
	  "ip6:src=2001:db8:3:1::1 udp:1; ip6:src=2001:db9:3:1::1 udp:1",
	  "a.pass:5 a /56.drop:1 a /48.drop:1 a /32.drop:1", XDP_PASS },
	{ "a level of one family", "[{ name: a, " LIMIT(3) ", levels: [" LEVEL("ipv6: 48", 1) "] }]",
	  "3*ip4 udp:1; 3*ip6 udp:1", "a.pass:4 a /48.drop:2", XDP_DROP },
	{ "all sources together", "[{ name: a, " LIMIT(3) ", levels: [" LEVEL("ipv4: 0, ipv6: 0", 4) "] }]",
	  "3*ip4 udp:1; 3*ip6 udp:1", "a.pass:4 a all.drop:2", XDP_DROP },
	{ "all of each family", "[{ name: a, " LIMIT(3) ", levels: [" LEVEL("ipv4: 0", 2) ", " LEVEL("ipv6: 0", 2)
	  "] }]", "3*ip4 udp:1; 3*ip6 udp:1", "a.pass:4 a /0.drop:1 a /0.drop:1", XDP_DROP },
	{ "a monitored level", "[{ name: a, mode: monitor, " LIMIT(3) ", levels: [" LEVEL("ipv4: 24", 1) "] }]",
	  "3*ip4 udp:1", "a.pass:1 a /24.would_drop:2", XDP_PASS },

	/* Rules that go on */
	{ "on to a limit",
	  "[{ name: a, match: { proto: udp }, " LIMIT(2) ", then: continue }, { name: b, " LIMIT(3) " }]",
	  "3*ip4 udp:1; 2*ip4 tcp:1", "a.drop:1 a.continue:2 b.pass:3 b.drop:1", XDP_DROP },
	{ "what the second refuses is not charged to the first",
	  "[{ name: a, match: { proto: udp }, " LIMIT(3) ", then: continue }, "
	  "{ name: b, match: { dport: 1, proto: udp }, " LIMIT(1) " }]",
	  "4*ip4 udp:1; 3*ip4 udp:2", "a.pass:2 a.drop:1 a.continue:4 b.pass:1 b.drop:3", XDP_DROP },
	{ "on to nothing", "[{ name: a, " LIMIT(2) ", then: continue }]", "3*ip4 udp:1", "a.pass:2 a.drop:1",
	  XDP_DROP },
	{ "on to allow", "[{ name: a, " LIMIT(2) ", then: continue }, { name: b, action: allow }]", "3*ip4 udp:1",
	  "a.drop:1 a.continue:2 b.pass:2", XDP_DROP },
	{ "on to deny", "[{ name: a, " LIMIT(2) ", then: continue }, { name: b, action: deny }]", "3*ip4 udp:1",
	  "a.continue:3 b.drop:3", XDP_DROP },
	{ "on to a monitored deny",
	  "[{ name: a, " LIMIT(2) ", then: continue }, { name: b, action: deny, mode: monitor }]", "3*ip4 udp:1",
	  "a.drop:1 a.continue:2 b.would_drop:2", XDP_DROP },
	{ "a monitored rule that goes on",
	  "[{ name: a, mode: monitor, " LIMIT(1) ", then: continue }, { name: b, " LIMIT(2) " }]", "3*ip4 udp:1",
	  "a.would_drop:2 a.continue:1 b.pass:2 b.drop:1", XDP_DROP },
	{ "four buckets and a deny behind",
	  "[{ name: a, " LIMIT(9) ", then: continue, levels: [" LEVEL("ipv4: 24", 2) "] }, "
	  "{ name: b, " LIMIT(9) ", then: continue, levels: [" LEVEL("ipv4: 16", 9) "] }, "
	  "{ name: c, match: { proto: tcp }, action: deny }]",
	  "ip4 udp:1; 3*ip4 tcp:1; 3*ip4 udp:1", "a.continue:5 b.pass:2 b.continue:3 c.drop:3 a /24.drop:2",
	  XDP_DROP },
	{ "hidden headers meet all",
	  "[{ name: a, match: { proto: udp, dport: 1 }, " LIMIT(2) ", then: continue }, { name: b, " LIMIT(9) " }]",
	  "3*ip4:frag=2000,proto=17", "a.drop:1 a.continue:2 b.pass:2", XDP_DROP },

	/* Also by destination or port */
	{ "by destination", "[{ name: a, also_per: dst, " LIMIT(2) " }]",
	  "3*ip4:dst=10.1.0.1 udp:1; 3*ip4:dst=10.1.0.2 udp:2; 3*ip6:dst=2001:db8::1 udp:1; ip6:dst=2001:db8::2 udp:1",
	  "a.pass:7 a.drop:3", XDP_PASS },
	{ "by port", "[{ name: a, also_per: dport, " LIMIT(1) " }]",
	  "2*ip4 udp:1; 2*ip4:dst=10.1.0.1 tcp:1; 2*ip6 udp:1; ip4 udp:258; ip6 udp:2; 2*ip4 icmp; ip4:frag=2001 raw",
	  "a.pass:5 a.drop:6", XDP_DROP },
	{ "by destination of all sources",
	  "[{ name: a, per: { ipv4: 0, ipv6: 0 }, also_per: dst, " LIMIT(2) " }]",
	  "ip4:src=10.0.0.1,dst=10.1.0.1 udp:1; 2*ip4:src=10.0.0.2,dst=10.1.0.1 udp:1; "
	  "ip4:src=10.0.0.2,dst=10.1.0.2 udp",
	  "a.pass:3 a.drop:1", XDP_PASS },
	{ "by destination, and over all of them",
	  "[{ name: a, also_per: dst, " LIMIT(2) ", levels: [" LEVEL("ipv4: 32, ipv6: 64", 3) "] }]",
	  "3*ip4:dst=10.1.0.1 udp:1; 2*ip4:dst=10.1.0.2 udp:1; 4*ip6 udp:1",
	  "a.pass:5 a.drop:3 a /32,/64.drop:1", XDP_DROP },
	{ "a level by destination",
	  "[{ name: a, " LIMIT(2) ", levels: [{ also_per: dst, per: { ipv4: 0, ipv6: 0 }, "
	  "packets: { rate: 1/h, burst: 3 } }] }]",
	  "2*ip4:src=10.0.0.1 udp:1; 2*ip4:src=10.0.0.2 udp:1; ip4:src=10.0.0.2,dst=10.1.0.2 udp:1; 2*ip6 udp:1",
	  "a.pass:6 a /0,/0+dst.drop:1", XDP_PASS },

	/* New sources */
	{ "a crowded source that passes is held by its level",
	  "[{ name: a, " LIMIT(5) ", new_sources: { rate: 1/h, burst: 1 }, when_crowded: pass, levels: ["
	  LEVEL("ipv4: 0", 3) "] }]",
	  "ip4:src=10.0.0.1 udp:1; 4*ip4:src=10.0.0.2 udp:1", "a.pass:1 a.crowded:2 a /0.drop:2", XDP_DROP },
	{ "a crowded source that is dropped costs its level nothing",
	  "[{ name: a, " LIMIT(5) ", new_sources: { rate: 1/h, burst: 1 }, levels: [" LEVEL("ipv4: 0", 2) "] }]",
	  "ip4:src=10.0.0.1 udp:1; 4*ip4:src=10.0.0.2 udp:1; 2*ip4:src=10.0.0.1 udp:1",
	  "a.pass:2 a.crowded:4 a /0.drop:1", XDP_DROP },
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

static void test_rows(void **state)
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

/* --- A model --- */

/* A token of packets, and a frame of bytes, takes this long to refill: 10/h, and 1B/s for frames of 360 bytes. No test
 * takes as long, so all is whole numbers. */
#define UNIT (360ULL * 1000000000 * EB_TICKS_PER_NS)
#define FRAME 360

enum { MODEL_RULES = 4, MODEL_RECORDS = 8, MODEL_SOURCES = 24, MODEL_PACKETS = 400 };

struct model_record {
	int prefix4, prefix6; /* -1: not met */
	enum eb_also also;
	int packets, bytes;   /* bursts, in units; 0: no limit */
};

struct model_rule {
	enum eb_action action;
	bool monitor, goes_on;
	int proto; /* 0: any */
	int records;
	struct model_record record[1 + EB_LEVELS_MAX];
};

struct model_bucket {
	int rule, record;
	uint8_t family, addr[16];
	int to; /* 0: all */
	int packets, bytes; /* missing, in units */
};

struct model {
	struct model_rule rules[MODEL_RULES];
	int rule_count;
	struct model_bucket buckets[4096];
	int bucket_count;
};

struct model_packet {
	uint8_t family, addr[16];
	int dst, dport; /* the last byte of the address */
	int proto, units; /* of bytes */
};

static int choose(int from, int to)
{
	return from + (int)(draw() % (uint64_t)(to - from + 1));
}

static void choose_record(struct model_record *record, const struct model_record *before)
{
	record->prefix4 = before ? before->prefix4 < 1 || one_in(4) ? -1 : choose(0, before->prefix4 - 1) : 32;
	record->prefix6 = before ? before->prefix6 < 1 || one_in(4) ? -1 : choose(0, before->prefix6 - 1) : 64;
	record->also = one_in(3) ? choose(EB_ALSO_DST, EB_ALSO_DPORT) : EB_ALSO_NONE;
	record->packets = one_in(4) ? 0 : choose(1, before ? 20 : 6);
	record->bytes = record->packets && !one_in(3) ? 0 : choose(1, before ? 20 : 6);
}

static void choose_rule(struct model_rule *rule, int buckets_left)
{
	*rule = (struct model_rule){
		.action = one_in(8) ? EB_DENY : one_in(8) ? EB_ALLOW : EB_LIMIT,
		.monitor = one_in(5),
		.proto = one_in(2) ? 0 : one_in(2) ? 6 : 17,
		.goes_on = one_in(2),
	};
	rule->monitor &= rule->action != EB_ALLOW;
	if (rule->action == EB_LIMIT && !buckets_left)
		rule->action = EB_DENY;
	if (rule->action != EB_LIMIT)
		return;
	rule->records = choose(1, buckets_left);
	for (int i = 0; i < rule->records; i++) {
		choose_record(&rule->record[i], i ? &rule->record[i - 1] : NULL);
		/* What a level leaves out, the next one cannot be compared with. */
		if (rule->record[i].prefix4 < 0 && rule->record[i].prefix6 < 0)
			rule->records = i;
	}
}

static void choose_model(struct model *model)
{
	int left = EB_BUCKETS_MAX;

	model->bucket_count = 0;
	model->rule_count = choose(1, MODEL_RULES);
	for (int i = 0; i < model->rule_count; i++) {
		choose_rule(&model->rules[i], left);
		left -= model->rules[i].goes_on ? model->rules[i].records : 0;
	}
}

static void print_limits(FILE *out, const struct model_record *record)
{
	if (record->packets)
		fprintf(out, ", packets: { rate: 10/h, burst: %d }", record->packets);
	if (record->bytes)
		fprintf(out, ", bytes: { rate: 1B/s, burst: %d }", record->bytes * FRAME);
}

static void print_levels(FILE *out, const struct model_rule *rule)
{
	for (int i = 1; i < rule->records; i++) {
		const struct model_record *record = &rule->record[i];

		fprintf(out, "%s{ also_per: %s, per: {", i == 1 ? ", levels: [" : ", ", eb_also_names[record->also]);
		if (record->prefix4 >= 0)
			fprintf(out, " ipv4: %d%s", record->prefix4, record->prefix6 >= 0 ? "," : "");
		if (record->prefix6 >= 0)
			fprintf(out, " ipv6: %d", record->prefix6);
		fprintf(out, " }");
		print_limits(out, record);
		fprintf(out, " }");
	}
	fprintf(out, "%s", rule->records > 1 ? "]" : "");
}

static char *model_text(const struct model *model)
{
	static const char *const actions[] = { "allow", "deny", "limit" };
	char *text;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	fprintf(out, "rules:\n");
	for (int i = 0; i < model->rule_count; i++) {
		const struct model_rule *rule = &model->rules[i];

		fprintf(out, "- { name: r%d, action: %s", i, actions[rule->action]);
		if (rule->proto)
			fprintf(out, ", match: { proto: %d }", rule->proto);
		if (rule->monitor)
			fprintf(out, ", mode: monitor");
		if (rule->action == EB_LIMIT) {
			fprintf(out, ", also_per: %s", eb_also_names[rule->record[0].also]);
			print_limits(out, &rule->record[0]);
			print_levels(out, rule);
			fprintf(out, ", then: %s, new_sources: { rate: 1M/s, burst: 1M }",
				rule->goes_on ? "continue" : "pass");
		}
		fprintf(out, " }\n");
	}
	fclose(out);
	return text;
}

static void mask(uint8_t addr[16], int len)
{
	for (int bit = len; bit < 128; bit++)
		addr[bit / 8] &= ~(0x80 >> bit % 8);
}

static bool is_together(const struct model_record *record, int number)
{
	return number && record->prefix4 == 0 && record->prefix6 == 0 && !record->also;
}

/* NULL where the packet does not meet it. */
static struct model_bucket *find_bucket(struct model *model, int rule, int number, const struct model_packet *packet)
{
	const struct model_record *record = &model->rules[rule].record[number];
	int len = packet->family == 4 ? record->prefix4 : record->prefix6;
	struct model_bucket wanted = { .rule = rule, .record = number, .family = packet->family };

	if (len < 0)
		return NULL;
	memcpy(wanted.addr, packet->addr, sizeof(wanted.addr));
	mask(wanted.addr, len);
	wanted.to = record->also == EB_ALSO_DST ? packet->dst : record->also == EB_ALSO_DPORT ? packet->dport : 0;
	wanted.family = is_together(record, number) ? 4 : packet->family;
	for (int i = 0; i < model->bucket_count; i++) {
		struct model_bucket *bucket = &model->buckets[i];

		if (bucket->rule == rule && bucket->record == number && bucket->family == wanted.family &&
		    bucket->to == wanted.to && !memcmp(bucket->addr, wanted.addr, sizeof(wanted.addr)))
			return bucket;
	}
	assert_true(model->bucket_count < (int)(sizeof(model->buckets) / sizeof(model->buckets[0])));
	model->buckets[model->bucket_count] = wanted;
	return &model->buckets[model->bucket_count++];
}

static bool admits(const struct model_record *record, const struct model_bucket *bucket, int units)
{
	return (!record->packets || bucket->packets + 1 <= record->packets) &&
	       (!record->bytes || bucket->bytes + units <= record->bytes);
}

/* Buckets of a rule that admit the packet are added to `met`; none when one refuses. */
static bool rule_admits(struct model *model, int rule, const struct model_packet *packet, struct model_bucket **met,
			int *count)
{
	int before = *count;

	for (int i = 0; i < model->rules[rule].records; i++) {
		struct model_bucket *bucket = find_bucket(model, rule, i, packet);

		if (!bucket)
			continue;
		if (!admits(&model->rules[rule].record[i], bucket, packet->units)) {
			*count = before;
			return false;
		}
		met[(*count)++] = bucket;
	}
	return true;
}

static void charge(const struct model *model, struct model_bucket *bucket, int units)
{
	const struct model_record *record = &model->rules[bucket->rule].record[bucket->record];

	bucket->packets += record->packets ? 1 : 0;
	bucket->bytes += record->bytes ? units : 0;
}

static bool model_passes(struct model *model, const struct model_packet *packet)
{
	struct model_bucket *met[EB_BUCKETS_MAX];
	int count = 0;

	for (int i = 0; i < model->rule_count; i++) {
		const struct model_rule *rule = &model->rules[i];

		if (rule->proto && rule->proto != packet->proto)
			continue;
		if (rule->action == EB_DENY && !rule->monitor)
			return false;
		if (rule->action == EB_LIMIT && !rule_admits(model, i, packet, met, &count) && !rule->monitor)
			return false;
		if (rule->action != EB_LIMIT || !rule->goes_on)
			break;
	}
	for (int i = 0; i < count; i++)
		charge(model, met[i], packet->units);
	return true;
}

static int less(int missing, int units)
{
	return missing > units ? missing - units : 0;
}

static void move_back(__u64 *full_at, int units)
{
	if (*full_at != EB_FULL)
		*full_at -= units * UNIT;
}

/* Time passes: for the model, and for the table by moving what it knows into the past. */
static void let_pass(struct rig *rig, struct model *model, int units)
{
	for (int i = 0; i < model->bucket_count; i++) {
		model->buckets[i].packets = less(model->buckets[i].packets, units);
		model->buckets[i].bytes = less(model->buckets[i].bytes, units);
	}
	for (uint32_t set = 0; set < rig->sets; set++) {
		for (int way = 0; way < EB_WAYS; way++) {
			move_back(&rig->v4[set].way[way].bucket.packets_full_at, units);
			move_back(&rig->v4[set].way[way].bucket.bytes_full_at, units);
			move_back(&rig->v6[set].way[way].bucket.packets_full_at, units);
			move_back(&rig->v6[set].way[way].bucket.bytes_full_at, units);
		}
	}
}

static void choose_packet(struct model_packet *packet)
{
	*packet = (struct model_packet){ .family = one_in(2) ? 4 : 6, .proto = one_in(2) ? 6 : 17,
					 .units = one_in(3) ? 2 : 1, .dst = choose(1, 3), .dport = choose(1, 2) };
	if (packet->family == 6)
		memcpy(packet->addr, "\x20\x01\x0d\xb8", 4);
	/* A few sources that share prefixes of any length. */
	packet->addr[packet->family == 4 ? 0 : 4] = one_in(2) ? 10 : 11;
	packet->addr[packet->family == 4 ? 2 : 5] = choose(0, 3) << 6;
	packet->addr[packet->family == 4 ? 3 : 7] = choose(0, 3);
}

static bool program_passes(const struct rig *rig, const struct model_packet *packet)
{
	int headers = (packet->family == 4 ? 34 : 54) + (packet->proto == 6 ? 20 : 8);
	const char *net = packet->family == 4 ? "198.51.100." : "2001:db8::";
	char addr[INET6_ADDRSTRLEN];

	inet_ntop(packet->family == 4 ? AF_INET : AF_INET6, packet->addr, addr, sizeof(addr));
	return rig_send_text(rig, "ip%d:src=%s,dst=%s%d %s:%d raw:%d", packet->family, addr, net, packet->dst,
			     packet->proto == 6 ? "tcp" : "udp", packet->dport,
			     packet->units * FRAME - headers) == XDP_PASS;
}

static void check_model(struct rig *rig, struct model *model)
{
	char *text;

	choose_model(model);
	text = model_text(model);
	rig_apply(rig, text);
	rig_clear(rig);
	for (int i = 0; i < MODEL_PACKETS; i++) {
		struct model_packet packet;
		bool expected;

		if (one_in(10))
			let_pass(rig, model, choose(1, 4));
		choose_packet(&packet);
		expected = model_passes(model, &packet);
		if (program_passes(rig, &packet) != expected)
			fail_msg("packet %d should %s under\n%s", i, expected ? "pass" : "be dropped", text);
	}
	rig_check_table(rig);
	free(text);
}

static void test_model(void **state)
{
	struct model *model = calloc(1, sizeof(*model));

	assert_non_null(model);
	for (int i = 0; i < 100; i++)
		check_model(*state, model);
	free(model);
}

/* --- Several CPUs --- */

enum { THREADS = 4, SOURCES = 8, PACKETS = 4000 };

struct worker {
	pthread_t thread;
	struct rig *rig;
	struct frame frame;
	int index;
	int admitted[SOURCES];
};

/* Every thread goes over the sources in an order of its own. Four of them are in each of two /24. */
static void *send_all_sources(void *arg)
{
	struct worker *worker = arg;

	for (int i = 0; i < PACKETS; i++) {
		int source = i * (2 * worker->index + 1) % SOURCES;

		worker->frame.data[worker->frame.saddr_at + 2] = source / 4;
		worker->frame.data[worker->frame.saddr_at + 3] = source % 4;
		worker->admitted[source] += rig_send(worker->rig, &worker->frame) == XDP_PASS;
	}
	return NULL;
}

static void run_workers(struct rig *rig, struct worker workers[THREADS])
{
	int cpus = sysconf(_SC_NPROCESSORS_ONLN);

	for (int i = 0; i < THREADS; i++) {
		cpu_set_t set;

		workers[i] = (struct worker){ .rig = rig, .index = i };
		frame_make("ip4 udp:1", &workers[i].frame);
		assert_int_equal(pthread_create(&workers[i].thread, NULL, send_all_sources, &workers[i]), 0);
		CPU_ZERO(&set);
		CPU_SET(i % cpus, &set);
		(void)pthread_setaffinity_np(workers[i].thread, sizeof(set), &set);
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(workers[i].thread, NULL);
}

/* What a bucket owes is all that passed, and at most its burst. Returns what it owes beyond what passed. */
static int check_owed(const struct rig *rig, const char *rule, const char *source, int passed, int burst)
{
	uint64_t hour = 3600000000000 * EB_TICKS_PER_NS;
	const struct eb_bucket *bucket = rig_bucket_of(rig, rule, source);
	int owed = bucket ? (eb_gcra_debt(bucket->packets_full_at, eb_buckets_now()) + hour / 2) / hour : 0;

	if (owed < passed || owed > burst)
		fail_msg("%s of %s: %d passed, %d owed, burst %d", source, rule, passed, owed, burst);
	return owed - passed;
}

/* Threads on overlapping sets of buckets, of which one kind binds: what passed was charged to all, none is exceeded,
 * and what races cost is a small part. */
static void check_threads(struct rig *rig, int own, int narrow, int all)
{
	int by_source[SOURCES] = { 0 }, by_prefix[2] = { 0 }, total = 0, lost = 0;
	static struct worker workers[THREADS];
	char text[512], source[32];

	snprintf(text, sizeof(text),
		 "rules: [{ name: a, action: limit, packets: { rate: 1/h, burst: %d }, then: continue, levels: ["
		 "{ per: { ipv4: 24 }, packets: { rate: 1/h, burst: %d } }] },"
		 " { name: b, action: limit, per: { ipv4: 0 }, packets: { rate: 1/h, burst: %d } }]\n",
		 own, narrow, all);
	rig_apply(rig, text);
	rig_clear(rig);
	run_workers(rig, workers);
	for (int i = 0; i < THREADS; i++)
		for (int j = 0; j < SOURCES; j++)
			by_source[j] += workers[i].admitted[j];
	for (int j = 0; j < SOURCES; j++) {
		snprintf(source, sizeof(source), "10.0.%d.%d", j / 4, j % 4);
		lost += check_owed(rig, "a", source, by_source[j], own);
		by_prefix[j / 4] += by_source[j];
		total += by_source[j];
	}
	lost += check_owed(rig, "a /24", "10.0.0.0", by_prefix[0], narrow);
	lost += check_owed(rig, "a /24", "10.0.1.0", by_prefix[1], narrow);
	lost += check_owed(rig, "b", "0.0.0.0", total, all);
	assert_int_equal(rig_count(rig, "b", EB_PASS), total);
	assert_true(lost <= total / 10);
	rig_check_table(rig);
}

static void test_threads(void **state)
{
	static const int bursts[][3] = {
		{ 100, 1000, 1000 }, { 1000, 300, 1000 }, { 200, 700, 500 }, { 50, 200, 400 },
	};

	for (int round = 0; round < 3; round++)
		for (size_t i = 0; i < sizeof(bursts) / sizeof(bursts[0]); i++)
			check_threads(*state, bursts[i][0], bursts[i][1], bursts[i][2]);
}

static int open_rig(void **state)
{
	random_start(state);
	return rig_setup(state, SETS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_model),
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests_name("levels", tests, open_rig, rig_teardown);
}
