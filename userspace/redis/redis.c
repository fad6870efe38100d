// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "redis/redis.h"
#include "redis/route.h"
#include "redis/settings.h"

struct eb_redis {
	sd_event *event;
	struct eb_settings *settings;
	struct eb_redis_events events;
	const struct eb_route_ops *ops;
	void *route;
	char last_error[320];
	uint64_t last_latency_ns;
	int depth;
	bool freed;
};

/* A command on its way, to note errors and latency as replies come by. */
struct call {
	struct eb_redis *redis;
	eb_redis_done done;
	void *arg;
};

const char *eb_redis_error_name(enum eb_redis_error error)
{
	static const char *const names[EB_REDIS_ERRORS] = {
		[EB_REDIS_OK] = "ok",
		[EB_REDIS_CLOSED] = "closed",
		[EB_REDIS_CONNECT] = "connect",
		[EB_REDIS_TLS] = "tls",
		[EB_REDIS_LOST] = "lost",
		[EB_REDIS_TIMEOUT] = "timeout",
		[EB_REDIS_PROTOCOL] = "protocol",
		[EB_REDIS_NO_MASTER] = "no_master",
		[EB_REDIS_AUTH] = "auth",
		[EB_REDIS_LOADING] = "loading",
		[EB_REDIS_READONLY] = "readonly",
		[EB_REDIS_MAX_CLIENTS] = "max_clients",
		[EB_REDIS_NO_PERMISSION] = "no_permission",
		[EB_REDIS_OUT_OF_MEMORY] = "out_of_memory",
		[EB_REDIS_MISCONF] = "misconf",
		[EB_REDIS_NO_REPLICAS] = "no_replicas",
		[EB_REDIS_BUSY] = "busy",
		[EB_REDIS_CLUSTER_DOWN] = "cluster_down",
		[EB_REDIS_TRY_AGAIN] = "try_again",
		[EB_REDIS_MOVED] = "moved",
		[EB_REDIS_ASK] = "ask",
		[EB_REDIS_OTHER] = "other",
	};

	return names[error];
}

static void leave(struct eb_redis *redis)
{
	if (--redis->depth || !redis->freed)
		return;
	eb_settings_free(redis->settings);
	free(redis);
}

static void on_up(void *arg)
{
	struct eb_redis *redis = arg;

	if (redis->events.up)
		redis->events.up(redis->events.arg);
}

static void on_down(enum eb_redis_error error, const char *text, void *arg)
{
	struct eb_redis *redis = arg;

	snprintf(redis->last_error, sizeof(redis->last_error), "%s", text);
	if (redis->events.down)
		redis->events.down(error, text, redis->events.arg);
}

static void on_writable(void *arg)
{
	struct eb_redis *redis = arg;

	if (redis->events.writable)
		redis->events.writable(redis->events.arg);
}

static int open_route(struct eb_redis *redis, const char *const *keys, size_t key_count)
{
	struct eb_redis_events events = { .up = on_up, .down = on_down, .writable = on_writable, .arg = redis };

	if (redis->settings->kind == EB_REDIS_CLUSTER) {
		redis->ops = &eb_cluster_ops;
		return eb_cluster_new(redis->event, redis->settings, keys, key_count, &events, &redis->route);
	}
	redis->ops = &eb_single_ops;
	return eb_single_new(redis->event, redis->settings, &events, &redis->route);
}

int eb_redis_new(sd_event *event, const struct eb_redis_config *config, const struct eb_redis_limits *limits,
		 const char *const *keys, size_t key_count, const struct eb_redis_events *events,
		 struct eb_redis **out)
{
	struct eb_redis *redis = calloc(1, sizeof(*redis));
	int err;

	if (!redis)
		return -ENOMEM;
	redis->event = event;
	if (events)
		redis->events = *events;
	err = eb_settings_new(config, limits, key_count ? keys[0] : NULL, &redis->settings);
	if (!err)
		err = open_route(redis, keys, key_count);
	if (err) {
		eb_settings_free(redis->settings);
		free(redis);
		return err;
	}
	*out = redis;
	return 0;
}

void eb_redis_free(struct eb_redis *redis)
{
	if (!redis)
		return;
	redis->depth++;
	memset(&redis->events, 0, sizeof(redis->events));
	redis->ops->free(redis->route);
	redis->freed = true;
	leave(redis);
}

static void on_done(const struct eb_redis_result *result, void *arg)
{
	struct call *call = arg;
	struct eb_redis *redis = call->redis;

	redis->depth++;
	if (result->reply)
		redis->last_latency_ns = result->latency_ns;
	if (result->error && result->error != EB_REDIS_CLOSED)
		snprintf(redis->last_error, sizeof(redis->last_error), "%s", result->text);
	if (call->done)
		call->done(result, call->arg);
	free(call);
	leave(redis);
}

int eb_redis_command(struct eb_redis *redis, const char *key, int argc, const char *const *argv, const size_t *lens,
		     eb_redis_done done, void *arg)
{
	struct call *call = malloc(sizeof(*call));
	int err;

	if (!call)
		return -ENOMEM;
	*call = (struct call){ .redis = redis, .done = done, .arg = arg };
	err = redis->ops->command(redis->route, key, argc, argv, lens, on_done, call);
	if (err)
		free(call);
	return err;
}

bool eb_redis_is_up(const struct eb_redis *redis)
{
	return redis->ops->is_up(redis->route);
}

const char *eb_redis_last_error(const struct eb_redis *redis)
{
	return redis->last_error;
}

uint64_t eb_redis_last_latency_ns(const struct eb_redis *redis)
{
	return redis->last_latency_ns;
}

const char *eb_redis_peer(const struct eb_redis *redis)
{
	return redis->ops->peer(redis->route);
}

size_t eb_redis_room(const struct eb_redis *redis)
{
	return redis->ops->room(redis->route);
}

int eb_redis_run_until(sd_event *event, const bool *done, uint64_t timeout_ns)
{
	uint64_t deadline = eb_monotonic_us() + timeout_ns / 1000;

	while (!*done) {
		uint64_t now = eb_monotonic_us();
		int err;

		if (now >= deadline)
			return -ETIMEDOUT;
		err = sd_event_run(event, deadline - now);
		if (err < 0)
			return err;
	}
	return 0;
}

int eb_redis_wait_up(struct eb_redis *redis, uint64_t timeout_ns)
{
	uint64_t deadline = eb_monotonic_us() + timeout_ns / 1000;

	while (!eb_redis_is_up(redis)) {
		uint64_t now = eb_monotonic_us();
		int err;

		if (now >= deadline)
			return -ETIMEDOUT;
		err = sd_event_run(redis->event, deadline - now);
		if (err < 0)
			return err;
	}
	return 0;
}
