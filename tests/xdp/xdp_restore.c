// SPDX-License-Identifier: GPL-2.0-only
/* Records of stores -> debts in the maps: what is refused, clamped, merged and added, on real maps. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "store/restore.h"
#include "table.h"
#include "xdp.h"

#define SECOND 1000000000ULL
#define HOUR (3600 * SECOND)
#define DAY (24 * HOUR)

/* Some time in 2023 that the records' times are relative to. */
#define REFERENCE (1700000000 * SECOND)

/* Between a restore and the look at what it did. */
#define MEANWHILE (60 * SECOND)

#define RULES                                                                                                          \
	"rules: [{ name: out, match: { dport: 1, proto: udp }, action: allow },"                                       \
	" { name: a, action: limit, packets: { rate: 1/h, burst: 100 } },"                                             \
	" { name: b, per: { ipv4: 24, ipv6: 48 }, action: limit, packets: { rate: 1/h, burst: 10 },"                   \
	"   bytes: { rate: 1kB/s, burst: 36MB } },"                                                                    \
	" { name: c, action: limit, bytes: { rate: 1kB/s, burst: 36MB } },"                                            \
	" { name: d, also_per: dst, action: limit, packets: { rate: 1/h, burst: 10 },"                                 \
	"   levels: [{ per: { ipv4: 32 }, times: 2 }] },"                                                              \
	" { name: e, also_per: dport, action: limit, packets: { rate: 1/h, burst: 10 } }]\n"

static int open_rig(void **state)
{
	rig_setup(state, 64);
	rig_apply(*state, RULES);
	return 0;
}

static struct eb_restore *new_restore(const struct rig *rig, uint64_t records_max)
{
	struct eb_restore *restore = eb_restore_new(rig->policy, records_max);

	assert_non_null(restore);
	return restore;
}

static void add_text(struct eb_restore *restore, const char *field, const char *value)
{
	eb_restore_add(restore, field, strlen(field), value, strlen(value), REFERENCE);
}

/* 0 for a limit without a debt, else so long after the reference time. */
static void add(struct eb_restore *restore, const char *field, uint64_t packets_ns, uint64_t bytes_ns)
{
	char value[64];

	snprintf(value, sizeof(value), "%llu %llu", packets_ns ? REFERENCE + packets_ns : 0,
		 bytes_ns ? REFERENCE + bytes_ns : 0);
	add_text(restore, field, value);
}

static struct eb_restore_counts counts_of(const struct eb_restore *restore)
{
	struct eb_restore_counts counts;

	eb_restore_counts(restore, &counts);
	return counts;
}

/* Every field seen is restored, full or refused for one reason. */
static void check_sum(const struct eb_restore_counts *counts)
{
	uint64_t sum = counts->restored + counts->full;

	for (int i = 0; i < EB_REFUSALS; i++)
		sum += counts->refused[i];
	assert_int_equal(sum, counts->fields);
}

/* A source has this debt, or had within the last minute. */
static void check_time(uint64_t full_at, uint64_t debt_ns)
{
	uint64_t debt = eb_gcra_debt(full_at, eb_gcra_now(eb_monotonic_ns())) / EB_TICKS_PER_NS;

	if (debt > debt_ns || debt + MEANWHILE < debt_ns)
		fail_msg("a debt of %llu s instead of %llu s", debt / SECOND, debt_ns / SECOND);
}

static void check_bucket(const struct rig *rig, const char *rule, const char *source, uint64_t packets_ns,
			 uint64_t bytes_ns)
{
	const struct eb_bucket *bucket = rig_bucket_of(rig, rule, source);

	if (!bucket) {
		assert_int_equal(packets_ns + bytes_ns, 0);
		return;
	}
	check_time(bucket->packets_full_at, packets_ns);
	check_time(bucket->bytes_full_at, bytes_ns);
}

/* --- Judging --- */

