/* SPDX-License-Identifier: GPL-2.0-only */
/* Which interfaces carry a default route, IPv4 or IPv6, of the main routing table. */
#ifndef EB_DEFAULT_ROUTES_H
#define EB_DEFAULT_ROUTES_H

#include <stdbool.h>
#include <stddef.h>

#define EB_DEFAULT_ROUTES_MAX 64

struct eb_default_routes {
	int ifindexes[EB_DEFAULT_ROUTES_MAX]; /* of what the routes or their nexthops name; each once */
	size_t count;                         /* what is beyond the maximum is left out */
};

/* Asks the kernel. Returns 0 or negative errno; on failure *out is unchanged. */
int eb_default_routes_read(struct eb_default_routes *out);

bool eb_default_routes_have(const struct eb_default_routes *routes, int ifindex);

#endif
