// SPDX-License-Identifier: GPL-2.0-only
/* Buckets: what a packet costs, who shares one, who gets one, and what is counted for them. */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/libbpf.h>
#include <cmocka.h>

#include "edgebucket.h"
#include "table.h"
#include "xdp.h"

#define SETS 64
#define TICKS_PER_S (1000000000ULL * EB_TICKS_PER_NS)
#define HOUR (3600 * TICKS_PER_S)

#define HOURLY(burst) "packets: { rate: 1/h, burst: " #burst " }"

static uint64_t ticks(void)
{
	return eb_gcra_now(eb_monotonic_ns());
}

/* A debt made at `since` or later has been paid back for no longer than that. */
static void check_debt(uint64_t full_at, uint64_t debt, uint64_t since)
{
	uint64_t now = ticks(), left = eb_gcra_debt(full_at, now);

	assert_true(left <= debt);
	assert_true(left + (now - since) >= debt);
}

/* --- Charging --- */

static void test_burst(void **state)
{
	struct rig *rig = *state;
	uint64_t since = ticks();
	struct eb_bucket *bucket, before;

	rig_apply(rig, "rules: [{ name: a, action: limit, " HOURLY(1000) " }]\n");
	rig_clear(rig);
	for (int i = 1; i <= 1000; i++) {
		assert_int_equal(rig_send_text(rig, "ip4 udp:1"), XDP_PASS);
		bucket = rig_bucket_of(rig, "a", FRAME_SRC4);
		check_debt(bucket->packets_full_at, i * HOUR, since);
	}
	before = *bucket;
	for (int i = 0; i < 100; i++)
		assert_int_equal(rig_send_text(rig, "ip4 udp:1"), XDP_DROP);
	before.dropped = 100;
	assert_memory_equal(bucket, &before, sizeof(before));
	assert_string_equal(rig_counts(rig, 0), "a.pass:1000 a.drop:100");
}

/* How far a bucket is from empty decides, to the token: rows set it and say how many packets pass. */
static void test_refill(void **state)
{
	static const struct {
		int64_t full_in; /* ticks from now */
		int passing;
	} rows[] = {
		{ -(int64_t)HOUR, 3 },
		{ -1000000, 3 },
		{ 600 * TICKS_PER_S, 2 },
		{ HOUR - 600 * TICKS_PER_S, 2 },
		{ HOUR + 600 * TICKS_PER_S, 1 },
		{ 2 * HOUR - 600 * TICKS_PER_S, 1 },
		{ 2 * HOUR + 600 * TICKS_PER_S, 0 },
		{ 3 * HOUR, 0 },
		{ EB_DEBT_MAX - 600 * TICKS_PER_S, 0 }, /* more than a charge can make: still debt */
		{ INT64_MAX, 3 },
		{ -(int64_t)EB_DEBT_MAX, 3 },
		{ INT64_MIN, 3 },
	};
	struct rig *rig = *state;

	rig_apply(rig, "rules: [{ name: a, action: limit, " HOURLY(3) " }]\n");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int passed = 0;

		rig_clear(rig);
		rig_send_text(rig, "ip4 udp:1");
		rig_bucket_of(rig, "a", FRAME_SRC4)->packets_full_at = ticks() + rows[i].full_in;
		for (int k = 0; k < 5; k++)
			passed += rig_send_text(rig, "ip4 udp:1") == XDP_PASS;
		if (passed != rows[i].passing)
			fail_msg("row %zu: %d packets passed", i, passed);
	}
}

/* --- The clock --- */

/* Limits on both sides of what eb_limit_refuses_early() says of portions. */
static const struct clock_row {
	const char *limit;
	bool in_portions;
} clock_rows[] = {
	{ "packets: { rate: 1/h, burst: 1 }", false },	    { "packets: { rate: 1/h, burst: 5 }", false },
	{ "packets: { rate: 1/min, burst: 1 }", false },    { "packets: { rate: 9/s, burst: 20 }", false },
	{ "packets: { rate: 11/s, burst: 2 }", false },	    { "packets: { rate: 11/s, burst: 3 }", true },
	{ "packets: { rate: 1000/s, burst: 1 }", false },   { "packets: { rate: 1000/s, burst: 50 }", false },
	{ "packets: { rate: 1000/s, burst: 100 }", false }, { "packets: { rate: 1000/s, burst: 102 }", true },
	{ "packets: { rate: 1M/s, burst: 100 }", false },   { "packets: { rate: 1M/s, burst: 200k }", true },
	{ "packets: { rate: 100M/s, burst: 1 }", false },   { "packets: { rate: 100M/s, burst: 20M }", true },
	{ "bytes: { rate: 60kB/s, burst: 600 }", false },   { "bytes: { rate: 60kB/s, burst: 60kB }", true },
	{ "bytes: { rate: 1Gbit/s, burst: 1MB }", false },  { "bytes: { rate: 1Gbit/s, burst: 20MB }", true },
};

