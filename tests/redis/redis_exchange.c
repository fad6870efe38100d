// SPDX-License-Identifier: GPL-2.0-only
/*
 * The exchange of a fleet's buckets: what its script makes of every kind of batch and of what others left in its keys,
 * against arithmetic done here; and what the client does with servers that lose what they knew.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"
#include "store/exchange.h"
#include "store/exchange_scripts.h"

#define PASSWORD "s3cret"
#define HASH "token_bucket_fallback:fleet:{edge:00}"
#define NUMBER HASH ":aa"
#define SECOND_US 1000000LL

static struct server server;
static long long age; /* of the amounts of run() */

/* ---- the script ---- */

/* Runs the script for one field, as of a node that expects `most` less two seconds, or nothing. Returns its debt, -1
 * when it refuses. *now is the lane's time, which can be NULL. */
static long long run(const char *number, long long batch, const char *mode, long long most, const char *field,
		     const char *amount, long long *now)
{
	redisReply *reply = server_command(&server, "EVAL %s 2 " HASH " %s %lld %s %lld %lld %lld %s %s",
					   eb_exchange_script, number, batch, mode,
					   most ? most - 2 * SECOND_US : 0, most, age, field, amount);
	long long debt = -1;

	if (reply->type != REDIS_REPLY_ARRAY)
		fail_msg("the script: %s", reply->str);
	if (reply->element[0]->integer == 1) {
		assert_int_equal(reply->elements, 3);
		debt = reply->element[2]->integer;
		if (now)
			*now = reply->element[1]->integer;
	}
	freeReplyObject(reply);
	return debt;
}

static void forget(void)
{
	age = 0;
	server_do(&server, "FLUSHALL");
}

static long long number_of(const char *key, const char *field)
{
	redisReply *reply = server_command(&server, "HGET %s %s", key, field);
	long long number = reply->str ? atoll(reply->str) : 0;

	freeReplyObject(reply);
	return number;
}

static long long full_of(const char *field)
{
	return number_of(HASH, field);
}

/* Amounts from a microsecond to weeks, from several nodes, to several buckets: each is added to what was there, or to
 * the time where that is past. */
static void test_sums(void **state)
{
	long long batches[3] = { 0 };
	char field[16], number[64], amount[24];

	(void)state;
	forget();
	srandom(7);
	for (int i = 0; i < 600; i++) {
		int node = random() % 3;
		long long added = 1 + random() % (1LL << random() % 38), now = 0, before, debt;

		snprintf(field, sizeof(field), "r|%ld", random() % 5);
		snprintf(number, sizeof(number), HASH ":%d", node);
		snprintf(amount, sizeof(amount), "%lld", added);
		before = full_of(field);
		batches[node]++;
		debt = run(number, batches[node], batches[node] == 1 ? "view" : "add", 0, field, amount, &now);
		if (batches[node] == 1)
			assert_int_equal(debt, before > now + added ? before - now : added);
		else
			assert_int_equal(debt, (before > now ? before - now : 0) + added);
		assert_int_equal(full_of(field), now + debt);
	}
}

static void test_numbers(void **state)
{
	long long debt;

	(void)state;
	forget();
	assert_int_equal(run(NUMBER, 1, "add", 0, "r|a", "60000000", NULL), 60 * SECOND_US); /* none was lost */
	assert_int_equal(run(NUMBER, 3, "add", 0, "r|a", "60000000", NULL), -1);
	debt = run(NUMBER, 1, "add", 0, "r|a", "60000000", NULL); /* again: counted once */
	assert_in_range(debt, 30 * SECOND_US, 60 * SECOND_US);
	assert_int_equal(run(NUMBER, 3, "add", 0, "r|a", "60000000", NULL), -1);
	assert_in_range(run(NUMBER, 2, "add", 0, "r|a", "60000000", NULL), 90 * SECOND_US, 120 * SECOND_US);
	server_do(&server, "DEL " NUMBER);
	assert_int_equal(run(NUMBER, 3, "add", 0, "r|a", "60000000", NULL), -1);
	debt = run(NUMBER, 3, "view", 0, "r|a", "20000000", NULL); /* the later counts */
	assert_in_range(debt, 90 * SECOND_US, 120 * SECOND_US);
	assert_int_equal(run(NUMBER, 3, "view", 0, "r|a", "200000000", NULL), 200 * SECOND_US);
	assert_int_equal(run(NUMBER, 3, "add", 0, "r|b", "5", NULL), 0); /* again */
}

/* A server was away for an hour, in which two nodes admitted half of what was refilled each: that is no debt, but for
 * what they admitted too much. */
