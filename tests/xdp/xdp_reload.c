// SPDX-License-Identifier: GPL-2.0-only
/* Debts over a change of limits, on real maps and with the program: what is admitted at every step of a reload,
 * between its steps, from several CPUs, and after a kill at each. Rates are so slow that nothing is refilled: numbers
 * are exact. */
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <cmocka.h>

#include "attach/dataplane.h"
#include "config/config.h"
#include "maps/buckets.h"
#include "maps/convert.h"
#include "maps/pins.h"
#include "policy/rules.h"
#include "xdp.h"

#define HOUR (3600 * 1000000000ULL * EB_TICKS_PER_NS)
#define TABLE_SIZE 1024

struct setting {
	char pin_dir[64];
	struct eb_dataplane *dataplane;
	struct eb_buckets *buckets;
	struct eb_policy policy; /* in force */
	struct rig rig;          /* the program alone, on the maps of the dataplane */
};

static struct eb_config *parse(const struct setting *setting, const char *limits)
{
	struct eb_config *config;
	char text[512], *error = NULL;

	snprintf(text, sizeof(text),
		 "interfaces: [lo]\npin_dir: %s\nrun_dir: /tmp\ntable_size: %d\n"
		 "rules: [{ name: a, action: limit, new_sources: { rate: 1M/s, burst: 1M }, %s }]\n",
		 setting->pin_dir, TABLE_SIZE, limits);
	if (eb_config_parse(text, strlen(text), "test.yaml", NULL, &config, &error))
		fail_msg("%s", error);
	return config;
}

static void read_policy(struct setting *setting)
{
	setting->buckets = eb_dataplane_buckets(setting->dataplane);
	assert_int_equal(eb_maps_policy(eb_dataplane_maps(setting->dataplane), &setting->policy), 0);
}

static void open_dataplane(struct setting *setting)
{
	struct eb_config *config = parse(setting, "packets: { rate: 1/h, burst: 1 }");
	char *error = NULL;

	if (eb_dataplane_open(config, &setting->dataplane, &error))
		fail_msg("%s", error);
	eb_config_free(config);
	read_policy(setting);
}

static struct eb_ruleset *compile(struct setting *setting, const char *limits)
{
	struct eb_config *config = parse(setting, limits);
	struct eb_ruleset *ruleset;
	char *error = NULL;

	if (eb_rules_compile(config, &setting->policy, &ruleset, &error))
		fail_msg("%s", error);
	eb_config_free(config);
	return ruleset;
}

/* Puts one rule into force. */
static void limit_by(struct setting *setting, const char *limits)
{
	struct eb_ruleset *ruleset = compile(setting, limits);
	char *error = NULL;

	if (eb_dataplane_apply(setting->dataplane, ruleset, &(struct eb_targets){ 0 }, &error))
		fail_msg("%s", error);
	eb_rules_free(ruleset);
	read_policy(setting);
}

static void limit(struct setting *setting, int burst)
{
	char limits[64];

	snprintf(limits, sizeof(limits), "packets: { rate: 1/h, burst: %d }", burst);
	limit_by(setting, limits);
}

static void load_program(struct setting *setting)
{
	const struct eb_maps *maps = eb_dataplane_maps(setting->dataplane);
	struct bpf_object *object = rig_open_object();

	for (int i = 0; i < EB_MAPS; i++)
		assert_int_equal(
			bpf_map__reuse_fd(bpf_object__find_map_by_name(object, eb_map_name(i)), maps->fd[i]), 0);
	rig_set_constant(object, "sets_v4", TABLE_SIZE / (EB_WAYS / 2), sizeof(uint32_t));
	rig_set_constant(object, "sets_v6", TABLE_SIZE / (EB_WAYS / 2), sizeof(uint32_t));
	assert_int_equal(bpf_object__load(object), 0);
	setting->rig.object = object;
	setting->rig.prog = bpf_program__fd(bpf_object__find_program_by_name(object, "edgebucket"));
}

static int open_setting(void **state)
{
	static struct setting setting;

	memset(&setting, 0, sizeof(setting));
	snprintf(setting.pin_dir, sizeof(setting.pin_dir), "/sys/fs/bpf/ebtest-reload-%d", getpid());
	*state = &setting;
	open_dataplane(&setting);
	load_program(&setting);
	return 0;
}