/*
 * A packet is never admitted before its bucket can pay for it; and from then on it is admitted at once where the exact
 * time judges, else as soon as the timer has ticked.
 */
static void check_due(struct rig *rig, const struct clock_row *row, struct eb_bucket *bucket)
{
	const struct eb_rule *rule = rig_rule(rig, "a");
	bool is_bytes = rule->bytes.mult;
	const struct eb_limit *limit = is_bytes ? &rule->bytes : &rule->packets;
	uint64_t room = limit->burst - eb_gcra_cost(limit, is_bytes ? 60 : 1);
	__u64 *full_at = is_bytes ? &bucket->bytes_full_at : &bucket->packets_full_at;

	for (int i = 0; i < 20; i++) {
		uint64_t due = ticks() + random() % (TICKS_PER_S / 200), before, after;
		int verdict;

		*full_at = eb_gcra_full_at(due, room);
		do {
			before = ticks();
			verdict = rig_send_text(rig, "ip4 udp:1 raw:18");
			after = ticks();
			if (verdict == XDP_PASS ? after < due : before > due + (row->in_portions ? EB_EARLY_MAX : 0))
				fail_msg("%s: verdict %d, %lld ticks after it was due", row->limit, verdict,
					 (long long)(before - due));
		} while (verdict != XDP_PASS);
	}
}

static void test_due(void **state)
{
	struct rig *rig = *state;

	for (size_t i = 0; i < sizeof(clock_rows) / sizeof(clock_rows[0]); i++) {
		char config[160];

		snprintf(config, sizeof(config), "rules: [{ name: a, action: limit, %s }]\n", clock_rows[i].limit);
		rig_apply(rig, config);
		rig_clear(rig);
		assert_int_equal(rig_send_text(rig, "ip4 udp:1 raw:18"), XDP_PASS);
		check_due(rig, &clock_rows[i], rig_bucket_of(rig, "a", FRAME_SRC4));
	}
}

/*
 * A source that always wants more. What its bucket was charged with is what was admitted and what it lost while it was
 * full: nothing, as long as it is asked often enough. A refusal says that it was empty, 50 ms before at most (five
 * ticks of 10 ms).
 */
static void check_long_run(struct rig *rig, uint64_t rate, uint64_t burst)
{
	uint64_t start, now, before, refused, charged, cost, room, idle = 0, admitted = 0;
	struct eb_bucket *bucket;
	char config[160];

	snprintf(config, sizeof(config), "rules: [{ name: a, action: limit, packets: { rate: %d/s, burst: %d } }]\n",
		 (int)rate, (int)burst);
	rig_apply(rig, config);
	rig_clear(rig);
	rig_send_text(rig, "ip4 udp:1");
	bucket = rig_bucket_of(rig, "a", FRAME_SRC4);
	cost = rig_rule(rig, "a")->packets.mult;
	room = (burst - 1) * cost >= EB_EARLY_MAX ? (burst - 1) * cost - EB_EARLY_MAX / 2 : (burst - 1) * cost;
	start = refused = now = ticks();
	bucket->packets_full_at = start + burst * cost;
	while (now < start + TICKS_PER_S / 2) {
		int verdict;

		before = now;
		verdict = rig_send_text(rig, "ip4 udp:1");
		now = ticks();
		admitted += verdict == XDP_PASS;
		if (verdict == XDP_PASS)
			continue;
		idle += now - refused > room ? now - refused - room : 0;
		refused = before;
	}
	idle += now - refused > room ? now - refused - room : 0;
	charged = bucket->packets_full_at - (start + burst * cost);
	assert_true(admitted * cost <= now - start);
	if (charged - admitted * cost > (now - start) / 1000 + idle)
		fail_msg("%d/s, burst %d: %llu admitted, %llu ticks lost, idle for %llu", (int)rate, (int)burst,
			 (unsigned long long)admitted, (unsigned long long)(charged - admitted * cost),
			 (unsigned long long)idle);
}

