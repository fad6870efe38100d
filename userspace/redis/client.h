/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One connection to one Redis server, from handshake to failure: AUTH, SELECT, a probe; then pipelined commands, each
 * with its callback, in order. A name may have several addresses: one whose server does not take us, or our writes, is
 * given up for the next one, before anything is said to have failed. It lives once: redis.c, sentinel.c and cluster.c
 * decide where to connect next, and when.
 */
#ifndef EB_CLIENT_H
#define EB_CLIENT_H

#include "config/password.h"
#include "redis/conn.h"
#include "redis/redis.h"

struct eb_client; /* opaque */

enum eb_probe {
	EB_PROBE_PING,   /* the server answers, and is not loading */
	EB_PROBE_WRITE,  /* and does not refuse a write as a replica; for `probe_key` */
	EB_PROBE_MASTER, /* or says that it is a master */
};

/* Shared by many clients; must outlive them. */
struct eb_client_options {
	struct eb_tls *tls;
	const char *server_name;
	const char *username;       /* NULL for none */
	struct eb_secret *password; /* refreshed for each connection */
	uint32_t db;
	enum eb_probe probe;
	const char *probe_key;
	struct eb_address *good; /* remembered for the next connection */
	uint64_t connect_timeout_ns;
	struct eb_redis_limits limits; /* without zeros */
};

/* Called from the loop only, never from inside a function of this header. */
struct eb_client_events {
	void (*ready)(void *arg);
	/* It is over: every command was called back before. Free it. */
	void (*failed)(enum eb_redis_error error, const char *text, void *arg);
	void (*writable)(void *arg); /* NULL for no interest */
	void (*message)(const char *channel, const char *text, void *arg); /* of a subscription; may be NULL */
};

/* `socket`, or `host` and `port`; copied. Returns 0 or -ENOMEM. */
int eb_client_open(sd_event *event, const struct eb_client_options *options, const char *socket, const char *host,
		   uint16_t port, const struct eb_client_events *events, void *arg, struct eb_client **out);

/* Commands without reply are called back with EB_REDIS_CLOSED. Accepts NULL. Safe inside callbacks. */
void eb_client_free(struct eb_client *client);

/* 0; -ENOTCONN before `ready` and after failure; -EAGAIN when too much is under way; -ENOMEM. */
int eb_client_send(struct eb_client *client, int argc, const char *const *argv, const size_t *lens,
		   eb_redis_done done, void *arg);

/* The same for a command already formatted (resp.h). */
int eb_client_send_raw(struct eb_client *client, const char *command, size_t len, eb_redis_done done, void *arg);

bool eb_client_is_ready(const struct eb_client *client);
size_t eb_client_room(const struct eb_client *client);

/* "host:port" or the socket's path, as it was asked for. */
const char *eb_client_peer(const struct eb_client *client);

/* The same with the numeric address that it is connected to. */
const char *eb_client_address(const struct eb_client *client);

/* Makes `text`, which a server sent, one printable line of at most `size` - 1 bytes. */
void eb_client_sanitize(const char *text, char *out, size_t size);

#endif
