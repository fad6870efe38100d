// SPDX-License-Identifier: GPL-2.0-only
/*
 * Values are not quoted in messages where a password may have got to by mistake: hosts, names, secrets.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/input.h"
#include "config/config_redis_section.h"
#include "config/password.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define BIT(n) (1ULL << (n))

#define SENTINEL_PORT_DEFAULT 26379
#define MS 1000000ULL
#define SECOND (1000 * MS)

/* --- scalars --- */

static int read_host(const struct eb_yaml_value *value, void *into)
{
	struct eb_redis_config *redis = into;
	const char *text;
	int err = eb_yaml_text(value, &text);

	if (err)
		return err;
	if (!eb_endpoint_is_host(text))
		return eb_yaml_fail(value, "is not a host name or an address; the port has a key of its own");
	free(redis->nodes[0].host);
	redis->nodes[0].host = strdup(text);
	return redis->nodes[0].host ? 0 : -ENOMEM;
}

static int read_port(const struct eb_yaml_value *value, void *into)
{
	struct eb_redis_config *redis = into;
	uint64_t port;
	int err = eb_yaml_number(value, 1, UINT16_MAX, &port);

	if (!err)
		redis->nodes[0].port = port;
	return err;
}

static int read_socket(const struct eb_yaml_value *value, void *into)
{
	struct eb_redis_config *redis = into;
	const char *text;
	int err = eb_yaml_text(value, &text);

	if (err)
		return err;
	if (*text != '/' || strlen(text) >= sizeof(((struct sockaddr_un *)0)->sun_path))
		return eb_yaml_fail(value, "is not an absolute path of at most 107 characters");
	redis->kind = EB_REDIS_SOCKET;
	return eb_yaml_string(value, &redis->socket);
}

/* A name without spaces, neither empty nor overlong. */
static int read_graphic(const struct eb_yaml_value *value, char **out)
{
	const char *text;
	int err = eb_yaml_text(value, &text);

	if (err)
		return err;
	if (!*text || strlen(text) > EB_REDIS_NAME_MAX || !eb_input_is_graphic(text))
		return eb_yaml_fail(value, "must have 1 to %d characters of printable ASCII without spaces",
				    EB_REDIS_NAME_MAX);
	return eb_yaml_string(value, out);
}

static int read_db(const struct eb_yaml_value *value, void *into)
{
	struct eb_redis_config *redis = into;
	uint64_t db;
	int err = eb_yaml_number(value, 0, INT32_MAX, &db);

	if (!err)
		redis->db = db;
	return err;
}

static int read_key(const struct eb_yaml_value *value, void *into)
{
	struct eb_redis_config *redis = into;
	char *key;
	int err = read_graphic(value, &key);

	if (err)
		return err;
	free(redis->key);
	redis->key = key;
	/* The node's name stands in braces behind it; in a cluster the first braces decide where a key lives. */
	if (strpbrk(key, "{}"))
		return eb_yaml_fail(value, "must not contain braces");
	return 0;
}

static int read_tick(const struct eb_yaml_value *value, void *into)
{
	struct eb_redis_config *redis = into;

	return eb_yaml_duration(value, 100 * MS, 3600 * SECOND, "100ms to 1h", &redis->tick_ns);
}

static int read_connect_timeout(const struct eb_yaml_value *value, void *into)
{
	struct eb_redis_config *redis = into;

	return eb_yaml_duration(value, 10 * MS, 60 * SECOND, "10ms to 60s", &redis->connect_timeout_ns);
}

static int read_restore_timeout(const struct eb_yaml_value *value, void *into)
{
	struct eb_redis_config *redis = into;

	return eb_yaml_duration(value, 0, 3600 * SECOND, "0s to 1h", &redis->restore_timeout_ns);
}

/* --- who we are --- */

static int read_username(const struct eb_yaml_value *value, void *into)
{
	return read_graphic(value, &((struct eb_redis_config *)into)->username);
}