static void test_long_run(void **state)
{
	static const uint64_t rows[][2] = {
		{ 1000, 50 }, { 1000, 102 }, { 1000, 1000 }, { 20000, 200 }, { 20000, 3000 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		check_long_run(*state, rows[i][0], rows[i][1]);
}

static void test_bytes(void **state)
{
	struct rig *rig = *state;
	uint64_t since = ticks();
	struct eb_bucket *bucket, before;

	rig_apply(rig, "rules: [{ name: a, action: limit, bytes: { rate: 1B/s, burst: 10000 } }]\n");
	rig_clear(rig);
	/* One byte more than the burst never passes; the burst itself does. */
	assert_int_equal(rig_send_text(rig, "ip4 udp:1 raw:9959"), XDP_DROP);
	assert_int_equal(rig_send_text(rig, "ip4 udp:1 raw:9958"), XDP_PASS);
	bucket = rig_bucket_of(rig, "a", FRAME_SRC4);
	check_debt(bucket->bytes_full_at, 10000 * TICKS_PER_S, since);
	assert_int_equal(bucket->packets_full_at, EB_FULL);

	rig_clear(rig);
	since = ticks();
	for (int i = 1; i <= 9; i++) {
		assert_int_equal(rig_send_text(rig, "ip4 udp:1 raw:958"), XDP_PASS);
		check_debt(bucket->bytes_full_at, i * 1000 * TICKS_PER_S, since);
	}
	before = *bucket;
	assert_int_equal(rig_send_text(rig, "ip4 udp:1 raw:2000"), XDP_DROP);
	before.dropped++;
	assert_memory_equal(bucket, &before, sizeof(before));
	assert_int_equal(rig_send_text(rig, "ip4 udp:1 raw:458"), XDP_PASS);
}

/* A packet refused by one limit charges neither. */
static void test_both_limits(void **state)
{
	struct rig *rig = *state;
	uint64_t since = ticks();
	struct eb_bucket *bucket, before;

	rig_apply(rig, "rules: [{ name: a, action: limit, " HOURLY(3) ", bytes: { rate: 1B/s, burst: 2000 } }]\n");
	rig_clear(rig);
	assert_int_equal(rig_send_text(rig, "ip4 udp:1 raw:958"), XDP_PASS);
	bucket = rig_bucket_of(rig, "a", FRAME_SRC4);
	check_debt(bucket->packets_full_at, HOUR, since);
	check_debt(bucket->bytes_full_at, 1000 * TICKS_PER_S, since);

	before = *bucket;
	assert_int_equal(rig_send_text(rig, "ip4 udp:1 raw:1458"), XDP_DROP); /* by bytes */
	before.dropped++;
	assert_memory_equal(bucket, &before, sizeof(before));
	assert_int_equal(rig_send_text(rig, "ip4 udp:1"), XDP_PASS);
	assert_int_equal(rig_send_text(rig, "ip4 udp:1"), XDP_PASS);
	before = *bucket;
	assert_int_equal(rig_send_text(rig, "ip4 udp:1"), XDP_DROP); /* by packets */
	before.dropped++;
	assert_memory_equal(bucket, &before, sizeof(before));
	assert_string_equal(rig_counts(rig, 0), "a.pass:3 a.drop:2");
}

/* --- Who shares a bucket --- */

static void flip_bit(uint8_t *addr, int bit)
{
	addr[bit / 8] ^= 0x80 >> bit % 8;
}

static void send_from(const struct rig *rig, uint8_t family, const uint8_t *addr)
{
	char text[INET6_ADDRSTRLEN];

	inet_ntop(family == 4 ? AF_INET : AF_INET6, addr, text, sizeof(text));
	rig_send_text(rig, "ip%d:src=%s udp:1", family, text);
}

/* Sources that differ in the last bit of the prefix are two, those that differ in the first one behind it are one. */
static void check_prefix(struct rig *rig, uint8_t family, int len, int bits)
{
	uint8_t addr[16] = { 0x2a, 0x5c, 0x93, 0xa5, 0x1b, 0xe4, 0x77, 0x38,
			     0xc9, 0x42, 0x6d, 0x81, 0xf0, 0x0f, 0x55, 0xaa };
	uint8_t masked[16] = { 0 };
	char config[160];
	uint64_t debt;

	snprintf(config, sizeof(config), "rules: [{ name: a, action: limit, " HOURLY(100) ", per: { ipv%d: %d } }]\n",
		 family, len);
	rig_apply(rig, config);
	rig_clear(rig);
	send_from(rig, family, addr);
	if (len < bits) {
		flip_bit(addr, len);
		send_from(rig, family, addr);
		flip_bit(addr, bits - 1);
		send_from(rig, family, addr);
	}
	for (int bit = 0; bit < len; bit++)
		if (addr[bit / 8] & 0x80 >> bit % 8)
			flip_bit(masked, bit);
	assert_non_null(rig_bucket(rig, "a", family, masked));
	debt = eb_gcra_debt(rig_bucket(rig, "a", family, masked)->packets_full_at, ticks());
	assert_int_equal(debt / HOUR, len < bits ? 2 : 0);
	if (!len)
		return;
	flip_bit(addr, len - 1);
	flip_bit(masked, len - 1);
	assert_null(rig_bucket(rig, "a", family, masked));
	send_from(rig, family, addr);
	assert_non_null(rig_bucket(rig, "a", family, masked));
}

static void test_prefixes(void **state)
{
	static const int lens4[] = { 0, 1, 7, 8, 9, 16, 23, 24, 31, 32 };
	static const int lens6[] = { 0, 1, 8, 31, 32, 33, 48, 56, 63, 64, 65, 96, 127, 128 };

	for (size_t i = 0; i < sizeof(lens4) / sizeof(lens4[0]); i++)
		check_prefix(*state, 4, lens4[i], 32);
	for (size_t i = 0; i < sizeof(lens6) / sizeof(lens6[0]); i++)
		check_prefix(*state, 6, lens6[i], 128);
}

/* --- Who gets one --- */

static void test_gate(void **state)
{
	struct rig *rig = *state;
	uint64_t since = ticks();
	struct eb_bucket *gate;
	static struct eb_set4 before[SETS];
	uint64_t gate_before;

	rig_apply(rig, "rules: [{ name: a, action: limit, " HOURLY(5) ", new_sources: { rate: 1/h, burst: 3 } }]\n");
	rig_clear(rig);
	gate = &rig->state->gates[rig_rule(rig, "a")->slot];
	for (int i = 1; i <= 3; i++) {
		rig_send_text(rig, "ip4:src=10.0.0.%d udp:1", i);
		rig_send_text(rig, "ip4:src=10.0.0.%d udp:1", i);
		check_debt(gate->packets_full_at, i * HOUR, since);
	}
	memcpy(before, rig->v4, sizeof(before));
	gate_before = gate->packets_full_at;
	for (int i = 4; i < 200; i++)
		assert_int_equal(rig_send_text(rig, "ip4:src=10.0.0.%d udp:1", i), XDP_DROP);
	assert_memory_equal(rig->v4, before, sizeof(before));
	assert_int_equal(gate->packets_full_at, gate_before);
	assert_string_equal(rig_counts(rig, 0), "a.pass:6 a.crowded:196");
	/* Time opens it again. */
	gate->packets_full_at -= HOUR;
	assert_int_equal(rig_send_text(rig, "ip4:src=10.0.0.4 udp:1"), XDP_PASS);
	assert_int_equal(rig_send_text(rig, "ip4:src=10.0.0.5 udp:1"), XDP_DROP);
	assert_int_equal(rig_new_sources(rig, "a"), 4);
}

/* Sets of a table so small that every source can be in every entry. */
static void fill_set(struct rig *rig)
{
	rig_clear(rig);
	for (int i = 1; i <= EB_WAYS; i++)
		assert_int_equal(rig_send_text(rig, "ip4:src=10.0.0.%d udp:1", i), XDP_PASS);
	assert_int_equal(rig_send_text(rig, "ip6:src=2001:db8::1 udp:1"), XDP_PASS);
}

static struct eb_bucket *small_bucket(const struct rig *rig, int source)
{
	char text[16];

	snprintf(text, sizeof(text), "10.0.0.%d", source);
	return rig_bucket_of(rig, "a", text);
}

static void test_table_full(void **state)
{
	static const struct {
		const char *more;
		int verdict;
	} rows[] = {
		{ "", XDP_DROP },
		{ ", when_crowded: drop", XDP_DROP },
		{ ", when_crowded: pass", XDP_PASS },
		{ ", mode: monitor", XDP_PASS },
	};
	struct rig rig;

	(void)state;
	rig_open(&rig, 1);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char config[160];
		struct eb_set4 before;

		snprintf(config, sizeof(config), "rules: [{ name: a, action: limit, " HOURLY(9) "%s }]\n",
			 rows[i].more);
		rig_apply(&rig, config);
		fill_set(&rig);
		before = *rig.v4;
		for (int k = 5; k < 50; k++)
			assert_int_equal(rig_send_text(&rig, "ip4:src=10.0.0.%d udp:1", k), rows[i].verdict);
		assert_memory_equal(rig.v4, &before, sizeof(before));
		assert_string_equal(rig_counts(&rig, 0), "a.pass:5 a.crowded:45 table_full:45");
		assert_int_equal(rig_send_text(&rig, "ip4:src=10.0.0.4 udp:1"), XDP_PASS);
	}
	rig_check_table(&rig);
	rig_close(&rig);
}

/* Only a bucket without information may go to another source: of those, the one idle for longest. */
static void test_takeover(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, 1);
	rig_apply(&rig, "rules: [{ name: a, action: limit, " HOURLY(9) ", bytes: { rate: 1kB/s, burst: 1MB } }]\n");
	fill_set(&rig);

	/* Full by one limit, in debt by the other. */
	small_bucket(&rig, 1)->packets_full_at = ticks() - HOUR;
	small_bucket(&rig, 2)->bytes_full_at = ticks() - HOUR;
	small_bucket(&rig, 1)->bytes_full_at = ticks() + HOUR / 10;
	assert_int_equal(rig_send_text(&rig, "ip4:src=10.0.0.5 udp:1"), XDP_DROP);
	/* Full since a moment ago: a packet that another CPU is still charging for may know better. */
	small_bucket(&rig, 3)->packets_full_at = small_bucket(&rig, 3)->bytes_full_at = ticks();
	assert_int_equal(rig_send_text(&rig, "ip4:src=10.0.0.5 udp:1"), XDP_DROP);
	assert_int_equal(rig_count_kind(&rig, EB_TABLE_FULL), 2);

	small_bucket(&rig, 3)->packets_full_at = ticks() - HOUR / 2;
	small_bucket(&rig, 3)->bytes_full_at = ticks() - 600 * TICKS_PER_S;
	small_bucket(&rig, 4)->packets_full_at = ticks() - 700 * TICKS_PER_S;
	small_bucket(&rig, 4)->bytes_full_at = ticks() - 700 * TICKS_PER_S;
	small_bucket(&rig, 4)->dropped = 77;
	assert_int_equal(rig_send_text(&rig, "ip4:src=10.0.0.5 udp:1"), XDP_PASS);
	assert_null(small_bucket(&rig, 4));
	assert_non_null(small_bucket(&rig, 3));
	assert_int_equal(small_bucket(&rig, 5)->dropped, 0);
	assert_int_equal(eb_gcra_debt(small_bucket(&rig, 5)->packets_full_at, ticks()) / (HOUR / 2), 1);
	assert_int_equal(rig_send_text(&rig, "ip4:src=10.0.0.6 udp:1"), XDP_PASS);
	assert_null(small_bucket(&rig, 3));
	assert_int_equal(rig_send_text(&rig, "ip4:src=10.0.0.7 udp:1"), XDP_DROP);

	/* An empty entry goes before a full one. */
	memset(&rig.v4->way[2], 0, sizeof(rig.v4->way[2]));
	small_bucket(&rig, 1)->packets_full_at = small_bucket(&rig, 1)->bytes_full_at = ticks() - HOUR;
	assert_int_equal(rig_send_text(&rig, "ip4:src=10.0.0.8 udp:1"), XDP_PASS);
	assert_non_null(small_bucket(&rig, 1));
	rig_check_table(&rig);
	rig_close(&rig);
}

