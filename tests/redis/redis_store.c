// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a store promises, tried on both backends; then what only one of them can do wrong. Redis is used as the user of
 * deploy/redis/edgebucket.acl, with exactly its rights.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"
#include "store/record.h"
#include "store/store.h"

#define PASSWORD "s3cret"
#define NODE "edge-01"
#define SECOND 1000000000ULL
#define FAR_AWAY (365 * 86400 * SECOND)
#define MANY 20000
#ifdef __SANITIZE_ADDRESS__
#define MEMORY_SLACK 256
#else
#define MEMORY_SLACK 8
#endif

static struct server server;

struct store_test {
	sd_event *event;
	struct eb_store *store;
	unsigned int ups, downs, writables;
	char text[320];
};

/* The outcome of an operation. */
struct outcome {
	unsigned int calls;
	int error;
	char text[320];
	uint64_t latency_ns, fields;
	int64_t grown;
	struct eb_store_meta meta;
};

struct scanned {
	size_t count;
	unsigned char *seen; /* by number of the field; NULL for no interest */
	char field[128], value[128]; /* the last */
};

static void on_up(void *arg)
{
	((struct store_test *)arg)->ups++;
}

static void on_down(const char *text, void *arg)
{
	struct store_test *test = arg;

	test->downs++;
	snprintf(test->text, sizeof(test->text), "%s", text);
}

static void on_writable(void *arg)
{
	((struct store_test *)arg)->writables++;
}

static void on_outcome(const struct eb_store_result *result, void *arg)
{
	struct outcome *outcome = arg;

	outcome->calls++;
	outcome->error = result->error;
	outcome->latency_ns = result->latency_ns;
	outcome->fields = result->fields;
	outcome->grown = result->grown;
	snprintf(outcome->text, sizeof(outcome->text), "%s", result->text);
}

static void on_meta(const struct eb_store_result *result, const struct eb_store_meta *meta, void *arg)
{
	on_outcome(result, arg);
	((struct outcome *)arg)->meta = *meta;
}

static void visit(const char *field, size_t field_len, const char *value, size_t value_len, void *arg)
{
	struct scanned *scanned = arg;
	unsigned int number;

	assert_int_equal(strlen(field), field_len);
	assert_int_equal(strlen(value), value_len);
	scanned->count++;
	if (scanned->seen && sscanf(field, "dns|%u", &number) == 1)
		scanned->seen[number] = 1;
	snprintf(scanned->field, sizeof(scanned->field), "%s", field);
	snprintf(scanned->value, sizeof(scanned->value), "%s", value);
}

/* The user of deploy/, but for one right. */
static void load_acl(const char *without)
{
	server_set_user(&server, PASSWORD, "user edgebucket on", without);
}

static void open_redis_on(struct store_test *test, uint16_t port)
{
	struct eb_store_events events = { .up = on_up, .down = on_down, .writable = on_writable, .arg = test };
	struct eb_redis_config config = base_config(&server);
	struct eb_redis_limits limits = quick_limits();

	memset(test, 0, sizeof(*test));
	config.nodes[0].port = port;
	config.username = "edgebucket";
	config.password = PASSWORD;
	assert_true(sd_event_new(&test->event) >= 0);
	assert_int_equal(eb_store_redis_new(test->event, &config, &limits, NODE, EB_STORE_BUCKETS, &events,
					    &test->store), 0);
}

static void open_redis(struct store_test *test)
{
	open_redis_on(test, server.port);
}

static void open_lmdb(struct store_test *test, const char *dir, size_t max_bytes, bool read_only)
{
	struct eb_store_events events = { .up = on_up, .down = on_down, .writable = on_writable, .arg = test };

	memset(test, 0, sizeof(*test));
	assert_true(sd_event_new(&test->event) >= 0);
	assert_int_equal(eb_store_lmdb_new(test->event, dir, max_bytes, read_only, EB_STORE_BUCKETS, &events,
					   &test->store), 0);
}

static void close_test(struct store_test *test)
{
	eb_store_free(test->store);
	sd_event_unref(test->event);
}

static const char *new_dir(void)
{
	static char path[96];
	static unsigned int count;

	snprintf(path, sizeof(path), "%s/lmdb%u", test_dir(), count++);
	return path;
}

static void open_empty_redis(struct store_test *test)
{
	server_do(&server, "FLUSHALL");
	open_redis(test);
}

static void open_empty_lmdb(struct store_test *test)
{
	open_lmdb(test, new_dir(), 64 << 20, false);
}

static void add(struct eb_store_batch *batch, const char *field, const char *value)
{
	struct eb_store_item *item = &batch->items[batch->count++];

	snprintf(item->field, sizeof(item->field), "%s", field);
	snprintf(item->value, sizeof(item->value), "%s", value);
}

static void write_and_wait(struct store_test *test, const struct eb_store_batch *batch, struct outcome *outcome)
{
	memset(outcome, 0, sizeof(*outcome));
	RUN_UNTIL(test->event, eb_store_is_up(test->store));
	assert_int_equal(eb_store_write(test->store, batch, on_outcome, outcome), 0);
	assert_int_equal(outcome->calls, 0);
	RUN_UNTIL(test->event, outcome->calls);
}