static int close_setting(void **state)
{
	struct setting *setting = *state;

	bpf_object__close(setting->rig.object);
	eb_dataplane_close(setting->dataplane);
	return eb_pins_remove(setting->pin_dir);
}

static struct eb_source source_of(const struct eb_policy *policy, uint32_t number)
{
	struct eb_source source = { .family = 4, .rule_id = policy->rules[0].id4 };
	uint32_t addr = htonl(0x0a000000 + number);

	memcpy(source.addr, &addr, sizeof(addr));
	return source;
}

static int owe(struct setting *setting, const struct eb_policy *policy, uint32_t number, uint64_t debt)
{
	struct eb_bucket_view view = {
		.source = source_of(policy, number),
		.packets_full_at = eb_gcra_full_at(eb_buckets_now(), debt),
		.bytes_full_at = EB_FULL,
	};

	return eb_buckets_merge(setting->buckets, &view, EB_MERGE_LATER, eb_buckets_now());
}

/* In hours, rounded; 0 without a bucket. */
static uint64_t owed(const struct setting *setting, uint32_t number)
{
	struct eb_source source = source_of(&setting->policy, number);
	struct eb_bucket_view view;
	int err = eb_buckets_find(setting->buckets, &source, &view);

	if (err == -ENOENT)
		return 0;
	assert_int_equal(err, 0);
	return (eb_gcra_debt(view.packets_full_at, eb_buckets_now()) + HOUR / 2) / HOUR;
}

/* --- Room --- */

static int count_kept(struct setting *setting, uint32_t sources)
{
	int kept = 0;

	for (uint32_t i = 0; i < sources; i++)
		(void)owe(setting, &setting->policy, i, (1 + i % 90) * HOUR);
	for (int burst = 101; burst < 105; burst++)
		limit(setting, burst);
	for (uint32_t i = 0; i < sources; i++)
		kept += owed(setting, i) == 1 + i % 90;
	return kept;
}

/* Every bucket that moves makes room for another one, so a change of limits needs none beside what is in use. */
static void test_room(void **state)
{
	struct setting *setting = *state;

	limit(setting, 100);
	assert_int_equal(count_kept(setting, TABLE_SIZE / 2), TABLE_SIZE / 2);
	limit(setting, 100);
	assert_in_range(count_kept(setting, TABLE_SIZE), TABLE_SIZE * 98 / 100, TABLE_SIZE);
}

/* --- What is admitted between the steps of a reload --- */

enum step { IN_FORCE, ANNOUNCED, COPIED, MOVED, SWITCHED, STEPS };

/* A reload, step by step, as policy_maps.c does it; of rules without addresses and ports. */
struct steps {
	struct setting *setting;
	struct eb_ruleset *ruleset;
	struct eb_convert *convert;
	__u32 active;
};

static void write_policy(const struct steps *steps, __u32 index, const struct eb_policy *policy)
{
	int fd = eb_dataplane_maps(steps->setting->dataplane)->fd[EB_MAP_POLICY];

	assert_int_equal(bpf_map_update_elem(fd, &index, policy, BPF_ANY), 0);
}

static void begin_steps(struct steps *steps, struct setting *setting, const char *limits)
{
	*steps = (struct steps){ .setting = setting, .ruleset = compile(setting, limits) };
	steps->convert = eb_convert_new(&setting->policy, &steps->ruleset->policy, true);
	assert_non_null(steps->convert);
	assert_int_equal(eb_maps_active(eb_dataplane_maps(setting->dataplane), &steps->active), 0);
	write_policy(steps, !steps->active, &steps->ruleset->policy);
}

static void end_steps(struct steps *steps)
{
	eb_convert_free(steps->convert);
	eb_rules_free(steps->ruleset);
}

/* What eb_convert_move() does first with a bucket. */
static int copy_bucket(const struct eb_bucket_view *old, void *arg)
{
	const struct steps *steps = arg;
	const struct eb_rule *from = &steps->setting->policy.rules[0], *to = &steps->ruleset->policy.rules[0];
	uint64_t now = eb_buckets_now();
	struct eb_bucket_view new = {
		.source = old->source,
		.packets_full_at = eb_rules_convert(old->packets_full_at, now, &from->packets, &to->packets),
		.bytes_full_at = eb_rules_convert(old->bytes_full_at, now, &from->bytes, &to->bytes),
	};

	if (old->source.rule_id != (old->source.family == 4 ? from->id4 : from->id6))
		return 0;
	new.source.rule_id = old->source.family == 4 ? to->id4 : to->id6;
	assert_true(eb_buckets_merge(steps->setting->buckets, &new, EB_MERGE_LATER, now) >= 0);
	return 0;
}