/* The same of IPv6, in short. */
static void test_takeover6(void **state)
{
	struct rig rig;
	uint8_t first[16];

	(void)state;
	rig_open(&rig, 1);
	rig_apply(&rig, "rules: [{ name: a, action: limit, " HOURLY(9) ", per: { ipv6: 128 } }]\n");
	for (int i = 1; i <= EB_WAYS; i++)
		assert_int_equal(rig_send_text(&rig, "ip6:src=2001:db8::%d udp:1", i), XDP_PASS);
	assert_int_equal(rig_send_text(&rig, "ip6:src=2001:db8::5 udp:1"), XDP_DROP);
	assert_string_equal(rig_counts(&rig, 0), "a.pass:4 a.crowded:1 table_full:1");
	assert_int_equal(inet_pton(AF_INET6, "2001:db8::1", first), 1);
	rig_bucket(&rig, "a", 6, first)->packets_full_at = ticks() - HOUR;
	assert_int_equal(rig_send_text(&rig, "ip6:src=2001:db8::5 udp:1"), XDP_PASS);
	assert_null(rig_bucket(&rig, "a", 6, first));
	assert_non_null(rig_bucket_of(&rig, "a", "2001:db8::5"));
	assert_non_null(rig_bucket_of(&rig, "a", "2001:db8::4"));
	rig_check_table(&rig);
	rig_close(&rig);
}