static void test_outage(void **state)
{
	(void)state;
	forget();
	(void)run(NUMBER, 1, "view", 0, "r|a", "5000000", NULL);
	(void)run(NUMBER "2", 1, "view", 0, "r|a", "5000000", NULL);
	server_do(&server, "HINCRBY " HASH " r|a -3600000000");
	age = 3600 * SECOND_US;
	assert_int_equal(run(NUMBER, 2, "add", 0, "r|a", "1800000000", NULL), 0);
	assert_in_range(run(NUMBER "2", 2, "add", 0, "r|a", "1810000000", NULL), 14 * SECOND_US, 15 * SECOND_US);
	age = SECOND_US / 5;
	assert_in_range(run(NUMBER, 3, "add", 0, "r|b", "900000", NULL), 700000, 700000);
}

/* A clock that is set, or another server's: no debt changes by more than the node grants. */
static void test_clocks(void **state)
{
	long long now = 0, later = 0;

	(void)state;
	forget();
	(void)run(NUMBER, 1, "add", 0, "r|a", "60000000", &now);
	/* A server whose clock is an hour behind the one before. */
	server_do(&server, "HINCRBY " HASH " time 3600000000");
	server_do(&server, "HINCRBY " HASH " r|a 3600000000");
	assert_in_range(run(NUMBER, 2, "add", now + 3600 * SECOND_US, "r|a", "1", &later), 30 * SECOND_US,
			60 * SECOND_US + 1);
	assert_in_range(later, now + 3600 * SECOND_US, now + 3630 * SECOND_US);
	assert_in_range(run(NUMBER, 3, "add", later + 9 * SECOND_US, "r|a", "1", &now), 30 * SECOND_US,
			60 * SECOND_US + 2);
	assert_int_equal(now, later + 7 * SECOND_US);
	/* One whose clock is an hour ahead: the node expects two seconds at most. */
	forget();
	(void)run(NUMBER, 1, "add", 0, "r|a", "60000000", &now);
	server_do(&server, "HINCRBY " HASH " shift 3600000000");
	assert_in_range(run(NUMBER, 2, "add", now + 2 * SECOND_US, "r|a", "1", &later), 57 * SECOND_US, 60 * SECOND_US);
	assert_int_equal(later, now + 2 * SECOND_US);
	/* A node that slept for a minute does not hold up the others. */
	server_do(&server, "HINCRBY " HASH " time 60000000");
	(void)run(NUMBER, 3, "add", later + SECOND_US, "r|a", "1", &now);
	assert_int_equal(now, later + 60 * SECOND_US);
	/* A batch that was sent long ago takes time back, and the next one brings it again. */
	forget();
	(void)run(NUMBER, 1, "add", 0, "r|a", "60000000", &now);
	(void)run(NUMBER, 2, "add", now - 10 * SECOND_US, "r|a", "1", &later);
	assert_int_equal(later, now);
	(void)run(NUMBER, 3, "add", now + 12 * SECOND_US, "r|a", "1", &later);
	assert_int_equal(later, now + 10 * SECOND_US);
}

static void test_hostile(void **state)
{
	static const char *const values[] = { "", "x", "-5", "nan", "inf", "-inf", "1e300", "0x7fffffffffffffff",
					      "99999999999999999999", "4503599627370496", "1.5", "\xff\x00|" };
	static const char *const names[] = { "r|a", "time", "shift", "cursor" };

	(void)state;
	for (size_t i = 0; i < COUNT(names); i++) {
		for (size_t k = 0; k < COUNT(values); k++) {
			long long debt, batch = 1;

			forget();
			server_do(&server, "HSET " HASH " %s %s", names[i], values[k]);
			debt = run(NUMBER, batch++, "add", 0, "r|a", "7000000", NULL);
			assert_in_range(debt, 7 * SECOND_US, 7 * SECOND_US + 1);
			debt = run(NUMBER, batch, "add", 0, "r|a", "7000000", NULL);
			assert_in_range(debt, 9 * SECOND_US, 14 * SECOND_US + 2);
		}
	}
	/* What a node says, too: it can be of another version. */
	forget();
	assert_int_equal(run(NUMBER, 1, "add", 0, "r|a", "-7", NULL), 0);
	assert_int_equal(run(NUMBER, 2, "add", 0, "r|a", "9e99", NULL), 0);
	assert_int_equal(run(NUMBER, 3, "add", 0, "r|a", "4503599627370495", NULL), EB_EXCHANGE_DEBT_MAX_US);
	server_do(&server, "SET " NUMBER " what");
	assert_int_equal(run(NUMBER, 4, "add", 0, "r|a", "1", NULL), -1);
}

