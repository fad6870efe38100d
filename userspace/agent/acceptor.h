/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A listening socket in the event loop. If there is no descriptor or memory left for a connection, waiting connections
 * stay in the queue of the kernel, and the acceptor pauses before it retries: the socket stays readable, and the loop
 * would spin otherwise.
 */
#ifndef EB_ACCEPTOR_H
#define EB_ACCEPTOR_H

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-event.h>

struct eb_acceptor; /* opaque */

/* The callee owns `fd`, which is non-blocking and close-on-exec. */
typedef void (*eb_acceptor_accepted)(int fd, const struct sockaddr *address, socklen_t len, void *arg);

/* Takes over the listening socket `fd`, also on failure. `name` is its name in the log, and is copied. Returns 0 and an
 * object for eb_acceptor_close(), or negative errno. */
int eb_acceptor_open(sd_event *loop, int fd, const char *name, eb_acceptor_accepted accepted, void *arg,
		     struct eb_acceptor **out);

/* The same for a new socket of `type` (SOCK_STREAM, SOCK_SEQPACKET) at `address`, whose file gets `mode`; at most
 * `backlog` connections wait. It replaces the file that a killed agent left: the caller holds the instance lock.
 * eb_acceptor_close() leaves the file. */
int eb_acceptor_open_unix(sd_event *loop, const struct sockaddr_un *address, int type, mode_t mode, int backlog,
			  eb_acceptor_accepted accepted, void *arg, struct eb_acceptor **out);

/* Accepts NULL. */
void eb_acceptor_close(struct eb_acceptor *acceptor);

#endif
