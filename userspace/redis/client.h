/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One connection to one Redis server, from handshake to failure: AUTH, SELECT, a probe; then pipelined commands, whose
 * callbacks are called in order. A host name can have several addresses: if the server at one refuses the connection,
 * or refuses writes, the client tries the next address before it reports a failure. A client is not reused: redis.c,
 * sentinel.c and cluster.c decide where and when to connect next.
 */
#ifndef EB_CLIENT_H
#define EB_CLIENT_H

#include "config/password.h"
#include "redis/conn.h"
#include "redis/redis.h"

struct eb_client; /* opaque */

enum eb_probe {
	EB_PROBE_PING,   /* checks that the server answers and is not loading */
	EB_PROBE_WRITE,  /* also checks that it is not a replica that refuses writes to `probe_key` */
	EB_PROBE_MASTER, /* also checks that it says that it is a master */
};

/* Several clients can share the options, which must outlive them. */
struct eb_client_options {
	struct eb_tls *tls;
	const char *server_name;
	const char *username;       /* NULL: none */
	struct eb_secret *password; /* read again for each connection */
	uint32_t db;
	enum eb_probe probe;
	const char *probe_key;
	struct eb_address *good; /* the address that worked, which the next connection tries first */
	uint64_t connect_timeout_ns;
	struct eb_redis_limits limits; /* all members are set */
};

/* The client calls these from the event loop, never from inside a function of this header. */
struct eb_client_events {
	void (*ready)(void *arg);
	/* The connection failed, and the callbacks of all commands have been called. The callee must free the
	 * client. */
	void (*failed)(enum eb_redis_error error, const char *text, void *arg);
	void (*writable)(void *arg); /* can be NULL */
	void (*message)(const char *channel, const char *text, void *arg); /* of a subscription; can be NULL */
};

/* Connects to `socket`, or to `host` and `port`; the strings are copied. Returns 0 or -ENOMEM; `failed` reports all
 * other errors. */
int eb_client_open(sd_event *event, const struct eb_client_options *options, const char *socket, const char *host,
		   uint16_t port, const struct eb_client_events *events, void *arg, struct eb_client **out);

/* Calls the callbacks of all commands without a reply, with EB_REDIS_CLOSED. Accepts NULL. Safe inside callbacks. */
void eb_client_free(struct eb_client *client);

/* Sends a command; the arguments are copied. Returns 0; -ENOTCONN before `ready` and after a failure; -EAGAIN if too
 * many commands or bytes are in flight; or -ENOMEM. `done` is only called if it returns 0. */
int eb_client_send(struct eb_client *client, int argc, const char *const *argv, const size_t *lens,
		   eb_redis_done done, void *arg);

/* The same for a formatted command (resp.h). */
int eb_client_send_raw(struct eb_client *client, const char *command, size_t len, eb_redis_done done, void *arg);

bool eb_client_is_ready(const struct eb_client *client);
size_t eb_client_room(const struct eb_client *client);

/* "host:port" or the path of the socket, as the caller gave it. */
const char *eb_client_peer(const struct eb_client *client);

/* The same, but with the numeric address of the server. */
const char *eb_client_address(const struct eb_client *client);

/* Converts `text`, which a server sent, into one printable line of at most `size` - 1 bytes and a NUL. */
void eb_client_sanitize(const char *text, char *out, size_t size);

#endif