static void switch_over(const struct steps *steps)
{
	int fd = eb_dataplane_maps(steps->setting->dataplane)->fd[EB_MAP_STATE];
	struct eb_state *state = malloc(sizeof(*state));
	__u32 zero = 0;

	assert_non_null(state);
	assert_int_equal(bpf_map_lookup_elem(fd, &zero, state), 0);
	state->active = !steps->active;
	assert_int_equal(bpf_map_update_elem(fd, &zero, state, BPF_ANY), 0);
	free(state);
}

static void take_step(struct steps *steps, enum step step)
{
	struct eb_policy *announced;

	switch (step) {
	case ANNOUNCED:
		announced = malloc(sizeof(*announced));
		assert_non_null(announced);
		*announced = steps->setting->policy;
		assert_true(eb_convert_announce(steps->convert, announced));
		write_policy(steps, steps->active, announced);
		free(announced);
		break;
	case COPIED:
		assert_int_equal(eb_buckets_each(steps->setting->buckets, copy_bucket, steps), 0);
		break;
	case MOVED:
		assert_int_equal(eb_convert_move(steps->convert, steps->setting->buckets), 0);
		break;
	case SWITCHED:
		switch_over(steps);
		break;
	default:
		break;
	}
}

static bool is_admitted(const struct setting *setting, const char *format, int number)
{
	return rig_send_text(&setting->rig, format, number >> 8, number & 255) == XDP_PASS;
}

/*
 * One source for each way of sending up to two packets in each gap between two steps. What each packet gets is known:
 * tokens are only taken, and the burst is the old rule's as long as a source has its bucket.
 */
static void check_steps(struct setting *setting, const char *frame, const char *limits, int unit, int before, int after)
{
	enum { WAYS = 243 };
	int missing[WAYS] = { 0 };
	bool is_old[WAYS] = { false };
	struct steps steps;
	char text[128];

	snprintf(text, sizeof(text), limits, before * unit);
	limit_by(setting, text);
	assert_int_equal(eb_buckets_reset_all(setting->buckets, &(uint64_t){ 0 }), 0);
	snprintf(text, sizeof(text), limits, after * unit);
	begin_steps(&steps, setting, text);
	for (int step = 0, weight = 1; step < STEPS; step++, weight *= 3) {
		take_step(&steps, step);
		for (int way = 0; way < WAYS; way++) {
			is_old[way] &= step < MOVED;
			for (int i = 0; i < way / weight % 3; i++) {
				bool expected;

				is_old[way] |= step == IN_FORCE;
				expected = missing[way] < (is_old[way] ? before : after);
				if (is_admitted(setting, frame, way) != expected)
					fail_msg("%s, %d to %d, way %d, step %d: %s with %d missing", limits, before,
						 after, way, step, expected ? "refused" : "admitted", missing[way]);
				missing[way] += expected;
			}
		}
	}
	end_steps(&steps);
	read_policy(setting);
}

static void test_every_gap(void **state)
{
	static const int bursts[][2] = { { 5, 6 }, { 4, 2 }, { 2, 4 }, { 1, 9 }, { 9, 1 }, { 3, 4 }, { 4, 3 } };
	struct setting *setting = *state;
	struct frame four, six;

	frame_make("ip4 udp:1", &four);
	frame_make("ip6 udp:1", &six);
	for (size_t i = 0; i < sizeof(bursts) / sizeof(bursts[0]); i++) {
		int before = bursts[i][0], after = bursts[i][1];

		check_steps(setting, "ip4:src=10.0.%d.%d udp:1", "packets: { rate: 1/h, burst: %d }", 1, before, after);
		check_steps(setting, "ip6:src=2001:db8:%d:%d::1 udp:1", "packets: { rate: 1/h, burst: %d }", 1, before,
			    after);
		check_steps(setting, "ip4:src=10.1.%d.%d udp:1", "bytes: { rate: 1B/s, burst: %d }", (int)four.len,
			    before, after);
		check_steps(setting, "ip6:src=2001:db9:%d:%d::1 udp:1",
			    "packets: { rate: 1/h, burst: 9 }, bytes: { rate: 1B/s, burst: %d }", (int)six.len, before,
			    after);
	}
}

