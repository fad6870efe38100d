/* SPDX-License-Identifier: GPL-2.0-only */
/* The agent's side of the control socket (control.h describes the protocol). */
#ifndef EB_CONTROL_SERVER_H
#define EB_CONTROL_SERVER_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

struct eb_control_server; /* opaque */

/* Identifies the client of a request that is answered later. The client might be gone by then. Numbers are not
 * reused. */
typedef uint64_t eb_control_client;

/* Answers a request, which is a NUL-terminated text. `file` is the descriptor that came with it, or -1; it is only open
 * during the call. Returns true and the reply, which the server frees; or false, and eb_control_reply() is called
 * later. */
typedef bool (*eb_control_handler)(const char *request, int file, eb_control_client client, void *arg, json_t **reply);

/* Listens in `run_dir`; only root can connect. Returns 0 and an object for eb_control_server_close(), or negative
 * errno. */
int eb_control_server_open(sd_event *loop, const char *run_dir, eb_control_handler handler, void *arg,
			   struct eb_control_server **out);

/* Sends a reply to a request that was not answered at once, and frees it. A NULL reply, also from a handler, tells the
 * client that the agent is out of memory. */
void eb_control_reply(struct eb_control_server *server, eb_control_client client, json_t *reply);

/* A client whose request takes its time is not hung up on before it is answered. */
void eb_control_be_patient(struct eb_control_server *server, eb_control_client client);

/* Accepts NULL. */
void eb_control_server_close(struct eb_control_server *server);

#endif