/* An entry that is being handed over, or whose creation is locked, refuses: never admits. */
static void test_locked(void **state)
{
	struct rig *rig = *state;
	struct eb_bucket *bucket;

	rig_apply(rig, "rules: [{ name: a, action: limit, " HOURLY(9) " }]\n");
	rig_clear(rig);
	rig_send_text(rig, "ip4 udp:1");
	bucket = rig_bucket_of(rig, "a", FRAME_SRC4);
	bucket->packets_full_at = EB_LOCKED;
	assert_int_equal(rig_send_text(rig, "ip4 udp:1"), XDP_DROP);
	assert_int_equal(bucket->packets_full_at, EB_LOCKED);
	bucket->packets_full_at = EB_FULL;
	assert_int_equal(rig_send_text(rig, "ip4 udp:1"), XDP_PASS);
	for (int i = 0; i < EB_LOCKS; i++)
		rig->state->locks[i] = 1;
	assert_int_equal(rig_send_text(rig, "ip4:src=10.0.0.2 udp:1"), XDP_DROP);
	assert_null(rig_bucket_of(rig, "a", "10.0.0.2"));
	memset(rig->state->locks, 0, sizeof(rig->state->locks));
	assert_string_equal(rig_counts(rig, 0), "a.pass:2 a.drop:2 contended:2");
}

