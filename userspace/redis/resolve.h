/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Resolves host names to addresses without blocking the event loop.
 *
 * getaddrinfo() runs in a short-lived thread. sd-resolve of systemd is not part of the public interface of libsystemd,
 * and getaddrinfo_a() of glibc cannot cancel a look-up that hangs without leaking its memory. Here, the thread and the
 * caller share the memory with a reference count, and the last of them frees it.
 */
#ifndef EB_RESOLVE_H
#define EB_RESOLVE_H

#include <netdb.h>
#include <stdint.h>
#include <systemd/sd-event.h>

struct eb_resolve; /* opaque: one look-up in progress */

/* `error` is 0 or an error of getaddrinfo(). The callee frees `list` with freeaddrinfo(). The look-up is freed
 * before. */
typedef void (*eb_resolve_done)(int error, struct addrinfo *list, void *arg);

/* Parses a numeric address. Returns 0 and a list for freeaddrinfo(), or an error of getaddrinfo(). Never blocks. */
int eb_resolve_numeric(const char *host, uint16_t port, struct addrinfo **out);

/* Starts a look-up. Returns 0, -ENOMEM, or -EAGAIN if too many look-ups are still running. */
int eb_resolve_start(sd_event *event, const char *host, uint16_t port, eb_resolve_done done, void *arg,
		     struct eb_resolve **out);

/* Cancels a look-up; `done` is not called. Accepts NULL. */
void eb_resolve_cancel(struct eb_resolve *resolve);

#endif
