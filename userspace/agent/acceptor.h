/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A listening socket in the loop. Where there is no descriptor or memory left for a connection, those that wait in the
 * kernel's queue are left there for a while: the socket stays ready all that time, and the loop would spin.
 */
#ifndef EB_ACCEPTOR_H
#define EB_ACCEPTOR_H

#include <sys/socket.h>
#include <systemd/sd-event.h>

struct eb_acceptor; /* opaque */

/* `fd` is the callee's, does not block and is not inherited. */
typedef void (*eb_acceptor_accepted)(int fd, const struct sockaddr *address, socklen_t len, void *arg);

/* Takes over the listening `fd`, also on failure. `name` is what the log calls it, and is copied. Returns 0 and
 * an object for eb_acceptor_close(), or negative errno. */
int eb_acceptor_open(sd_event *loop, int fd, const char *name, eb_acceptor_accepted accepted, void *arg,
		     struct eb_acceptor **out);

/* Accepts NULL. */
void eb_acceptor_close(struct eb_acceptor *acceptor);

#endif
