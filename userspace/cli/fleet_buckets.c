// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cli/fleet_buckets.h"
#include "config/config_redis.h"
#include "policy/rules.h"
#include "redis/redis.h"
#include "store/exchange.h"

#define SECOND_NS 1000000000ULL
#define TIMEOUT_NS (5 * SECOND_NS)

int fleet_bucket_rule(const struct session *session, const struct fleet_bucket *bucket)
{
	return eb_rules_find_id(&session->policy, bucket->limit.record.source.family, bucket->limit.rule_id);
}

/* Lanes are read one after the other: TIME and HGETALL of one server in one round trip. */
struct lane_read {
	struct eb_redis *redis;
	fleet_bucket_visit visit;
	void *arg;
	char *key;
	uint64_t server_us;
	unsigned int commands; /* without an answer */
	bool ended;
	char error[320];
};

static void end_command(struct lane_read *lane, const struct eb_redis_result *result)
{
	if (result->error)
		snprintf(lane->error, sizeof(lane->error), "%s", result->text);
	lane->ended = --lane->commands == 0;
}

static void on_done(const struct eb_redis_result *result, void *arg)
{
	end_command(arg, result);
}

static void on_time(const struct eb_redis_result *result, void *arg)
{
	const struct eb_redis_reply *reply = result->reply;
	struct lane_read *lane = arg;

	if (!result->error && reply->type == EB_REDIS_ARRAY && reply->count == 2 && reply->items[0].str &&
	    reply->items[1].str)
		lane->server_us = strtoull(reply->items[0].str, NULL, 10) * 1000000 +
				  strtoull(reply->items[1].str, NULL, 10);
	end_command(lane, result);
}

static void send_command(struct lane_read *lane, int argc, const char *const *argv, eb_redis_done done)
{
	int err = eb_redis_command(lane->redis, lane->key, argc, argv, NULL, done, lane);

	if (err)
		snprintf(lane->error, sizeof(lane->error), "%s", strerror(-err));
	else
		lane->commands++;
}

static int64_t find_number(const struct eb_redis_reply *hash, const char *name)
{
	for (size_t i = 0; i + 1 < hash->count; i += 2)
		if (hash->items[i].str && hash->items[i + 1].str && !strcmp(hash->items[i].str, name))
			return strtoll(hash->items[i + 1].str, NULL, 10);
	return 0;
}

static void visit_all(struct lane_read *lane, const struct eb_redis_reply *hash)
{
	uint64_t now_us = lane->server_us + find_number(hash, "shift");

	for (size_t i = 0; i + 1 < hash->count; i += 2) {
		const char *remove[] = { "HDEL", lane->key, hash->items[i].str };
		struct fleet_bucket bucket;
		uint64_t full_us;

		/* What is none belongs to others. */
		if (!hash->items[i].str || !eb_exchange_field_parse(hash->items[i].str, &bucket.limit) ||
		    !hash->items[i + 1].str)
			continue;
		full_us = strtoull(hash->items[i + 1].str, NULL, 10);
		if (full_us <= now_us)
			continue;
		bucket.debt_us = full_us - now_us;
		if (lane->visit(&bucket, lane->arg))
			send_command(lane, 3, remove, on_done);
	}
}

static void on_hash(const struct eb_redis_result *result, void *arg)
{
	struct lane_read *lane = arg;

	if (!result->error && result->reply->type == EB_REDIS_ARRAY)
		visit_all(lane, result->reply);
	end_command(lane, result);
}

static int read_lane(sd_event *loop, struct lane_read *lane)
{
	const char *time[] = { "TIME" }, *hash[] = { "HGETALL", lane->key };
	int err;

	lane->ended = false;
	lane->commands = 0;
	send_command(lane, 1, time, on_time);
	send_command(lane, 2, hash, on_hash);
	if (*lane->error)
		return -EIO;
	err = eb_redis_run_until(loop, &lane->ended, TIMEOUT_NS);
	if (err)
		snprintf(lane->error, sizeof(lane->error), "it stopped answering");
	return err || *lane->error ? -EIO : 0;
}

static int read_lanes(sd_event *loop, char *const keys[EB_EXCHANGE_LANES], struct lane_read *lane)
{
	int err = eb_redis_wait_up(lane->redis, TIMEOUT_NS);

	if (err)
		snprintf(lane->error, sizeof(lane->error), "%s", eb_redis_last_error(lane->redis));
	for (int i = 0; i < EB_EXCHANGE_LANES && !err; i++) {
		lane->key = keys[i];
		err = read_lane(loop, lane);
	}
	return err;
}

enum cli_result fleet_buckets_each(const struct eb_config *config, fleet_bucket_visit visit, void *arg)
{
	struct lane_read lane = { .visit = visit, .arg = arg };
	char *keys[EB_EXCHANGE_LANES] = { NULL };
	sd_event *loop = NULL;
	int err = sd_event_new(&loop);

	for (unsigned int i = 0; i < EB_EXCHANGE_LANES && err >= 0; i++) {
		keys[i] = eb_exchange_key(config->redis->key, config->fleet.name, i);
		err = keys[i] ? 0 : -ENOMEM;
	}
	if (err >= 0)
		err = eb_redis_new(loop, config->redis, NULL, (const char *const *)keys, EB_EXCHANGE_LANES, NULL,
				   &lane.redis);
	if (err >= 0)
		err = read_lanes(loop, keys, &lane);
	eb_redis_free(lane.redis);
	sd_event_unref(loop);
	for (int i = 0; i < EB_EXCHANGE_LANES; i++)
		free(keys[i]);
	if (err >= 0)
		return CLI_DONE;
	return cli_fail("the fleet's buckets in redis: %s", *lane.error ? lane.error : strerror(-err));
}
