/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One connection for bytes: TCP, unix socket, or TLS over either; it knows nothing of Redis. It never blocks: names are
 * looked up in a thread (resolve.h), connecting has a time limit, and the bytes waiting to be sent are limited. The
 * owner decides how long a server may be silent. A name can have several addresses: the owner asks for one after the
 * other until it keeps one. A connection is not reused; open a new one instead.
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

/* A numeric address; `len` is 0 if there is none. */
struct eb_address {
	struct sockaddr_storage addr;
	socklen_t len;
};

/* Where and how to connect. Must outlive the connection. */
struct eb_conn_options {
	const char *socket;      /* a path; NULL: use host and port */
	const char *host;
	uint16_t port;
	struct eb_tls *tls;      /* NULL: no TLS */
	const char *server_name; /* the name in the certificate of the server; NULL: the host */
	struct eb_address *good; /* tried first if the name still has it; set by eb_conn_keep(). Can be NULL */
	uint64_t connect_timeout_ns; /* for look-up, connections and TLS handshake together; starts again for a further
				      * address once one had opened */
	size_t max_output;       /* maximum number of bytes waiting to be sent */
};

/* The connection calls these from the event loop, never from inside a function of this header. */
struct eb_conn_events {
	void (*opened)(void *arg);
	/* A `len` of 0 means that bytes arrived that cannot be decrypted yet. */
	void (*received)(const char *data, size_t len, void *arg);
	void (*drained)(void *arg); /* all bytes were sent */
	/* The callee must call eb_conn_next() or free the connection. */
	void (*failed)(enum eb_redis_error error, const char *text, void *arg);
};

/* Starts to connect. Returns 0 or -ENOMEM; `failed` reports all other errors. */
int eb_conn_open(sd_event *event, const struct eb_conn_options *options, const struct eb_conn_events *events,
		 void *arg, struct eb_conn **out);

/* Accepts NULL. Safe inside callbacks. */
void eb_conn_free(struct eb_conn *conn);

/* Closes the connection to the current address, if it has not failed already, discards bytes waiting to be sent, and
 * tries the next address of the name; then `opened` or `failed` is called again. Returns 0, or -ENOENT with nothing
 * changed if there is no other address. */
int eb_conn_next(struct eb_conn *conn);

/* Keeps the current address: no other one is tried, and later connections begin with it. */
void eb_conn_keep(struct eb_conn *conn);

/* Whether the name has more than one address. */
bool eb_conn_has_choice(const struct eb_conn *conn);

/* The current or last address: "10.0.0.1:6379", "[2001:db8::1]:6379"; "" before the first address is known, and for a
 * unix socket. */
const char *eb_conn_address(const struct eb_conn *conn);

/* Sends `len` bytes as soon as the peer accepts them. Returns 0; or -ENOBUFS, -ENOMEM or -ENOTCONN, and then sends
 * nothing. */
int eb_conn_write(struct eb_conn *conn, const char *data, size_t len);

/* Call this before the write of a secret: no copy stays in memory once it is sent. */
void eb_conn_wipe_output(struct eb_conn *conn);

/* The number of bytes that the kernel has not accepted yet. */
size_t eb_conn_pending(const struct eb_conn *conn);

/* The same, plus the bytes that the kernel of the peer has not acknowledged yet. */
size_t eb_conn_unconfirmed(const struct eb_conn *conn);

#endif
