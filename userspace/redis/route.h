/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How commands find their server: the common interface of single.c (one server, or the master that Sentinels name) and
 * cluster.c, for redis.c.
 */
#ifndef EB_ROUTE_H
#define EB_ROUTE_H

#include "redis/settings.h"

struct eb_route_ops {
	int (*command)(void *route, const char *key, int argc, const char *const *argv, const size_t *lens,
		       eb_redis_done done, void *arg);
	bool (*is_up)(const void *route);
	size_t (*room)(const void *route);
	const char *(*peer)(const void *route);
	void (*free)(void *route);
};

extern const struct eb_route_ops eb_single_ops;
extern const struct eb_route_ops eb_cluster_ops;

/* Both start to connect at once, and call `events`, of which all must be set, only from the event loop. `settings` must
 * outlive the route, but free() can be called inside a callback, and what the route does afterwards does not use them.
 * Return 0 or -ENOMEM. */
int eb_single_new(sd_event *event, const struct eb_settings *settings, const struct eb_redis_events *events,
		  void **out);
int eb_cluster_new(sd_event *event, const struct eb_settings *settings, const char *const *keys, size_t key_count,
		   const struct eb_redis_events *events, void **out);

#endif