static void test_fields(void **state)
{
	enum { RESTORED = -1, CLAMPED = -2, FULL = -3 };
	static const struct {
		const char *field, *value;
		int outcome; /* or enum eb_refusal */
	} rows[] = {
		{ "a|10.0.0.1/32", "1700003600000000000 0", RESTORED },
		{ "a|2001:db8::/64", "1700003600000000000 0", RESTORED },
		{ "b|10.0.0.0/24", "1700003600000000000 1700000001000000000", RESTORED },
		{ "b|10.0.1.0/24", "0 1700000001000000000", RESTORED },
		{ "b|2001:db8::/48", "1700003600000000000 0", RESTORED },
		{ "c|10.0.0.1/32", "0 1700000001000000000", RESTORED },
		{ "a|10.0.0.2/32", "1700000000000000000 0", FULL },
		{ "a|10.0.0.2/32", "1699999999999999999 0", FULL },
		{ "a|10.0.0.2/32", "1 0", FULL },
		{ "a|10.0.0.2/32", "0 0", FULL },
		{ "a|10.0.0.2/32", "0 1700003600000000000", FULL }, /* the rule has no such limit */
		{ "c|10.0.0.2/32", "1700003600000000000 0", FULL },
		{ "a|10.0.0.3/32", "1700360000000000000 0", RESTORED }, /* all of the burst */
		{ "a|10.0.0.4/32", "1700360000000000001 0", RESTORED }, /* the mirror rounds up */
		{ "a|10.0.0.5/32", "1700360000000000002 0", CLAMPED },
		{ "a|10.0.0.6/32", "9223372036854775807 0", CLAMPED },
		{ "b|10.0.2.0/24", "1700003600000000000 9223372036854775807", CLAMPED },
		{ "a|10.0.0.9/32", "9223372036854775808 0", EB_RECORD_OVERFLOW },
		{ "a|10.0.0.9/32", "18446744073709551616 0", EB_RECORD_OVERFLOW },
		{ "a|10.0.0.9/32", "0 99999999999999999999999999999999999999", EB_RECORD_OVERFLOW },
		{ "", "", EB_RECORD_BAD_RULE },
		{ "a", "1700003600000000000 0", EB_RECORD_BAD_RULE },
		{ "|10.0.0.9/32", "1700003600000000000 0", EB_RECORD_BAD_RULE },
		{ "A|10.0.0.9/32", "1700003600000000000 0", EB_RECORD_BAD_RULE },
		{ "\377\376|10.0.0.9/32", "1700003600000000000 0", EB_RECORD_BAD_RULE },
		{ "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa|10.0.0.9/32", "1700003600000000000 0", EB_RECORD_BAD_RULE },
		{ "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa|10.0.0.9/32", "1700003600000000000 0", EB_REFUSED_UNKNOWN_RULE },
		{ "f|10.0.0.9/32", "1700003600000000000 0", EB_REFUSED_UNKNOWN_RULE },
		{ "out|10.0.0.9/32", "1700003600000000000 0", EB_REFUSED_UNKNOWN_RULE }, /* has no buckets */
		{ "a|", "1700003600000000000 0", EB_RECORD_BAD_SOURCE },
		{ "a|10.0.0.9", "1700003600000000000 0", EB_RECORD_BAD_SOURCE },
		{ "a|10.0.0.9/", "1700003600000000000 0", EB_RECORD_BAD_SOURCE },
		{ "a|10.0.0.9/33", "1700003600000000000 0", EB_RECORD_BAD_SOURCE },
		{ "a|10.0.0.9/32 ", "1700003600000000000 0", EB_RECORD_BAD_SOURCE },
		{ "a|10.0.0.9/-1", "1700003600000000000 0", EB_RECORD_BAD_SOURCE },
		{ "a|2001:db8::/129", "1700003600000000000 0", EB_RECORD_BAD_SOURCE },
		{ "a|2001:db8::1/64", "1700003600000000000 0", EB_RECORD_BAD_SOURCE },
		{ "b|10.0.0.9/24", "1700003600000000000 0", EB_RECORD_BAD_SOURCE },
		{ "a|10.0.0.0/24", "1700003600000000000 0", EB_REFUSED_PREFIX_LEN },
		{ "a|0.0.0.0/0", "1700003600000000000 0", EB_REFUSED_PREFIX_LEN },
		{ "a|2001:db8::/48", "1700003600000000000 0", EB_REFUSED_PREFIX_LEN },
		{ "b|10.0.0.9/32", "1700003600000000000 0", EB_REFUSED_PREFIX_LEN },
		{ "d|10.0.0.1/32>192.0.2.1", "1700003600000000000 0", RESTORED },
		{ "d|2001:db8::/64>2001:db8::9", "1700003600000000000 0", RESTORED },
		{ "d|10.0.0.1/32", "1700003600000000000 0", RESTORED }, /* a level */
		{ "e|10.0.0.1/32>53", "1700003600000000000 0", RESTORED },
		{ "e|2001:db8::/64>65535", "1700003600000000000 0", RESTORED },
		{ "e|10.0.0.1/32>0", "1700003600000000000 0", RESTORED },
		{ "a|10.0.0.1/32>53", "1700003600000000000 0", EB_REFUSED_ALSO_PER },
		{ "d|10.0.0.1/32>53", "1700003600000000000 0", EB_REFUSED_ALSO_PER },
		{ "e|10.0.0.1/32>192.0.2.1", "1700003600000000000 0", EB_REFUSED_ALSO_PER },
		{ "e|10.0.0.1/32", "1700003600000000000 0", EB_REFUSED_ALSO_PER },
		{ "d|10.0.0.0/24>192.0.2.1", "1700003600000000000 0", EB_REFUSED_PREFIX_LEN },
		{ "d|10.0.0.1/32>", "1700003600000000000 0", EB_RECORD_BAD_SOURCE },
		{ "d|10.0.0.1/32>2001:db8::9", "1700003600000000000 0", EB_RECORD_BAD_SOURCE },
		{ "d|2001:db8::/64>192.0.2.1", "1700003600000000000 0", EB_RECORD_BAD_SOURCE },
		{ "d|10.0.0.1/32>192.0.2.1 ", "1700003600000000000 0", EB_RECORD_BAD_SOURCE },
		{ "d|10.0.0.1/32>192.0.2.1>53", "1700003600000000000 0", EB_RECORD_BAD_SOURCE },
		{ "e|10.0.0.1/32>65536", "1700003600000000000 0", EB_RECORD_BAD_SOURCE },
		{ "e|10.0.0.1/32>053", "1700003600000000000 0", EB_RECORD_BAD_SOURCE },
		{ "e|10.0.0.1/32>-1", "1700003600000000000 0", EB_RECORD_BAD_SOURCE },
		{ "a|10.0.0.9/32", "", EB_RECORD_BAD_VALUE },
		{ "a|10.0.0.9/32", "1700003600000000000", EB_RECORD_BAD_VALUE },
		{ "a|10.0.0.9/32", "1700003600000000000 ", EB_RECORD_BAD_VALUE },
		{ "a|10.0.0.9/32", "1700003600000000000 0 0", EB_RECORD_BAD_VALUE },
		{ "a|10.0.0.9/32", "-1700003600000000000 0", EB_RECORD_BAD_VALUE },
		{ "a|10.0.0.9/32", "+1700003600000000000 0", EB_RECORD_BAD_VALUE },
		{ "a|10.0.0.9/32", " 1700003600000000000 0", EB_RECORD_BAD_VALUE },
		{ "a|10.0.0.9/32", "1.7e18 0", EB_RECORD_BAD_VALUE },
		{ "a|10.0.0.9/32", "0x17 0", EB_RECORD_BAD_VALUE },
		{ "a|10.0.0.9/32", "nan inf", EB_RECORD_BAD_VALUE },
	};
	struct rig *rig = *state;
	uint64_t restored = 0;

	rig_clear(rig);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct eb_restore *restore = new_restore(rig, 10);
		struct eb_restore_counts counts;
		int outcome = rows[i].outcome;

		add_text(restore, rows[i].field, rows[i].value);
		eb_restore_apply(restore, rig->buckets, false, NULL);
		counts = counts_of(restore);
		check_sum(&counts);
		if (counts.restored != (outcome == RESTORED || outcome == CLAMPED) ||
		    counts.full != (outcome == FULL) || counts.clamped != (outcome == CLAMPED) ||
		    (outcome > 0 && counts.refused[outcome] != 1))
			fail_msg("row %zu: %s = \"%s\" was judged otherwise", i, rows[i].field, rows[i].value);
		restored += counts.restored;
		eb_restore_free(restore);
	}
	check_bucket(rig, "a", "10.0.0.1", HOUR, 0);
	check_bucket(rig, "a", "2001:db8::", HOUR, 0);
	check_bucket(rig, "b", "10.0.0.0", HOUR, SECOND);
	check_bucket(rig, "d", "10.0.0.1>192.0.2.1", HOUR, 0);
	check_bucket(rig, "d", "2001:db8::>2001:db8::9", HOUR, 0);
	check_bucket(rig, "e", "10.0.0.1>53", HOUR, 0);
	check_bucket(rig, "e", "2001:db8::>65535", HOUR, 0);
	check_bucket(rig, "e", "10.0.0.1>0", HOUR, 0);
	check_bucket(rig, "a", "10.0.0.3", 100 * HOUR, 0);
	check_bucket(rig, "a", "10.0.0.5", 100 * HOUR, 0);
	check_bucket(rig, "a", "10.0.0.6", 100 * HOUR, 0);
	check_bucket(rig, "b", "10.0.2.0", HOUR, 10 * HOUR);
	assert_int_equal(restored, 17);
	rig_check_table(rig);
}