/* Charged while it was copied: it is not taken away, and says what it is now. */
static void test_charged_meanwhile(void **state)
{
	struct setting *setting = *state;
	struct eb_bucket_view view = { .packets_full_at = 0 }, gone;

	limit(setting, 100);
	assert_true(is_admitted(setting, "ip4:src=10.0.%d.%d udp:1", 7));
	view.source = source_of(&setting->policy, 7);
	assert_int_equal(eb_buckets_find(setting->buckets, &view.source, &view), 0);
	assert_true(is_admitted(setting, "ip4:src=10.0.%d.%d udp:1", 7));
	assert_int_equal(eb_buckets_take_away(setting->buckets, &view), -EAGAIN);
	assert_int_equal(owed(setting, 7), 2);
	assert_int_equal(eb_buckets_take_away(setting->buckets, &view), 0);
	assert_int_equal(eb_buckets_find(setting->buckets, &view.source, &gone), -ENOENT);
	assert_int_equal(eb_buckets_take_away(setting->buckets, &view), -ENOENT);
}

/* Several old buckets become one: the largest of their debts, onto which nothing is added that it has already. */
static void test_coarser(void **state)
{
	struct setting *setting = *state;
	struct steps steps;

	limit(setting, 5);
	for (int i = 0; i < 5; i++) {
		(void)is_admitted(setting, "ip4:src=10.0.%d.%d udp:1", 1 + (i < 3 ? 0 : 1));
		(void)is_admitted(setting, "ip4:src=10.0.%d.%d udp:1", 256 + i);
	}
	begin_steps(&steps, setting, "per: { ipv4: 24 }, packets: { rate: 1/h, burst: 5 }");
	take_step(&steps, ANNOUNCED);
	assert_true(is_admitted(setting, "ip4:src=10.0.%d.%d udp:1", 99)); /* a new one: the group's */
	assert_true(is_admitted(setting, "ip4:src=10.0.%d.%d udp:1", 1));  /* its own: the fourth */
	take_step(&steps, MOVED);
	take_step(&steps, SWITCHED);
	end_steps(&steps);
	read_policy(setting);
	assert_int_equal(owed(setting, 0), 4);
	assert_true(is_admitted(setting, "ip4:src=10.0.%d.%d udp:1", 2));
	assert_false(is_admitted(setting, "ip4:src=10.0.%d.%d udp:1", 3));
	for (int i = 0; i < 4; i++)
		assert_true(is_admitted(setting, "ip4:src=10.0.%d.%d udp:1", 256 + i));
	assert_false(is_admitted(setting, "ip4:src=10.0.%d.%d udp:1", 256));
}

/* Without destinations, a source's bucket gets the largest debt of what it had for each; with them, it begins anew. */
static void test_destinations(void **state)
{
	struct setting *setting = *state;
	struct steps steps;

	limit(setting, 1);
	begin_steps(&steps, setting, "also_per: dst, packets: { rate: 1/h, burst: 5 }");
	take_step(&steps, SWITCHED);
	end_steps(&steps);
	read_policy(setting);
	for (int i = 0; i < 5; i++)
		assert_true(is_admitted(setting, "ip4:src=10.0.%d.%d,dst=10.1.0.1 udp:1", 1));
	assert_true(is_admitted(setting, "ip4:src=10.0.%d.%d,dst=10.1.0.2 udp:1", 1));
	begin_steps(&steps, setting, "packets: { rate: 1/h, burst: 9 }");
	take_step(&steps, ANNOUNCED);
	assert_true(is_admitted(setting, "ip4:src=10.0.%d.%d,dst=10.1.0.3 udp:1", 1)); /* by its new bucket */
	take_step(&steps, MOVED);
	take_step(&steps, SWITCHED);
	end_steps(&steps);
	read_policy(setting);
	assert_int_equal(owed(setting, 1), 5);
	begin_steps(&steps, setting, "also_per: dst, packets: { rate: 1/h, burst: 5 }");
	take_step(&steps, ANNOUNCED);
	assert_true(is_admitted(setting, "ip4:src=10.0.%d.%d,dst=10.1.0.1 udp:1", 2)); /* a new one: by that */
	take_step(&steps, MOVED);
	take_step(&steps, SWITCHED);
	end_steps(&steps);
	for (int i = 0; i < 4; i++)
		assert_true(is_admitted(setting, "ip4:src=10.0.%d.%d,dst=10.1.0.1 udp:1", 2));
	assert_false(is_admitted(setting, "ip4:src=10.0.%d.%d,dst=10.1.0.1 udp:1", 2));
	assert_true(is_admitted(setting, "ip4:src=10.0.%d.%d,dst=10.1.0.1 udp:1", 1));
}