/* eb_store_scan() has one argument for visits and end: here, one structure for both. */
struct scan_test {
	struct scanned scanned;
	struct outcome outcome;
};

static void on_scan_end(const struct eb_store_result *result, void *arg)
{
	on_outcome(result, &((struct scan_test *)arg)->outcome);
}

static void scan(struct store_test *test, struct scan_test *out, unsigned char *seen)
{
	memset(out, 0, sizeof(*out));
	out->scanned.seen = seen;
	RUN_UNTIL(test->event, eb_store_is_up(test->store));
	assert_int_equal(eb_store_scan(test->store, visit, on_scan_end, out), 0);
	assert_int_equal(eb_store_scan(test->store, visit, on_scan_end, out), -EBUSY);
	RUN_UNTIL(test->event, out->outcome.calls);
}

/* The contract */

static void is_empty_at_first(struct store_test *test)
{
	struct outcome outcome = { 0 };
	struct scan_test found;

	scan(test, &found, NULL);
	assert_int_equal(found.outcome.error, 0);
	assert_int_equal(found.scanned.count, 0);
	assert_int_equal(eb_store_read_meta(test->store, on_meta, &outcome), 0);
	RUN_UNTIL(test->event, outcome.calls);
	assert_int_equal(outcome.error, 0);
	assert_int_equal(outcome.meta.schema, 0);
	assert_string_equal(eb_store_last_error(test->store), "");
}

static void keeps_sets_and_deletes(struct store_test *test)
{
	struct eb_store_batch batch = { 0 };
	struct eb_store_counts counts;
	struct outcome outcome;
	struct scan_test found;

	add(&batch, "dns|203.0.113.7/32", "1700000000000000000 0");
	add(&batch, "dns|2001:db8::/64", "1700000000000000000 1700000000000000001");
	write_and_wait(test, &batch, &outcome);
	assert_int_equal(outcome.error, 0);
	assert_true(outcome.latency_ns > 0);
	assert_int_equal(outcome.grown, 2);
	batch.count = 0;
	add(&batch, "dns|203.0.113.7/32", "1800000000000000000 5");
	add(&batch, "dns|2001:db8::/64", "");
	add(&batch, "dns|192.0.2.1/32", "");
	write_and_wait(test, &batch, &outcome);
	assert_int_equal(outcome.error, 0);
	assert_int_equal(outcome.grown, -1);
	outcome.calls = 0;
	assert_int_equal(eb_store_count(test->store, on_outcome, &outcome), 0);
	RUN_UNTIL(test->event, outcome.calls);
	assert_int_equal(outcome.error, 0);
	assert_int_equal(outcome.fields, 1);
	scan(test, &found, NULL);
	assert_int_equal(found.scanned.count, 1);
	assert_string_equal(found.scanned.field, "dns|203.0.113.7/32");
	assert_string_equal(found.scanned.value, "1800000000000000000 5");
	eb_store_counts(test->store, &counts);
	assert_int_equal(counts.fields_set, 3);
	assert_int_equal(counts.fields_deleted, 2);
	assert_int_equal(counts.errors, 0);
}

static void keeps_meta(struct store_test *test)
{
	struct eb_store_meta meta = { .schema = 7, .boot_id = "8c4fb2a0-0000-4000-8000-123456789abc",
				      .saved_at_ns = 1700000000123456789, .agent = "1.2.3" };
	struct outcome outcome = { 0 }, read = { 0 };

	RUN_UNTIL(test->event, eb_store_is_up(test->store));
	assert_int_equal(eb_store_write_meta(test->store, &meta, FAR_AWAY, on_outcome, &outcome), 0);
	RUN_UNTIL(test->event, outcome.calls);
	assert_int_equal(outcome.error, 0);
	assert_int_equal(eb_store_read_meta(test->store, on_meta, &read), 0);
	RUN_UNTIL(test->event, read.calls);
	assert_int_equal(read.error, 0);
	assert_int_equal(read.meta.schema, meta.schema);
	assert_string_equal(read.meta.boot_id, meta.boot_id);
	assert_int_equal(read.meta.saved_at_ns, meta.saved_at_ns);
	assert_string_equal(read.meta.agent, meta.agent);
}

/* As many batches as are taken, all acknowledged once, all found again. */
static void takes_many(struct store_test *test)
{
	static struct outcome outcomes[MANY / EB_STORE_BATCH_ITEMS + 1];
	static unsigned char seen[MANY];
	struct eb_store_batch batch;
	struct scan_test found;
	size_t batches = 0, highest = 0;
	unsigned int number = 0;

	memset(outcomes, 0, sizeof(outcomes));
	memset(seen, 0, sizeof(seen));
	RUN_UNTIL(test->event, eb_store_is_up(test->store));
	while (number < MANY) {
		unsigned int refused = test->writables;
		size_t in_flight = 0;
		int err;

		for (batch.count = 0; batch.count < EB_STORE_BATCH_ITEMS && number + batch.count < MANY;) {
			char field[64];

			snprintf(field, sizeof(field), "dns|%zu", number + batch.count);
			add(&batch, field, "1700000000000000000 1700000000000000000");
		}
		while ((err = eb_store_write(test->store, &batch, on_outcome, &outcomes[batches])) == -EAGAIN)
			RUN_UNTIL(test->event, test->writables > refused);
		assert_int_equal(err, 0);
		batches++;
		number += batch.count;
		for (size_t i = 0; i < batches; i++)
			in_flight += !outcomes[i].calls;
		highest = in_flight > highest ? in_flight : highest;
	}
	assert_in_range(highest, 16, 64);
	for (size_t i = 0; i < batches; i++) {
		RUN_UNTIL(test->event, outcomes[i].calls);
		assert_int_equal(outcomes[i].calls, 1);
		assert_int_equal(outcomes[i].error, 0);
	}
	scan(test, &found, seen);
	assert_in_range(found.scanned.count, MANY, MANY * 2);
	for (size_t i = 0; i < MANY; i++)
		assert_true(seen[i]);
}

