// SPDX-License-Identifier: GPL-2.0-only
/*
 * Redis Cluster: a connection to each master that owns a slot of our keys, a map of slots, redirections.
 *
 * A command whose node is not connected yet, or that was told to try again, waits in a list that the limits bound. A
 * command whose connection broke is not repeated: its caller does not know whether it was carried out, and decides.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "config/endpoint.h"
#include "redis/backoff.h"
#include "redis/resp.h"
#include "redis/route.h"
#include "redis/slot.h"

#define NODES_MAX 1024
#define REDIRECTIONS_MAX 8
#define RETRY_US 50000 /* a slot being migrated, a node being connected */
#define TIMER_ACCURACY_US 1000
#define NO_NODE UINT16_MAX
#define HOST_MAX 255

struct eb_cluster;

struct node {
	struct eb_cluster *cluster;
	char *host;
	uint16_t port;
	bool is_known; /* by the last map of slots */
	struct eb_client *client;
};

struct request {
	struct request *next; /* in the list of those that wait */
	struct eb_cluster *cluster;
	char *command;
	size_t len;
	uint16_t slot;
	uint16_t asked_node; /* where ASK sends it; NO_NODE for the slot's own */
	uint8_t redirections;
	uint64_t started_ns, deadline_ns;
	eb_redis_done done;
	void *arg;
};

struct eb_cluster {
	sd_event *event;
	const struct eb_settings *settings;
	struct eb_redis_events events;
	struct node *nodes[NODES_MAX];
	size_t node_count;
	uint16_t slots[EB_SLOTS_OF_CLUSTER]; /* index of the owner in nodes, or NO_NODE */
	uint16_t *key_slots;
	size_t key_count;
	bool is_up;
	bool was_full;
	size_t in_flight, in_flight_bytes;
	struct request *waiting, **waiting_end;
	struct request *retrying; /* the rest of those that retry_waiting() is looking at */
	struct eb_client *scout; /* asks for the map of slots */
	size_t candidate;        /* whom it asks: nodes first, then seeds */
	bool wants_map;          /* ask again after this one */
	struct eb_backoff backoff;
	sd_event_source *map_timer, *retry_timer;
	int depth;
	bool freed;
};

static void enter(struct eb_cluster *cluster)
{
	cluster->depth++;
}

static void leave(struct eb_cluster *cluster)
{
	if (--cluster->depth || !cluster->freed)
		return;
	for (size_t i = 0; i < cluster->node_count; i++) {
		free(cluster->nodes[i]->host);
		free(cluster->nodes[i]);
	}
	free(cluster->key_slots);
	free(cluster);
}

static void arm(sd_event_source *timer, uint64_t in_us)
{
	(void)sd_event_source_set_time_relative(timer, in_us);
	(void)sd_event_source_set_enabled(timer, SD_EVENT_ONESHOT);
}

/* The state of the whole */

static void go_down(struct eb_cluster *cluster, enum eb_redis_error error, const char *text)
{
	cluster->is_up = false;
	if (!cluster->freed)
		cluster->events.down(error, text, cluster->events.arg);
}

/* Asking for the map failed. While writes go on, that is no news. */
static void complain(struct eb_cluster *cluster, enum eb_redis_error error, const char *text)
{
	if (!cluster->is_up)
		go_down(cluster, error, text);
}

static struct node *owner(const struct eb_cluster *cluster, uint16_t slot)
{
	uint16_t index = cluster->slots[slot];

	return index == NO_NODE ? NULL : cluster->nodes[index];
}

static bool is_complete(const struct eb_cluster *cluster)
{
	for (size_t i = 0; i < cluster->key_count; i++) {
		const struct node *node = owner(cluster, cluster->key_slots[i]);

		if (!node || !eb_client_is_ready(node->client))
			return false;
	}
	return true;
}

static void become_up(struct eb_cluster *cluster)
{
	if (cluster->is_up || cluster->freed || !is_complete(cluster))
		return;
	cluster->is_up = true;
	eb_backoff_succeeded(&cluster->backoff);
	cluster->events.up(cluster->events.arg);
}

