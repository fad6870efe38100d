// SPDX-License-Identifier: GPL-2.0-only
/* The penalty of a rule: which refusal bans, for how long, and what a model says of many. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <bpf/bpf.h>
#include <cmocka.h>

#include "base/clock.h"
#include "config/prefix.h"
#include "edgebucket.h"
#include "maps/bans.h"
#include "offence.h"
#include "table.h"
#include "xdp.h"

#define SETS 64
#define SECOND_NS 1000000000ULL
#define HOUR_NS (3600 * SECOND_NS)

#define RULE(penalty) "rules: [{ name: a, action: limit, packets: { rate: 1/h, burst: 1 }, penalty: " penalty " }]\n"
#define LONG "{ after: 10, within: 1h, ban: 1h }"

static struct eb_bans *open_bans(const struct rig *rig, uint64_t memory_ns)
{
	static struct eb_maps maps;
	struct eb_bans *bans;

	for (int i = 0; i < EB_MAPS; i++)
		maps.fd[i] = rig_fd(rig, eb_map_name(i));
	assert_int_equal(eb_bans_open(&maps, true, &bans), 0);
	eb_bans_set_limits(bans, 1000, memory_ns);
	return bans;
}

static void empty(struct eb_bans *bans)
{
	struct eb_prefix all[] = { { .family = 4 }, { .family = 6 } };
	size_t lifted;

	assert_int_equal(eb_bans_lift(bans, all, 2, &lifted), 0);
}

static struct eb_bans *begin(struct rig *rig, const char *rules)
{
	struct eb_bans *bans = open_bans(rig, HOUR_NS);

	empty(bans);
	rig_apply(rig, rules);
	rig_clear(rig);
	return bans;
}

static void end(struct eb_bans *bans)
{
	assert_int_equal(eb_bans_take_made(bans), 0);
	empty(bans);
	eb_bans_close(bans);
}

static bool find(struct eb_bans *bans, const char *text, struct eb_ban_view *out)
{
	struct eb_prefix_error error;
	struct eb_prefix prefix;

	assert_int_equal(eb_prefix_parse(text, &prefix, &error), 0);
	return eb_bans_get(bans, &prefix, out);
}

static void send_some(const struct rig *rig, const char *frame, int count)
{
	for (int i = 0; i < count; i++)
		rig_send_text(rig, "%s", frame);
}

/* One too many bans, for as long as the rule says; the agent hears of it. */
static void check_threshold(struct rig *rig, const char *frame, const char *prefix, const char *other)
{
	struct eb_bans *bans = begin(rig, RULE(LONG));
	struct eb_ban_view view;

	send_some(rig, frame, 11); /* one passes, ten are refused */
	assert_false(find(bans, prefix, &view));
	assert_string_equal(rig_counts(rig, 0), "a.pass:1 a.drop:10");
	send_some(rig, frame, 1);
	assert_true(find(bans, prefix, &view));
	assert_int_equal(view.ban.until_ns - view.ban.since_ns, HOUR_NS);
	assert_int_equal(view.ban.origin, EB_BAN_RULE);
	assert_string_equal(view.ban.reason, "a");
	send_some(rig, frame, 5);
	send_some(rig, other, 1);
	assert_string_equal(rig_counts(rig, 0), "a.pass:2 a.drop:11 banned:5");
	assert_int_equal(eb_bans_count(bans), 0);
	assert_int_equal(eb_bans_take_made(bans), 0);
	assert_int_equal(eb_bans_count(bans), 1);
	assert_int_equal(eb_bans_count_of(bans, EB_BAN_RULE), 1);
	empty(bans);
	assert_int_equal(EB_READ(rig->state->rule_bans), 0);
	send_some(rig, frame, 10); /* it begins anew */
	assert_false(find(bans, prefix, &view));
	send_some(rig, frame, 1);
	assert_true(find(bans, prefix, &view));
	end(bans);
}

static void test_threshold(void **state)
{
	check_threshold(*state, "ip4:src=10.0.0.1 udp:1", "10.0.0.1/32", "ip4:src=10.0.0.2 udp:1");
	check_threshold(*state, "ip6:src=2001:db8:1::1 udp:1", "2001:db8:1::/64", "ip6:src=2001:db8:1:1::1 udp:1");
}