/* --- An agent that is killed --- */

/* After each step, with one of two buckets moved or both, the next agent ends what was begun, once, and nothing is
 * gained. The program at work meanwhile is the one before. */
static void test_killed(void **state)
{
	struct setting *setting = *state;

	for (int step = ANNOUNCED; step < STEPS; step++) {
		struct steps steps;
		char *error = NULL;
		int number = step << 4;

		limit(setting, 9);
		assert_int_equal(eb_dataplane_commit(setting->dataplane, &error), 0);
		for (int i = 0; i < 6; i++)
			assert_true(is_admitted(setting, "ip4:src=10.0.%d.%d udp:1", number));
		begin_steps(&steps, setting, "packets: { rate: 1/h, burst: 8 }");
		for (int i = ANNOUNCED; i <= step; i++)
			take_step(&steps, i);
		assert_true(is_admitted(setting, "ip4:src=10.0.%d.%d udp:1", number));
		assert_true(is_admitted(setting, "ip4:src=10.0.%d.%d udp:1", number + 1));

		eb_dataplane_close(setting->dataplane);
		open_dataplane(setting);
		assert_int_equal(setting->policy.rules[0].next, 0);
		assert_int_equal(setting->policy.rules[0].id4, steps.ruleset->policy.rules[0].id4);
		end_steps(&steps);
		assert_int_equal(owed(setting, number), 7);
		assert_int_equal(owed(setting, number + 1), 1);
		assert_true(is_admitted(setting, "ip4:src=10.0.%d.%d udp:1", number));
		assert_false(is_admitted(setting, "ip4:src=10.0.%d.%d udp:1", number));
	}
}

/* --- Several CPUs --- */

struct sender {
	pthread_t thread;
	struct setting *setting;
	struct frame frame;
	uint64_t admitted;
};

static atomic_bool should_stop;

static void *send_until_stopped(void *arg)
{
	struct sender *sender = arg;

	while (!atomic_load(&should_stop))
		sender->admitted += rig_send(&sender->setting->rig, &sender->frame) == XDP_PASS;
	return NULL;
}

/* All senders have one source, and the limits change all the while: what they get together is one burst, the largest,
 * with not a packet above or below it. */
static void check_under_fire(struct setting *setting, const char *frame, const char *limits, int unit, int burst)
{
	enum { SENDERS = 3, RELOADS = 15 };
	struct sender senders[SENDERS] = { 0 };
	uint64_t admitted = 0, in_debt;
	char text[128];

	atomic_store(&should_stop, false);
	snprintf(text, sizeof(text), limits, burst * unit);
	limit_by(setting, text);
	assert_int_equal(eb_buckets_reset_all(setting->buckets, &in_debt), 0);
	for (int i = 0; i < SENDERS; i++) {
		frame_make(frame, &senders[i].frame);
		senders[i].setting = setting;
		assert_int_equal(pthread_create(&senders[i].thread, NULL, send_until_stopped, &senders[i]), 0);
	}
	for (int i = 0; i < RELOADS; i++) {
		snprintf(text, sizeof(text), limits, (burst - (i % 3) * burst / 4) * unit);
		limit_by(setting, text);
	}
	snprintf(text, sizeof(text), limits, burst * unit);
	limit_by(setting, text);
	atomic_store(&should_stop, true);
	for (int i = 0; i < SENDERS; i++) {
		assert_int_equal(pthread_join(senders[i].thread, NULL), 0);
		admitted += senders[i].admitted;
	}
	while (rig_send(&setting->rig, &senders[0].frame) == XDP_PASS)
		admitted++;
	if (admitted != (uint64_t)burst)
		fail_msg("%s, %s: %llu admitted of %d", frame, limits, (unsigned long long)admitted, burst);
}