static bool owns_our_slot(const struct eb_cluster *cluster, const struct node *node)
{
	for (size_t i = 0; i < cluster->key_count; i++)
		if (owner(cluster, cluster->key_slots[i]) == node)
			return true;
	return false;
}

static void ask_for_map(struct eb_cluster *cluster, uint64_t in_us)
{
	if (cluster->freed)
		return;
	if (cluster->scout)
		cluster->wants_map = true;
	else
		arm(cluster->map_timer, in_us);
}

/* Requests */

static void finish(struct request *request, const struct eb_redis_result *result)
{
	struct eb_cluster *cluster = request->cluster;
	struct eb_redis_result whole = *result;

	if (result->reply)
		whole.latency_ns = eb_monotonic_ns() - request->started_ns;
	cluster->in_flight--;
	cluster->in_flight_bytes -= request->len;
	if (request->done)
		request->done(&whole, request->arg);
	eb_resp_free_command(request->command, request->len);
	free(request);
	if (cluster->was_full && cluster->is_up && !cluster->freed &&
	    cluster->in_flight <= cluster->settings->limits.max_requests / 2 &&
	    cluster->in_flight_bytes <= cluster->settings->limits.max_bytes / 2) {
		cluster->was_full = false;
		cluster->events.writable(cluster->events.arg);
	}
}

static void fail_request(struct request *request, enum eb_redis_error error, const char *text)
{
	struct eb_redis_result result = { .error = error, .text = text };

	finish(request, &result);
}

static void wait_for_retry(struct request *request)
{
	struct eb_cluster *cluster = request->cluster;

	if (!cluster->waiting)
		arm(cluster->retry_timer, RETRY_US);
	request->next = NULL;
	*cluster->waiting_end = request;
	cluster->waiting_end = &request->next;
}

static int open_node(struct node *node);
static void dispatch(struct request *request);
static struct node *find_or_add(struct eb_cluster *cluster, const char *host, uint16_t port, uint16_t *index);

/* "MOVED 3999 127.0.0.1:6381": an empty host is that of the node that said so. */
static int parse_redirection(const char *text, const struct node *from, char host[HOST_MAX + 1], uint16_t *port)
{
	const char *space = strchr(text, ' '), *colon = strrchr(text, ':');
	unsigned long number = colon ? strtoul(colon + 1, NULL, 10) : 0;
	size_t len;

	space = space ? strchr(space + 1, ' ') : NULL;
	if (!space || !colon || colon < space + 1 || colon - space > HOST_MAX || !number || number > 65535)
		return -EINVAL;
	len = colon - space - 1;
	if (len)
		snprintf(host, HOST_MAX + 1, "%.*s", (int)len, space + 1);
	else
		snprintf(host, HOST_MAX + 1, "%s", from->host);
	if (!eb_endpoint_is_host(host))
		return -EINVAL;
	*port = number;
	return 0;
}

static void redirect(struct request *request, const struct eb_redis_result *result, const struct node *from)
{
	struct eb_cluster *cluster = request->cluster;
	char host[HOST_MAX + 1];
	uint16_t port, index;

	if (++request->redirections > REDIRECTIONS_MAX || parse_redirection(result->reply->str, from, host, &port) ||
	    !find_or_add(cluster, host, port, &index)) {
		finish(request, result);
		return;
	}
	if (result->error == EB_REDIS_ASK) {
		request->asked_node = index;
	} else {
		cluster->slots[request->slot] = index;
		ask_for_map(cluster, 0);
	}
	dispatch(request);
}

/* The node that a reply came from is found by its slot or by where the request was sent: it is needed only for its
 * host. */
