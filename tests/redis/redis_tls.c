// SPDX-License-Identifier: GPL-2.0-only
/* TLS to a real server: whom we trust, whose name we accept, and what we say when we do not. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "harness.h"
#include "redis/tls.h"

static struct server server, others[3]; /* others: expired, for another name, asking for a client certificate */

static const char *path(const char *name)
{
	static char paths[8][128];
	static unsigned int next;
	char *out = paths[next++ % COUNT(paths)];

	snprintf(out, sizeof(paths[0]), "%s/%s", test_dir(), name);
	return out;
}

static void make_authority(const char *name)
{
	shell("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj '/CN=%s' "
	      "-keyout %s.key -out %s.crt", name, name, name);
}

/* `dates`: further arguments of openssl ca, for one that has expired. */
static void make_certificate(const char *authority, const char *name, const char *alt_names, const char *dates)
{
	shell("openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj '/CN=%s' "
	      "-keyout %s.key -out %s.csr",
	      name, name, name);
	shell("printf 'subjectAltName=%s\\n' >%s.ext", alt_names, name);
	shell("rm -rf ca.db && mkdir -p ca.db && : >ca.db/index && printf "
	      "'[ca]\\ndefault_ca=a\\n[a]\\ndatabase=ca.db/index\\nnew_certs_dir=ca.db\\nrand_serial=yes\\n"
	      "default_md=sha256\\npolicy=p\\nunique_subject=no\\n[p]\\ncommonName=supplied\\n' >ca.cnf && "
	      "openssl ca -batch -config ca.cnf -cert %s.crt -keyfile %s.key -in %s.csr -out %s.crt -extfile %s.ext "
	      "-notext %s",
	      authority, authority, name, name, name, dates ? dates : "-days 10");
}

static void start_tls_server(struct server *out, const char *certificate, const char *auth_clients)
{
	const char **args = calloc(16, sizeof(*args));
	int argc = 0;
	char file[40];

	args[argc++] = "--tls-cert-file";
	snprintf(file, sizeof(file), "%s.crt", certificate);
	args[argc++] = strdup(path(file));
	args[argc++] = "--tls-key-file";
	snprintf(file, sizeof(file), "%s.key", certificate);
	args[argc++] = strdup(path(file));
	args[argc++] = "--tls-ca-cert-file";
	args[argc++] = strdup(path("authority.crt"));
	args[argc++] = "--tls-auth-clients";
	args[argc++] = auth_clients;
	server_start(out, args);
}

static int start_servers(void **state)
{
	(void)state;
	make_authority("authority");
	make_authority("stranger");
	make_certificate("authority", "good", "DNS:redis.test,DNS:localhost,IP:127.0.0.1", NULL);
	make_certificate("authority", "other", "DNS:elsewhere.test,IP:192.0.2.1", NULL);
	make_certificate("authority", "expired", "DNS:redis.test,IP:127.0.0.1",
			 "-startdate 20200101000000Z -enddate 20200201000000Z");
	make_certificate("authority", "client", "DNS:client", NULL);
	start_tls_server(&server, "good", "no");
	start_tls_server(&others[0], "expired", "no");
	start_tls_server(&others[1], "other", "no");
	start_tls_server(&others[2], "good", "yes");
	return 0;
}

static int kill_servers(void **state)
{
	(void)state;
	server_kill(&server);
	for (size_t i = 0; i < COUNT(others); i++)
		server_kill(&others[i]);
	return 0;
}

