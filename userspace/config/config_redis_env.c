// SPDX-License-Identifier: GPL-2.0-only
/*
 * Values are not quoted in messages: a password may have got to any of them by mistake.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/input.h"
#include "config/config_redis_env.h"
#include "config/password.h"
#include "config/quantity.h"

static int replace(char **string, const char *value)
{
	char *copy = strdup(value);

	if (!copy)
		return -ENOMEM;
	eb_password_free(*string);
	*string = copy;
	return 0;
}

static int fail_env(struct eb_findings *findings, const char *name, const char *text)
{
	return eb_findings_fail(findings, "environment variable %s: %s", name, text);
}

static int use_host(struct eb_redis_config *redis, const char *host)
{
	uint16_t port = redis->kind == EB_REDIS_HOST ? redis->nodes[0].port : EB_REDIS_PORT;
	char *copy = strdup(host);

	if (!copy)
		return -ENOMEM;
	eb_redis_config_free_nodes(redis);
	redis->nodes[0] = (struct eb_endpoint){ .host = copy, .port = port };
	redis->node_count = 1;
	redis->kind = EB_REDIS_HOST;
	return 0;
}

static int apply_host(struct eb_redis_config *redis, struct eb_findings *findings)
{
	const char *host = eb_input_env("REDIS_HOST");
	int err = 0;

	if (!host)
		return 0;
	if (!eb_endpoint_is_host(host))
		return fail_env(findings, "REDIS_HOST", "not a host name or an address");
	if (redis->kind != EB_REDIS_HOST)
		err = eb_findings_warn(findings, "environment variable REDIS_HOST: replaces the configured socket, "
						 "sentinel or cluster");
	return err ? err : use_host(redis, host);
}

static int apply_port(struct eb_redis_config *redis, struct eb_findings *findings)
{
	const char *text = eb_input_env("REDIS_PORT");
	uint64_t port;

	if (!text)
		return 0;
	/* Kubernetes sets REDIS_PORT=tcp://... for a service named redis, unless enableServiceLinks is false. */
	if (eb_quantity_integer(text, &port) || port < 1 || port > UINT16_MAX)
		return fail_env(findings, "REDIS_PORT", strncmp(text, "tcp://", 6) ?
				"not a port; from 1 to 65535" :
				"not a port; looks like a service link of Kubernetes, see enableServiceLinks");
	if (redis->kind != EB_REDIS_HOST)
		return eb_findings_warn(findings, "environment variable REDIS_PORT: has no effect with a socket, "
						"sentinel or cluster");
	redis->nodes[0].port = port;
	return 0;
}

static int apply_password(struct eb_redis_config *redis, struct eb_findings *findings)
{
	const char *password = eb_input_env("REDIS_PASSWORD");
	char *reason = NULL;
	int err;

	if (!password)
		return 0;
	err = replace(&redis->password, password);
	if (err)
		return err;
	err = eb_password_trim(redis->password, strlen(redis->password), &reason);
	if (err)
		err = fail_env(findings, "REDIS_PASSWORD", reason ? reason : "is no password");
	free(reason);
	return err;
}

static int apply_username(struct eb_redis_config *redis, struct eb_findings *findings)
{
	const char *username = eb_input_env("REDIS_USERNAME");

	if (!username)
		return 0;
	if (strlen(username) > EB_REDIS_NAME_MAX || !eb_input_is_graphic(username))
		return fail_env(findings, "REDIS_USERNAME",
				"must have 1 to 255 characters of printable ASCII without spaces");
	if (!redis->password && !redis->password_file)
		return fail_env(findings, "REDIS_USERNAME", "there is no password for it; set REDIS_PASSWORD");
	return replace(&redis->username, username);
}

static int apply_tls(struct eb_redis_config *redis, struct eb_findings *findings)
{
	const char *text = eb_input_env("REDIS_TLS");

	if (!text)
		return 0;
	if (eb_quantity_bool(text, &redis->tls.is_on))
		return fail_env(findings, "REDIS_TLS", "neither true nor false");
	if (redis->kind == EB_REDIS_SOCKET && redis->tls.is_on)
		return fail_env(findings, "REDIS_TLS", "TLS cannot be used with the configured socket");
	return 0;
}

int eb_redis_env_apply(struct eb_redis_config **redis, struct eb_findings *findings)
{
	int err;

	if (!*redis && !eb_input_env("REDIS_HOST")) {
		if (eb_input_env("REDIS_PASSWORD"))
			return eb_findings_warn(findings, "environment variable REDIS_PASSWORD: has no effect without "
							"a section redis or REDIS_HOST");
		return 0;
	}
	if (!*redis)
		*redis = eb_redis_config_new();
	if (!*redis)
		return -ENOMEM;
	err = apply_host(*redis, findings);
	if (err)
		return err;
	err = apply_port(*redis, findings);
	if (err)
		return err;
	err = apply_password(*redis, findings);
	if (err)
		return err;
	err = apply_username(*redis, findings);
	return err ? err : apply_tls(*redis, findings);
}