static void on_reply(const struct eb_redis_result *result, void *arg)
{
	struct request *request = arg;
	struct eb_cluster *cluster = request->cluster;
	const struct node *from = request->asked_node != NO_NODE ? cluster->nodes[request->asked_node]
								 : owner(cluster, request->slot);
	bool is_late = eb_monotonic_ns() >= request->deadline_ns || cluster->freed;

	enter(cluster);
	request->asked_node = NO_NODE;
	if ((result->error == EB_REDIS_MOVED || result->error == EB_REDIS_ASK) && from && !is_late) {
		redirect(request, result, from);
	} else if ((result->error == EB_REDIS_TRY_AGAIN || result->error == EB_REDIS_CLUSTER_DOWN) && !is_late) {
		ask_for_map(cluster, RETRY_US);
		wait_for_retry(request);
	} else {
		finish(request, result);
	}
	leave(cluster);
}

static int send_to(struct node *node, struct request *request)
{
	const char *asking[] = { "ASKING" };

	if (request->asked_node != NO_NODE) {
		int err = eb_client_send(node->client, 1, asking, NULL, NULL, NULL);

		if (err)
			return err;
	}
	return eb_client_send_raw(node->client, request->command, request->len, on_reply, request);
}

/* Sends a request to its node, or lets it wait until that is connected. */
static void dispatch(struct request *request)
{
	struct eb_cluster *cluster = request->cluster;
	struct node *node = request->asked_node != NO_NODE ? cluster->nodes[request->asked_node]
							   : owner(cluster, request->slot);

	if (node && eb_client_is_ready(node->client) && !send_to(node, request))
		return;
	if (node && !node->client)
		(void)open_node(node);
	wait_for_retry(request);
}

/* Inside a callback of this, the cluster may be freed, which takes over the rest. */
static void retry_waiting(struct eb_cluster *cluster)
{
	struct request *request;

	*cluster->waiting_end = cluster->retrying;
	cluster->retrying = cluster->waiting;
	cluster->waiting = NULL;
	cluster->waiting_end = &cluster->waiting;
	while ((request = cluster->retrying)) {
		cluster->retrying = request->next;
		if (cluster->freed)
			fail_request(request, EB_REDIS_CLOSED, "the connection was given up");
		else if (eb_monotonic_ns() >= request->deadline_ns)
			fail_request(request, EB_REDIS_TIMEOUT, "no node of the cluster accepted the command in time");
		else
			dispatch(request);
	}
}

static int on_retry(sd_event_source *source, uint64_t usec, void *arg)
{
	struct eb_cluster *cluster = arg;

	(void)source;
	(void)usec;
	enter(cluster);
	retry_waiting(cluster);
	leave(cluster);
	return 0;
}

/* Nodes */

/* A node became ready, or has room again. */
static void on_node_usable(void *arg)
{
	struct node *node = arg;
	struct eb_cluster *cluster = node->cluster;

	enter(cluster);
	become_up(cluster);
	retry_waiting(cluster);
	leave(cluster);
}

static void on_node_failed(enum eb_redis_error error, const char *text, void *arg)
{
	struct node *node = arg;
	struct eb_cluster *cluster = node->cluster;

	enter(cluster);
	eb_client_free(node->client);
	node->client = NULL;
	if (owns_our_slot(cluster, node)) {
		ask_for_map(cluster, eb_backoff_next_us(&cluster->backoff));
		go_down(cluster, error, text);
	}
	leave(cluster);
}

static const struct eb_client_events node_events = {
	.ready = on_node_usable,
	.failed = on_node_failed,
	.writable = on_node_usable,
};

static int open_node(struct node *node)
{
	struct eb_cluster *cluster = node->cluster;

	return eb_client_open(cluster->event, &cluster->settings->node, NULL, node->host, node->port, &node_events,
			      node, &node->client);
}

static struct node *add_node(struct eb_cluster *cluster, const char *host, uint16_t port)
{
	struct node *node;

	if (cluster->node_count == NODES_MAX)
		return NULL;
	node = calloc(1, sizeof(*node));
	if (!node)
		return NULL;
	node->cluster = cluster;
	node->port = port;
	node->host = strdup(host);
	if (!node->host) {
		free(node);
		return NULL;
	}
	cluster->nodes[cluster->node_count++] = node;
	return node;
}