static int read_sentinel_username(const struct eb_yaml_value *value, void *into)
{
	return read_graphic(value, &((struct eb_redis_config *)into)->sentinel_username);
}

static int read_password_into(const struct eb_yaml_value *value, char **out)
{
	char *text, *reason = NULL;
	int err = eb_yaml_string(value, &text);

	if (err)
		return err;
	err = eb_password_trim(text, strlen(text), &reason);
	if (err)
		err = eb_yaml_fail(value, "%s", reason ? reason : "is no password");
	else if (value->yaml->world_readable)
		err = eb_yaml_warn(value, "every user of this machine can read this file; use chmod o-r or "
					  "password_file");
	free(reason);
	if (err)
		eb_password_free(text);
	else
		*out = text;
	return err;
}

static int read_password(const struct eb_yaml_value *value, void *into)
{
	return read_password_into(value, &((struct eb_redis_config *)into)->password);
}

static int read_sentinel_password(const struct eb_yaml_value *value, void *into)
{
	return read_password_into(value, &((struct eb_redis_config *)into)->sentinel_password);
}

/* Only looks: it is read at each connection, and whatever became of it must not keep rules out of force. */
static int look_at_password(const struct eb_yaml_value *value, const char *path)
{
	char *password, *reason = NULL;
	mode_t mode;
	int err = eb_password_read(path, &mode, &password, &reason);

	if (err) {
		err = eb_yaml_warn(value, "%s; it is read again at each connection", reason ? reason : "out of memory");
		free(reason);
		return err;
	}
	eb_password_free(password);
	return mode & S_IROTH ? eb_yaml_warn(value, "every user of this machine can read %s; use chmod o-r",
					     eb_input_quote(path).text) : 0;
}

static int read_password_file_into(const struct eb_yaml_value *value, char **out)
{
	int err = eb_yaml_path(value, out);

	return err ? err : look_at_password(value, *out);
}

static int read_password_file(const struct eb_yaml_value *value, void *into)
{
	struct eb_redis_config *redis = into;

	/* The environment wins: no need for the file to be there. */
	return eb_input_env("REDIS_PASSWORD") ? 0 : read_password_file_into(value, &redis->password_file);
}

static int read_sentinel_password_file(const struct eb_yaml_value *value, void *into)
{
	return read_password_file_into(value, &((struct eb_redis_config *)into)->sentinel_password_file);
}

/* --- TLS --- */

/* As with passwords: read at each connection. */
static int read_tls_file(const struct eb_yaml_value *value, char **out)
{
	int fd, err = eb_yaml_path(value, out);

	if (err)
		return err;
	fd = eb_input_open_regular(*out);
	if (fd < 0)
		return eb_yaml_warn(value, "%s cannot be read: %s; it is read again at each connection",
				    eb_input_quote(*out).text, eb_input_strerror(fd));
	close(fd);
	return 0;
}

static int read_ca(const struct eb_yaml_value *value, void *into)
{
	return read_tls_file(value, &((struct eb_redis_tls *)into)->ca);
}

static int read_cert(const struct eb_yaml_value *value, void *into)
{
	return read_tls_file(value, &((struct eb_redis_tls *)into)->cert);
}

static int read_tls_key(const struct eb_yaml_value *value, void *into)
{
	return read_tls_file(value, &((struct eb_redis_tls *)into)->key);
}

static int read_server_name(const struct eb_yaml_value *value, void *into)
{
	struct eb_redis_tls *tls = into;
	const char *text;
	int err = eb_yaml_text(value, &text);

	if (err)
		return err;
	if (!eb_endpoint_is_host(text))
		return eb_yaml_fail(value, "is not a host name or an address");
	return eb_yaml_string(value, &tls->server_name);
}