/* Bytes that end no string, and lengths that are not the string's. */
static void test_binary(void **state)
{
	static const char value[] = "1700003600000000000 0";
	struct rig *rig = *state;
	struct eb_restore *restore = new_restore(rig, 10);
	struct eb_restore_counts counts;

	rig_clear(rig);
	eb_restore_add(restore, "a|10.0.0.1/32\0x", 15, value, strlen(value), REFERENCE);
	eb_restore_add(restore, "a\0b|10.0.0.1/32", 15, value, strlen(value), REFERENCE);
	eb_restore_add(restore, "a|10.0.0.1/32", 13, "1700003600000000000 0\0", 22, REFERENCE);
	eb_restore_add(restore, "a|10.0.0.1/32", 13, value, 5, REFERENCE);
	eb_restore_add(restore, "a|10.0.0.1/32", 0, value, 0, REFERENCE);
	counts = counts_of(restore);
	assert_int_equal(counts.fields, 5);
	eb_restore_apply(restore, rig->buckets, false, NULL);
	counts = counts_of(restore);
	check_sum(&counts);
	assert_int_equal(counts.restored, 0);
	eb_restore_free(restore);
}

static void test_reference(void **state)
{
	(void)state;
	assert_int_equal(eb_restore_reference(REFERENCE, 0), REFERENCE);
	assert_int_equal(eb_restore_reference(REFERENCE, REFERENCE - DAY), REFERENCE);
	assert_int_equal(eb_restore_reference(REFERENCE, REFERENCE), REFERENCE);
	assert_int_equal(eb_restore_reference(REFERENCE, REFERENCE + 1), REFERENCE + 1);
	/* A board without a clock of its own begins in 1970. */
	assert_int_equal(eb_restore_reference(0, REFERENCE), REFERENCE);
	assert_int_equal(eb_restore_reference(REFERENCE, REFERENCE + 36600 * DAY), REFERENCE + 36600 * DAY);
	assert_int_equal(eb_restore_reference(REFERENCE, REFERENCE + 36600 * DAY + 1), REFERENCE);
	assert_int_equal(eb_restore_reference(REFERENCE, UINT64_MAX), REFERENCE);
}

