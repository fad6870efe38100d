/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The socket RUN_DIR/json.sock, for other programs: a stream of requests, one JSON object a line, each answered with a
 * line, in order. A connection can stay open. Root may connect, and a group.
 */
#ifndef EB_LINE_SERVER_H
#define EB_LINE_SERVER_H

#include <jansson.h>
#include <stdint.h>
#include <systemd/sd-event.h>

/* Bytes of a request, its newline not counted: what is longer is refused, and its client hung up on. */
#define EB_LINE_MAX (256 * 1024)

struct eb_line_server; /* opaque */

/* Who asked, for the answer. It might be gone by then. Numbers are not reused. */
typedef uint64_t eb_line_client;

/* Takes a request, which is a NUL-terminated line. eb_line_server_reply() answers it, at once or later; the next line
 * of the same client comes after that. */
typedef void (*eb_line_handler)(const char *line, eb_line_client client, void *arg);

/* Listens in `run_dir`. `group` is the name or the number of a group whose members may connect, or NULL: root alone. If
 * there is no such group, it warns, and root alone may connect. Returns 0 and an object for eb_line_server_close(), or
 * negative errno. */
int eb_line_server_open(sd_event *loop, const char *run_dir, const char *group, eb_line_handler handler, void *arg,
			struct eb_line_server **out);

/* Sends the answer and frees it. NULL, for want of memory, hangs up. */
void eb_line_server_reply(struct eb_line_server *server, eb_line_client number, json_t *reply);

/* Hangs up on all clients. Accepts NULL. */
void eb_line_server_close(struct eb_line_server *server);

#endif