static const struct eb_yaml_key tls_keys[] = {
	{ "ca", read_ca, false },
	{ "cert", read_cert, false },
	{ "key", read_tls_key, false },
	{ "server_name", read_server_name, false },
};

static int read_tls_into(const struct eb_yaml_value *value, struct eb_redis_tls *tls)
{
	int err;

	if (!eb_yaml_is_map(value))
		return eb_yaml_bool(value, &tls->is_on);
	tls->is_on = true;
	err = eb_yaml_read_map(value, tls_keys, ARRAY_SIZE(tls_keys), tls, NULL);
	if (!err && !tls->cert != !tls->key)
		return eb_yaml_fail(value, "cert and key go together; one of them is missing");
	return err;
}

static int read_tls(const struct eb_yaml_value *value, void *into)
{
	return read_tls_into(value, &((struct eb_redis_config *)into)->tls);
}

static int read_sentinel_tls(const struct eb_yaml_value *value, void *into)
{
	return read_tls_into(value, &((struct eb_redis_config *)into)->sentinel_tls);
}

/* --- several servers --- */

static int read_node(const struct eb_yaml_value *value, void *into)
{
	struct eb_redis_config *redis = into;
	bool is_sentinel = redis->kind == EB_REDIS_SENTINEL;
	const char *text;
	int err = eb_yaml_text(value, &text);

	if (err)
		return err;
	if (redis->node_count >= EB_REDIS_NODES_MAX)
		return eb_yaml_fail(value, "more than %d nodes", EB_REDIS_NODES_MAX);
	err = eb_endpoint_parse(text, is_sentinel ? SENTINEL_PORT_DEFAULT : EB_REDIS_PORT,
				&redis->nodes[redis->node_count]);
	if (err == -EINVAL)
		return eb_yaml_fail(value, "is not an address with a port, like %s",
				    is_sentinel ? "10.0.0.1:26379" : "10.0.0.1:7000");
	if (!err)
		redis->node_count++;
	return err;
}

static int read_nodes(const struct eb_yaml_value *value, struct eb_redis_config *redis)
{
	eb_redis_config_free_nodes(redis);
	if (eb_yaml_is_list(value) && !eb_yaml_list_size(value))
		return eb_yaml_fail(value, "is empty; expected at least one address with a port");
	return eb_yaml_read_list(value, read_node, redis);
}

static int read_cluster(const struct eb_yaml_value *value, void *into)
{
	struct eb_redis_config *redis = into;

	redis->kind = EB_REDIS_CLUSTER;
	return read_nodes(value, redis);
}

static int read_sentinel_nodes(const struct eb_yaml_value *value, void *into)
{
	return read_nodes(value, into);
}

static int read_sentinel_master(const struct eb_yaml_value *value, void *into)
{
	return read_graphic(value, &((struct eb_redis_config *)into)->sentinel_master);
}

enum { SENTINEL_MASTER, SENTINEL_NODES, SENTINEL_USERNAME, SENTINEL_PASSWORD, SENTINEL_PASSWORD_FILE, SENTINEL_TLS };

static const struct eb_yaml_key sentinel_keys[] = {
	[SENTINEL_MASTER] = { "master", read_sentinel_master, true },
	[SENTINEL_NODES] = { "nodes", read_sentinel_nodes, true },
	[SENTINEL_USERNAME] = { "username", read_sentinel_username, false },
	[SENTINEL_PASSWORD] = { "password", read_sentinel_password, false },
	[SENTINEL_PASSWORD_FILE] = { "password_file", read_sentinel_password_file, false },
	[SENTINEL_TLS] = { "tls", read_sentinel_tls, false },
};

static int check_passwords(const struct eb_yaml_value *value, bool has_username, bool has_password, bool has_file,
			   const char *from_env)
{
	if (has_password && has_file)
		return eb_yaml_fail(value, "has password and password_file; keep one");
	if (has_username && !has_password && !has_file && !from_env)
		return eb_yaml_fail(value, "has a username but no password; add password_file");
	return 0;
}