static void accepts_and_refuses(void **state)
{
	static const struct {
		const char *name;
		const struct server *server;
		const char *ca, *cert, *key, *host, *server_name;
		const char *refusal; /* in the message; NULL for none */
	} rows[] = {
		{ "by address", &server, "authority.crt", NULL, NULL, "127.0.0.1", NULL, NULL },
		{ "by host name", &server, "authority.crt", NULL, NULL, "localhost", NULL, NULL },
		{ "by server_name", &server, "authority.crt", NULL, NULL, "127.0.0.1", "redis.test", NULL },
		{ "wrong authority", &server, "stranger.crt", NULL, NULL, "127.0.0.1", NULL,
		  "certificate was refused" },
		{ "system's authorities", &server, NULL, NULL, NULL, "127.0.0.1", NULL, "certificate was refused" },
		{ "wrong server_name", &server, "authority.crt", NULL, NULL, "127.0.0.1", "bank.test",
		  "hostname mismatch" },
		{ "another address", &others[1], "authority.crt", NULL, NULL, "127.0.0.1", NULL,
		  "IP address mismatch" },
		{ "expired", &others[0], "authority.crt", NULL, NULL, "127.0.0.1", NULL, "certificate has expired" },
		{ "client certificate", &others[2], "authority.crt", "client.crt", "client.key", "127.0.0.1", NULL,
		  NULL },
		{ "no client certificate", &others[2], "authority.crt", NULL, NULL, "127.0.0.1", NULL,
		  "certificate required" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct eb_redis_config config = base_config(rows[i].server);
		struct eb_redis_limits limits = quick_limits();
		struct answer answer;
		struct watch watch;

		config.nodes[0] = (struct eb_endpoint){ (char *)rows[i].host, rows[i].server->tls_port };
		config.tls = (struct eb_redis_tls){
			.is_on = true,
			.ca = rows[i].ca ? (char *)path(rows[i].ca) : NULL,
			.cert = rows[i].cert ? (char *)path(rows[i].cert) : NULL,
			.key = rows[i].key ? (char *)path(rows[i].key) : NULL,
			.server_name = (char *)rows[i].server_name,
		};
		watch_open(&watch, &config, &limits, NULL, 0);
		RUN_UNTIL(watch.event, watch.ups || watch.downs);
		if (rows[i].refusal && (watch.ups || !strstr(watch.text, rows[i].refusal)))
			fail_msg("%s: %s", rows[i].name, watch.ups ? "accepted" : watch.text);
		if (!rows[i].refusal && watch.downs)
			fail_msg("%s: %s", rows[i].name, watch.text);
		if (watch.ups) {
			assert_int_equal(ask(&watch, &answer, "PING"), 0);
			RUN_UNTIL(watch.event, answer.is_there);
			assert_string_equal(answer.str, "PONG");
		}
		watch_close(&watch);
	}
}

/* More than one record each way, and more than a read takes at once. */
static void carries_much(void **state)
{
	static char value[3000000];
	const char *argv[] = { "SET", "big", value };
	struct eb_redis_config config = base_config(&server);
	struct answer set = { 0 }, gets[4];
	struct watch watch;

	(void)state;
	memset(value, 'x', sizeof(value) - 1);
	config.nodes[0].port = server.tls_port;
	config.tls = (struct eb_redis_tls){ .is_on = true, .ca = (char *)path("authority.crt") };
	watch_open(&watch, &config, NULL, NULL, 0);
	RUN_UNTIL(watch.event, watch.ups);
	assert_int_equal(eb_redis_command(watch.redis, "big", 3, argv, NULL, on_answer, &set), 0);
	for (size_t i = 0; i < COUNT(gets); i++)
		assert_int_equal(ask(&watch, &gets[i], "GET big"), 0);
	RUN_UNTIL(watch.event, gets[COUNT(gets) - 1].is_there);
	assert_int_equal(set.error, EB_REDIS_OK);
	for (size_t i = 0; i < COUNT(gets); i++)
		assert_int_equal(gets[i].error, EB_REDIS_OK);
	assert_int_equal(watch.downs, 0);
	watch_close(&watch);
}

/* A record that takes longer than the timeout, but goes on coming. */
static void waits_for_slow_records(void **state)
{
	struct eb_redis_config config = base_config(&server);
	struct eb_redis_limits limits = quick_limits();
	struct answer answer;
	struct watch watch;
	pid_t proxy;

	(void)state;
	server_do(&server, "SETRANGE slow 60000 x");
	proxy = proxy_start(server.tls_port, (struct proxy_faults){ .pause_ms = 200 }, &config.nodes[0].port);
	config.tls = (struct eb_redis_tls){ .is_on = true, .ca = (char *)path("authority.crt") };
	config.connect_timeout_ns = PATIENCE_NS;
	watch_open(&watch, &config, &limits, NULL, 0);
	RUN_UNTIL(watch.event, watch.ups);
	assert_int_equal(ask(&watch, &answer, "GET slow"), 0);
	RUN_UNTIL(watch.event, answer.is_there);
	assert_int_equal(answer.error, EB_REDIS_OK);
	assert_int_equal(watch.downs, 0);
	process_kill(proxy);
	watch_close(&watch);
}

static void survives_kill_and_hang(void **state)
{
	struct eb_redis_config config = base_config(&server);
	struct eb_redis_limits limits = quick_limits();
	struct answer answer;
	struct watch watch;

	(void)state;
	config.nodes[0].port = server.tls_port;
	config.tls = (struct eb_redis_tls){ .is_on = true, .ca = (char *)path("authority.crt") };
	watch_open(&watch, &config, &limits, NULL, 0);
	RUN_UNTIL(watch.event, watch.ups);
	server_stop(&server);
	assert_int_equal(ask(&watch, &answer, "SET k v"), 0);
	RUN_UNTIL(watch.event, watch.downs > 1);
	assert_int_equal(answer.error, EB_REDIS_TIMEOUT);
	assert_non_null(strstr(watch.text, "TLS handshake"));
	server_continue(&server);
	RUN_UNTIL(watch.event, watch.ups == 2);
	server_kill(&server);
	RUN_UNTIL(watch.event, !eb_redis_is_up(watch.redis));
	server_restart(&server, true);
	RUN_UNTIL(watch.event, watch.ups == 3);
	watch_close(&watch);
}

/* Plain talk to a TLS port, and TLS to a plain port. */
static void names_mismatch(void **state)
{
	struct eb_redis_config config = base_config(&server);
	struct eb_redis_limits limits = quick_limits();
	struct watch watch;

	(void)state;
	config.tls = (struct eb_redis_tls){ .is_on = true, .ca = (char *)path("authority.crt") };
	watch_open(&watch, &config, &limits, NULL, 0);
	RUN_UNTIL(watch.event, watch.downs);
	assert_int_equal(watch.ups, 0);
	assert_non_null(strstr(watch.text, "TLS"));
	watch_close(&watch);
	config.nodes[0].port = server.tls_port;
	config.tls.is_on = false;
	watch_open(&watch, &config, &limits, NULL, 0);
	RUN_UNTIL(watch.event, watch.downs);
	assert_int_equal(watch.ups, 0);
	watch_close(&watch);
}

static void refuses_bad_files(void **state)
{
	static const struct {
		const char *ca, *cert, *key, *named;
	} rows[] = {
		{ "missing.crt", NULL, NULL, "missing.crt" },
		{ "garbage", NULL, NULL, "garbage" },
		{ "authority.crt", "missing.crt", "client.key", "missing.crt" },
		{ "authority.crt", "client.crt", "missing.key", "missing.key" },
		{ "authority.crt", "client.crt", "good.key", "good.key" },
		{ "authority.crt", "client.crt", "locked.key", "locked.key" },
	};

	(void)state;
	write_file("garbage", "nothing of use\n");
	shell("openssl ec -in client.key -aes128 -passout pass:x -out locked.key");
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct eb_redis_config config = base_config(&server);
		struct eb_redis_limits limits = quick_limits();
		struct watch watch;

		config.nodes[0].port = server.tls_port;
		config.tls = (struct eb_redis_tls){
			.is_on = true,
			.ca = (char *)path(rows[i].ca),
			.cert = rows[i].cert ? (char *)path(rows[i].cert) : NULL,
			.key = rows[i].key ? (char *)path(rows[i].key) : NULL,
		};
		watch_open(&watch, &config, &limits, NULL, 0);
		RUN_UNTIL(watch.event, watch.ups || watch.downs);
		if (watch.ups || watch.error != EB_REDIS_TLS || !strstr(watch.text, rows[i].named))
			fail_msg("%s: %s", rows[i].named, watch.text);
		print_message("%s\n", watch.text);
		watch_close(&watch);
	}
}