/* --- Counting --- */

/* One by one up to a point, then in steps, of which the mean of many sources is right: its standard deviation is
 * sqrt(6400 * 64 / 100) = 64. */
static void test_dropped(void **state)
{
	enum { SOURCES = 100, EXACT = 1024, MORE = 6400, STEP = 64 };
	struct rig *rig = *state;
	int64_t sum = 0;
	struct frame frame;
	char text[32];

	rig_apply(rig, "rules: [{ name: a, action: limit, " HOURLY(1) " }]\n");
	rig_clear(rig);
	for (int i = 1; i <= SOURCES; i++) {
		snprintf(text, sizeof(text), "ip4:src=10.0.0.%d udp:1", i);
		frame_make(text, &frame);
		rig_repeat(rig, &frame, 1 + EXACT);
		snprintf(text, sizeof(text), "10.0.0.%d", i);
		assert_int_equal(rig_dropped(rig, "a", text), EXACT);
		rig_repeat(rig, &frame, MORE);
		sum += rig_dropped(rig, "a", text) - EXACT;
		assert_int_equal((rig_dropped(rig, "a", text) - EXACT) % STEP, 0);
	}
	assert_int_equal(rig_count(rig, "a", EB_DROP), SOURCES * (EXACT + MORE));
	assert_in_range(sum / SOURCES, MORE - 6 * 64, MORE + 6 * 64);
}