/* An entry that nothing refers to any more. Entries are never removed, so that an index stays what it is: where nodes
 * come and go under new addresses for years, they are given to others. */
static struct node *recycle(struct eb_cluster *cluster, const char *host, uint16_t port, uint16_t *index)
{
	if (cluster->in_flight)
		return NULL;
	for (size_t i = 0; i < cluster->node_count; i++) {
		struct node *node = cluster->nodes[i];
		char *copy = node->is_known || node->client ? NULL : strdup(host);

		if (!copy)
			continue;
		free(node->host);
		node->host = copy;
		node->port = port;
		*index = i;
		return node;
	}
	return NULL;
}

static struct node *find_or_add(struct eb_cluster *cluster, const char *host, uint16_t port, uint16_t *index)
{
	struct node *node;

	for (size_t i = 0; i < cluster->node_count; i++) {
		node = cluster->nodes[i];
		if (node->port == port && !strcmp(node->host, host)) {
			*index = i;
			return node;
		}
	}
	node = add_node(cluster, host, port);
	if (!node)
		return recycle(cluster, host, port, index);
	*index = cluster->node_count - 1;
	return node;
}

/* Connects to the owners of our slots, and gives up nodes that left the cluster. */
static void connect_nodes(struct eb_cluster *cluster)
{
	for (size_t i = 0; i < cluster->node_count && !cluster->freed; i++) {
		struct node *node = cluster->nodes[i];

		if (owns_our_slot(cluster, node)) {
			if (!node->client)
				(void)open_node(node);
		} else if (!node->is_known && node->client) {
			eb_client_free(node->client);
			node->client = NULL;
		}
	}
}

/* The map of slots */

static const struct eb_endpoint *candidate(const struct eb_cluster *cluster, struct eb_endpoint *out)
{
	size_t index = cluster->candidate;

	if (index >= cluster->node_count) {
		index -= cluster->node_count;
		return index < cluster->settings->node_count ? &cluster->settings->nodes[index] : NULL;
	}
	out->host = cluster->nodes[index]->host;
	out->port = cluster->nodes[index]->port;
	return out;
}

/* `left` counts the slots that no range has named yet: a map may be long, but not without end. */
static bool take_range(struct eb_cluster *cluster, const struct eb_redis_reply *range, const char *asked_host,
		       long long *left)
{
	const struct eb_redis_reply *master = range->count >= 3 ? &range->items[2] : NULL;
	const char *host;
	uint16_t index;
	struct node *node;

	if (!master || master->type != EB_REDIS_ARRAY || master->count < 2 || range->items[0].integer < 0 ||
	    range->items[1].integer >= EB_SLOTS_OF_CLUSTER || range->items[1].integer < range->items[0].integer ||
	    master->items[1].integer < 1 || master->items[1].integer > 65535 || master->items[0].len > HOST_MAX)
		return false;
	*left -= range->items[1].integer - range->items[0].integer + 1;
	if (*left < 0)
		return false;
	/* Unknown or empty: the host that we asked. */
	host = master->items[0].str && *master->items[0].str && strcmp(master->items[0].str, "?")
		       ? master->items[0].str
		       : asked_host;
	node = eb_endpoint_is_host(host) ? find_or_add(cluster, host, master->items[1].integer, &index) : NULL;
	if (!node)
		return false;
	node->is_known = true;
	for (long long slot = range->items[0].integer; slot <= range->items[1].integer; slot++)
		cluster->slots[slot] = index;
	return true;
}

static void forget_owners(struct eb_cluster *cluster)
{
	memset(cluster->slots, 0xff, sizeof(cluster->slots)); /* NO_NODE */
}

static bool take_map(struct eb_cluster *cluster, const struct eb_redis_reply *reply, const char *asked_host)
{
	long long left = EB_SLOTS_OF_CLUSTER;

	if (reply->type != EB_REDIS_ARRAY || !reply->count)
		return false;
	forget_owners(cluster);
	for (size_t i = 0; i < cluster->node_count; i++)
		cluster->nodes[i]->is_known = false;
	for (size_t i = 0; i < reply->count; i++)
		if (!take_range(cluster, &reply->items[i], asked_host, &left))
			return false;
	return true;
}

