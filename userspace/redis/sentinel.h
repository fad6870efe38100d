/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Asks the Sentinels which server is the master. It asks all of them at the same time and then watches them, so that an
 * unreachable Sentinel causes no delay. The caller must check whether the named server really is a master.
 */
#ifndef EB_SENTINEL_H
#define EB_SENTINEL_H

#include "redis/settings.h"

struct eb_sentinel; /* opaque */

/* Called from the loop only. */
struct eb_sentinel_events {
	/* The answer to eb_sentinel_query(); or, later, the new master after a failover. */
	void (*found)(const char *host, uint16_t port, void *arg);
	void (*failed)(const char *text, void *arg); /* no Sentinel names a usable server */
};

/* Does nothing until eb_sentinel_query(). Returns 0 or -ENOMEM. */
int eb_sentinel_new(sd_event *event, const struct eb_settings *settings, const struct eb_sentinel_events *events,
		    void *arg, struct eb_sentinel **out);

/* Asks all Sentinels again. `rejected` ("host:port", or NULL) is the last answer, which turned out not to be a master:
 * any other answer is preferred, because only a Sentinel with newer information gives one. */
void eb_sentinel_query(struct eb_sentinel *sentinel, const char *rejected);

/* Accepts NULL. Safe inside callbacks. */
void eb_sentinel_free(struct eb_sentinel *sentinel);

#endif
