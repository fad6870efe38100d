/* SPDX-License-Identifier: GPL-2.0-only */
/* The agent's end of the control socket (control.h describes the protocol). */
#ifndef EB_CONTROL_SERVER_H
#define EB_CONTROL_SERVER_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

struct eb_control_server; /* opaque */

/* Who asked, for a reply that takes time. Its client may be gone by then; the number is never used again. */
typedef uint64_t eb_control_client;

/* Answers a request, a NUL-terminated text with the file that came along, or -1: returns true with the reply, which the
 * server frees, or false to call eb_control_reply() later. The file is only open during the call. */
typedef bool (*eb_control_handler)(const char *request, int file, eb_control_client client, void *arg, json_t **reply);

/* Listens in `run_dir`, for root alone. Returns 0 and an object for eb_control_server_close(), or negative errno. */
int eb_control_server_open(sd_event *loop, const char *run_dir, eb_control_handler handler, void *arg,
			   struct eb_control_server **out);

/* Sends a reply that was put off, and frees it. NULL, here as from a handler, tells the client that memory is short. */
void eb_control_reply(struct eb_control_server *server, eb_control_client client, json_t *reply);

/* Accepts NULL. */
void eb_control_server_close(struct eb_control_server *server);

#endif