/* Also where a packet meets several buckets; what a level refuses is no offence. */
static void test_levels(void **state)
{
	struct rig *rig = *state;
	struct eb_bans *bans = begin(rig, "rules: [{ name: a, action: limit, packets: { rate: 1/h, burst: 3 }, "
					  "penalty: " LONG ", levels: [{ per: { ipv4: 24, ipv6: 48 }, "
					  "packets: { rate: 1/h, burst: 5 } }] }]\n");
	struct eb_ban_view view;

	send_some(rig, "ip4:src=10.0.0.1 udp:1", 3);
	send_some(rig, "ip4:src=10.0.0.2 udp:1", 2 + 100); /* the level refuses */
	assert_false(find(bans, "10.0.0.2/32", &view));
	send_some(rig, "ip4:src=10.0.0.1 udp:1", 10);
	assert_false(find(bans, "10.0.0.1/32", &view));
	send_some(rig, "ip4:src=10.0.0.1 udp:1", 1);
	assert_true(find(bans, "10.0.0.1/32", &view));
	end(bans);
}

/* As if the ban had ended some time ago. */
static void end_ban(const struct rig *rig, struct eb_bans *bans, const char *prefix, uint64_t ago_ns)
{
	struct eb_lpm4 key = { .prefixlen = 32 };
	struct eb_ban_view view;

	assert_true(find(bans, prefix, &view));
	memcpy(&key.addr, view.prefix.addr, sizeof(key.addr));
	view.ban.until_ns = eb_monotonic_ns() - ago_ns;
	assert_int_equal(bpf_map_update_elem(rig_fd(rig, "bans_v4"), &key, &view.ban, 0), 0);
}

static uint64_t term(struct eb_bans *bans, const char *prefix)
{
	struct eb_ban_view view;

	assert_true(find(bans, prefix, &view));
	return (view.ban.until_ns - view.ban.since_ns) / SECOND_NS;
}

static void test_escalation(void **state)
{
	static const uint64_t terms[] = { 10, 30, 90, 100, 100 };
	struct rig *rig = *state;
	struct eb_bans *bans = begin(rig, RULE("{ after: 5, within: 1h, ban: 10s, factor: 3, max: 100s }"));
	const char *frame = "ip4:src=10.0.0.1 udp:1", *prefix = "10.0.0.1/32";

	send_some(rig, frame, 1);
	for (size_t i = 0; i < sizeof(terms) / sizeof(terms[0]); i++) {
		send_some(rig, frame, 6);
		assert_int_equal(term(bans, prefix), terms[i]);
		end_ban(rig, bans, prefix, 2 * SECOND_NS);
		assert_int_equal(eb_bans_take_made(bans), 0);
		while (eb_bans_sweep(bans) > 0) /* remembers it, and takes it out of the filter */
			;
	}
	assert_int_equal(eb_bans_count_of(bans, EB_BAN_RULE), 0);
	assert_int_equal(rig_count_kind(rig, EB_BANNED), 0);
	eb_bans_set_limits(bans, 1000, SECOND_NS);
	while (eb_bans_sweep(bans) > 0)
		;
	assert_int_equal(eb_bans_count(bans), 0);
	end(bans);
}

/* A ban that ended long ago makes the next one no longer. */
static void test_forgetting(void **state)
{
	struct rig *rig = *state;
	struct eb_bans *bans = begin(rig, RULE("{ after: 5, within: 1h, ban: 1s, factor: 2, max: 2s }"));
	const char *frame = "ip4:src=10.0.0.1 udp:1", *prefix = "10.0.0.1/32";

	send_some(rig, frame, 7);
	assert_int_equal(term(bans, prefix), 1);
	end_ban(rig, bans, prefix, SECOND_NS / 100);
	send_some(rig, frame, 6);
	assert_int_equal(term(bans, prefix), 2);
	end_ban(rig, bans, prefix, 3 * SECOND_NS);
	send_some(rig, frame, 6);
	assert_int_equal(term(bans, prefix), 1);
	end(bans);
}