/* Fields that are full go, with every batch more than it adds; and all of it at the end. */
static void test_expiry(void **state)
{
	char field[32];

	(void)state;
	forget();
	for (int i = 1; i <= 1000; i++) {
		snprintf(field, sizeof(field), "r|%d", i);
		(void)run(NUMBER, i, "add", 0, field, "1000", NULL);
		server_do(&server, "HINCRBY " HASH " %s -10001000", field); /* it was full ten seconds ago */
	}
	server_do(&server, "CONFIG SET hash-max-listpack-entries 512");
	for (int i = 1001; server_number(&server, "HLEN " HASH) > 5; i++) {
		assert_in_range(i, 1001, 1400);
		(void)run(NUMBER, i, "add", 0, "r|last", "1000", NULL);
	}
	assert_in_range(server_number(&server, "PTTL " HASH), 60000, 2 * 61000);
	assert_in_range(server_number(&server, "PTTL " NUMBER), 3500000, 3600000);
	(void)run(NUMBER, 1, "view", 0, "r|a", "3600000000", NULL);
	assert_in_range(server_number(&server, "PTTL " HASH), 3600000, 2 * 3661000);
}

/* ---- the client ---- */

struct node {
	struct eb_exchange *exchange;
	bool is_up, wants_views;
	unsigned int answers, refusals;
	uint64_t debt_us;
	size_t nodes;
	char incarnation[17];
};

static void on_up(void *arg)
{
	((struct node *)arg)->is_up = true;
}

static void on_down(const char *text, void *arg)
{
	(void)text;
	((struct node *)arg)->is_up = false;
}

static void on_answered(unsigned int lane, const struct eb_exchange_item *items, unsigned int count, void *arg)
{
	struct node *node = arg;

	(void)lane;
	node->answers += count;
	node->debt_us = items[count - 1].debt_us;
}

static void on_wants_views(unsigned int lane, const struct eb_exchange_item *items, unsigned int count, void *arg)
{
	(void)lane;
	(void)items;
	(void)count;
	((struct node *)arg)->wants_views = true;
}

static void on_refused(const char *text, void *arg)
{
	(void)text;
	((struct node *)arg)->refusals++;
}

static void node_open(sd_event *loop, const struct eb_redis_config *base, const char *user, struct node *node)
{
	struct eb_redis_config config = *base;
	const struct eb_exchange_events events = {
		.up = on_up, .down = on_down, .answered = on_answered, .wants_views = on_wants_views,
		.refused = on_refused, .arg = node,
	};
	char name[] = "edgebucket", password[] = PASSWORD, key[] = "token_bucket_fallback";

	*node = (struct node){ .is_up = false };
	config.username = user ? name : NULL;
	config.password = user ? password : NULL;
	config.key = key;
	assert_int_equal(eb_exchange_new(loop, &config, "edge", &events, &node->exchange), 0);
	RUN_UNTIL(loop, node->is_up);
}

/* Tells one amount, and waits for what comes of it. */
static void tell(sd_event *loop, struct node *node, const char *field, uint64_t amount_us, bool is_view)
{
	struct eb_exchange_item item = { .amount_us = amount_us };

	snprintf(item.field, sizeof(item.field), "%s", field);
	node->answers = 0;
	node->wants_views = false;
	assert_int_equal(eb_exchange_add(node->exchange, eb_exchange_lane(field), &item, is_view, eb_monotonic_us()),
			 0);
	eb_exchange_send(node->exchange);
	RUN_UNTIL(loop, node->answers || node->wants_views);
}

static void on_nodes(int error, const char *text, const struct eb_exchange_nodes *nodes, void *arg)
{
	struct node *node = arg;

	if (error)
		fail_msg("%s", text);
	node->nodes = nodes->count + 1;
	for (size_t i = 0; i < nodes->count; i++)
		if (!strcmp(nodes->list[i].name, "a"))
			memcpy(node->incarnation, nodes->list[i].incarnation, sizeof(node->incarnation));
}

static size_t beat(sd_event *loop, struct node *node, const char *name)
{
	struct eb_exchange_node self = { .clock_offset_us = -5, .lag_us = 7 };

	snprintf(self.name, sizeof(self.name), "%s", name);
	node->nodes = 0;
	assert_int_equal(eb_exchange_beat(node->exchange, &self, on_nodes, node), 0);
	RUN_UNTIL(loop, node->nodes);
	return node->nodes - 1;
}

