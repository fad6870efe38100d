/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One connection: TCP, unix socket, or TLS over either; bytes in, bytes out, nothing of Redis. It never blocks: names
 * are looked up in a thread (resolve.h), connecting and sending have time limits, and what is waiting to be sent is
 * bounded. It lives once; who wants another connection opens another.
 */
#ifndef EB_CONN_H
#define EB_CONN_H

#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "redis.h"
#include "tls.h"

struct eb_conn; /* opaque */

/* Where to and how; must outlive the connection. */
struct eb_conn_options {
	const char *socket;      /* a path; else host and port */
	const char *host;
	uint16_t port;
	struct eb_tls *tls;      /* NULL for none */
	const char *server_name; /* NULL: the host's */
	uint64_t connect_timeout_ns; /* look-up, connection and TLS handshake together */
	uint64_t write_timeout_ns;   /* the peer takes nothing for so long */
	size_t max_output;       /* bytes waiting to be sent */
};

/* Called from the loop only, never from inside a function of this header. */
struct eb_conn_events {
	void (*opened)(void *arg);
	void (*received)(const char *data, size_t len, void *arg);
	void (*drained)(void *arg); /* everything is sent */
	void (*failed)(enum eb_redis_error error, const char *text, void *arg); /* it is closed; free it */
};

/* Returns 0 or -ENOMEM; whatever else goes wrong is told by `failed`. */
int eb_conn_open(sd_event *event, const struct eb_conn_options *options, const struct eb_conn_events *events,
		 void *arg, struct eb_conn **out);

/* Accepts NULL. Safe inside callbacks. */
void eb_conn_free(struct eb_conn *conn);

/* Sends all of it as soon as the peer takes it. 0; -ENOBUFS, nothing of it is sent; -ENOMEM; -ENOTCONN. */
int eb_conn_write(struct eb_conn *conn, const char *data, size_t len);

/* What is written next is secret: no copy stays in memory once it is sent. */
void eb_conn_wipe_output(struct eb_conn *conn);

size_t eb_conn_pending(const struct eb_conn *conn);

#endif
