/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Asking the running agent: the address of its control socket, and the client's side of it.
 *
 * The socket RUN_DIR/control.sock keeps packets apart (SOCK_SEQPACKET). A request is one packet of text, a word and
 * optional arguments ("reload", "flush", "reset", "attach", "detach", "status", "lists", "owed", "ban", "unban"). With
 * "apply" goes an open file, as the agent may see other files by the same names: it can have mounts of its own, in a
 * container say. With "ban" and "unban" goes a list, see agent/ban_requests.h. The reply is one packet of JSON,
 * {"ok": true, ...} or {"ok": false, "error": "text"}.
 */
#ifndef EB_CONTROL_H
#define EB_CONTROL_H

#include <sys/types.h>
#include <sys/un.h>

#define EB_CONTROL_REQUEST_MAX (64 * 1024)
#define EB_CONTROL_REPLY_MAX (128 * 1024)

/* The sockets in run_dir: of `edgebucket`, and of other programs, which speak as agent/line_server.h says. */
#define EB_CONTROL_SOCKET "control.sock"
#define EB_JSON_SOCKET "json.sock"

/* Writes the address of the socket `name` in `run_dir`. Returns 0, or -ENAMETOOLONG if the path is too long for a
 * socket. */
int eb_control_address(const char *run_dir, const char *name, struct sockaddr_un *out);

/* The request for a detach that also holds over restarts. */
#define EB_CONTROL_STAY "detach stay"

/* With a list of bans, or of prefixes to be lifted; and without one. */
#define EB_CONTROL_BAN "ban"
#define EB_CONTROL_UNBAN "unban"
#define EB_CONTROL_UNBAN_ALL "unban all"

/* "owed LIMIT", of a bucket that is shared (store/exchange_field.h): what it would owe if only this node had charged
 * it. The reply has "own_ns". */
#define EB_CONTROL_OWED "owed "

/* "apply NANOSECONDS FILE": how long the agent waits for the confirmation (0: it needs none), and the name of the file
 * in messages. */
#define EB_CONTROL_APPLY "apply "
#define EB_CONFIRM_MIN_NS 1000000000ULL
#define EB_CONFIRM_MAX_NS (24 * 3600 * 1000000000ULL)

/*
 * Sends a request and waits for the reply, at most `timeout_ms` milliseconds in each step. Returns 0 with *reply
 * malloc'ed and NUL-terminated, or negative errno: -ENOENT and -ECONNREFUSED mean that no agent runs, -ETIMEDOUT that
 * the agent did not answer in time, -ECONNRESET that it closed the connection without an answer.
 */
int eb_control_ask(const char *run_dir, const char *request, int timeout_ms, char **reply);

/* The same; also passes the open descriptor `file`, which the caller keeps. -1 passes none. */
int eb_control_ask_with(const char *run_dir, const char *request, int file, int timeout_ms, char **reply);

/* The agent's side: receives a request, NUL-terminated. *file gets the descriptor that was passed with it, which the
 * caller closes, or -1. Returns the length of the request, 0 if the client closed the connection or sent nothing, or
 * negative errno. *file can only be a descriptor if the length is positive. */
ssize_t eb_control_receive(int fd, char request[EB_CONTROL_REQUEST_MAX + 1], int *file);

#endif
