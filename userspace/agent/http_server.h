/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A small HTTP server for texts in the event loop of the agent, without threads. Only this module uses libmicrohttpd.
 *
 * Clients cannot harm the agent: a connection gets one request and a few seconds in total. The number of connections is
 * limited, per address and in total; when the limit is reached, a new connection replaces the oldest one. So a fast
 * client is served, however many slow ones there are.
 */
#ifndef EB_HTTP_SERVER_H
#define EB_HTTP_SERVER_H

#include <netdb.h>
#include <stdio.h>
#include <systemd/sd-event.h>

#define EB_HTTP_UNIX "unix:" /* begins an address that is a path */

struct eb_http_server; /* opaque */

struct eb_http_reply {
	unsigned int status; /* 200 unless the handler changes it */
	const char *type;    /* "text/plain; charset=utf-8" unless the handler changes it */
	FILE *body;          /* the handler writes to it and does not close it */
};

/* Answers GET and HEAD. The client chose `path`, so it can be anything. */
typedef void (*eb_http_handler)(const char *path, struct eb_http_reply *reply, void *arg);

/*
 * Listens on the first of the `resolved` addresses that is available. If `resolved` is NULL, `address` is "unix:/path";
 * a stale socket, on which no process listens, is replaced. `address` is also its name in messages. Returns 0 and an
 * object for eb_http_server_close(), or negative errno with a malloc'ed line in *error.
 */
int eb_http_server_open(sd_event *loop, const char *address, const struct addrinfo *resolved, eb_http_handler handler,
			void *arg, struct eb_http_server **out, char **error);

/* Accepts NULL. Closes all connections. */
void eb_http_server_close(struct eb_http_server *server);

#endif