/* A scan that is held sees nothing more until it goes on, or is called back when the store is freed. */
static void holds_a_scan(struct store_test *test)
{
	struct eb_store_batch batch;
	struct scan_test found = { 0 };
	struct outcome outcome;
	size_t seen;

	for (unsigned int i = 0; i < MANY;) {
		for (batch.count = 0; batch.count < EB_STORE_BATCH_ITEMS && i < MANY; i++) {
			char field[64];

			snprintf(field, sizeof(field), "dns|%u", i);
			add(&batch, field, "1700000000000000000 1700000000000000000");
		}
		write_and_wait(test, &batch, &outcome);
	}
	assert_int_equal(eb_store_scan(test->store, visit, on_scan_end, &found), 0);
	eb_store_hold_scan(test->store, true);
	RUN_UNTIL(test->event, found.scanned.count);
	seen = found.scanned.count;
	run_for(test->event, 50 * MS);
	assert_int_equal(found.scanned.count, seen);
	assert_int_equal(found.outcome.calls, 0);
	eb_store_hold_scan(test->store, false);
	RUN_UNTIL(test->event, found.outcome.calls);
	assert_int_equal(found.outcome.error, 0);
	assert_in_range(found.scanned.count, MANY, MANY * 2);

	memset(&found, 0, sizeof(found));
	assert_int_equal(eb_store_scan(test->store, visit, on_scan_end, &found), 0);
	eb_store_hold_scan(test->store, true);
	RUN_UNTIL(test->event, found.scanned.count);
	eb_store_free(test->store);
	test->store = NULL;
	assert_int_equal(found.outcome.calls, 1);
	assert_int_equal(found.outcome.error, -ECANCELED);
}

static void refuses_bad_batches(struct store_test *test)
{
	static struct eb_store_batch batch;

	RUN_UNTIL(test->event, eb_store_is_up(test->store));
	batch.count = 0;
	assert_int_equal(eb_store_write(test->store, &batch, NULL, NULL), -EINVAL);
	batch.count = EB_STORE_BATCH_ITEMS + 1;
	assert_int_equal(eb_store_write(test->store, &batch, NULL, NULL), -EINVAL);
}

static void free_calls_back(struct store_test *test)
{
	struct eb_store_batch batch = { 0 };
	struct scan_test found = { 0 };
	struct outcome outcomes[8] = { 0 };

	add(&batch, "dns|203.0.113.7/32", "1 0");
	RUN_UNTIL(test->event, eb_store_is_up(test->store));
	for (size_t i = 0; i < COUNT(outcomes); i++)
		assert_int_equal(eb_store_write(test->store, &batch, on_outcome, &outcomes[i]), 0);
	assert_int_equal(eb_store_scan(test->store, visit, on_scan_end, &found), 0);
	eb_store_free(test->store);
	test->store = NULL;
	for (size_t i = 0; i < COUNT(outcomes); i++) {
		assert_int_equal(outcomes[i].calls, 1);
		assert_true(!outcomes[i].error || outcomes[i].error == -ECANCELED);
	}
	assert_int_equal(found.outcome.calls, 1);
	assert_int_equal(found.outcome.error, -ECANCELED);
}

struct freeing {
	struct store_test *test;
	unsigned int calls;
};

static void free_in_outcome(const struct eb_store_result *result, void *arg)
{
	struct freeing *freeing = arg;
	struct eb_store *store = freeing->test->store;

	(void)result;
	freeing->calls++;
	freeing->test->store = NULL;
	eb_store_free(store);
}

static void freed_in_callback(struct store_test *test)
{
	struct freeing freeing = { .test = test };
	struct eb_store_batch batch = { 0 };

	add(&batch, "dns|203.0.113.7/32", "1 0");
	RUN_UNTIL(test->event, eb_store_is_up(test->store));
	for (int i = 0; i < 8; i++)
		assert_int_equal(eb_store_write(test->store, &batch, free_in_outcome, &freeing), 0);
	RUN_UNTIL(test->event, freeing.calls);
	assert_int_equal(freeing.calls, 8);
	run_for(test->event, 20 * MS);
}

#define CONTRACT(name)                                   \
	static void redis_##name(void **state)           \
	{                                                \
		struct store_test test;                  \
		(void)state;                             \
		open_empty_redis(&test);                 \
		name(&test);                             \
		close_test(&test);                       \
	}                                                \
	static void lmdb_##name(void **state)            \
	{                                                \
		struct store_test test;                  \
		(void)state;                             \
		open_empty_lmdb(&test);                  \
		name(&test);                             \
		close_test(&test);                       \
	}