/* A certificate that was renewed counts for the next connection; one that is being written changes nothing. */
static void exchanges_files(void **state)
{
	struct eb_redis_config config = base_config(&others[1]);
	struct eb_redis_limits limits = quick_limits();
	struct watch watch;

	(void)state;
	shell("cp stranger.crt current.crt");
	config.nodes[0] = (struct eb_endpoint){ "127.0.0.1", others[1].tls_port };
	config.tls = (struct eb_redis_tls){
		.is_on = true,
		.ca = (char *)path("current.crt"),
		.server_name = "elsewhere.test",
	};
	watch_open(&watch, &config, &limits, NULL, 0);
	RUN_UNTIL(watch.event, strstr(watch.text, "certificate was refused"));
	shell("echo garbage > current.crt");
	watch.text[0] = '\0';
	RUN_UNTIL(watch.event, strstr(watch.text, "certificate was refused"));
	shell("cp authority.crt current.crt");
	RUN_UNTIL(watch.event, watch.ups);
	watch_close(&watch);
}

/* A file that is not there when the agent starts, and comes later. */
static void waits_for_files(void **state)
{
	struct eb_redis_config config = base_config(&server);
	struct eb_redis_limits limits = quick_limits();
	struct watch watch;

	(void)state;
	shell("rm -f late.crt");
	config.nodes[0].port = server.tls_port;
	config.tls = (struct eb_redis_tls){ .is_on = true, .ca = (char *)path("late.crt") };
	watch_open(&watch, &config, &limits, NULL, 0);
	RUN_UNTIL(watch.event, strstr(watch.text, "late.crt"));
	shell("cp authority.crt late.crt");
	RUN_UNTIL(watch.event, watch.ups);
	watch_close(&watch);
}

/* As a connection may have one that is freed in a callback; and more than OpenSSL has numbers for. */
static void sessions_outlive_authorities(void **state)
{
	struct eb_tls_session *session;
	struct eb_tls *tls;
	char *error = NULL;
	int fds[2];

	(void)state;
	for (int i = 0; i < 200; i++) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
		assert_int_equal(eb_tls_new(path("authority.crt"), NULL, NULL, &tls), 0);
		assert_int_equal(eb_tls_open(tls, fds[0], "redis.test", &session, &error), 0);
		eb_tls_free(tls);
		assert_int_equal(eb_tls_handshake(session), -EAGAIN);
		eb_tls_close(session);
		close(fds[0]);
		close(fds[1]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(accepts_and_refuses),
		cmocka_unit_test(carries_much),
		cmocka_unit_test(waits_for_slow_records),
		cmocka_unit_test(survives_kill_and_hang),
		cmocka_unit_test(names_mismatch),
		cmocka_unit_test(refuses_bad_files),
		cmocka_unit_test(exchanges_files),
		cmocka_unit_test(waits_for_files),
		cmocka_unit_test(sessions_outlive_authorities),
	};

	return cmocka_run_group_tests(tests, start_servers, kill_servers);
}
