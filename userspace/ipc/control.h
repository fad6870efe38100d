/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Asking the running agent: the address of its control socket, and the client's side of it.
 *
 * The socket RUN_DIR/control.sock keeps packets apart (SOCK_SEQPACKET). A request is one packet of text, a word and
 * optional arguments ("reload", "flush", "reset", "attach", "detach", "status", "lists"), or for bans a JSON object, see
 * agent/bans.h; with "apply" goes an open
 * file, as the agent may see other files by the same names: it can have mounts of its own, in a container say. The
 * reply is one packet of JSON, {"ok": true, ...} or {"ok": false, "error": "text"}.
 */
#ifndef EB_CONTROL_H
#define EB_CONTROL_H

#include <sys/types.h>
#include <sys/un.h>

#define EB_CONTROL_REQUEST_MAX (64 * 1024)
#define EB_CONTROL_REPLY_MAX (128 * 1024)

/* Returns 0, or -ENAMETOOLONG when no socket can have so long a path. */
int eb_control_address(const char *run_dir, struct sockaddr_un *out);

/* A detach that holds over restarts. */
#define EB_CONTROL_STAY "detach stay"

/* "apply NANOSECONDS FILE": how long to wait for the confirmation, 0 to need none; FILE is what messages call it. */
#define EB_CONTROL_APPLY "apply "
#define EB_CONFIRM_MIN_NS 1000000000ULL
#define EB_CONFIRM_MAX_NS (24 * 3600 * 1000000000ULL)

/*
 * Sends a request and waits for its reply, at most `timeout_ms` in each step. Returns 0 with *reply malloc'ed and
 * NUL-terminated, or negative errno: -ENOENT and -ECONNREFUSED say that no agent runs, -ETIMEDOUT that it did not
 * answer, -ECONNRESET that it ended the connection instead.
 */
int eb_control_ask(const char *run_dir, const char *request, int timeout_ms, char **reply);

/* The same with a file, which stays open; -1 for none. */
int eb_control_ask_with(const char *run_dir, const char *request, int file, int timeout_ms, char **reply);

/* The other side: receives a request, NUL-terminated, and its file, or -1. Returns its length, 0 when the client is
 * gone or sent nothing, or negative errno; a file comes with a text alone. */
ssize_t eb_control_receive(int fd, char request[EB_CONTROL_REQUEST_MAX + 1], int *file);

#endif
