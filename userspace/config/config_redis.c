// SPDX-License-Identifier: GPL-2.0-only
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config_redis.h"
#include "config/password.h"

#define MS 1000000ULL
#define SECOND (1000 * MS)

struct eb_redis_config *eb_redis_config_new(void)
{
	struct eb_redis_config *redis = calloc(1, sizeof(*redis));

	if (!redis)
		return NULL;
	*redis = (struct eb_redis_config){
		.nodes = calloc(EB_REDIS_NODES_MAX, sizeof(*redis->nodes)),
		.key = strdup("token_bucket_fallback"),
		.tick_ns = SECOND,
		.connect_timeout_ns = 500 * MS,
		.restore_timeout_ns = 2 * SECOND,
	};
	if (redis->nodes && redis->key) {
		redis->nodes[0].host = strdup("127.0.0.1");
		redis->nodes[0].port = EB_REDIS_PORT;
		redis->node_count = 1;
	}
	if (redis->nodes && redis->nodes[0].host)
		return redis;
	eb_redis_config_free(redis);
	return NULL;
}

void eb_redis_config_free_nodes(struct eb_redis_config *redis)
{
	for (size_t i = 0; i < redis->node_count; i++)
		eb_endpoint_done(&redis->nodes[i]);
	redis->node_count = 0;
}

static void free_tls(struct eb_redis_tls *tls)
{
	free(tls->ca);
	free(tls->cert);
	free(tls->key);
	free(tls->server_name);
}

void eb_redis_config_free(struct eb_redis_config *redis)
{
	if (!redis)
		return;
	if (redis->nodes)
		eb_redis_config_free_nodes(redis);
	free(redis->nodes);
	free(redis->socket);
	free(redis->username);
	eb_password_free(redis->password);
	free(redis->password_file);
	free_tls(&redis->tls);
	free(redis->sentinel_master);
	free(redis->sentinel_username);
	eb_password_free(redis->sentinel_password);
	free(redis->sentinel_password_file);
	free_tls(&redis->sentinel_tls);
	free(redis->key);
	free(redis);
}

static bool text_equal(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool tls_equal(const struct eb_redis_tls *a, const struct eb_redis_tls *b)
{
	return a->is_on == b->is_on && text_equal(a->ca, b->ca) && text_equal(a->cert, b->cert) &&
	       text_equal(a->key, b->key) && text_equal(a->server_name, b->server_name);
}

static bool nodes_equal(const struct eb_redis_config *a, const struct eb_redis_config *b)
{
	if (a->node_count != b->node_count)
		return false;
	for (size_t i = 0; i < a->node_count; i++)
		if (!text_equal(a->nodes[i].host, b->nodes[i].host) || a->nodes[i].port != b->nodes[i].port)
			return false;
	return true;
}

char *eb_redis_config_address(const struct eb_redis_config *redis)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		return NULL;
	if (redis->socket)
		fputs(redis->socket, out);
	if (redis->sentinel_master)
		fprintf(out, "%s of ", redis->sentinel_master);
	for (size_t i = 0; i < redis->node_count; i++) {
		const struct eb_endpoint *node = &redis->nodes[i];

		fprintf(out, "%s%s", i ? "," : "", eb_endpoint_text(node->host, node->port).text);
	}
	if (fclose(out)) {
		free(text);
		return NULL;
	}
	return text;
}

bool eb_redis_config_equal(const struct eb_redis_config *a, const struct eb_redis_config *b)
{
	if (!a || !b)
		return a == b;
	return a->kind == b->kind && nodes_equal(a, b) && text_equal(a->socket, b->socket) &&
	       text_equal(a->username, b->username) && text_equal(a->password, b->password) &&
	       text_equal(a->password_file, b->password_file) &&
	       tls_equal(&a->tls, &b->tls) && text_equal(a->sentinel_master, b->sentinel_master) &&
	       text_equal(a->sentinel_username, b->sentinel_username) &&
	       text_equal(a->sentinel_password, b->sentinel_password) &&
	       text_equal(a->sentinel_password_file, b->sentinel_password_file) &&
	       tls_equal(&a->sentinel_tls, &b->sentinel_tls) && a->db == b->db && text_equal(a->key, b->key) &&
	       a->tick_ns == b->tick_ns && a->connect_timeout_ns == b->connect_timeout_ns &&
	       a->restore_timeout_ns == b->restore_timeout_ns;
}
