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
#include "config/config_redis.h"
#include "config/password.h"
#include "config/quantity.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define BIT(n) (1ULL << (n))

#define NAME_LEN_MAX 255
#define NODES_MAX 64
#define REDIS_PORT_DEFAULT 6379
#define SENTINEL_PORT_DEFAULT 26379

#define MS 1000000ULL
#define SECOND (1000 * MS)

static int replace(char **string, const char *value)
{
	char *copy = strdup(value);

	if (!copy)
		return -ENOMEM;
	eb_password_free(*string);
	*string = copy;
	return 0;
}

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
	if (!*text || strlen(text) > NAME_LEN_MAX || !eb_input_is_graphic(text))
		return eb_yaml_fail(value, "must have 1 to %d characters of printable ASCII without spaces",
				    NAME_LEN_MAX);
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

static int read_duration(const struct eb_yaml_value *value, uint64_t min, uint64_t max, const char *range,
			 uint64_t *out)
{
	const char *text, *reason;
	uint64_t duration;
	int err = eb_yaml_text(value, &text);

	if (err)
		return err;
	if (eb_quantity_duration(text, &duration, &reason))
		return eb_yaml_fail(value, "%s %s", eb_input_quote(text).text, reason);
	if (duration < min || duration > max)
		return eb_yaml_fail(value, "%s is out of range; from %s", eb_input_quote(text).text, range);
	*out = duration;
	return 0;
}

static int read_tick(const struct eb_yaml_value *value, void *into)
{
	struct eb_redis_config *redis = into;

	return read_duration(value, 100 * MS, 3600 * SECOND, "100ms to 1h", &redis->tick_ns);
}

static int read_connect_timeout(const struct eb_yaml_value *value, void *into)
{
	struct eb_redis_config *redis = into;

	return read_duration(value, 10 * MS, 60 * SECOND, "10ms to 60s", &redis->connect_timeout_ns);
}

