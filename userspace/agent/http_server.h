/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A small HTTP server for texts, inside the agent's loop, without threads. Alone sees libmicrohttpd.
 *
 * Clients cannot hurt the agent: a connection gets one request and a few seconds in all, the number of connections is
 * bounded, for each address and together, and who comes when that is reached takes the place of the one that has been
 * there longest. So a client that is quick is served however many slow ones there are.
 */
#ifndef EB_HTTP_SERVER_H
#define EB_HTTP_SERVER_H

#include <netdb.h>
#include <stdio.h>
#include <systemd/sd-event.h>

#define EB_HTTP_UNIX "unix:" /* an address that is a path */

struct eb_http_server; /* opaque */

struct eb_http_reply {
	unsigned int status; /* 200 unless the handler changes it */
	const char *type;    /* "text/plain; charset=utf-8", likewise */
	FILE *body;          /* to write to, not to close */
};

/* Answers GET and HEAD of a path, which the client chose. */
typedef void (*eb_http_handler)(const char *path, struct eb_http_reply *reply, void *arg);

/*
 * Listens at the first of the `resolved` addresses that can be had; where that is NULL, at "unix:/path", where a socket
 * that nobody listens at any more is replaced. `address` is what it is called. Returns 0 and an object for
 * eb_http_server_close(), or negative errno with a malloc'ed line in *error.
 */
int eb_http_server_open(sd_event *loop, const char *address, const struct addrinfo *resolved, eb_http_handler handler,
			void *arg, struct eb_http_server **out, char **error);

/* Accepts NULL. Connections are cut off. */
void eb_http_server_close(struct eb_http_server *server);

#endif