static void try_candidate(struct eb_cluster *cluster);

static void end_scouting(struct eb_cluster *cluster)
{
	eb_client_free(cluster->scout);
	cluster->scout = NULL;
}

static void next_candidate(struct eb_cluster *cluster)
{
	end_scouting(cluster);
	cluster->candidate++;
	try_candidate(cluster);
}

static void check_owners(struct eb_cluster *cluster)
{
	for (size_t i = 0; i < cluster->key_count; i++) {
		if (owner(cluster, cluster->key_slots[i]))
			continue;
		ask_for_map(cluster, eb_backoff_next_us(&cluster->backoff));
		go_down(cluster, EB_REDIS_NO_MASTER, "no node of the cluster serves the slot of our key");
		return;
	}
}

static void use_map(struct eb_cluster *cluster)
{
	end_scouting(cluster);
	connect_nodes(cluster);
	check_owners(cluster);
	if (cluster->wants_map)
		ask_for_map(cluster, RETRY_US);
	cluster->wants_map = false;
	become_up(cluster);
	retry_waiting(cluster);
}

static void on_map(const struct eb_redis_result *result, void *arg)
{
	struct eb_cluster *cluster = arg;
	struct eb_endpoint buf;
	const struct eb_endpoint *asked = candidate(cluster, &buf);
	char host[HOST_MAX + 1];

	if (!result->reply || !asked || cluster->freed)
		return; /* on_scout_failed() follows */
	enter(cluster);
	/* Reading the map may move the table that the candidate stands in. */
	snprintf(host, sizeof(host), "%s", asked->host);
	if (result->error) {
		complain(cluster, result->error, result->text);
		next_candidate(cluster);
	} else if (!take_map(cluster, result->reply, host)) {
		complain(cluster, EB_REDIS_NO_MASTER, "the cluster's map of slots is empty or damaged");
		next_candidate(cluster);
	} else {
		use_map(cluster);
	}
	leave(cluster);
}

static void on_scout_ready(void *arg)
{
	struct eb_cluster *cluster = arg;
	const char *argv[] = { "CLUSTER", "SLOTS" };

	(void)eb_client_send(cluster->scout, 2, argv, NULL, on_map, cluster);
}

static void on_scout_failed(enum eb_redis_error error, const char *text, void *arg)
{
	struct eb_cluster *cluster = arg;

	enter(cluster);
	complain(cluster, error, text);
	if (!cluster->freed)
		next_candidate(cluster);
	leave(cluster);
}

static const struct eb_client_events scout_events = {
	.ready = on_scout_ready,
	.failed = on_scout_failed,
};

static void try_candidate(struct eb_cluster *cluster)
{
	const struct eb_endpoint *endpoint;
	struct eb_endpoint buf;

	if (cluster->freed)
		return; /* by who was told; the settings are gone */
	endpoint = candidate(cluster, &buf);
	if (endpoint && !eb_client_open(cluster->event, &cluster->settings->node, NULL, endpoint->host,
					endpoint->port, &scout_events, cluster, &cluster->scout))
		return;
	/* No endpoint is left to ask. */
	cluster->wants_map = false;
	arm(cluster->map_timer, eb_backoff_next_us(&cluster->backoff));
}

static int on_map_timer(sd_event_source *source, uint64_t usec, void *arg)
{
	struct eb_cluster *cluster = arg;

	(void)source;
	(void)usec;
	if (cluster->scout)
		return 0;
	cluster->candidate = 0;
	try_candidate(cluster);
	return 0;
}

/* The interface */