/* --- Collecting --- */

struct visited {
	size_t count;
	struct eb_restore_debt debts[4];
};

static void visit(const struct eb_restore_debt *debt, void *arg)
{
	struct visited *visited = arg;

	assert_in_range(visited->count, 0, 3);
	visited->debts[visited->count++] = *debt;
}

/* A scan may show a field twice, and full_at only grows: the later one of each limit stays. */
static void test_duplicates(void **state)
{
	struct rig *rig = *state;
	struct eb_restore *restore = new_restore(rig, 10);
	struct visited visited = { .count = 0 };

	rig_clear(rig);
	add(restore, "b|10.0.0.0/24", 5 * HOUR, 1 * HOUR);
	add(restore, "a|10.0.0.1/32", 1 * HOUR, 0);
	add(restore, "b|10.0.0.0/24", 2 * HOUR, 3 * HOUR);
	add(restore, "a|10.0.0.1/32", 1 * HOUR, 0);
	eb_restore_each(restore, visit, &visited);
	assert_int_equal(visited.count, 2);
	assert_int_equal(visited.debts[0].packets_ns, 1 * HOUR);
	assert_int_equal(visited.debts[1].packets_ns, 5 * HOUR);
	assert_int_equal(visited.debts[1].bytes_ns, 3 * HOUR);
	assert_int_equal(visited.debts[1].source.len, 24);
	eb_restore_apply(restore, rig->buckets, false, NULL);
	check_bucket(rig, "a", "10.0.0.1", 1 * HOUR, 0);
	check_bucket(rig, "b", "10.0.0.0", 5 * HOUR, 3 * HOUR);
	assert_int_equal(counts_of(restore).restored, 2);
	eb_restore_free(restore);
}

