// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "config/endpoint.h"
#include "redis/sentinel.h"

#define REOPEN_US 5000000 /* a Sentinel that is away is tried again at this pace */
#define TIMER_ACCURACY_US 100000
#define PEER_MAX 300

enum answer { ANSWER_NONE, ANSWER_DUE, ANSWER_GIVEN };

struct watcher {
	struct eb_sentinel *owner;
	const struct eb_endpoint *endpoint;
	struct eb_client *client; /* NULL while it is away */
	enum answer answer;       /* to the query under way */
};

struct eb_sentinel {
	sd_event *event;
	const struct eb_settings *settings;
	const struct eb_sentinel_events *events;
	void *arg;
	sd_event_source *timer;
	bool is_querying;
	char rejected[PEER_MAX];
	char problem[PEER_MAX]; /* the last that came up during this query */
	int depth;
	bool freed;
	size_t count;
	struct watcher watchers[];
};

static void leave(struct eb_sentinel *sentinel)
{
	if (--sentinel->depth == 0 && sentinel->freed)
		free(sentinel);
}

static void note(struct watcher *watcher, const char *text)
{
	snprintf(watcher->owner->problem, sizeof(watcher->owner->problem), "Sentinel %s:%u: %s",
		 watcher->endpoint->host, watcher->endpoint->port, text);
}

/* Ends the query when no Sentinel still has to answer. */
static void settle(struct eb_sentinel *sentinel)
{
	if (!sentinel->is_querying || sentinel->freed)
		return;
	for (size_t i = 0; i < sentinel->count; i++)
		if (sentinel->watchers[i].answer == ANSWER_DUE)
			return;
	sentinel->is_querying = false;
	sentinel->events->failed(sentinel->problem, sentinel->arg);
}

static void take_answer(struct watcher *watcher, const char *host, const char *port_text)
{
	struct eb_sentinel *sentinel = watcher->owner;
	unsigned long port = strtoul(port_text, NULL, 10);

	if (!eb_endpoint_is_host(host) || !port || port > 65535) {
		note(watcher, "named an invalid address");
	} else if (!strcmp(eb_endpoint_text(host, port).text, sentinel->rejected)) {
		note(watcher, "names a server that is no master");
	} else if (sentinel->is_querying) {
		sentinel->is_querying = false;
		sentinel->events->found(host, port, sentinel->arg);
	}
}

static void on_address(const struct eb_redis_result *result, void *arg)
{
	const struct eb_redis_reply *reply = result->reply;
	struct watcher *watcher = arg;
	struct eb_sentinel *sentinel = watcher->owner;

	if (!reply)
		return; /* on_failed() follows */
	sentinel->depth++;
	watcher->answer = ANSWER_GIVEN;
	if (result->error)
		note(watcher, result->text);
	else if (reply->type != EB_REDIS_ARRAY || reply->count != 2 || !reply->items[0].str || !reply->items[1].str)
		note(watcher, "does not know this master");
	else
		take_answer(watcher, reply->items[0].str, reply->items[1].str);
	settle(sentinel);
	leave(sentinel);
}

static void on_ready(void *arg)
{
	struct watcher *watcher = arg;
	const char *ask[] = { "SENTINEL", "get-master-addr-by-name", watcher->owner->settings->sentinel_master };
	const char *subscribe[] = { "SUBSCRIBE", "+switch-master" };

	/* Sent together, so that a failover in between is not missed. */
	(void)eb_client_send(watcher->client, 3, ask, NULL, on_address, watcher);
	(void)eb_client_send(watcher->client, 2, subscribe, NULL, NULL, NULL);
}

static void on_failed(enum eb_redis_error error, const char *text, void *arg)
{
	struct watcher *watcher = arg;
	struct eb_sentinel *sentinel = watcher->owner;

	(void)error;
	sentinel->depth++;
	eb_client_free(watcher->client);
	watcher->client = NULL;
	if (watcher->answer == ANSWER_DUE) {
		watcher->answer = ANSWER_NONE;
		note(watcher, text);
		settle(sentinel);
	}
	leave(sentinel);
}

