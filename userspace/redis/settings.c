// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "redis/settings.h"

#define MS 1000000ULL
#define SECOND (1000 * MS)

static const struct eb_redis_limits defaults = {
	.max_requests = 256,
	.max_bytes = 4 << 20,
	.max_reply_bytes = 8 << 20,
	.request_timeout_ns = 2 * SECOND,
	.idle_ping_ns = 10 * SECOND,
	.backoff_min_ns = 100 * MS,
	.backoff_max_ns = 5 * SECOND,
};

static void fill_limits(const struct eb_redis_limits *given, struct eb_redis_limits *out)
{
	*out = defaults;
	if (!given)
		return;
	if (given->max_requests)
		out->max_requests = given->max_requests;
	if (given->max_bytes)
		out->max_bytes = given->max_bytes;
	if (given->max_reply_bytes)
		out->max_reply_bytes = given->max_reply_bytes;
	if (given->request_timeout_ns)
		out->request_timeout_ns = given->request_timeout_ns;
	if (given->idle_ping_ns)
		out->idle_ping_ns = given->idle_ping_ns;
	if (given->backoff_min_ns)
		out->backoff_min_ns = given->backoff_min_ns;
	if (given->backoff_max_ns)
		out->backoff_max_ns = given->backoff_max_ns;
}

/* NULL stays NULL. Sets *failed when there is no memory. */
static char *copy(const char *text, bool *failed)
{
	char *out = text ? strdup(text) : NULL;

	*failed |= text && !out;
	return out;
}

static int copy_nodes(const struct eb_redis_config *config, struct eb_settings *settings)
{
	bool failed = false;

	settings->nodes = calloc(config->node_count + 1, sizeof(*settings->nodes));
	if (!settings->nodes)
		return -ENOMEM;
	settings->node_count = config->node_count;
	for (size_t i = 0; i < config->node_count; i++) {
		settings->nodes[i].host = copy(config->nodes[i].host, &failed);
		settings->nodes[i].port = config->nodes[i].port;
	}
	return failed ? -ENOMEM : 0;
}

static int fill_options(const struct eb_redis_tls *tls, const char *username, struct eb_client_options *out)
{
	bool failed = false;

	out->username = copy(username, &failed);
	out->server_name = copy(tls->server_name, &failed);
	if (failed)
		return -ENOMEM;
	return tls->is_on ? eb_tls_new(tls->ca, tls->cert, tls->key, &out->tls) : 0;
}

static int fill_secret(const char *file, const char *text, struct eb_secret *out)
{
	bool failed = false;

	out->file = copy(file, &failed);
	out->text = copy(text, &failed);
	return failed ? -ENOMEM : 0;
}

/* Sentinels name a master; which node of a cluster serves the key is not known yet when it is connected to. */
static enum eb_probe choose_probe(enum eb_redis_kind kind, const char *key)
{
	if (kind == EB_REDIS_SENTINEL)
		return EB_PROBE_MASTER;
	return key && kind != EB_REDIS_CLUSTER ? EB_PROBE_WRITE : EB_PROBE_PING;
}

static int fill(const struct eb_redis_config *config, const char *key, struct eb_settings *settings)
{
	bool failed = false;
	int err;

	settings->kind = config->kind;
	settings->socket = copy(config->socket, &failed);
	settings->sentinel_master = copy(config->sentinel_master, &failed);
	settings->node.probe_key = copy(key, &failed);
	err = failed ? -ENOMEM : copy_nodes(config, settings);
	if (err)
		return err;
	settings->node.db = config->db;
	settings->node.probe = choose_probe(config->kind, key);
	settings->node.good = &settings->node_good;
	settings->sentinel.good = &settings->sentinel_good;
	settings->node.connect_timeout_ns = settings->sentinel.connect_timeout_ns = config->connect_timeout_ns;
	settings->node.limits = settings->sentinel.limits = settings->limits;
	settings->node.password = &settings->node_password;
	settings->sentinel.password = &settings->sentinel_password;
	err = fill_secret(config->password_file, config->password, &settings->node_password);
	if (err)
		return err;
	err = fill_secret(config->sentinel_password_file, config->sentinel_password,
			  &settings->sentinel_password);
	if (err)
		return err;
	err = fill_options(&config->tls, config->username, &settings->node);
	if (err)
		return err;
	return fill_options(&config->sentinel_tls, config->sentinel_username, &settings->sentinel);
}

int eb_settings_new(const struct eb_redis_config *config, const struct eb_redis_limits *limits, const char *key,
		    struct eb_settings **out)
{
	struct eb_settings *settings = calloc(1, sizeof(*settings));
	int err;

	if (!settings)
		return -ENOMEM;
	fill_limits(limits, &settings->limits);
	err = fill(config, key, settings);
	if (err) {
		eb_settings_free(settings);
		return err;
	}
	*out = settings;
	return 0;
}

static void options_done(struct eb_client_options *options)
{
	free((char *)options->username);
	free((char *)options->server_name);
	free((char *)options->probe_key);
	eb_tls_free(options->tls);
}

void eb_settings_free(struct eb_settings *settings)
{
	if (!settings)
		return;
	for (size_t i = 0; settings->nodes && i < settings->node_count; i++)
		free(settings->nodes[i].host);
	free(settings->nodes);
	free(settings->socket);
	free(settings->sentinel_master);
	options_done(&settings->node);
	options_done(&settings->sentinel);
	eb_secret_done(&settings->node_password);
	eb_secret_done(&settings->sentinel_password);
	free(settings);
}