static void add_numbered(struct eb_restore *restore, int number)
{
	char field[64];

	snprintf(field, sizeof(field), "a|10.%d.%d.%d/32", number >> 16, number >> 8 & 255, number & 255);
	add(restore, field, HOUR, 0);
}

static void test_too_many(void **state)
{
	static const uint64_t limits[] = { 0, 1, 100, 1024, 1500 };
	struct rig *rig = *state;

	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		struct eb_restore *restore = new_restore(rig, limits[i]);
		struct visited visited = { .count = 0 };

		for (int k = 0; k < 2000; k++)
			add_numbered(restore, k);
		add(restore, "a|192.0.2.1/32", 0, 0); /* takes no room */
		assert_int_equal(counts_of(restore).refused[EB_REFUSED_TOO_MANY], 2000 - limits[i]);
		assert_int_equal(counts_of(restore).full, 1);
		if (limits[i] < 3) {
			eb_restore_each(restore, visit, &visited);
			assert_int_equal(visited.count, limits[i]);
		}
		eb_restore_free(restore);
	}
}

/* 64 sets have room for 256 buckets, and a full table refuses instead of dropping anybody's. */
static void test_no_room(void **state)
{
	struct rig *rig = *state;
	struct eb_restore *restore = new_restore(rig, 10000);
	struct eb_bucket_count in_use;
	struct eb_restore_counts counts;

	rig_clear(rig);
	for (int i = 0; i < 1000; i++)
		add_numbered(restore, i);
	eb_restore_apply(restore, rig->buckets, false, NULL);
	counts = counts_of(restore);
	check_sum(&counts);
	eb_buckets_count(rig->buckets, 4, &in_use);
	assert_int_equal(counts.restored, in_use.in_debt);
	assert_in_range(counts.restored, 200, 256);
	assert_int_equal(counts.refused[EB_REFUSED_NO_ROOM], 1000 - counts.restored);
	rig_check_table(rig);
	eb_restore_free(restore);
}

/* The long debts of few stay, when the short ones of a flood fill the table, however they were read. */
static void test_no_room_for_short_debts(void **state)
{
	struct rig *rig = *state;
	struct eb_restore *restore = new_restore(rig, 10000);
	char field[64];

	rig_clear(rig);
	for (int i = 0; i < 1000; i++) {
		snprintf(field, sizeof(field), "a|10.0.%d.%d/32", i / 250, i % 250);
		add(restore, field, HOUR, 0);
		if (i % 50 != 49)
			continue;
		snprintf(field, sizeof(field), "a|192.0.2.%d/32", i / 50);
		add(restore, field, 90 * HOUR, 0);
	}
	eb_restore_apply(restore, rig->buckets, false, NULL);
	assert_int_not_equal(counts_of(restore).refused[EB_REFUSED_NO_ROOM], 0);
	for (int i = 0; i < 20; i++) {
		snprintf(field, sizeof(field), "192.0.2.%d", i);
		check_bucket(rig, "a", field, 90 * HOUR, 0);
	}
	eb_restore_free(restore);
}

/* --- Two stores --- */

static void test_join(void **state)
{
	struct rig *rig = *state;
	struct eb_restore *redis = new_restore(rig, 3), *embedded = new_restore(rig, 10);
	struct eb_restore_counts counts;

	rig_clear(rig);
	add(redis, "a|10.0.0.1/32", 1 * HOUR, 0);
	add(redis, "b|10.0.0.0/24", 5 * HOUR, 1 * HOUR);
	add(redis, "z|10.0.0.1/32", 1 * HOUR, 0);
	add(embedded, "a|10.0.0.1/32", 2 * HOUR, 0);
	add(embedded, "b|10.0.0.0/24", 1 * HOUR, 2 * HOUR);
	add(embedded, "a|10.0.0.2/32", 3 * HOUR, 0);
	add(embedded, "a|10.0.0.3/32", 3 * HOUR, 0); /* one too many */
	add(embedded, "a|10.0.0.4/32", 0, 0);
	eb_restore_join(redis, embedded);
	eb_restore_apply(redis, rig->buckets, false, NULL);
	check_bucket(rig, "a", "10.0.0.1", 2 * HOUR, 0);
	check_bucket(rig, "b", "10.0.0.0", 5 * HOUR, 2 * HOUR);
	check_bucket(rig, "a", "10.0.0.2", 3 * HOUR, 0);
	counts = counts_of(redis);
	assert_int_equal(counts.fields, 8);
	assert_int_equal(counts.restored, 3);
	assert_int_equal(counts.full, 1);
	assert_int_equal(counts.refused[EB_REFUSED_UNKNOWN_RULE], 1);
	assert_int_equal(counts.refused[EB_REFUSED_TOO_MANY], 1);
	assert_int_equal(counts_of(embedded).fields, 0);
	eb_restore_apply(embedded, rig->buckets, true, NULL);
	check_bucket(rig, "a", "10.0.0.1", 2 * HOUR, 0);
	eb_restore_free(redis);
	eb_restore_free(embedded);
}

