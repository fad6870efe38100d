/* SPDX-License-Identifier: GPL-2.0-only */
/* Notifications of interfaces that appear, vanish or change, including changes of their XDP program, and of changes of
 * the default routes (rtnetlink(7)). */
#ifndef EB_LINK_WATCH_H
#define EB_LINK_WATCH_H

#include <stdbool.h>
#include <systemd/sd-event.h>

struct eb_link_watch; /* opaque */

/* Calls `changed` from the event loop, with the name and index of the interface, and whether it exists and is running.
 * If notifications were lost, or default routes might have changed, `name` is NULL, and the callee must look at all
 * interfaces. Returns 0 and an object for
 * eb_link_watch_close(), or negative errno. */
int eb_link_watch_open(sd_event *loop, void (*changed)(const char *name, int ifindex, bool running, void *arg),
		       void *arg, struct eb_link_watch **out);

/* Accepts NULL. */
void eb_link_watch_close(struct eb_link_watch *watch);

#endif