/* No order of sources makes what one is refused count for another. */
static void test_dropped_in_turns(void **state)
{
	enum { ROUNDS = 64 * 400 };
	struct rig *rig = *state;
	static struct frame frames[2];

	rig_apply(rig, "rules: [{ name: a, action: limit, " HOURLY(1) " }]\n");
	rig_clear(rig);
	frame_make("ip4 udp:1", &frames[0]);
	frame_make("ip4:src=10.0.0.9 udp:1", &frames[1]);
	for (int i = 0; i < ROUNDS; i++)
		rig_send(rig, &frames[i % 2]);
	/* Of 12,800 each: 1024 and an estimate of the rest, whose standard deviation is 868. */
	assert_in_range(rig_dropped(rig, "a", FRAME_SRC4), 12799 - 6 * 868, 12799 + 6 * 868);
	assert_in_range(rig_dropped(rig, "a", "10.0.0.9"), 12799 - 6 * 868, 12799 + 6 * 868);
}

/* Many sources in turns: every sum is exact. */
static void test_dropped_by_many(void **state)
{
	enum { SOURCES = 90 };
	struct rig *rig = *state;
	char text[32];

	rig_apply(rig, "rules: [{ name: a, action: limit, " HOURLY(1) " }]\n");
	rig_clear(rig);
	for (int round = 0; round < 10; round++) {
		for (int i = 1; i <= SOURCES; i++) {
			static struct frame frame;

			snprintf(text, sizeof(text),
				 i % 2 ? "ip4:src=10.0.0.%d udp:1" : "ip6:src=2001:db8:%d::1 udp:1", i);
			frame_make(text, &frame);
			for (int k = 0; k < i; k++)
				rig_send(rig, &frame);
		}
	}
	for (int i = 1; i <= SOURCES; i++) {
		snprintf(text, sizeof(text), i % 2 ? "10.0.0.%d" : "2001:db8:%d::", i);
		assert_int_equal(rig_dropped(rig, "a", text), 10 * i - 1);
	}
}

/* Nobody is charged with the refusals of who had the entry before. */
static void test_dropped_by_former(void **state)
{
	struct frame frame;
	struct rig rig;

	(void)state;
	rig_open(&rig, 1);
	rig_apply(&rig, "rules: [{ name: a, action: limit, " HOURLY(1) " }]\n");
	fill_set(&rig);
	frame_make("ip4:src=10.0.0.1 udp:1", &frame);
	rig_repeat(&rig, &frame, 200);
	assert_int_equal(rig_dropped(&rig, "a", "10.0.0.1"), 200);
	rig.v4->way[0].bucket.packets_full_at = ticks() - HOUR;
	assert_int_equal(rig_send_text(&rig, "ip4:src=10.0.0.5 udp:1"), XDP_PASS);
	assert_int_equal(rig_dropped(&rig, "a", "10.0.0.5"), 0);
	rig_send_text(&rig, "ip4:src=10.0.0.5 udp:1");
	assert_int_equal(rig_dropped(&rig, "a", "10.0.0.5"), 1);
	rig_close(&rig);
}

/* --- Events --- */

struct seen {
	uint64_t count;
	struct eb_event first;
};

static int see_event(void *context, void *data, size_t size)
{
	struct seen *seen = context;

	assert_int_equal(size, sizeof(struct eb_event));
	if (!seen->count++)
		memcpy(&seen->first, data, sizeof(seen->first));
	return 0;
}

static void check_event(const struct eb_event *event, uint64_t since, const char *name)
{
	static const uint8_t src6[] = { 0x20, 0x01, 0x0d, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1 };
	static const uint8_t dst6[] = { 0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x53 };
	static const uint8_t src4[16] = { 10, 0, 0, 1 }, dst4[16] = { 198, 51, 100, 53 };
	static const uint8_t zero[3];

	if (event->time_ns < since || event->time_ns > eb_monotonic_ns())
		fail_msg("%s: wrong time", name);
	assert_memory_equal(event->saddr, event->family == 4 ? src4 : src6, 16);
	assert_memory_equal(event->daddr, event->family == 4 ? dst4 : dst6, 16);
	assert_memory_equal(event->pad, zero, sizeof(zero));
}