/* --- Into maps in use --- */

static void give(struct rig *rig, const char *field, uint64_t packets_ns, uint64_t bytes_ns)
{
	struct eb_restore *restore = new_restore(rig, 1);

	add(restore, field, packets_ns, bytes_ns);
	eb_restore_apply(restore, rig->buckets, false, NULL);
	assert_int_equal(counts_of(restore).restored, 1);
	eb_restore_free(restore);
}

/* In time, the later of the two; late, their sum, also beyond the burst, by limit. */
static void test_late(void **state)
{
	static const struct {
		uint64_t packets, bytes, late_packets, late_bytes, in_time_result[2], late_result[2]; /* hours */
	} rows[] = {
		{ 0, 0, 3, 0, { 3, 0 }, { 3, 0 } },
		{ 2, 1, 3, 0, { 3, 1 }, { 5, 1 } },
		{ 3, 1, 2, 4, { 3, 4 }, { 5, 5 } },
		{ 6, 9, 6, 9, { 6, 9 }, { 12, 18 } },
		{ 10, 10, 10, 10, { 10, 10 }, { 20, 20 } },
		{ 10, 0, 1, 1, { 10, 1 }, { 11, 1 } },
	};
	struct rig *rig = *state;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		for (int late = 0; late < 2; late++) {
			const uint64_t *result = late ? rows[i].late_result : rows[i].in_time_result;
			struct eb_restore *restore = new_restore(rig, 10);

			rig_clear(rig);
			if (rows[i].packets)
				give(rig, "b|10.0.0.0/24", rows[i].packets * HOUR, rows[i].bytes * HOUR);
			add(restore, "b|10.0.0.0/24", rows[i].late_packets * HOUR, rows[i].late_bytes * HOUR);
			eb_restore_apply(restore, rig->buckets, late, NULL);
			check_bucket(rig, "b", "10.0.0.0", result[0] * HOUR, result[1] * HOUR);
			if (result[0] != rows[i].packets || result[1] != rows[i].bytes)
				assert_int_equal(counts_of(restore).restored, 1);
			eb_restore_free(restore);
		}
	}
}

/* What the embedded store gave at boot is not charged again when Redis comes; only what it knows beyond that. */
static void test_late_after_another(void **state)
{
	struct rig *rig = *state;
	struct eb_restore *before = new_restore(rig, 10), *late = new_restore(rig, 10);
	struct eb_restore_counts counts;

	rig_clear(rig);
	add(before, "a|10.0.0.1/32", 40 * HOUR, 0);
	add(before, "a|10.0.0.2/32", 40 * HOUR, 0);
	add(before, "a|10.0.0.3/32", 40 * HOUR, 0);
	add(before, "a|10.0.0.4/32", 40 * HOUR, 0);
	eb_restore_apply(before, rig->buckets, false, NULL);
	/* Consumed since: 10 tokens. */
	give(rig, "a|10.0.0.1/32", 50 * HOUR, 0);
	give(rig, "a|10.0.0.2/32", 50 * HOUR, 0);
	give(rig, "a|10.0.0.3/32", 50 * HOUR, 0);
	give(rig, "a|10.0.0.5/32", 10 * HOUR, 0);
	add(late, "a|10.0.0.1/32", 40 * HOUR, 0); /* the same */
	add(late, "a|10.0.0.2/32", 30 * HOUR, 0); /* older */
	add(late, "a|10.0.0.3/32", 45 * HOUR, 0); /* newer */
	add(late, "a|10.0.0.5/32", 20 * HOUR, 0); /* the other had none */
	eb_restore_apply(late, rig->buckets, true, before);
	check_bucket(rig, "a", "10.0.0.1", 50 * HOUR, 0);
	check_bucket(rig, "a", "10.0.0.2", 50 * HOUR, 0);
	check_bucket(rig, "a", "10.0.0.3", 55 * HOUR, 0);
	check_bucket(rig, "a", "10.0.0.4", 40 * HOUR, 0);
	check_bucket(rig, "a", "10.0.0.5", 30 * HOUR, 0);
	counts = counts_of(late);
	assert_int_equal(counts.restored, 2);
	assert_int_equal(counts.full, 0);
	eb_restore_free(before);
	eb_restore_free(late);
}