CONTRACT(is_empty_at_first)
CONTRACT(keeps_sets_and_deletes)
CONTRACT(keeps_meta)
CONTRACT(takes_many)
CONTRACT(holds_a_scan)
CONTRACT(refuses_bad_batches)
CONTRACT(free_calls_back)
CONTRACT(freed_in_callback)

/* Redis alone */

static void names_keys(void **state)
{
	struct eb_store_batch batch = { 0 };
	struct eb_store_meta meta = { .schema = 1 };
	struct outcome outcome;
	struct store_test test;

	(void)state;
	open_empty_redis(&test);
	add(&batch, "dns|203.0.113.7/32", "5 0");
	write_and_wait(&test, &batch, &outcome);
	outcome.calls = 0;
	assert_int_equal(eb_store_write_meta(test.store, &meta, 1000 * SECOND, on_outcome, &outcome), 0);
	RUN_UNTIL(test.event, outcome.calls);
	assert_int_equal(outcome.error, 0);
	assert_int_equal(server_number(&server, "HLEN token_bucket_fallback:{edge-01}"), 1);
	assert_int_equal(server_number(&server, "HLEN token_bucket_fallback:{edge-01}:meta"), 4);
	assert_in_range(server_number(&server, "TTL token_bucket_fallback:{edge-01}"), 900, 1000);
	assert_in_range(server_number(&server, "TTL token_bucket_fallback:{edge-01}:meta"), 900, 1000);
	close_test(&test);
}

/* A server whose cursor never comes back to 0. */
static void scan_without_end(void **state)
{
	struct eb_redis_config config = base_config(&server);
	struct eb_endpoint node = *config.nodes;
	struct eb_redis_limits limits = quick_limits();
	struct store_test test = { 0 };
	struct scan_test found = { 0 };
	pid_t pid;

	(void)state;
	pid = parrot_start("*2\r\n$1\r\n7\r\n*2\r\n$1\r\na\r\n$3\r\n1 0\r\n", &node.port);
	config.nodes = &node;
	assert_true(sd_event_new(&test.event) >= 0);
	assert_int_equal(eb_store_redis_new(test.event, &config, &limits, NODE, EB_STORE_BUCKETS, NULL,
					    &test.store), 0);
	RUN_UNTIL(test.event, eb_store_is_up(test.store));
	assert_int_equal(eb_store_scan(test.store, visit, on_scan_end, &found), 0);
	RUN_UNTIL(test.event, found.outcome.calls);
	assert_int_equal(found.outcome.error, -ELOOP);
	assert_string_equal(found.outcome.text, "HSCAN does not end");
	close_test(&test);
	process_kill(pid);
}

/* Without one of the rights, the operation that needs it fails and says so; the others go on. */
static void each_right_is_needed(void **state)
{
	static const struct {
		const char *without;
		bool set, del, meta, read, count, scan; /* what fails */
	} rows[] = {
		{ "-hset", .set = true, .meta = true },
		{ "-hdel", .del = true },
		{ "-pexpire", .meta = true },
		{ "-hlen", .count = true },
		{ "-hgetall", .read = true },
		{ "-hscan", .scan = true },
		{ "resetkeys", .set = true, .del = true, .meta = true, .read = true, .count = true, .scan = true },
		{ "-ping", .set = false },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct eb_store_batch set = { 0 }, del = { 0 };
		struct eb_store_meta meta = { .schema = 1 };
		struct outcome outcomes[5] = { 0 };
		struct scan_test found;
		struct store_test test;
		bool expected[] = { rows[i].set, rows[i].del, rows[i].meta, rows[i].read, rows[i].count };

		load_acl(rows[i].without);
		open_empty_redis(&test);
		RUN_UNTIL(test.event, eb_store_is_up(test.store));
		add(&set, "dns|203.0.113.7/32", "5 0");
		add(&del, "dns|203.0.113.8/32", "");
		assert_int_equal(eb_store_write(test.store, &set, on_outcome, &outcomes[0]), 0);
		assert_int_equal(eb_store_write(test.store, &del, on_outcome, &outcomes[1]), 0);
		assert_int_equal(eb_store_write_meta(test.store, &meta, FAR_AWAY, on_outcome, &outcomes[2]), 0);
		assert_int_equal(eb_store_read_meta(test.store, on_meta, &outcomes[3]), 0);
		assert_int_equal(eb_store_count(test.store, on_outcome, &outcomes[4]), 0);
		scan(&test, &found, NULL);
		assert_int_equal(found.outcome.error, rows[i].scan ? -EACCES : 0);
		for (size_t j = 0; j < COUNT(outcomes); j++)
			if (outcomes[j].calls != 1 || outcomes[j].error != (expected[j] ? -EACCES : 0))
				fail_msg("%s: operation %zu: %s", rows[i].without, j, outcomes[j].text);
		assert_int_equal(test.downs, 0);
		close_test(&test);
	}
	load_acl(NULL);
}

