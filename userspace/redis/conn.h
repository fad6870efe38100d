/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One connection: TCP, unix socket, or TLS over either; bytes in, bytes out, nothing of Redis. It never blocks: names
 * are looked up in a thread (resolve.h), connecting has a time limit, and what is waiting to be sent is bounded; how
 * long a server may be silent is for the owner to say. A name may have several addresses: the connection is to one
 * after the other, as its owner asks for the next one, until the owner keeps one. It lives once; who wants another
 * connection opens another.
 */
#ifndef EB_CONN_H
#define EB_CONN_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <systemd/sd-event.h>

#include "redis/redis.h"
#include "redis/tls.h"

struct eb_conn; /* opaque */

/* A numeric address; of none, `len` is 0. */
struct eb_address {
	struct sockaddr_storage addr;
	socklen_t len;
};

/* Where to and how; must outlive the connection. */
struct eb_conn_options {
	const char *socket;      /* a path; else host and port */
	const char *host;
	uint16_t port;
	struct eb_tls *tls;      /* NULL for none */
	const char *server_name; /* NULL: the host's */
	struct eb_address *good; /* begun with where the name has it; set by eb_conn_keep(). NULL for no interest */
	uint64_t connect_timeout_ns; /* look-up, connections and TLS handshake together; anew for a further address
				      * once one had opened */
	size_t max_output;       /* bytes waiting to be sent */
};

/* Called from the loop only, never from inside a function of this header. */
struct eb_conn_events {
	void (*opened)(void *arg);
	/* With a `len` of 0, something came that is not decrypted yet. */
	void (*received)(const char *data, size_t len, void *arg);
	void (*drained)(void *arg); /* everything is sent */
	void (*failed)(enum eb_redis_error error, const char *text, void *arg); /* eb_conn_next(), or free it */
};

/* Returns 0 or -ENOMEM; whatever else goes wrong is told by `failed`. */
int eb_conn_open(sd_event *event, const struct eb_conn_options *options, const struct eb_conn_events *events,
		 void *arg, struct eb_conn **out);

/* Accepts NULL. Safe inside callbacks. */
void eb_conn_free(struct eb_conn *conn);

/* Gives the address up, also one that failed, for the next one of the name, and forgets what was to be sent: `opened`
 * or `failed` follow again. -ENOENT, and nothing done, when there is none. */
int eb_conn_next(struct eb_conn *conn);

/* The address is the right one: no other will be needed, and later connections begin with it. */
void eb_conn_keep(struct eb_conn *conn);

/* Whether the name has more than one address. */
bool eb_conn_has_choice(const struct eb_conn *conn);

/* Where it is, or was, connected to: "10.0.0.1:6379", "[2001:db8::1]:6379"; "" before the first address is known, and
 * for a socket. */
const char *eb_conn_address(const struct eb_conn *conn);

/* Sends all of it as soon as the peer takes it. 0; -ENOBUFS, nothing of it is sent; -ENOMEM; -ENOTCONN. */
int eb_conn_write(struct eb_conn *conn, const char *data, size_t len);

/* What is written next is secret: no copy stays in memory once it is sent. */
void eb_conn_wipe_output(struct eb_conn *conn);

/* Bytes that wait to be given to the system. */
size_t eb_conn_pending(const struct eb_conn *conn);

/* The same, and those that the peer's system has not confirmed yet. */
size_t eb_conn_unconfirmed(const struct eb_conn *conn);

#endif