/* With exactly the rights of the ACL file. */
static void test_client(void **state)
{
	struct eb_redis_config config = base_config(&server);
	struct node a, b;
	sd_event *loop;

	(void)state;
	forget();
	server_set_user(&server, PASSWORD, "+eval ", NULL);
	assert_true(sd_event_new(&loop) >= 0);
	node_open(loop, &config, "edgebucket", &a);
	node_open(loop, &config, "edgebucket", &b);
	tell(loop, &a, "r|x", 50 * SECOND_US, true);
	tell(loop, &b, "r|x", 20 * SECOND_US, true);
	assert_in_range(b.debt_us, 30 * SECOND_US, 50 * SECOND_US);
	tell(loop, &b, "r|x", 50 * SECOND_US, false);
	assert_in_range(b.debt_us, 80 * SECOND_US, 100 * SECOND_US);
	server_do(&server, "SCRIPT FLUSH");
	tell(loop, &a, "r|x", 50 * SECOND_US, false);
	assert_in_range(a.debt_us, 120 * SECOND_US, 150 * SECOND_US);
	assert_int_equal(beat(loop, &a, "a"), 0);
	assert_int_equal(beat(loop, &b, "b"), 1);
	assert_string_equal(b.incarnation, eb_exchange_incarnation(a.exchange));
	/* Somebody made something else of the key: refused until it is mended, and then counted once. */
	server_do(&server, "RENAME token_bucket_fallback:fleet:{edge:%02x} away", eb_exchange_lane("r|x"));
	server_do(&server, "SET token_bucket_fallback:fleet:{edge:%02x} x", eb_exchange_lane("r|x"));
	{
		struct eb_exchange_item item = { .field = "r|x", .amount_us = 50 * SECOND_US };

		a.answers = 0;
		assert_int_equal(eb_exchange_add(a.exchange, eb_exchange_lane("r|x"), &item, false, eb_monotonic_us()),
				 0);
	}
	eb_exchange_send(a.exchange);
	RUN_UNTIL(loop, a.refusals);
	server_do(&server, "RENAME away token_bucket_fallback:fleet:{edge:%02x}", eb_exchange_lane("r|x"));
	eb_exchange_send(a.exchange);
	RUN_UNTIL(loop, a.answers);
	assert_in_range(a.debt_us, 160 * SECOND_US, 200 * SECOND_US);
	/* The server loses all. */
	server_kill(&server);
	RUN_UNTIL(loop, !a.is_up && !b.is_up);
	server_restart(&server, true);
	server_set_user(&server, PASSWORD, "+eval ", NULL);
	RUN_UNTIL(loop, a.is_up && b.is_up);
	tell(loop, &a, "r|x", 1, false);
	assert_true(a.wants_views);
	tell(loop, &a, "r|x", 1, false); /* it told its number */
	assert_false(a.wants_views);
	tell(loop, &b, "r|x", 1, false);
	assert_true(b.wants_views);
	tell(loop, &b, "r|x", 150 * SECOND_US, true);
	assert_int_equal(b.debt_us, 150 * SECOND_US);
	tell(loop, &a, "r|x", 1, false);
	assert_false(a.wants_views);
	eb_exchange_free(a.exchange);
	eb_exchange_free(b.exchange);
	sd_event_unref(loop);
}

/* A batch that the server took, but whose answer was lost, is sent again, and counted once. */
static void test_lost_answer(void **state)
{
	const struct proxy_faults faults = { .swallow_after = 200 };
	const unsigned int lane = 5;
	uint16_t port;
	pid_t proxy = proxy_start(server.port, faults, &port);
	struct eb_redis_config config = base_config(&server);
	struct node node;
	sd_event *loop;
	long long full = 0;
	int batches = 0;

	(void)state;
	forget();
	config.nodes[0].port = port;
	assert_true(sd_event_new(&loop) >= 0);
	node_open(loop, &config, NULL, &node);
	for (int batch = 0; batch < 2; batch++) {
		for (int i = 0; i < (batch ? 100 : 1); i++) { /* a long answer */
			struct eb_exchange_item item = { .amount_us = 100 * SECOND_US };

			snprintf(item.field, sizeof(item.field), "r|%d", i);
			assert_int_equal(eb_exchange_add(node.exchange, lane, &item, batch == 0,
							 eb_monotonic_us()), 0);
		}
		eb_exchange_send(node.exchange);
		if (batch == 0)
			RUN_UNTIL(loop, node.answers);
	}
	server_do(&server, "CONFIG RESETSTAT");
	while (batches < 3) {
		redisReply *reply = server_command(&server, "INFO commandstats");
		const char *calls = strstr(reply->str, "evalsha:calls=");

		batches = calls ? atoi(calls + strlen("evalsha:calls=")) : 0;
		freeReplyObject(reply);
		run_for(loop, 100 * MS);
		if (batches && !full)
			full = number_of("token_bucket_fallback:fleet:{edge:05}", "r|7");
	}
	assert_int_equal(node.answers, 1);
	assert_int_equal(number_of("token_bucket_fallback:fleet:{edge:05}", "r|7"), full);
	eb_exchange_free(node.exchange);
	sd_event_unref(loop);
	process_kill(proxy);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sums),	cmocka_unit_test(test_numbers), cmocka_unit_test(test_clocks),
		cmocka_unit_test(test_outage),
		cmocka_unit_test(test_hostile), cmocka_unit_test(test_expiry),	cmocka_unit_test(test_client),
		cmocka_unit_test(test_lost_answer),
	};

	server_start(&server, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
