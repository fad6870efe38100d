/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How to reach Redis, as an object. config_redis_section.h fills it from a file, config_redis_env.h from the
 * environment; redis/ uses it.
 */
#ifndef EB_CONFIG_REDIS_H
#define EB_CONFIG_REDIS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/endpoint.h"

#define EB_REDIS_NAME_MAX 255 /* characters of a user, a key or a Sentinel's master */
#define EB_REDIS_NODES_MAX 64
#define EB_REDIS_PORT 6379

enum eb_redis_kind { EB_REDIS_HOST, EB_REDIS_SOCKET, EB_REDIS_SENTINEL, EB_REDIS_CLUSTER };

/* All pointers can be NULL: then the authorities of the system, no client certificate, and the host name of the
 * endpoint are used. */
struct eb_redis_tls {
	bool is_on;
	char *ca, *cert, *key; /* files, which need not exist yet; cert and key are both NULL or both set */
	char *server_name;
};

/* Strings are NULL if they are not configured. At most one of a password and its file is set. Read the file with
 * eb_password_read() each time the password is needed: it can change, and need not exist yet. */
struct eb_redis_config {
	enum eb_redis_kind kind;
	struct eb_endpoint *nodes; /* the one host; the Sentinels; or members of the Cluster */
	size_t node_count;         /* 0 for a socket */
	char *socket;
	char *username, *password, *password_file;
	struct eb_redis_tls tls;
	char *sentinel_master;
	char *sentinel_username, *sentinel_password, *sentinel_password_file;
	struct eb_redis_tls sentinel_tls;
	uint32_t db;
	char *key;
	uint64_t tick_ns;
	uint64_t connect_timeout_ns;
	uint64_t restore_timeout_ns; /* 0: do not wait */
};

/* Returns the defaults: one server at 127.0.0.1:6379. `nodes` has room for EB_REDIS_NODES_MAX. NULL if out of
 * memory. */
struct eb_redis_config *eb_redis_config_new(void);

/* Frees the nodes, so that node_count is 0. */
void eb_redis_config_free_nodes(struct eb_redis_config *redis);

/* Whether both configurations are the same. Either can be NULL. */
bool eb_redis_config_equal(const struct eb_redis_config *a, const struct eb_redis_config *b);

/* The address of Redis as text for messages: malloc'ed; NULL if out of memory. */
char *eb_redis_config_address(const struct eb_redis_config *redis);

/* Accepts NULL. */
void eb_redis_config_free(struct eb_redis_config *redis);

#endif