static int read_restore_timeout(const struct eb_yaml_value *value, void *into)
{
	struct eb_redis_config *redis = into;

	return read_duration(value, 0, 3600 * SECOND, "0s to 1h", &redis->restore_timeout_ns);
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

static void free_nodes(struct eb_redis_config *redis)
{
	for (size_t i = 0; i < redis->node_count; i++)
		eb_endpoint_done(&redis->nodes[i]);
	redis->node_count = 0;
}

static int read_node(const struct eb_yaml_value *value, void *into)
{
	struct eb_redis_config *redis = into;
	bool is_sentinel = redis->kind == EB_REDIS_SENTINEL;
	const char *text;
	int err = eb_yaml_text(value, &text);

	if (err)
		return err;
	if (redis->node_count >= NODES_MAX)
		return eb_yaml_fail(value, "more than %d nodes", NODES_MAX);
	err = eb_endpoint_parse(text, is_sentinel ? SENTINEL_PORT_DEFAULT : REDIS_PORT_DEFAULT,
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
	free_nodes(redis);
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

static struct eb_redis_config *new_redis(void)
{
	struct eb_redis_config *redis = calloc(1, sizeof(*redis));

	if (!redis)
		return NULL;
	*redis = (struct eb_redis_config){
		.nodes = calloc(NODES_MAX, sizeof(*redis->nodes)),
		.key = strdup("token_bucket_fallback"),
		.tick_ns = SECOND,
		.connect_timeout_ns = 500 * MS,
		.restore_timeout_ns = 2 * SECOND,
	};
	if (redis->nodes && redis->key) {
		redis->nodes[0].host = strdup("127.0.0.1");
		redis->nodes[0].port = REDIS_PORT_DEFAULT;
		redis->node_count = 1;
	}
	if (redis->nodes && redis->nodes[0].host)
		return redis;
	eb_redis_config_free(redis);
	return NULL;
}

static int check_section(const struct eb_yaml_value *value, const struct eb_redis_config *redis, uint64_t seen)
{
	int ways = !!(seen & (BIT(HOST) | BIT(PORT))) + !!(seen & BIT(SOCKET)) + !!(seen & BIT(SENTINEL)) +
		   !!(seen & BIT(CLUSTER));

	if (ways > 1)
		return eb_yaml_fail(value, "has more than one of host and port, socket, sentinel, cluster; keep one");
	if (redis->kind == EB_REDIS_CLUSTER && redis->db)
		return eb_yaml_fail(value, "a cluster has no db but 0");
	if (redis->kind == EB_REDIS_SOCKET && redis->tls.is_on)
		return eb_yaml_fail(value, "tls does not go with a socket");
	return check_passwords(value, seen & BIT(USERNAME), seen & BIT(PASSWORD), seen & BIT(PASSWORD_FILE),
			       eb_input_env("REDIS_PASSWORD"));
}

int eb_redis_config_read(const struct eb_yaml_value *value, void *into)
{
	struct eb_redis_config *redis, **out = into;
	uint64_t seen = 0;
	int err;

	redis = new_redis();
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
		free_nodes(redis);
	*out = redis;
	return 0;
}

int eb_redis_config_read_file(const char *path, struct eb_findings *report, struct eb_redis_config **out)
{
	struct eb_yaml_value root;
	struct eb_yaml yaml;
	int err = eb_yaml_open(&yaml, path, report);

	if (err)
		return err;
	root = eb_yaml_root(&yaml);
	err = eb_redis_config_read(&root, out);
	eb_yaml_done(&yaml);
	return err;
}

/* --- the environment --- */

static int fail_env(struct eb_findings *report, const char *name, const char *text)
{
	return eb_findings_fail(report, "environment variable %s: %s", name, text);
}

static int use_host(struct eb_redis_config *redis, const char *host)
{
	uint16_t port = redis->kind == EB_REDIS_HOST ? redis->nodes[0].port : REDIS_PORT_DEFAULT;
	char *copy = strdup(host);

	if (!copy)
		return -ENOMEM;
	free_nodes(redis);
	redis->nodes[0] = (struct eb_endpoint){ .host = copy, .port = port };
	redis->node_count = 1;
	redis->kind = EB_REDIS_HOST;
	return 0;
}

static int apply_host(struct eb_redis_config *redis, struct eb_findings *report)
{
	const char *host = eb_input_env("REDIS_HOST");
	int err = 0;

	if (!host)
		return 0;
	if (!eb_endpoint_is_host(host))
		return fail_env(report, "REDIS_HOST", "not a host name or an address");
	if (redis->kind != EB_REDIS_HOST)
		err = eb_findings_warn(report, "environment variable REDIS_HOST: takes the place of the configured "
					     "socket, sentinel or cluster");
	return err ? err : use_host(redis, host);
}

static int apply_port(struct eb_redis_config *redis, struct eb_findings *report)
{
	const char *text = eb_input_env("REDIS_PORT");
	uint64_t port;

	if (!text)
		return 0;
	/* Kubernetes sets REDIS_PORT=tcp://... for a service named redis, unless enableServiceLinks is false. */
	if (eb_quantity_integer(text, &port) || port < 1 || port > UINT16_MAX)
		return fail_env(report, "REDIS_PORT", strncmp(text, "tcp://", 6) ?
				"not a port; from 1 to 65535" :
				"not a port; looks like a service link of Kubernetes, see enableServiceLinks");
	if (redis->kind != EB_REDIS_HOST)
		return eb_findings_warn(report, "environment variable REDIS_PORT: has no effect with a socket, "
						"sentinel or cluster");
	redis->nodes[0].port = port;
	return 0;
}

static int apply_password(struct eb_redis_config *redis, struct eb_findings *report)
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
		err = fail_env(report, "REDIS_PASSWORD", reason ? reason : "is no password");
	free(reason);
	return err;
}

static int apply_username(struct eb_redis_config *redis, struct eb_findings *report)
{
	const char *username = eb_input_env("REDIS_USERNAME");

	if (!username)
		return 0;
	if (strlen(username) > NAME_LEN_MAX || !eb_input_is_graphic(username))
		return fail_env(report, "REDIS_USERNAME",
				"must have 1 to 255 characters of printable ASCII without spaces");
	if (!redis->password && !redis->password_file)
		return fail_env(report, "REDIS_USERNAME", "there is no password to go with it; set REDIS_PASSWORD");
	return replace(&redis->username, username);
}

static int apply_tls(struct eb_redis_config *redis, struct eb_findings *report)
{
	const char *text = eb_input_env("REDIS_TLS");

	if (!text)
		return 0;
	if (eb_quantity_bool(text, &redis->tls.is_on))
		return fail_env(report, "REDIS_TLS", "neither true nor false");
	if (redis->kind == EB_REDIS_SOCKET && redis->tls.is_on)
		return fail_env(report, "REDIS_TLS", "TLS does not go with the configured socket");
	return 0;
}

int eb_redis_config_apply_env(struct eb_redis_config **redis, struct eb_findings *report)
{
	int err;

	if (!*redis && !eb_input_env("REDIS_HOST")) {
		if (eb_input_env("REDIS_PASSWORD"))
			return eb_findings_warn(report, "environment variable REDIS_PASSWORD: has no effect without a "
						      "section redis or REDIS_HOST");
		return 0;
	}
	if (!*redis)
		*redis = new_redis();
	if (!*redis)
		return -ENOMEM;
	err = apply_host(*redis, report);
	if (!err)
		err = apply_port(*redis, report);
	if (!err)
		err = apply_password(*redis, report);
	if (!err)
		err = apply_username(*redis, report);
	return err ? err : apply_tls(*redis, report);
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
		free_nodes(redis);
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