static void wait_ns(uint64_t ns)
{
	uint64_t end = eb_monotonic_ns() + ns;

	while (eb_monotonic_ns() < end)
		;
}

/* Debts are as of the moment of the reference time, however long collecting and deciding take. */
static void test_time_goes_on(void **state)
{
	struct rig *rig = *state;
	uint64_t since = eb_monotonic_ns(), elapsed;
	struct eb_restore *redis = new_restore(rig, 10), *embedded, *late;
	const struct eb_bucket *bucket;

	rig_clear(rig);
	add(redis, "a|10.0.0.1/32", HOUR, 0);
	add(redis, "a|10.0.0.2/32", 10 * 1000 * 1000, 0); /* full before it is put anywhere */
	wait_ns(100 * 1000 * 1000);
	embedded = new_restore(rig, 10);
	add(embedded, "a|10.0.0.3/32", HOUR, 0);
	add(embedded, "a|10.0.0.1/32", HOUR / 2, 0);
	eb_restore_join(embedded, redis);
	wait_ns(100 * 1000 * 1000);
	eb_restore_apply(embedded, rig->buckets, false, NULL);
	elapsed = eb_monotonic_ns() - since;
	bucket = rig_bucket_of(rig, "a", "10.0.0.1");
	assert_in_range(eb_gcra_debt(bucket->packets_full_at, eb_gcra_now(since + elapsed)) / EB_TICKS_PER_NS,
			HOUR - elapsed, HOUR - 200 * 1000 * 1000);
	assert_null(rig_bucket_of(rig, "a", "10.0.0.2"));
	assert_int_equal(counts_of(embedded).restored, 2);
	assert_int_equal(counts_of(embedded).full, 1);

	/* The same record, as the late one sees it by now: nothing to add. */
	wait_ns(100 * 1000 * 1000);
	late = eb_restore_new(rig->policy, 10);
	elapsed = eb_monotonic_ns() - since;
	add(late, "a|10.0.0.1/32", HOUR - elapsed, 0);
	eb_restore_apply(late, rig->buckets, true, embedded);
	check_bucket(rig, "a", "10.0.0.1", HOUR, 0);
	elapsed = eb_monotonic_ns() - since;
	assert_in_range(eb_gcra_debt(bucket->packets_full_at, eb_gcra_now(since + elapsed)) / EB_TICKS_PER_NS,
			HOUR - elapsed, HOUR - 100 * 1000 * 1000);
	eb_restore_free(redis);
	eb_restore_free(embedded);
	eb_restore_free(late);
}

/* --- Other rules --- */

static void test_rebind(void **state)
{
	struct rig *rig = *state;
	struct eb_policy *old = malloc(sizeof(*old));
	struct eb_restore *restore;
	struct eb_restore_counts counts;

	rig_clear(rig);
	assert_non_null(old);
	*old = *rig->policy;
	restore = eb_restore_new(old, 10);
	add(restore, "a|10.0.0.1/32", 50 * HOUR, 0);
	add(restore, "a|2001:db8::/64", 2 * HOUR, 0);
	add(restore, "b|10.0.0.0/24", 5 * HOUR, 5 * HOUR);
	add(restore, "c|10.0.0.1/32", 0, 5 * HOUR);
	add(restore, "nobody|10.0.0.1/32", 5 * HOUR, 5 * HOUR);
	/* The order turned, a lower burst, another prefix length, a limit gone. */
	rig_apply(rig, "rules: [{ name: c, action: limit, packets: { rate: 1/h, burst: 100 } },"
		       " { name: b, per: { ipv4: 16 }, action: limit, packets: { rate: 1/h, burst: 10 } },"
		       " { name: new, action: limit, packets: { rate: 1/h, burst: 10 } },"
		       " { name: a, action: limit, packets: { rate: 1/h, burst: 20 } }]\n");
	rig_clear(rig);
	eb_restore_rebind(restore, rig->policy);
	memset(old, 0xff, sizeof(*old));
	free(old);
	add(restore, "new|10.0.0.1/32", 3 * HOUR, 0);
	eb_restore_apply(restore, rig->buckets, false, NULL);
	check_bucket(rig, "a", "10.0.0.1", 20 * HOUR, 0);
	check_bucket(rig, "a", "2001:db8::", 2 * HOUR, 0);
	check_bucket(rig, "new", "10.0.0.1", 3 * HOUR, 0);
	assert_null(rig_bucket_of(rig, "c", "10.0.0.1"));
	counts = counts_of(restore);
	check_sum(&counts);
	assert_int_equal(counts.restored, 3);
	assert_int_equal(counts.full, 1);
	assert_int_equal(counts.refused[EB_REFUSED_UNKNOWN_RULE], 1);
	assert_int_equal(counts.refused[EB_REFUSED_PREFIX_LEN], 1);
	eb_restore_free(restore);
	rig_apply(rig, RULES);
}