/* The file is what it says: something for redis.conf to include. */
/* A link on which a large reply does not come through: what is asked for gets smaller, until it does. */
static void asks_for_less_when_it_is_slow(void **state)
{
	static unsigned char seen[MANY];
	struct scan_test found;
	struct store_test test;
	unsigned int failures = 0;
	uint16_t port;
	pid_t proxy = proxy_start(server.port, (struct proxy_faults){ .swallow_after = 8000 }, &port);

	(void)state;
	server_do(&server, "FLUSHALL");
	server_do(&server, "EVAL %s 1 token_bucket_fallback:{edge-01} 8000",
		  "for i = 0, ARGV[1] - 1 do redis.call('HSET', KEYS[1], 'dns|' .. i, '1 0') end");
	load_acl(NULL);
	open_redis_on(&test, port);
	for (scan(&test, &found, seen); found.outcome.error; scan(&test, &found, seen)) {
		assert_int_equal(found.outcome.error, -ETIMEDOUT);
		assert_in_range(++failures, 1, 4);
		memset(seen, 0, sizeof(seen));
	}
	assert_in_range(failures, 1, 4);
	for (size_t i = 0; i < 8000; i++)
		assert_true(seen[i]);
	close_test(&test);
	process_kill(proxy);
	server_do(&server, "FLUSHALL");
}

static void acl_file_can_be_included(void **state)
{
	const char *args[] = { "--include", realpath("deploy/redis/edgebucket.acl", NULL), NULL };
	static const struct {
		const char *command;
		bool allowed;
	} rows[] = {
		{ "HSET token_bucket_fallback:{edge-01} f v", true },
		{ "HSCAN token_bucket_fallback:{edge-01} 0", true },
		{ "HSET other f v", false },
		{ "FLUSHALL", false },
		{ "KEYS *", false },
		{ "CONFIG GET requirepass", false },
	};
	struct server other;

	(void)state;
	assert_non_null(args[1]);
	server_start(&other, args);
	for (size_t i = 0; i < COUNT(rows); i++) {
		char command[128];
		redisReply *reply;

		snprintf(command, sizeof(command), "ACL DRYRUN edgebucket %s", rows[i].command);
		reply = server_command(&other, command, (char *)NULL);
		if (!strcmp(reply->str, "OK") != rows[i].allowed)
			fail_msg("%s: %s", rows[i].command, reply->str);
		freeReplyObject(reply);
	}
	server_kill(&other);
	free((char *)args[1]);
}

static void redis_comes_and_goes(void **state)
{
	struct eb_store_batch batch = { 0 };
	struct outcome outcome = { 0 };
	struct store_test test;

	(void)state;
	open_empty_redis(&test);
	add(&batch, "dns|203.0.113.7/32", "5 0");
	assert_int_equal(eb_store_write(test.store, &batch, on_outcome, &outcome), -ENOTCONN);
	write_and_wait(&test, &batch, &outcome);
	server_stop(&server);
	outcome.calls = 0;
	assert_int_equal(eb_store_write(test.store, &batch, on_outcome, &outcome), 0);
	RUN_UNTIL(test.event, outcome.calls);
	assert_int_equal(outcome.error, -ETIMEDOUT);
	assert_int_equal(eb_store_write(test.store, &batch, on_outcome, &outcome), -ENOTCONN);
	server_continue(&server);
	RUN_UNTIL(test.event, test.ups == 2);
	write_and_wait(&test, &batch, &outcome);
	assert_int_equal(outcome.error, 0);
	close_test(&test);
}

static void memory_stays_bounded(void **state)
{
	static struct eb_store_batch batch;
	struct store_test test;
	size_t before, after;
	char field[64];

	(void)state;
	open_empty_redis(&test);
	for (int i = 0; i < EB_STORE_BATCH_ITEMS; i++) {
		snprintf(field, sizeof(field), "dns|10.0.0.%d/32", i);
		add(&batch, field, "1700000000000000000 1700000000000000000");
	}
	RUN_UNTIL(test.event, eb_store_is_up(test.store));
	server_stop(&server);
	before = resident_bytes();
	/* Offers a million fields a turn, to a server that takes none, through several reconnections. */
	for (int round = 0; round < 60; round++) {
		for (int i = 0; i < 8192; i++)
			if (eb_store_write(test.store, &batch, NULL, NULL))
				break;
		run_once(test.event);
	}
	after = resident_bytes();
	print_message("resident: %zu KiB more\n", (after > before ? after - before : 0) / 1024);
	/* AddressSanitizer keeps what was freed for a while. */
	assert_true(after < before + (MEMORY_SLACK << 20));
	server_continue(&server);
	close_test(&test);
}

/* LMDB alone */

static void lmdb_keeps_over_restart(void **state)
{
	char dir[96];
	struct eb_store_batch batch = { 0 };
	struct outcome outcome;
	struct scan_test found;
	struct store_test test;

	(void)state;
	strcpy(dir, new_dir());
	open_lmdb(&test, dir, 1 << 20, false);
	add(&batch, "dns|203.0.113.7/32", "5 0");
	write_and_wait(&test, &batch, &outcome);
	close_test(&test);
	open_lmdb(&test, dir, 1 << 20, true);
	scan(&test, &found, NULL);
	assert_int_equal(found.scanned.count, 1);
	assert_int_equal(eb_store_write(test.store, &batch, on_outcome, &outcome), -EROFS);
	close_test(&test);
}