/* What comes while it is banned begins the time anew, or does not. */
static void check_refresh(struct rig *rig, const char *rules, bool moves)
{
	struct eb_bans *bans = begin(rig, rules);
	const char *frame = "ip4:src=10.0.0.1 udp:1", *prefix = "10.0.0.1/32";
	struct eb_lpm4 key = { .prefixlen = 32 };
	struct eb_ban_view view, after;

	send_some(rig, frame, 7);
	assert_true(find(bans, prefix, &view));
	view.ban.since_ns -= 50 * SECOND_NS;
	view.ban.until_ns -= 50 * SECOND_NS;
	memcpy(&key.addr, view.prefix.addr, sizeof(key.addr));
	assert_int_equal(bpf_map_update_elem(rig_fd(rig, "bans_v4"), &key, &view.ban, 0), 0);
	send_some(rig, frame, 1);
	assert_int_equal(rig_count_kind(rig, EB_BANNED), 1);
	assert_true(find(bans, prefix, &after));
	assert_int_equal(after.ban.until_ns > view.ban.until_ns, moves);
	assert_int_equal(after.ban.until_ns - after.ban.since_ns, 100 * SECOND_NS);
	end(bans);
}

static void test_refresh(void **state)
{
	check_refresh(*state, RULE("{ after: 5, within: 1h, ban: 100s, refresh: true }"), true);
	check_refresh(*state, RULE("{ after: 5, within: 1h, ban: 100s, refresh: false }"), false);
}

static void test_monitor(void **state)
{
	struct rig *rig = *state;
	struct eb_bans *bans = begin(rig, "rules: [{ name: a, action: limit, mode: monitor, "
					  "packets: { rate: 1/h, burst: 1 }, penalty: " LONG " }]\n");
	struct eb_ban_view view;

	send_some(rig, "ip4:src=10.0.0.1 udp:1", 200);
	send_some(rig, "ip4:src=10.0.0.2 udp:1", 11);
	assert_false(find(bans, "10.0.0.1/32", &view));
	assert_string_equal(rig_counts(rig, 0), "a.pass:2 a.would_drop:209");
	assert_int_equal(rig_penalties(rig, "a"), 1);
	assert_int_equal(eb_offence_dropped(rig_bucket_of(rig, "a", "10.0.0.1")->dropped), 199);
	end(bans);
}

/* No more bans than there may be, and none is lost to the count. */
static void test_max(void **state)
{
	struct rig *rig = *state;
	struct eb_bans *bans = begin(rig, RULE("{ after: 1, within: 1h, ban: 1h }"));

	eb_bans_set_limits(bans, 2, HOUR_NS);
	for (int i = 1; i <= 4; i++)
		for (int j = 0; j < 3; j++)
			rig_send_text(rig, "ip4:src=10.0.0.%d udp:1", i);
	assert_int_equal(rig_penalties(rig, "a"), 2);
	assert_int_equal(eb_bans_take_made(bans), 0);
	assert_int_equal(eb_bans_count(bans), 2);
	end(bans);
}

/* Another agent's sweep is under way, and the next one begins, while the program bans. */
static void test_sweeps(void **state)
{
	struct rig *rig = *state;
	struct eb_bans *bans = begin(rig, RULE("{ after: 1, within: 1h, ban: 1h }"));
	const char *frame = "ip4:src=10.0.0.1 udp:1";

	assert_int_equal(eb_bans_sweep(bans), 0);
	send_some(rig, "ip4:src=10.0.7.1 udp:1", 3);
	assert_int_equal(eb_bans_sweep(bans), 1);
	send_some(rig, frame, 3);
	while (eb_bans_sweep(bans) > 0)
		;
	send_some(rig, frame, 1);
	assert_int_equal(rig_count_kind(rig, EB_BANNED), 1);
	while (eb_bans_sweep(bans) > 0)
		;
	send_some(rig, frame, 1);
	assert_int_equal(rig_count_kind(rig, EB_BANNED), 2);
	eb_bans_close(bans);
	bans = open_bans(rig, HOUR_NS);
	send_some(rig, frame, 1);
	assert_int_equal(rig_count_kind(rig, EB_BANNED), 3);
	assert_int_equal(eb_bans_count(bans), 2);
	end(bans);
}

/* ---- a model ---- */

struct model {
	uint64_t start; /* in the units of offence.h */
	uint32_t count, bans;
	bool begun;
};

