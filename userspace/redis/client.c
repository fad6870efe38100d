// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "config/endpoint.h"
#include "redis/client.h"
#include "redis/resp.h"

#define HANDSHAKE_MAX 3
#define NS_PER_US 1000
#define TIMER_ACCURACY_US 1000

struct request {
	eb_redis_done done;
	void *arg;
	uint64_t sent_ns;
};

enum state { STATE_CONNECTING, STATE_GREETING, STATE_READY, STATE_FAILED };

struct eb_client {
	const struct eb_client_options *options;
	struct eb_conn_options conn_options;
	const struct eb_client_events *events;
	void *arg;
	enum state state;
	int depth;
	bool freed;
	bool was_full; /* a caller got -EAGAIN and waits for room */
	struct eb_conn *conn;
	struct eb_resp *resp;
	sd_event_source *timer;
	uint64_t progress_ns; /* when something last came, or the command that began the wait for it */
	size_t unconfirmed;   /* bytes that we sent, when they were the last sign of life; SIZE_MAX if they were not */
	struct request *requests; /* a ring: those without reply, in order */
	size_t first, count, size;
	char *socket, *host;
	char *peer;
	char given_up[200]; /* addresses, and why */
};

static void enter(struct eb_client *client)
{
	client->depth++;
}

static void destroy(struct eb_client *client)
{
	eb_resp_free(client->resp);
	free(client->requests);
	free(client->socket);
	free(client->host);
	free(client->peer);
	free(client);
}

static void leave(struct eb_client *client)
{
	if (--client->depth == 0 && client->freed)
		destroy(client);
}

static void set_timer(struct eb_client *client)
{
	uint64_t wait_ns = client->count ? client->options->limits.request_timeout_ns
					 : client->options->limits.idle_ping_ns;

	(void)sd_event_source_set_time(client->timer, (client->progress_ns + wait_ns) / NS_PER_US);
	(void)sd_event_source_set_enabled(client->timer, SD_EVENT_ONESHOT);
}

static struct request pop(struct eb_client *client)
{
	struct request request = client->requests[client->first];

	client->first = (client->first + 1) % client->size;
	client->count--;
	return request;
}

static void answer(const struct request *request, enum eb_redis_error error, const char *text,
		   const struct eb_redis_reply *reply)
{
	struct eb_redis_result result = {
		.error = error,
		.text = text,
		.reply = reply,
		.latency_ns = reply ? eb_monotonic_ns() - request->sent_ns : 0,
	};

	if (request->done)
		request->done(&result, request->arg);
}

/* Ends the connection and calls back everything that waits. */
static void close_down(struct eb_client *client, enum eb_redis_error error, const char *text)
{
	client->state = STATE_FAILED;
	client->timer = sd_event_source_disable_unref(client->timer);
	eb_conn_free(client->conn);
	client->conn = NULL;
	while (client->count) {
		struct request request = pop(client);

		answer(&request, error, text, NULL);
	}
}

/* The server at this address is not the one: goes on to the next, if there is one. */
static bool go_on(struct eb_client *client, const char *text)
{
	size_t len = strlen(client->given_up);

	if (client->state == STATE_READY || eb_conn_next(client->conn))
		return false;
	snprintf(client->given_up + len, sizeof(client->given_up) - len, "%s: %s; ", eb_conn_address(client->conn),
		 text);
	client->state = STATE_CONNECTING;
	client->first = client->count = 0; /* the greeting's */
	return true;
}

static void fail(struct eb_client *client, enum eb_redis_error error, const char *text)
{
	char copy[320];

	if (client->state == STATE_FAILED || go_on(client, text))
		return;
	if (eb_conn_has_choice(client->conn))
		snprintf(copy, sizeof(copy), "%s%s: %s", client->given_up, eb_conn_address(client->conn), text);
	else
		snprintf(copy, sizeof(copy), "%s", text);
	close_down(client, error, copy);
	if (!client->freed)
		client->events->failed(error, copy, client->arg);
}

void eb_client_sanitize(const char *text, char *out, size_t size)
{
	size_t len = 0;

	for (; *text && len + 1 < size; text++)
		out[len++] = *text >= 0x20 && *text < 0x7f ? *text : '?';
	out[len] = '\0';
}

/* Errors after which another connection, later or to another server, is the better one. */
static bool ends_connection(enum eb_redis_error error)
{
	return error == EB_REDIS_AUTH || error == EB_REDIS_LOADING || error == EB_REDIS_READONLY ||
	       error == EB_REDIS_MAX_CLIENTS;
}

