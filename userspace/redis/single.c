// SPDX-License-Identifier: GPL-2.0-only
/*
 * One server: the one that the configuration names, or the master that the Sentinels do.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "config/endpoint.h"
#include "redis/backoff.h"
#include "redis/route.h"
#include "redis/sentinel.h"

#define TIMER_ACCURACY_US 1000

struct eb_single {
	sd_event *event;
	const struct eb_settings *settings;
	struct eb_redis_events events;
	struct eb_client *client;
	struct eb_sentinel *sentinel; /* NULL without */
	struct eb_backoff backoff;
	sd_event_source *timer;
	char *rejected; /* the server that Sentinels named and that was no master */
	int depth;
	bool freed;
};

static void leave(struct eb_single *single)
{
	if (--single->depth || !single->freed)
		return;
	free(single->rejected);
	free(single);
}

static void retry_later(struct eb_single *single)
{
	if (single->freed)
		return;
	(void)sd_event_source_set_time_relative(single->timer, eb_backoff_next_us(&single->backoff));
	(void)sd_event_source_set_enabled(single->timer, SD_EVENT_ONESHOT);
}

static void reject(struct eb_single *single, bool is_no_master)
{
	free(single->rejected);
	single->rejected = is_no_master ? strdup(eb_client_peer(single->client)) : NULL;
}

static void on_ready(void *arg)
{
	struct eb_single *single = arg;

	single->depth++;
	eb_backoff_succeeded(&single->backoff);
	single->events.up(single->events.arg);
	leave(single);
}

static void on_failed(enum eb_redis_error error, const char *text, void *arg)
{
	struct eb_single *single = arg;

	single->depth++;
	reject(single, error == EB_REDIS_NO_MASTER || error == EB_REDIS_READONLY);
	eb_client_free(single->client);
	single->client = NULL;
	retry_later(single);
	single->events.down(error, text, single->events.arg);
	leave(single);
}

static void on_writable(void *arg)
{
	struct eb_single *single = arg;

	single->events.writable(single->events.arg);
}

static const struct eb_client_events client_events = {
	.ready = on_ready,
	.failed = on_failed,
	.writable = on_writable,
};

static void connect_to(struct eb_single *single, const char *socket, const char *host, uint16_t port)
{
	int err = eb_client_open(single->event, &single->settings->node, socket, host, port, &client_events, single,
				 &single->client);

	if (!err)
		return;
	retry_later(single);
	single->events.down(EB_REDIS_CONNECT, strerror(-err), single->events.arg);
}

static bool is_current(const struct eb_single *single, const char *host, uint16_t port)
{
	return single->client && !strcmp(eb_endpoint_text(host, port).text, eb_client_peer(single->client));
}

static void on_found(const char *host, uint16_t port, void *arg)
{
	struct eb_single *single = arg;
	bool was_up = eb_client_is_ready(single->client);

	if (is_current(single, host, port))
		return;
	single->depth++;
	eb_client_free(single->client);
	single->client = NULL;
	if (!single->freed)
		(void)sd_event_source_set_enabled(single->timer, SD_EVENT_OFF);
	if (!single->freed && was_up)
		single->events.down(EB_REDIS_NO_MASTER, "a failover made another server the master",
				    single->events.arg);
	if (!single->freed)
		connect_to(single, NULL, host, port);
	leave(single);
}

static void on_not_found(const char *text, void *arg)
{
	struct eb_single *single = arg;

	single->depth++;
	/* Next time the same answer is as good as any: the server may have become a master by then. */
	free(single->rejected);
	single->rejected = NULL;
	retry_later(single);
	single->events.down(EB_REDIS_NO_MASTER, text, single->events.arg);
	leave(single);
}

static const struct eb_sentinel_events sentinel_events = {
	.found = on_found,
	.failed = on_not_found,
};

static int on_timer(sd_event_source *source, uint64_t usec, void *arg)
{
	struct eb_single *single = arg;
	const struct eb_settings *settings = single->settings;

	(void)source;
	(void)usec;
	single->depth++;
	if (single->sentinel)
		eb_sentinel_query(single->sentinel, single->rejected);
	else if (settings->socket)
		connect_to(single, settings->socket, NULL, 0);
	else
		connect_to(single, NULL, settings->nodes[0].host, settings->nodes[0].port);
	leave(single);
	return 0;
}

static void free_single(void *route)
{
	struct eb_single *single = route;

	if (!single)
		return;
	single->depth++;
	single->freed = true;
	single->timer = sd_event_source_disable_unref(single->timer);
	eb_sentinel_free(single->sentinel);
	single->sentinel = NULL;
	eb_client_free(single->client);
	single->client = NULL;
	leave(single);
}

int eb_single_new(sd_event *event, const struct eb_settings *settings, const struct eb_redis_events *events,
		  void **out)
{
	struct eb_single *single = calloc(1, sizeof(*single));
	int err;

	if (!single)
		return -ENOMEM;
	single->event = event;
	single->settings = settings;
	single->events = *events;
	single->backoff.min_ns = settings->limits.backoff_min_ns;
	single->backoff.max_ns = settings->limits.backoff_max_ns;
	err = sd_event_add_time_relative(event, &single->timer, CLOCK_MONOTONIC, 0, TIMER_ACCURACY_US, on_timer,
					 single);
	if (err >= 0 && settings->kind == EB_REDIS_SENTINEL)
		err = eb_sentinel_new(event, settings, &sentinel_events, single, &single->sentinel);
	if (err < 0) {
		free_single(single);
		return err;
	}
	*out = single;
	return 0;
}

static int command(void *route, const char *key, int argc, const char *const *argv, const size_t *lens,
		   eb_redis_done done, void *arg)
{
	struct eb_single *single = route;

	(void)key;
	if (!single->client)
		return -ENOTCONN;
	return eb_client_send(single->client, argc, argv, lens, done, arg);
}

static bool is_up(const void *route)
{
	return eb_client_is_ready(((const struct eb_single *)route)->client);
}

static size_t room(const void *route)
{
	return eb_client_room(((const struct eb_single *)route)->client);
}

static const char *peer(const void *route)
{
	const struct eb_single *single = route;

	return single->client ? eb_client_address(single->client) : "";
}

const struct eb_route_ops eb_single_ops = {
	.command = command,
	.is_up = is_up,
	.room = room,
	.peer = peer,
	.free = free_single,
};