/* A child writes rounds, each round one batch with its number everywhere; it is killed at some moment. */
static void write_rounds(const char *dir, int pipe_fd)
{
	struct store_test test;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	open_lmdb(&test, dir, 16 << 20, false);
	for (uint32_t round = 1;; round++) {
		static struct eb_store_batch batch;
		struct outcome outcome;
		char field[32], value[32];

		batch.count = 0;
		for (int i = 0; i < EB_STORE_BATCH_ITEMS; i++) {
			snprintf(field, sizeof(field), "dns|%d", i);
			snprintf(value, sizeof(value), "%u 0", round);
			add(&batch, field, value);
		}
		write_and_wait(&test, &batch, &outcome);
		if (outcome.error || write(pipe_fd, &round, sizeof(round)) != sizeof(round))
			_exit(1);
	}
}

struct rounds {
	struct outcome outcome;
	unsigned int lowest, highest, count;
};

static void visit_round(const char *field, size_t field_len, const char *value, size_t value_len, void *arg)
{
	struct rounds *rounds = arg;
	unsigned int round = strtoul(value, NULL, 10);

	(void)field;
	(void)field_len;
	(void)value_len;
	rounds->count++;
	rounds->lowest = round < rounds->lowest ? round : rounds->lowest;
	rounds->highest = round > rounds->highest ? round : rounds->highest;
}

static void on_rounds_end(const struct eb_store_result *result, void *arg)
{
	on_outcome(result, &((struct rounds *)arg)->outcome);
}

static void lmdb_survives_sigkill(void **state)
{
	char dir[96];
	uint32_t acked = 0;

	(void)state;
	strcpy(dir, new_dir());
	for (int kill_number = 0; kill_number < 10; kill_number++) {
		struct rounds rounds = { .lowest = UINT32_MAX };
		struct store_test test;
		uint32_t round;
		int fds[2];
		pid_t pid;

		assert_int_equal(pipe(fds), 0);
		pid = fork();
		if (!pid)
			write_rounds(dir, fds[1]);
		close(fds[1]);
		for (int i = 0; i < 5 + kill_number * 3; i++)
			assert_int_equal(read(fds[0], &round, sizeof(round)), sizeof(round));
		process_kill(pid);
		while (read(fds[0], &round, sizeof(round)) == sizeof(round))
			;
		close(fds[0]);
		acked = round;
		open_lmdb(&test, dir, 16 << 20, false);
		RUN_UNTIL(test.event, eb_store_is_up(test.store));
		assert_int_equal(eb_store_scan(test.store, visit_round, on_rounds_end, &rounds), 0);
		RUN_UNTIL(test.event, rounds.outcome.calls);
		/* Whole, and what was acknowledged is there. */
		assert_int_equal(rounds.count, EB_STORE_BATCH_ITEMS);
		assert_int_equal(rounds.lowest, rounds.highest);
		assert_in_range(rounds.lowest, acked, acked + 1);
		close_test(&test);
	}
}

static void lmdb_reports_its_limit(void **state)
{
	struct eb_store_batch batch = { 0 }, small = { 0 };
	struct outcome outcome;
	struct store_test test;
	unsigned int number = 0;

	(void)state;
	open_lmdb(&test, new_dir(), 256 << 10, false);
	add(&small, "a", "1 1");
	do {
		char field[64];

		for (batch.count = 0; batch.count < EB_STORE_BATCH_ITEMS;) {
			snprintf(field, sizeof(field), "dns|%u", number++);
			add(&batch, field, "1700000000000000000 1700000000000000000");
		}
		write_and_wait(&test, &batch, &outcome);
	} while (!outcome.error);
	assert_int_equal(outcome.error, -ENOSPC);
	assert_non_null(strstr(outcome.text, "size limit"));
	assert_true(number > EB_STORE_BATCH_ITEMS);
	assert_int_equal(test.downs, 0);
	close_test(&test);
}

