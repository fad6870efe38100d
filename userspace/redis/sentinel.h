/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who is master, by the Sentinels' word. All of them are asked at once and watched from then on, so that one that is
 * down or cut off costs no time. Whether the server they name really is a master is for the caller to find out.
 */
#ifndef EB_SENTINEL_H
#define EB_SENTINEL_H

#include "redis/settings.h"

struct eb_sentinel; /* opaque */

/* Called from the loop only. */
struct eb_sentinel_events {
	/* The answer to eb_sentinel_query(), or, later, where a failover went. */
	void (*found)(const char *host, uint16_t port, void *arg);
	void (*failed)(const char *text, void *arg); /* no Sentinel names a server worth trying */
};

/* Nothing happens before eb_sentinel_query(). 0 or -ENOMEM. */
int eb_sentinel_new(sd_event *event, const struct eb_settings *settings, const struct eb_sentinel_events *events,
		    void *arg, struct eb_sentinel **out);

/* Asks all of them again. `rejected` ("host:port", or NULL) was named last time and is no master: another answer is
 * preferred to it, which only comes from a Sentinel that knows better. */
void eb_sentinel_query(struct eb_sentinel *sentinel, const char *rejected);

/* Accepts NULL. Safe inside callbacks. */
void eb_sentinel_free(struct eb_sentinel *sentinel);

#endif
