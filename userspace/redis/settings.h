/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The configuration in the form that the parts of the client use: a copy, with default limits filled in. redis.c
 * creates it; single.c, sentinel.c and cluster.c read it.
 */
#ifndef EB_SETTINGS_H
#define EB_SETTINGS_H

#include "config/config_redis.h"
#include "redis/client.h"

struct eb_settings {
	enum eb_redis_kind kind;
	struct eb_endpoint *nodes;
	size_t node_count;
	char *socket;
	char *sentinel_master;
	struct eb_client_options node;     /* for Redis itself */
	struct eb_client_options sentinel; /* for Sentinels */
	struct eb_secret node_password, sentinel_password;
	struct eb_address node_good, sentinel_good; /* the addresses that accepted the last connection */
	struct eb_redis_limits limits;
};

/* `key` is one of the keys to which commands will write; NULL: none. Returns 0 and settings for
 * eb_settings_free(), or -ENOMEM. */
int eb_settings_new(const struct eb_redis_config *config, const struct eb_redis_limits *limits, const char *key,
		    struct eb_settings **out);

/* Wipes passwords. Accepts NULL. */
void eb_settings_free(struct eb_settings *settings);

#endif
