/* SPDX-License-Identifier: GPL-2.0-only */
/* Notifications of interfaces that come, go and change (rtnetlink(7), RTNLGRP_LINK), the program on them included. */
#ifndef EB_LINK_WATCH_H
#define EB_LINK_WATCH_H

#include <stdbool.h>
#include <systemd/sd-event.h>

struct eb_link_watch; /* opaque */

/* `changed` is called with the name and index of the interface, and whether it is there and running; with NULL when
 * notifications were lost and all need a look. Returns 0 and an object for eb_link_watch_close(), or negative errno. */
int eb_link_watch_open(sd_event *loop, void (*changed)(const char *name, int ifindex, bool running, void *arg),
		       void *arg, struct eb_link_watch **out);

/* Accepts NULL. */
void eb_link_watch_close(struct eb_link_watch *watch);

#endif