static int read_sentinel(const struct eb_yaml_value *value, void *into)
{
	struct eb_redis_config *redis = into;
	uint64_t seen = 0;
	int err;

	redis->kind = EB_REDIS_SENTINEL;
	err = eb_yaml_read_map(value, sentinel_keys, ARRAY_SIZE(sentinel_keys), redis, &seen);
	if (err)
		return err;
	return check_passwords(value, seen & BIT(SENTINEL_USERNAME), seen & BIT(SENTINEL_PASSWORD),
			       seen & BIT(SENTINEL_PASSWORD_FILE), NULL);
}

/* --- the section --- */

enum {
	HOST, PORT, SOCKET, SENTINEL, CLUSTER, USERNAME, PASSWORD, PASSWORD_FILE, DB, TLS, KEY, TICK, CONNECT_TIMEOUT,
	RESTORE_TIMEOUT,
};

static const struct eb_yaml_key redis_keys[] = {
	[HOST] = { "host", read_host, false },
	[PORT] = { "port", read_port, false },
	[SOCKET] = { "socket", read_socket, false },
	[SENTINEL] = { "sentinel", read_sentinel, false },
	[CLUSTER] = { "cluster", read_cluster, false },
	[USERNAME] = { "username", read_username, false },
	[PASSWORD] = { "password", read_password, false },
	[PASSWORD_FILE] = { "password_file", read_password_file, false },
	[DB] = { "db", read_db, false },
	[TLS] = { "tls", read_tls, false },
	[KEY] = { "key", read_key, false },
	[TICK] = { "tick", read_tick, false },
	[CONNECT_TIMEOUT] = { "connect_timeout", read_connect_timeout, false },
	[RESTORE_TIMEOUT] = { "restore_timeout", read_restore_timeout, false },
};

static int check_section(const struct eb_yaml_value *value, const struct eb_redis_config *redis, uint64_t seen)
{
	int ways = !!(seen & (BIT(HOST) | BIT(PORT))) + !!(seen & BIT(SOCKET)) + !!(seen & BIT(SENTINEL)) +
		   !!(seen & BIT(CLUSTER));

	if (ways > 1)
		return eb_yaml_fail(value, "has more than one of host and port, socket, sentinel, cluster; keep one");
	if (redis->kind == EB_REDIS_CLUSTER && redis->db)
		return eb_yaml_fail(value, "a cluster has only db 0");
	if (redis->kind == EB_REDIS_SOCKET && redis->tls.is_on)
		return eb_yaml_fail(value, "tls cannot be used with a socket");
	return check_passwords(value, seen & BIT(USERNAME), seen & BIT(PASSWORD), seen & BIT(PASSWORD_FILE),
			       eb_input_env("REDIS_PASSWORD"));
}

int eb_redis_section_read(const struct eb_yaml_value *value, void *into)
{
	struct eb_redis_config *redis, **out = into;
	uint64_t seen = 0;
	int err;

	redis = eb_redis_config_new();
	if (!redis)
		return -ENOMEM;
	err = eb_yaml_read_map(value, redis_keys, ARRAY_SIZE(redis_keys), redis, &seen);
	if (!err)
		err = check_section(value, redis, seen);
	if (err) {
		eb_redis_config_free(redis);
		return err;
	}
	if (redis->kind == EB_REDIS_SOCKET)
		eb_redis_config_free_nodes(redis);
	*out = redis;
	return 0;
}

int eb_redis_section_read_file(const char *path, struct eb_findings *findings, struct eb_redis_config **out)
{
	struct eb_yaml_value root;
	struct eb_yaml yaml;
	int err = eb_yaml_open(&yaml, path, findings);

	if (err)
		return err;
	root = eb_yaml_root(&yaml);
	err = eb_redis_section_read(&root, out);
	eb_yaml_done(&yaml);
	return err;
}