/* One refusal at a time: windows begin with a refusal; one more than `after` in a window is a ban, and a new window. */
static bool offends(struct model *model, uint64_t time, uint32_t after, uint64_t within)
{
	if (!model->begun || time - model->start >= within) {
		model->begun = true;
		model->start = time;
		model->count = 1;
		return false;
	}
	if (++model->count <= after)
		return false;
	model->start = time;
	model->count = 0;
	model->bans++;
	return true;
}

/* Moves a bucket's window into the past, as if time had passed. */
static void pass_time(struct eb_bucket *bucket, uint64_t units)
{
	uint64_t word = bucket->dropped, start;

	if (!(word & EB_OFFENCE_PACKED))
		return;
	start = (word >> EB_OFFENCE_TIME_SHIFT) - units;
	word &= ~(EB_OFFENCE_TIME_MASK << EB_OFFENCE_TIME_SHIFT);
	bucket->dropped = word | (start & EB_OFFENCE_TIME_MASK) << EB_OFFENCE_TIME_SHIFT;
}

static void lift(struct eb_bans *bans, struct eb_prefix *prefix)
{
	size_t lifted;

	assert_int_equal(eb_bans_lift(bans, prefix, 1, &lifted), 0);
	assert_int_equal(lifted, 1);
}

static uint64_t random_state;

static uint64_t random_below(uint64_t limit)
{
	uint64_t x = random_state += 0x9e3779b97f4a7c15ULL; /* splitmix64 */

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
	return (x ^ x >> 31) % limit;
}

/* Many sources, refusals and pauses: each source is banned at the very refusal that the model says. The windows are so
 * long, and the pauses either so short or so long, that the time the test itself takes decides nothing. */
static void test_model(void **state)
{
	enum { SOURCES = 8, STEPS = 3000, AFTER = 7 };
	struct rig *rig = *state;
	struct eb_bans *bans = begin(rig, RULE("{ after: 7, within: 1h, ban: 1h }"));
	uint64_t within = eb_offence_units(HOUR_NS), now = 0, dropped[SOURCES] = { 0 };
	struct model models[SOURCES] = { 0 };

	random_state = 1;
	for (int i = 0; i < SOURCES; i++)
		rig_send_text(rig, "ip4:src=10.0.0.%d udp:1", i);
	for (int step = 0; step < STEPS; step++) {
		int source = random_below(SOURCES);
		struct eb_ban_view view;
		char prefix[32];
		bool want;

		if (random_below(20) == 0) {
			uint64_t units = random_below(2) ? 2 * within / 9 : 2 * within;

			now += units;
			for (int i = 0; i < SOURCES; i++) {
				char text[32];

				snprintf(text, sizeof(text), "10.0.0.%d", i);
				pass_time(rig_bucket_of(rig, "a", text), units);
			}
		}
		want = offends(&models[source], now, AFTER, within);
		rig_send_text(rig, "ip4:src=10.0.0.%d udp:1", source);
		dropped[source]++;
		snprintf(prefix, sizeof(prefix), "10.0.0.%d/32", source);
		if (find(bans, prefix, &view) != want)
			fail_msg("step %d, source %d: %s", step, source, want ? "not banned" : "banned");
		if (want)
			lift(bans, &view.prefix);
	}
	for (int i = 0; i < SOURCES; i++) {
		char text[32];

		snprintf(text, sizeof(text), "10.0.0.%d", i);
		assert_int_equal(eb_offence_dropped(rig_bucket_of(rig, "a", text)->dropped), dropped[i]);
		assert_true(models[i].bans > 5);
	}
	end(bans);
}

/* A CPU whose clock was read a moment before that of the one which began the window: it adds to it. */
static void test_behind(void **state)
{
	struct rig *rig = *state;
	struct eb_bans *bans = begin(rig, RULE(LONG));
	const char *frame = "ip4:src=10.0.0.1 udp:1";
	struct eb_ban_view view;

	send_some(rig, frame, 6); /* one passes */
	for (int units = 1; units <= 5; units++) {
		pass_time(rig_bucket_of(rig, "a", "10.0.0.1"), -units);
		send_some(rig, frame, 1);
	}
	assert_false(find(bans, "10.0.0.1/32", &view));
	send_some(rig, frame, 1);
	assert_true(find(bans, "10.0.0.1/32", &view));
	end(bans);
}