static void test_events(void **state)
{
	static const struct {
		const char *name, *rules, *frame;
		uint32_t repeat;
		struct eb_event event; /* verdict EB_PASS for none */
	} rows[] = {
		{ "admitted", "action: limit, " HOURLY(99), "ip4 udp:53", 50, { .verdict = EB_PASS } },
		{ "allowed", "action: allow", "ip4 udp:53", 50, { .verdict = EB_PASS } },
		{ "refused", "action: limit, " HOURLY(1), "ip4 udp:53", 50,
		  { .verdict = EB_DROP, .family = 4, .proto = 17, .dport = 53, .len = 42 } },
		{ "refused, IPv6", "action: limit, " HOURLY(1), "ip6 tcp:4660", 50,
		  { .verdict = EB_DROP, .family = 6, .proto = 6, .dport = 0x1234, .len = 74 } },
		{ "denied", "action: deny", "ip4 icmp", 50,
		  { .verdict = EB_DROP, .family = 4, .proto = 1, .len = 42 } },
		{ "monitored", "action: deny, mode: monitor", "ip4 udp:53", 50,
		  { .verdict = EB_WOULD_DROP, .family = 4, .proto = 17, .dport = 53, .len = 42 } },
	};
	struct rig *rig = *state;
	struct seen seen = { 0 };
	struct ring_buffer *ring = ring_buffer__new(rig_fd(rig, "events"), see_event, &seen, NULL);
	struct frame frame;

	assert_non_null(ring);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char config[160];
		uint64_t since;

		snprintf(config, sizeof(config), "rules: [{ name: a, %s }]\n", rows[i].rules);
		rig_apply(rig, config);
		ring_buffer__consume(ring);
		seen.count = 0;
		since = eb_monotonic_ns();
		frame_make(rows[i].frame, &frame);
		rig_clear(rig);
		rig_repeat(rig, &frame, rows[i].repeat);
		ring_buffer__consume(ring);
		if (!seen.count != (rows[i].event.verdict == EB_PASS))
			fail_msg("%s: %llu events", rows[i].name, (unsigned long long)seen.count);
		if (!seen.count)
			continue;
		check_event(&seen.first, since, rows[i].name);
		assert_int_equal(seen.first.verdict, rows[i].event.verdict);
		assert_int_equal(seen.first.family, rows[i].event.family);
		assert_int_equal(seen.first.proto, rows[i].event.proto);
		assert_int_equal(seen.first.dport, rows[i].event.dport);
		assert_int_equal(seen.first.len, rows[i].event.len);
		assert_int_equal(seen.first.slot, rig_rule(rig, "a")->slot);
	}
	ring_buffer__free(ring);
}

/* A flood makes no more events than time allows: one for every 5 ms and CPU. */
static void test_event_rate(void **state)
{
	struct rig *rig = *state;
	struct seen seen = { 0 };
	struct ring_buffer *ring = ring_buffer__new(rig_fd(rig, "events"), see_event, &seen, NULL);
	struct frame frame;
	uint64_t since;

	assert_non_null(ring);
	rig_apply(rig, "rules: [{ name: a, action: deny }]\n");
	rig_clear(rig);
	ring_buffer__consume(ring);
	seen.count = 0;
	frame_make("ip4 udp:1", &frame);
	since = eb_monotonic_ns();
	rig_repeat(rig, &frame, 100000);
	ring_buffer__consume(ring);
	assert_true(seen.count >= 1);
	assert_true(seen.count <= libbpf_num_possible_cpus() * (1 + (eb_monotonic_ns() - since) / 5000000));
	ring_buffer__free(ring);
}

static int open_rig(void **state)
{
	return rig_setup(state, SETS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_burst),
		cmocka_unit_test(test_refill),
		cmocka_unit_test(test_due),
		cmocka_unit_test(test_long_run),
		cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_both_limits),
		cmocka_unit_test(test_prefixes),
		cmocka_unit_test(test_gate),
		cmocka_unit_test(test_table_full),
		cmocka_unit_test(test_takeover),
		cmocka_unit_test(test_takeover6),
		cmocka_unit_test(test_locked),
		cmocka_unit_test(test_dropped),
		cmocka_unit_test(test_dropped_in_turns),
		cmocka_unit_test(test_dropped_by_many),
		cmocka_unit_test(test_dropped_by_former),
		cmocka_unit_test(test_events),
		cmocka_unit_test(test_event_rate),
	};

	return cmocka_run_group_tests_name("buckets", tests, open_rig, rig_teardown);
}