static void free_cluster(void *route)
{
	struct eb_cluster *cluster = route;

	if (!cluster)
		return;
	enter(cluster);
	cluster->freed = true;
	cluster->is_up = false;
	cluster->map_timer = sd_event_source_disable_unref(cluster->map_timer);
	cluster->retry_timer = sd_event_source_disable_unref(cluster->retry_timer);
	end_scouting(cluster);
	for (size_t i = 0; i < cluster->node_count; i++) {
		eb_client_free(cluster->nodes[i]->client);
		cluster->nodes[i]->client = NULL;
	}
	retry_waiting(cluster);
	leave(cluster);
}

static int copy_keys(struct eb_cluster *cluster, const char *const *keys, size_t key_count)
{
	cluster->key_slots = calloc(key_count + 1, sizeof(*cluster->key_slots));
	if (!cluster->key_slots)
		return -ENOMEM;
	cluster->key_count = key_count;
	for (size_t i = 0; i < key_count; i++)
		cluster->key_slots[i] = eb_slot_of_key(keys[i]);
	return 0;
}

int eb_cluster_new(sd_event *event, const struct eb_settings *settings, const char *const *keys, size_t key_count,
		   const struct eb_redis_events *events, void **out)
{
	struct eb_cluster *cluster = calloc(1, sizeof(*cluster));
	int err;

	if (!cluster)
		return -ENOMEM;
	cluster->event = event;
	cluster->settings = settings;
	cluster->events = *events;
	cluster->waiting_end = &cluster->waiting;
	cluster->backoff.min_ns = settings->limits.backoff_min_ns;
	cluster->backoff.max_ns = settings->limits.backoff_max_ns;
	forget_owners(cluster);
	err = copy_keys(cluster, keys, key_count);
	if (err)
		goto out;
	err = sd_event_add_time_relative(event, &cluster->map_timer, CLOCK_MONOTONIC, 0, TIMER_ACCURACY_US,
					 on_map_timer, cluster);
	if (err < 0)
		goto out;
	err = sd_event_add_time_relative(event, &cluster->retry_timer, CLOCK_MONOTONIC, RETRY_US,
					 TIMER_ACCURACY_US, on_retry, cluster);
out:
	if (err < 0) {
		free_cluster(cluster);
		return err;
	}
	*out = cluster;
	return 0;
}

static int command(void *route, const char *key, int argc, const char *const *argv, const size_t *lens,
		   eb_redis_done done, void *arg)
{
	struct eb_cluster *cluster = route;
	const struct eb_redis_limits *limits = &cluster->settings->limits;
	struct request *request;
	int err;

	if (!cluster->is_up)
		return -ENOTCONN;
	if (cluster->in_flight >= limits->max_requests || cluster->in_flight_bytes >= limits->max_bytes) {
		cluster->was_full = true;
		return -EAGAIN;
	}
	request = calloc(1, sizeof(*request));
	if (!request)
		return -ENOMEM;
	err = eb_resp_format(argc, argv, lens, &request->command, &request->len);
	if (err) {
		free(request);
		return err;
	}
	request->cluster = cluster;
	request->slot = eb_slot_of_key(key);
	request->asked_node = NO_NODE;
	request->started_ns = eb_monotonic_ns();
	request->deadline_ns = request->started_ns + limits->request_timeout_ns;
	request->done = done;
	request->arg = arg;
	cluster->in_flight++;
	cluster->in_flight_bytes += request->len;
	dispatch(request);
	return 0;
}

static bool is_up(const void *route)
{
	return ((const struct eb_cluster *)route)->is_up;
}

static size_t room(const void *route)
{
	const struct eb_cluster *cluster = route;

	return cluster->is_up && cluster->in_flight < cluster->settings->limits.max_requests
		       ? cluster->settings->limits.max_requests - cluster->in_flight
		       : 0;
}

static const char *peer(const void *route)
{
	const struct eb_cluster *cluster = route;
	const struct node *node = cluster->key_count ? owner(cluster, cluster->key_slots[0]) : NULL;

	return node && node->client ? eb_client_address(node->client) : "";
}

const struct eb_route_ops eb_cluster_ops = {
	.command = command,
	.is_up = is_up,
	.room = room,
	.peer = peer,
	.free = free_cluster,
};