static void test_under_fire(void **state)
{
	struct setting *setting = *state;
	struct frame four, six;

	frame_make("ip4 udp:1", &four);
	frame_make("ip6 udp:1", &six);
	for (int burst = 12; burst <= 1200; burst *= 10) {
		check_under_fire(setting, "ip4 udp:1", "packets: { rate: 1/h, burst: %d }", 1, burst);
		check_under_fire(setting, "ip6 udp:1", "packets: { rate: 1/h, burst: %d }", 1, burst);
		check_under_fire(setting, "ip4 udp:1", "bytes: { rate: 1B/s, burst: %d }", four.len, burst);
		check_under_fire(setting, "ip6 udp:1", "bytes: { rate: 1B/s, burst: %d }", six.len, burst);
	}
}

/* Each sender has a source of its own, and they share a wider bucket: no source gets more than its burst, and all get
 * no more than the wider one's. A race can cost a bucket tokens that nobody uses, so a little less is right. */
static void check_levels_under_fire(struct setting *setting, const char *frame, const char *limits, int source,
				    int together)
{
	enum { SENDERS = 3, RELOADS = 15 };
	struct sender senders[SENDERS] = { 0 };
	uint64_t admitted = 0, in_debt;
	char text[512];

	atomic_store(&should_stop, false);
	snprintf(text, sizeof(text), limits, source, together);
	limit_by(setting, text);
	assert_int_equal(eb_buckets_reset_all(setting->buckets, &in_debt), 0);
	for (int i = 0; i < SENDERS; i++) {
		snprintf(text, sizeof(text), frame, i + 1);
		frame_make(text, &senders[i].frame);
		senders[i].setting = setting;
		assert_int_equal(pthread_create(&senders[i].thread, NULL, send_until_stopped, &senders[i]), 0);
	}
	for (int i = 1; i <= RELOADS; i++) {
		snprintf(text, sizeof(text), limits, source - i % 3 * source / 4, together - i % 3 * together / 4);
		limit_by(setting, text);
	}
	atomic_store(&should_stop, true);
	for (int i = 0; i < SENDERS; i++) {
		assert_int_equal(pthread_join(senders[i].thread, NULL), 0);
		while (rig_send(&setting->rig, &senders[i].frame) == XDP_PASS)
			senders[i].admitted++;
		if (senders[i].admitted > (uint64_t)source)
			fail_msg("%s, %s: source %d got %llu of %d", frame, limits, i,
				 (unsigned long long)senders[i].admitted, source);
		admitted += senders[i].admitted;
	}
	if (admitted > (uint64_t)together || admitted < (uint64_t)together / 2)
		fail_msg("%s, %s: %llu admitted of %d", frame, limits, (unsigned long long)admitted, together);
}

static void test_levels_under_fire(void **state)
{
	static const char *const limits[] = {
		"packets: { rate: 1/h, burst: %d }, "
		"levels: [{ per: { ipv4: 0, ipv6: 0 }, packets: { rate: 1/h, burst: %d } }]",
		"packets: { rate: 1/h, burst: %d }, then: continue }, "
		"{ name: b, action: limit, per: { ipv4: 8, ipv6: 32 }, packets: { rate: 1/h, burst: %d }",
	};

	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++)
		for (int burst = 12; burst <= 600; burst *= 7) {
			check_levels_under_fire(*state, "ip4:src=10.0.0.%d udp:1", limits[i], burst, 2 * burst);
			check_levels_under_fire(*state, "ip6:src=2001:db8:0:%d::1 udp:1", limits[i], burst, 2 * burst);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_room, open_setting, close_setting),
		cmocka_unit_test_setup_teardown(test_every_gap, open_setting, close_setting),
		cmocka_unit_test_setup_teardown(test_charged_meanwhile, open_setting, close_setting),
		cmocka_unit_test_setup_teardown(test_coarser, open_setting, close_setting),
		cmocka_unit_test_setup_teardown(test_destinations, open_setting, close_setting),
		cmocka_unit_test_setup_teardown(test_killed, open_setting, close_setting),
		cmocka_unit_test_setup_teardown(test_under_fire, open_setting, close_setting),
		cmocka_unit_test_setup_teardown(test_levels_under_fire, open_setting, close_setting),
	};

	return cmocka_run_group_tests_name("reload", tests, NULL, NULL);
}