/* In a mount namespace of its own: a small tmpfs, filled up, then read-only, then well again. */
static void lmdb_disk_fails_child(void)
{
	char dir[96], mount_point[80], filler[112];
	struct eb_store_batch batch = { 0 };
	struct outcome outcome;
	struct store_test test;
	unsigned int number = 0;

	snprintf(mount_point, sizeof(mount_point), "%s/disk", test_dir());
	snprintf(dir, sizeof(dir), "%s/state", mount_point);
	snprintf(filler, sizeof(filler), "%s/filler", mount_point);
	assert_int_equal(mkdir(mount_point, 0700), 0);
	assert_int_equal(unshare(CLONE_NEWNS), 0);
	assert_int_equal(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	assert_int_equal(mount("none", mount_point, "tmpfs", MS_RDONLY, "size=2m"), 0);

	open_lmdb(&test, dir, 64 << 20, false);
	RUN_UNTIL(test.event, test.downs);
	assert_non_null(strstr(test.text, "Read-only file system"));
	add(&batch, "a", "1 1");
	assert_int_equal(eb_store_write(test.store, &batch, on_outcome, memset(&outcome, 0, sizeof(outcome))), 0);
	RUN_UNTIL(test.event, outcome.calls);
	assert_int_equal(outcome.error, -EROFS);

	assert_int_equal(mount("none", mount_point, NULL, MS_REMOUNT, "size=2m"), 0);
	memset(&outcome, 0, sizeof(outcome));
	assert_int_equal(eb_store_write(test.store, &batch, on_outcome, &outcome), 0);
	RUN_UNTIL(test.event, outcome.calls);
	assert_int_equal(outcome.error, 0);
	assert_int_equal(test.ups, 1);

	shell("dd if=/dev/zero of=%s bs=64k 2>/dev/null || true", filler);
	do {
		char field[64];

		for (batch.count = 0; batch.count < EB_STORE_BATCH_ITEMS;) {
			snprintf(field, sizeof(field), "dns|%u", number++);
			add(&batch, field, "1700000000000000000 1700000000000000000");
		}
		write_and_wait(&test, &batch, &outcome);
	} while (!outcome.error && number < 100000);
	assert_int_equal(outcome.error, -ENOSPC);
	assert_non_null(strstr(outcome.text, "No space left on device"));

	assert_int_equal(unlink(filler), 0);
	write_and_wait(&test, &batch, &outcome);
	assert_int_equal(outcome.error, 0);
	close_test(&test);
	umount2(mount_point, MNT_DETACH);
}

static void lmdb_disk_fails(void **state)
{
	int status;
	pid_t pid;

	(void)state;
	if (geteuid()) {
		print_message("needs root, for a disk of its own\n");
		skip();
	}
	fflush(stdout);
	pid = fork();
	if (!pid) {
		lmdb_disk_fails_child();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* A file that is none of LMDB's, and one that was cut off: put aside, and the store goes on. */
static void lmdb_puts_damage_aside(void **state)
{
	struct eb_store_batch batch = { 0 };
	struct outcome outcome;
	struct store_test test;
	struct stat st;
	char dir[96], path[128];

	(void)state;
	add(&batch, "a", "1 1");
	for (int i = 0; i < 2; i++) {
		strcpy(dir, new_dir());
		open_lmdb(&test, dir, 1 << 20, false);
		write_and_wait(&test, &batch, &outcome);
		close_test(&test);
		snprintf(path, sizeof(path), "%s/buckets.mdb", dir);
		if (i)
			assert_int_equal(truncate(path, 8192), 0);
		else
			shell("yes garbage | head -c 20000 >%s", path);
		open_lmdb(&test, dir, 1 << 20, false);
		write_and_wait(&test, &batch, &outcome);
		assert_int_equal(outcome.error, 0);
		close_test(&test);
		strcat(path, ".damaged");
		assert_int_equal(stat(path, &st), 0);
	}
}

/* Files that are removed under it are made anew: what is written after that is in them. */
static void lmdb_files_removed(void **state)
{
	static const char *const names[] = { "buckets.mdb", "buckets.mdb-lock", "buckets.mdb*" };
	struct eb_store_batch batch = { 0 };
	struct outcome outcome;
	struct scan_test found;
	struct store_test test;
	char dir[96];

	(void)state;
	add(&batch, "a", "1 1");
	for (size_t i = 0; i < COUNT(names); i++) {
		bool keeps = i == 1;

		strcpy(dir, new_dir());
		open_lmdb(&test, dir, 1 << 20, false);
		write_and_wait(&test, &batch, &outcome);
		shell("rm %s/%s", dir, names[i]);
		outcome.calls = 0;
		assert_int_equal(eb_store_count(test.store, on_outcome, &outcome), 0);
		RUN_UNTIL(test.event, outcome.calls);
		assert_int_equal(outcome.error, 0);
		assert_int_equal(outcome.fields, keeps);
		write_and_wait(&test, &batch, &outcome);
		assert_int_equal(outcome.grown, !keeps);
		close_test(&test);
		open_lmdb(&test, dir, 1 << 20, true);
		scan(&test, &found, NULL);
		assert_int_equal(found.scanned.count, 1);
		close_test(&test);
	}
}

static void lmdb_expires(void **state)
{
	struct eb_store_batch batch = { 0 };
	struct eb_store_meta meta = { .schema = 1 };
	struct outcome outcome;
	struct scan_test found;
	struct store_test test;
	char dir[96];

	(void)state;
	strcpy(dir, new_dir());
	add(&batch, "a", "1 1");
	open_lmdb(&test, dir, 1 << 20, false);
	write_and_wait(&test, &batch, &outcome);
	outcome.calls = 0;
	assert_int_equal(eb_store_write_meta(test.store, &meta, 1, on_outcome, &outcome), 0);
	RUN_UNTIL(test.event, outcome.calls);
	close_test(&test);
	open_lmdb(&test, dir, 1 << 20, false);
	scan(&test, &found, NULL);
	assert_int_equal(found.scanned.count, 0);
	close_test(&test);
}

/* Records */

static void records_round_trip(void **state)
{
	static const struct {
		const char *field, *value;
		enum eb_record_fault fault;
	} rows[] = {
		{ "dns|203.0.113.7/32", "1700000000000000000 0", EB_RECORD_OK },
		{ "a-b_9|0.0.0.0/0", "0 0", EB_RECORD_OK },
		{ "dns|2001:db8::/64", "1 9223372036854775807", EB_RECORD_OK },
		{ "dns|::/0", "1 1", EB_RECORD_OK },
		{ "dns|2001:db8:1111:2222:3333:4444:5555:6666/128", "1 1", EB_RECORD_OK },
		{ "12345678901234567890123456789012|1.2.3.4/32", "1 1", EB_RECORD_OK },
		{ "123456789012345678901234567890123|1.2.3.4/32", "1 1", EB_RECORD_BAD_RULE },
		{ "", "1 1", EB_RECORD_BAD_RULE },
		{ "|1.2.3.4/32", "1 1", EB_RECORD_BAD_RULE },
		{ "DNS|1.2.3.4/32", "1 1", EB_RECORD_BAD_RULE },
		{ "dns", "1 1", EB_RECORD_BAD_RULE },
		{ "dns|", "1 1", EB_RECORD_BAD_SOURCE },
		{ "dns|1.2.3.4", "1 1", EB_RECORD_BAD_SOURCE },
		{ "dns|1.2.3.4/", "1 1", EB_RECORD_BAD_SOURCE },
		{ "dns|1.2.3.4/33", "1 1", EB_RECORD_BAD_SOURCE },
		{ "dns|1.2.3.4/032", "1 1", EB_RECORD_BAD_SOURCE },
		{ "dns|1.2.3.4/24", "1 1", EB_RECORD_BAD_SOURCE },
		{ "dns|1.2.3/24", "1 1", EB_RECORD_BAD_SOURCE },
		{ "dns|2001:db8::1/64", "1 1", EB_RECORD_BAD_SOURCE },
		{ "dns|2001:db8::/129", "1 1", EB_RECORD_BAD_SOURCE },
		{ "dns|1.2.3.4/32/32", "1 1", EB_RECORD_BAD_SOURCE },
		{ "dns|1.2.3.4/18446744073709551648", "1 1", EB_RECORD_BAD_SOURCE },
		{ "dns|1.2.3.4/32", "", EB_RECORD_BAD_VALUE },
		{ "dns|1.2.3.4/32", "1", EB_RECORD_BAD_VALUE },
		{ "dns|1.2.3.4/32", "1 ", EB_RECORD_BAD_VALUE },
		{ "dns|1.2.3.4/32", "1 2 3", EB_RECORD_BAD_VALUE },
		{ "dns|1.2.3.4/32", "-1 2", EB_RECORD_BAD_VALUE },
		{ "dns|1.2.3.4/32", "1  2", EB_RECORD_BAD_VALUE },
		{ "dns|1.2.3.4/32", "1e9 2", EB_RECORD_BAD_VALUE },
		{ "dns|1.2.3.4/32", "9223372036854775808 0", EB_RECORD_OVERFLOW },
		{ "dns|1.2.3.4/32", "0 99999999999999999999999999999999", EB_RECORD_OVERFLOW },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		char field[EB_STORE_FIELD_MAX], value[EB_STORE_VALUE_MAX];
		struct eb_record record;
		enum eb_record_fault fault;

		fault = eb_record_parse(rows[i].field, strlen(rows[i].field), rows[i].value, strlen(rows[i].value),
					&record);
		if (fault != rows[i].fault)
			fail_msg("%s = %s: %s", rows[i].field, rows[i].value, eb_record_fault_name(fault));
		if (fault)
			continue;
		eb_record_format_field(&record, field);
		eb_record_format_value(&record, value);
		assert_string_equal(field, rows[i].field);
		assert_string_equal(value, rows[i].value);
	}
}

static int start_server(void **state)
{
	(void)state;
	server_start(&server, NULL);
	load_acl(NULL);
	return 0;
}

static int kill_server(void **state)
{
	(void)state;
	server_kill(&server);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(records_round_trip),
		cmocka_unit_test(redis_is_empty_at_first),
		cmocka_unit_test(lmdb_is_empty_at_first),
		cmocka_unit_test(redis_keeps_sets_and_deletes),
		cmocka_unit_test(lmdb_keeps_sets_and_deletes),
		cmocka_unit_test(redis_keeps_meta),
		cmocka_unit_test(lmdb_keeps_meta),
		cmocka_unit_test(redis_takes_many),
		cmocka_unit_test(lmdb_takes_many),
		cmocka_unit_test(redis_holds_a_scan),
		cmocka_unit_test(lmdb_holds_a_scan),
		cmocka_unit_test(scan_without_end),
		cmocka_unit_test(redis_refuses_bad_batches),
		cmocka_unit_test(lmdb_refuses_bad_batches),
		cmocka_unit_test(redis_free_calls_back),
		cmocka_unit_test(lmdb_free_calls_back),
		cmocka_unit_test(redis_freed_in_callback),
		cmocka_unit_test(lmdb_freed_in_callback),
		cmocka_unit_test(names_keys),
		cmocka_unit_test(each_right_is_needed),
		cmocka_unit_test(asks_for_less_when_it_is_slow),
		cmocka_unit_test(acl_file_can_be_included),
		cmocka_unit_test(redis_comes_and_goes),
		cmocka_unit_test(memory_stays_bounded),
		cmocka_unit_test(lmdb_keeps_over_restart),
		cmocka_unit_test(lmdb_survives_sigkill),
		cmocka_unit_test(lmdb_reports_its_limit),
		cmocka_unit_test(lmdb_disk_fails),
		cmocka_unit_test(lmdb_puts_damage_aside),
		cmocka_unit_test(lmdb_files_removed),
		cmocka_unit_test(lmdb_expires),
	};

	return cmocka_run_group_tests(tests, start_server, kill_server);
}
