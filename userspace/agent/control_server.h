/* SPDX-License-Identifier: GPL-2.0-only */
/* The agent's end of the control socket (control.h describes the protocol). */
#ifndef EB_CONTROL_SERVER_H
#define EB_CONTROL_SERVER_H

#include <jansson.h>
#include <systemd/sd-event.h>

struct eb_control_server; /* opaque */

/* Answers a request, a NUL-terminated text: returns the reply, which the server frees. */
typedef json_t *(*eb_control_handler)(const char *request, void *arg);

/* Listens in `run_dir`, for root alone. Returns 0 and an object for eb_control_server_close(), or negative errno. */
int eb_control_server_open(sd_event *loop, const char *run_dir, eb_control_handler handler, void *arg,
			   struct eb_control_server **out);

/* Accepts NULL. */
void eb_control_server_close(struct eb_control_server *server);

#endif
