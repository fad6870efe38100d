/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Host names to addresses without blocking the loop.
 *
 * getaddrinfo() runs in a short-lived thread of its own. systemd's sd-resolve is not part of libsystemd's public
 * interface, and getaddrinfo_a() of glibc cannot give up a look-up that hangs without its memory staying in use; here
 * the thread and the waiting side share it by reference count, and whoever is last frees it.
 */
#ifndef EB_RESOLVE_H
#define EB_RESOLVE_H

#include <netdb.h>
#include <stdint.h>
#include <systemd/sd-event.h>

struct eb_resolve; /* opaque: one look-up under way */

/* `error` is 0 or one of getaddrinfo()'s; the callee frees `list` with freeaddrinfo(). The look-up is over and gone. */
typedef void (*eb_resolve_done)(int error, struct addrinfo *list, void *arg);

/* An address written in numbers: 0 and a list for freeaddrinfo(), or getaddrinfo()'s error. Never blocks. */
int eb_resolve_numeric(const char *host, uint16_t port, struct addrinfo **out);

/* Returns 0, -ENOMEM, or -EAGAIN when too many look-ups hang already. */
int eb_resolve_start(sd_event *event, const char *host, uint16_t port, eb_resolve_done done, void *arg,
		     struct eb_resolve **out);

/* Gives up; `done` is not called. Accepts NULL. */
void eb_resolve_cancel(struct eb_resolve *resolve);

#endif
