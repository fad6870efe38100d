/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The socket RUN_DIR/json.sock, for other programs: a stream of requests, one JSON object a line, each answered with a
 * line, in order. A connection can stay open. Root may connect, and a group.
 */
#ifndef EB_LINE_SERVER_H
#define EB_LINE_SERVER_H

#include <jansson.h>
#include <systemd/sd-event.h>

/* Bytes of a request, its newline not counted: what is longer is refused, and its client hung up on. */
#define EB_LINE_MAX (256 * 1024)

struct eb_line_server; /* opaque */

/* Answers a line, which is NUL-terminated. Returns the reply, which the server frees; NULL for want of memory. */
typedef json_t *(*eb_line_handler)(const char *line, void *arg);

/* Listens in `run_dir`. `group` is the name or the number of a group whose members may connect, or NULL: root alone. If
 * there is no such group, it warns, and root alone may connect. Returns 0 and an object for eb_line_server_close(), or
 * negative errno. */
int eb_line_server_open(sd_event *loop, const char *run_dir, const char *group, eb_line_handler handler, void *arg,
			struct eb_line_server **out);

/* Hangs up on all clients. Accepts NULL. */
void eb_line_server_close(struct eb_line_server *server);

#endif