/* A packet that is refused as other CPUs got in the way says nothing of its source: it is not counted. */
static void test_contended(void **state)
{
	struct rig *rig = *state;
	struct eb_bans *bans = begin(rig, RULE(LONG));
	const char *frame = "ip4:src=10.0.0.1 udp:1";
	struct eb_ban_view view;
	struct eb_bucket *bucket;
	uint64_t full_at;

	send_some(rig, frame, 11); /* one passes */
	bucket = rig_bucket_of(rig, "a", "10.0.0.1");
	full_at = bucket->packets_full_at;
	bucket->packets_full_at = EB_LOCKED;
	send_some(rig, frame, 3);
	bucket->packets_full_at = full_at;
	assert_string_equal(rig_counts(rig, 0), "a.pass:1 a.drop:13 contended:3");
	assert_int_equal(eb_offence_count(bucket->dropped), 10);
	assert_false(find(bans, "10.0.0.1/32", &view));
	send_some(rig, frame, 1);
	assert_true(find(bans, "10.0.0.1/32", &view));
	end(bans);
}

struct sender {
	const struct rig *rig;
	struct frame frame;
};

/* Refusals on all CPUs at the same moment: none is lost, none counted twice. While one CPU makes the bucket, what
 * others refuse is contended. */
static void *send_many(void *arg)
{
	const struct sender *sender = arg;

	rig_repeat(sender->rig, &sender->frame, 20000);
	return NULL;
}

static void test_threads(void **state)
{
	struct rig *rig = *state;
	struct eb_bans *bans = begin(rig, RULE("{ after: 59999, within: 1h, ban: 1h }"));
	struct sender sender = { .rig = rig };
	const char *frame = "ip4:src=10.0.0.1 udp:1";
	pthread_t threads[3];
	struct eb_ban_view view;
	uint64_t contended;

	frame_make(frame, &sender.frame); /* frame_make() is for one thread */
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, send_many, &sender), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(rig_count(rig, "a", EB_DROP), 59999);
	contended = rig_count_kind(rig, EB_CONTENDED);
	assert_int_equal(eb_offence_count(rig_bucket_of(rig, "a", "10.0.0.1")->dropped), 59999 - contended);
	send_some(rig, frame, contended);
	assert_false(find(bans, "10.0.0.1/32", &view));
	send_some(rig, frame, 1);
	assert_true(find(bans, "10.0.0.1/32", &view));
	end(bans);
}

/* A rule that gets a penalty, and loses it, keeps the number of refusals. */
static void test_reload(void **state)
{
	struct rig *rig = *state;
	struct eb_bans *bans = begin(rig, "rules: [{ name: a, action: limit, packets: { rate: 1/h, burst: 1 } }]\n");
	const char *frame = "ip4:src=10.0.0.1 udp:1";

	send_some(rig, frame, 101);
	assert_int_equal(rig_bucket_of(rig, "a", "10.0.0.1")->dropped, 100);
	rig_apply(rig, RULE(LONG));
	send_some(rig, frame, 5);
	assert_int_equal(eb_offence_dropped(rig_bucket_of(rig, "a", "10.0.0.1")->dropped), 105);
	rig_apply(rig, "rules: [{ name: a, action: limit, packets: { rate: 1/h, burst: 1 } }]\n");
	send_some(rig, frame, 2000);
	assert_in_range(eb_offence_dropped(rig_bucket_of(rig, "a", "10.0.0.1")->dropped), 105, 10000);
	end(bans);
}

static int open_rig(void **state)
{
	return rig_setup(state, SETS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_threshold),  cmocka_unit_test(test_levels),    cmocka_unit_test(test_escalation),
		cmocka_unit_test(test_refresh),	   cmocka_unit_test(test_monitor),   cmocka_unit_test(test_max),
		cmocka_unit_test(test_sweeps),	   cmocka_unit_test(test_model),     cmocka_unit_test(test_reload),
		cmocka_unit_test(test_behind),	   cmocka_unit_test(test_contended), cmocka_unit_test(test_threads),
		cmocka_unit_test(test_forgetting),
	};

	return cmocka_run_group_tests_name("penalty", tests, open_rig, rig_teardown);
}