/* One of three kinds of bucket, by its number. */
static void print_field(int number, char field[64])
{
	static const char *const formats[] = {
		"a|10.%d.%d.%d/32",
		"a|2001:db8:%x:%x%02x::/64",
		"d|10.%d.%d.%d/32>192.0.2.1",
	};

	snprintf(field, 64, formats[number % 3], (number >> 16) + 1, number >> 8 & 255, number & 255);
}

/* What is restored by parts of the tables is found again in the whole ones, whatever their size. */
static void test_table_sizes(void **state)
{
	static const uint32_t sizes[] = { 1, 17, 1025, 40000 };

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct eb_restore_counts counts, again;
		struct eb_restore *restore;
		struct rig rig;

		rig_open(&rig, sizes[i]);
		rig_apply(&rig, RULES);
		restore = new_restore(&rig, 1000000);
		for (int number = 0; number < 30000; number++) {
			char field[64];

			print_field(number, field);
			add(restore, field, HOUR, 0);
		}
		eb_restore_apply(restore, rig.buckets, false, NULL);
		counts = counts_of(restore);
		check_sum(&counts);
		assert_in_range(counts.restored, sizes[i] < 30000 ? sizes[i] : 30000, sizes[i] * EB_WAYS * 2);
		assert_int_equal(counts.refused[EB_REFUSED_NO_ROOM] == 0, sizes[i] == 40000);
		assert_int_equal(eb_buckets_map(rig.buckets), 0);
		eb_restore_apply(restore, rig.buckets, false, NULL);
		again = counts_of(restore);
		assert_int_equal(again.restored, counts.restored);
		assert_int_equal(again.refused[EB_REFUSED_NO_ROOM], 2 * counts.refused[EB_REFUSED_NO_ROOM]);
		eb_restore_free(restore);
		rig_close(&rig);
	}
}

static void test_nothing(void **state)
{
	struct rig *rig = *state;
	struct eb_restore *restore = new_restore(rig, 10), *other = new_restore(rig, 10);
	struct visited visited = { .count = 0 };

	rig_clear(rig);
	eb_restore_join(restore, other);
	eb_restore_rebind(restore, rig->policy);
	eb_restore_apply(restore, rig->buckets, false, NULL);
	eb_restore_apply(restore, rig->buckets, true, other);
	eb_restore_each(restore, visit, &visited);
	assert_int_equal(visited.count, 0);
	eb_restore_free(restore);
	eb_restore_free(other);
	eb_restore_free(NULL);
	for (int i = EB_RECORD_OK + 1; i < EB_REFUSALS; i++)
		assert_true(eb_refusal_name(i)[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fields),
		cmocka_unit_test(test_binary),
		cmocka_unit_test(test_reference),
		cmocka_unit_test(test_duplicates),
		cmocka_unit_test(test_too_many),
		cmocka_unit_test(test_no_room),
		cmocka_unit_test(test_no_room_for_short_debts),
		cmocka_unit_test(test_join),
		cmocka_unit_test(test_late),
		cmocka_unit_test(test_late_after_another),
		cmocka_unit_test(test_time_goes_on),
		cmocka_unit_test(test_rebind),
		cmocka_unit_test(test_table_sizes),
		cmocka_unit_test(test_nothing),
	};

	return cmocka_run_group_tests_name("restore", tests, open_rig, rig_teardown);
}
