/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How to reach Redis: the section `redis` of the configuration, the file of --redis-config, and the environment.
 *
 * config.c reads it; the agent's redis/ uses what came out.
 */
#ifndef EB_CONFIG_REDIS_H
#define EB_CONFIG_REDIS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/endpoint.h"
#include "config/findings.h"
#include "config/yaml.h"

enum eb_redis_kind { EB_REDIS_HOST, EB_REDIS_SOCKET, EB_REDIS_SENTINEL, EB_REDIS_CLUSTER };

/* All but is_on may be NULL: the system's authorities, no client certificate, the name that was connected to. */
struct eb_redis_tls {
	bool is_on;
	char *ca, *cert, *key; /* files, which need not be there yet; cert and key come together */
	char *server_name;
};

/* Strings are NULL where they were left out. Of a password and its file, one is there at most; the file is for
 * eb_password_read() whenever the password is needed: it changes, and need not be there yet. */
struct eb_redis_config {
	enum eb_redis_kind kind;
	struct eb_endpoint *nodes; /* the one host; the sentinels; members of the cluster */
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

/* Reads the section. `into` is a struct eb_redis_config *, to be freed with eb_redis_config_free(). */
int eb_redis_config_read(const struct eb_yaml_value *value, void *into);

/* Reads a file that holds nothing else, YAML or JSON. Returns 0 or negative errno. */
int eb_redis_config_read_file(const char *path, struct eb_findings *report, struct eb_redis_config **out);

/* Applies REDIS_HOST and the others to *redis, which is made if it is NULL and REDIS_HOST is set. What belongs to the
 * combination of file and environment is checked here. Returns 0 or negative errno. */
int eb_redis_config_apply_env(struct eb_redis_config **redis, struct eb_findings *report);

/* Either may be NULL. */
bool eb_redis_config_equal(const struct eb_redis_config *a, const struct eb_redis_config *b);

/* Where it is, for people: malloc'ed, NULL when memory is short. */
char *eb_redis_config_address(const struct eb_redis_config *redis);

/* Accepts NULL. */
void eb_redis_config_free(struct eb_redis_config *redis);

#endif