static bool is_talking(const struct eb_client *client)
{
	return client->state == STATE_GREETING || client->state == STATE_READY;
}

static void on_reply(struct eb_client *client, const struct eb_redis_reply *reply)
{
	enum eb_redis_error error = EB_REDIS_OK;
	struct request request;
	char text[200] = "";

	if (reply->type == EB_REDIS_ERROR) {
		error = eb_resp_classify(reply->str);
		eb_client_sanitize(*reply->str ? reply->str : "an error without a reason", text, sizeof(text));
	}
	if (!client->count) {
		fail(client, error ? error : EB_REDIS_PROTOCOL, error ? text : "a reply to no command");
		return;
	}
	request = pop(client);
	answer(&request, error, text, reply);
	if (is_talking(client) && ends_connection(error))
		fail(client, error, text);
}

static bool is_message(const struct eb_redis_reply *reply)
{
	return reply->type == EB_REDIS_ARRAY && reply->count == 3 && reply->items[0].str &&
	       !strcmp(reply->items[0].str, "message") && reply->items[1].str && reply->items[2].str;
}

static void tell_writable(struct eb_client *client)
{
	if (!client->was_full || client->state != STATE_READY || client->count > client->size / 2 ||
	    eb_conn_pending(client->conn) > client->conn_options.max_output / 2)
		return;
	client->was_full = false;
	if (client->events->writable)
		client->events->writable(client->arg);
}

static void take_reply(struct eb_client *client, const struct eb_redis_reply *reply)
{
	if (client->events->message && is_message(reply))
		client->events->message(reply->items[1].str, reply->items[2].str, client->arg);
	else
		on_reply(client, reply);
}

static void on_received(const char *data, size_t len, void *arg)
{
	struct eb_client *client = arg;
	const struct eb_redis_reply *reply;
	int err, got = 1;

	enter(client);
	client->progress_ns = eb_monotonic_ns();
	client->unconfirmed = SIZE_MAX;
	err = eb_resp_feed(client->resp, data, len);
	while (!err && got > 0 && is_talking(client)) {
		got = eb_resp_next(client->resp, &reply);
		if (got > 0)
			take_reply(client, reply);
		else
			err = got;
	}
	if (err)
		fail(client, EB_REDIS_PROTOCOL,
		     err == -EMSGSIZE ? "a reply exceeds the size limit"
		     : err == -ENOMEM ? "out of memory"
				      : "the server sent something that is not a reply of Redis");
	if (client->state != STATE_FAILED)
		tell_writable(client);
	leave(client);
}

static void on_drained(void *arg)
{
	struct eb_client *client = arg;

	enter(client);
	tell_writable(client);
	leave(client);
}

static void on_failed(enum eb_redis_error error, const char *text, void *arg)
{
	struct eb_client *client = arg;

	enter(client);
	fail(client, error, text);
	leave(client);
}

static int push(struct eb_client *client, const char *command, size_t len, eb_redis_done done, void *arg)
{
	size_t last = (client->first + client->count) % client->size;
	int err;

	if (client->count == client->size) {
		client->was_full = true;
		return -EAGAIN;
	}
	err = eb_conn_write(client->conn, command, len);
	if (err == -ENOBUFS) {
		/* Nothing will ever make room for a command that is larger than all of it. */
		if (len > client->conn_options.max_output)
			return -EMSGSIZE;
		client->was_full = true;
		return -EAGAIN;
	}
	if (err)
		return err;
	client->requests[last] = (struct request){ .done = done, .arg = arg, .sent_ns = eb_monotonic_ns() };
	if (!client->count++) {
		client->progress_ns = client->requests[last].sent_ns;
		client->unconfirmed = SIZE_MAX;
		set_timer(client);
	}
	return 0;
}

static int push_argv(struct eb_client *client, int argc, const char *const *argv, const size_t *lens,
		     eb_redis_done done, void *arg)
{
	char *command;
	size_t len;
	int err = eb_resp_format(argc, argv, lens, &command, &len);

	if (err)
		return err;
	err = push(client, command, len, done, arg);
	eb_resp_free_command(command, len);
	return err;
}