/* "<name> <old address> <old port> <new address> <new port>" */
static void on_message(const char *channel, const char *text, void *arg)
{
	struct watcher *watcher = arg;
	struct eb_sentinel *sentinel = watcher->owner;
	const char *name = sentinel->settings->sentinel_master;
	size_t name_len = strlen(name);
	char host[256];
	unsigned int port;

	if (strcmp(channel, "+switch-master") || strncmp(text, name, name_len) || text[name_len] != ' ' ||
	    sscanf(text + name_len, " %*s %*u %255s %u", host, &port) != 2 || !eb_endpoint_is_host(host) || !port ||
	    port > 65535)
		return;
	sentinel->is_querying = false;
	sentinel->events->found(host, port, sentinel->arg);
}

static const struct eb_client_events client_events = {
	.ready = on_ready,
	.failed = on_failed,
	.message = on_message,
};

static void open_watcher(struct watcher *watcher)
{
	struct eb_sentinel *sentinel = watcher->owner;
	int err;

	eb_client_free(watcher->client);
	watcher->client = NULL;
	err = eb_client_open(sentinel->event, &sentinel->settings->sentinel, NULL, watcher->endpoint->host,
			     watcher->endpoint->port, &client_events, watcher, &watcher->client);
	if (err)
		note(watcher, strerror(-err));
	watcher->answer = err ? ANSWER_NONE : ANSWER_DUE;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *arg)
{
	struct eb_sentinel *sentinel = arg;

	for (size_t i = 0; !sentinel->is_querying && i < sentinel->count; i++)
		if (!sentinel->watchers[i].client)
			open_watcher(&sentinel->watchers[i]);
	(void)sd_event_source_set_time(source, usec + REOPEN_US);
	return 0;
}

int eb_sentinel_new(sd_event *event, const struct eb_settings *settings, const struct eb_sentinel_events *events,
		    void *arg, struct eb_sentinel **out)
{
	struct eb_sentinel *sentinel;
	int err;

	sentinel = calloc(1, sizeof(*sentinel) + settings->node_count * sizeof(*sentinel->watchers));
	if (!sentinel)
		return -ENOMEM;
	sentinel->event = event;
	sentinel->settings = settings;
	sentinel->events = events;
	sentinel->arg = arg;
	sentinel->count = settings->node_count;
	for (size_t i = 0; i < sentinel->count; i++)
		sentinel->watchers[i] = (struct watcher){ .owner = sentinel, .endpoint = &settings->nodes[i] };
	err = sd_event_add_time_relative(event, &sentinel->timer, CLOCK_MONOTONIC, REOPEN_US, TIMER_ACCURACY_US,
					 on_timer, sentinel);
	if (err >= 0)
		err = sd_event_source_set_enabled(sentinel->timer, SD_EVENT_ON);
	if (err < 0) {
		eb_sentinel_free(sentinel);
		return err;
	}
	*out = sentinel;
	return 0;
}

void eb_sentinel_query(struct eb_sentinel *sentinel, const char *rejected)
{
	snprintf(sentinel->rejected, sizeof(sentinel->rejected), "%s", rejected ? rejected : "");
	snprintf(sentinel->problem, sizeof(sentinel->problem), "no Sentinel could be asked");
	for (size_t i = 0; i < sentinel->count; i++)
		open_watcher(&sentinel->watchers[i]);
	sentinel->is_querying = true;
}

void eb_sentinel_free(struct eb_sentinel *sentinel)
{
	if (!sentinel)
		return;
	sentinel->depth++;
	sentinel->freed = true;
	sentinel->timer = sd_event_source_disable_unref(sentinel->timer);
	for (size_t i = 0; i < sentinel->count; i++) {
		eb_client_free(sentinel->watchers[i].client);
		sentinel->watchers[i].client = NULL;
	}
	leave(sentinel);
}