static void on_auth(const struct eb_redis_result *result, void *arg)
{
	char text[120];

	if (!result->error || !result->reply)
		return;
	/* A server without AUTH repeats its arguments in the error, the password among them: of what it says, only what
	 * we know comes out. */
	if (!strncmp(result->reply->str, "WRONGPASS", 9) || !strncmp(result->reply->str, "ERR invalid password", 20))
		snprintf(text, sizeof(text), "the server refused the user name or password");
	else if (!strncmp(result->reply->str, "ERR wrong number", 16))
		snprintf(text, sizeof(text), "the server knows no user names (Redis before 6)");
	else if (strstr(result->reply->str, "without any password configured"))
		snprintf(text, sizeof(text), "a password is configured, but the server requires none");
	else if (eb_resp_classify(result->reply->str) == EB_REDIS_MAX_CLIENTS)
		snprintf(text, sizeof(text), "the server has its maximum number of clients");
	else
		snprintf(text, sizeof(text), "the server refused AUTH");
	fail(arg, eb_resp_classify(result->reply->str) == EB_REDIS_MAX_CLIENTS ? EB_REDIS_MAX_CLIENTS : EB_REDIS_AUTH,
	     text);
}

static void on_select(const struct eb_redis_result *result, void *arg)
{
	if (result->error && result->reply && !ends_connection(result->error))
		fail(arg, result->error, result->text);
}

static void on_ping(const struct eb_redis_result *result, void *arg)
{
	struct eb_client *client = arg;

	/* An error reply also proves that the server is up: the ACL might not allow PING to this user. */
	if (!result->reply || ends_connection(result->error))
		return;
	if (client->state == STATE_GREETING) {
		client->state = STATE_READY;
		eb_conn_keep(client->conn);
		client->events->ready(client->arg);
	}
}

static void on_role(const struct eb_redis_result *result, void *arg)
{
	const struct eb_redis_reply *reply = result->reply;
	struct eb_client *client = arg;

	if (!reply || ends_connection(result->error))
		return;
	if (reply->type != EB_REDIS_ARRAY || !reply->count || !reply->items[0].str)
		fail(client, result->error ? result->error : EB_REDIS_PROTOCOL,
		     result->error ? result->text : "the reply to ROLE is not a role");
	else if (strcmp(reply->items[0].str, "master"))
		fail(client, EB_REDIS_NO_MASTER, "the server says that it is not a master");
	else
		on_ping(result, client);
}

static int send_auth(struct eb_client *client)
{
	const char *username = client->options->username, *password = client->options->password->text;
	const char *argv[] = { "AUTH", username ? username : password, password };
	int argc = username ? 3 : 2;

	eb_conn_wipe_output(client->conn);
	return push_argv(client, argc, argv, NULL, on_auth, client);
}

static int send_select(struct eb_client *client)
{
	const char *argv[] = { "SELECT", NULL };
	char db[12];

	snprintf(db, sizeof(db), "%u", client->options->db);
	argv[1] = db;
	return push_argv(client, 2, argv, NULL, on_select, client);
}

/* A write is a removal of what cannot be there: no field begins with the bar behind a rule's name. It takes a right
 * that the agent needs anyhow. */
static int send_probe(struct eb_client *client)
{
	const char *remove[] = { "HDEL", client->options->probe_key, "|" }, *role[] = { "ROLE" }, *ping[] = { "PING" };

	switch (client->options->probe) {
	case EB_PROBE_WRITE:
		return push_argv(client, 3, remove, NULL, on_ping, client);
	case EB_PROBE_MASTER:
		return push_argv(client, 1, role, NULL, on_role, client);
	default:
		return push_argv(client, 1, ping, NULL, on_ping, client);
	}
}

static int renew_parser(struct eb_client *client)
{
	eb_resp_free(client->resp);
	client->resp = eb_resp_new(client->options->limits.max_reply_bytes);
	return client->resp ? 0 : -ENOMEM;
}

static void greet(struct eb_client *client)
{
	int err = renew_parser(client);

	if (!err && client->options->password->text)
		err = send_auth(client);
	if (!err && client->options->db)
		err = send_select(client);
	if (!err)
		err = send_probe(client);
	if (err)
		fail(client, EB_REDIS_CONNECT, strerror(-err));
}

static void on_opened(void *arg)
{
	struct eb_client *client = arg;
	char *error = NULL;

	enter(client);
	client->state = STATE_GREETING;
	if (eb_secret_refresh(client->options->password, &error))
		fail(client, EB_REDIS_AUTH, error ? error : "out of memory");
	else
		greet(client);
	free(error);
	leave(client);
}

static const struct eb_conn_events conn_events = {
	.opened = on_opened,
	.received = on_received,
	.drained = on_drained,
	.failed = on_failed,
};

static void ping_when_idle(struct eb_client *client)
{
	const char *argv[] = { "PING" };
	int err = client->state == STATE_READY ? push_argv(client, 1, argv, NULL, NULL, NULL) : 0;

	if (err)
		fail(client, EB_REDIS_LOST, strerror(-err));
}

/* What we sent is on its way still, over a slow link, and replies cannot have come. */
static bool is_sending(struct eb_client *client)
{
	size_t left = eb_conn_unconfirmed(client->conn);

	if (!left || left >= client->unconfirmed)
		return false;
	client->unconfirmed = left;
	client->progress_ns = eb_monotonic_ns();
	return true;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *arg)
{
	struct eb_client *client = arg;
	uint64_t timeout_ns = client->options->limits.request_timeout_ns, silent_ns;
	char text[80];

	(void)source;
	(void)usec;
	enter(client);
	silent_ns = eb_monotonic_ns() - client->progress_ns;
	if (client->count && silent_ns >= timeout_ns && !is_sending(client)) {
		snprintf(text, sizeof(text), "no answer within %.1f s", timeout_ns / 1e9);
		fail(client, EB_REDIS_TIMEOUT, text);
	} else if (!client->count && silent_ns >= client->options->limits.idle_ping_ns) {
		ping_when_idle(client);
	} else {
		set_timer(client);
	}
	leave(client);
	return 0;
}

static char *copy_text(const char *text)
{
	return text ? strdup(text) : NULL;
}

static bool name_peer(struct eb_client *client, const char *socket, const char *host, uint16_t port)
{
	client->socket = copy_text(socket);
	client->host = copy_text(host);
	client->peer = strdup(socket ? socket : eb_endpoint_text(host, port).text);
	return client->peer && (socket ? client->socket : client->host);
}

static int start(struct eb_client *client, sd_event *event)
{
	const struct eb_redis_limits *limits = &client->options->limits;
	int err;

	client->size = limits->max_requests + HANDSHAKE_MAX;
	client->requests = calloc(client->size, sizeof(*client->requests));
	if (!client->requests)
		return -ENOMEM;
	client->progress_ns = eb_monotonic_ns();
	err = sd_event_add_time(event, &client->timer, CLOCK_MONOTONIC, 0, TIMER_ACCURACY_US, on_timer, client);
	if (err < 0)
		return err;
	set_timer(client);
	return eb_conn_open(event, &client->conn_options, &conn_events, client, &client->conn);
}

int eb_client_open(sd_event *event, const struct eb_client_options *options, const char *socket, const char *host,
		   uint16_t port, const struct eb_client_events *events, void *arg, struct eb_client **out)
{
	struct eb_client *client = calloc(1, sizeof(*client));
	int err = -ENOMEM;

	if (!client)
		return -ENOMEM;
	client->options = options;
	client->events = events;
	client->arg = arg;
	if (!name_peer(client, socket, host, port))
		goto fail;
	client->conn_options = (struct eb_conn_options){
		.socket = client->socket,
		.host = client->host,
		.port = port,
		.tls = options->tls,
		.server_name = options->server_name,
		.good = options->good,
		.connect_timeout_ns = options->connect_timeout_ns,
		.max_output = options->limits.max_bytes,
	};
	err = start(client, event);
	if (err)
		goto fail;
	*out = client;
	return 0;
fail:
	eb_client_free(client);
	return err;
}

void eb_client_free(struct eb_client *client)
{
	if (!client)
		return;
	client->freed = true;
	enter(client);
	close_down(client, EB_REDIS_CLOSED, "the connection was given up");
	leave(client);
}

int eb_client_send_raw(struct eb_client *client, const char *command, size_t len, eb_redis_done done, void *arg)
{
	if (client->state != STATE_READY)
		return -ENOTCONN;
	return push(client, command, len, done, arg);
}

int eb_client_send(struct eb_client *client, int argc, const char *const *argv, const size_t *lens,
		   eb_redis_done done, void *arg)
{
	if (client->state != STATE_READY)
		return -ENOTCONN;
	return push_argv(client, argc, argv, lens, done, arg);
}

bool eb_client_is_ready(const struct eb_client *client)
{
	return client && client->state == STATE_READY;
}

size_t eb_client_room(const struct eb_client *client)
{
	return eb_client_is_ready(client) ? client->size - client->count : 0;
}

const char *eb_client_peer(const struct eb_client *client)
{
	return client->peer;
}

const char *eb_client_address(const struct eb_client *client)
{
	const char *address = client->conn ? eb_conn_address(client->conn) : "";

	return *address ? address : client->peer;
}
