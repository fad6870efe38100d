// SPDX-License-Identifier: GPL-2.0-only
/* One server: connecting, commands, limits, and each way that a server or a network can fail. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"

static struct server server;

static int start_server(void **state)
{
	(void)state;
	server_start(&server, NULL);
	return 0;
}

static int kill_server(void **state)
{
	(void)state;
	server_kill(&server);
	return 0;
}

static void open_quick(struct watch *watch, const struct eb_redis_config *config)
{
	struct eb_redis_limits limits = quick_limits();

	watch_open(watch, config, &limits, NULL, 0);
}

static void check_set_and_get(struct watch *watch)
{
	struct answer set, get;

	RUN_UNTIL(watch->event, eb_redis_is_up(watch->redis));
	assert_int_equal(ask(watch, &set, "SET some:key value"), 0);
	assert_int_equal(ask(watch, &get, "GET some:key"), 0);
	assert_false(set.is_there);
	RUN_UNTIL(watch->event, get.is_there);
	assert_true(set.is_there);
	assert_int_equal(set.error, EB_REDIS_OK);
	assert_string_equal(set.str, "OK");
	assert_string_equal(get.str, "value");
	assert_true(eb_redis_last_latency_ns(watch->redis) > 0);
}

static void connects_over_tcp(void **state)
{
	struct eb_redis_config config = base_config(&server);
	struct watch watch;

	(void)state;
	open_quick(&watch, &config);
	assert_false(eb_redis_is_up(watch.redis));
	check_set_and_get(&watch);
	assert_int_equal(watch.ups, 1);
	assert_int_equal(watch.downs, 0);
	assert_string_equal(eb_redis_last_error(watch.redis), "");
	watch_close(&watch);
}

static void connects_over_socket(void **state)
{
	struct eb_redis_config config = base_config(&server);
	struct watch watch;

	(void)state;
	config.kind = EB_REDIS_SOCKET;
	config.socket = server.socket;
	open_quick(&watch, &config);
	check_set_and_get(&watch);
	assert_string_equal(eb_redis_peer(watch.redis), server.socket);
	watch_close(&watch);
}

static void looks_up_names(void **state)
{
	struct eb_redis_config config = base_config(&server);
	struct watch watch;

	(void)state;
	config.nodes[0].host = "localhost";
	open_quick(&watch, &config);
	check_set_and_get(&watch);
	watch_close(&watch);
}

static void reports_names_without_address(void **state)
{
	struct eb_redis_config config = base_config(&server);
	struct watch watch;

	(void)state;
	config.nodes[0].host = "does-not-exist.invalid";
	open_quick(&watch, &config);
	RUN_UNTIL(watch.event, watch.downs);
	assert_int_equal(watch.ups, 0);
	assert_non_null(strstr(watch.text, "looking up does-not-exist.invalid"));
	watch_close(&watch);
}

static void waits_synchronously(void **state)
{
	struct eb_redis_config config = base_config(&server);
	struct watch watch;

	(void)state;
	open_quick(&watch, &config);
	assert_int_equal(eb_redis_wait_up(watch.redis, PATIENCE_NS), 0);
	watch_close(&watch);
	config.nodes[0].port = free_port();
	open_quick(&watch, &config);
	assert_int_equal(eb_redis_wait_up(watch.redis, 100 * MS), -ETIMEDOUT);
	assert_non_null(strstr(eb_redis_last_error(watch.redis), "Connection refused"));
	watch_close(&watch);
}

static void selects_database(void **state)
{
	struct eb_redis_config config = base_config(&server);
	struct watch watch;

	(void)state;
	config.db = 3;
	open_quick(&watch, &config);
	check_set_and_get(&watch);
	watch_close(&watch);
	assert_int_equal(server_number(&server, "EXISTS some:key"), 1); /* of another test, in 0 */
	server_do(&server, "DEL some:key");
	assert_int_equal(server_number(&server, "EXISTS some:key"), 0);
	config.db = 9999;
	open_quick(&watch, &config);
	RUN_UNTIL(watch.event, watch.downs);
	assert_int_equal(watch.error, EB_REDIS_OTHER);
	assert_int_equal(watch.ups, 0);
	watch_close(&watch);
}

static void authenticates(void **state)
{
	static const struct {
		const char *name, *user, *password;
		enum eb_redis_error error;
	} rows[] = {
		{ "user and password", "edge", "s3cret word", EB_REDIS_OK },
		{ "password of the default user", NULL, "default-secret", EB_REDIS_OK },
		{ "wrong password", "edge", "guess", EB_REDIS_AUTH },
		{ "wrong user", "nobody", "s3cret word", EB_REDIS_AUTH },
		{ "no password", NULL, NULL, EB_REDIS_AUTH },
	};

	(void)state;
	server_do(&server, "ACL SETUSER edge on >%s ~* +@all", "s3cret word");
	server_do(&server, "CONFIG SET requirepass default-secret");
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct eb_redis_config config = base_config(&server);
		struct watch watch;

		config.username = (char *)rows[i].user;
		config.password = (char *)rows[i].password;
		open_quick(&watch, &config);
		RUN_UNTIL(watch.event, watch.ups || watch.downs);
		if (watch.error != rows[i].error)
			fail_msg("%s: %s", rows[i].name, watch.text);
		if (rows[i].password && rows[i].error)
			assert_null(strstr(watch.text, rows[i].password));
		watch_close(&watch);
	}
	server_kill(&server);
	server_restart(&server, true);
}

/* The file is read for each connection: a new password counts without a restart, and so does a file that comes late;
 * while it cannot be read, or holds nothing, the last one does. */
static void reads_password_files(void **state)
{
	struct eb_redis_config config = base_config(&server);
	struct watch watch;

	(void)state;
	server_do(&server, "ACL SETUSER edge on resetpass >one ~* +@all");
	shell("rm -f password");
	config.username = "edge";
	config.password_file = (char *)write_file("password", "one\n");
	shell("rm password");
	open_quick(&watch, &config);
	RUN_UNTIL(watch.event, strstr(watch.text, "No such file"));
	assert_int_equal(watch.error, EB_REDIS_AUTH);
	write_file("password", "one\n");
	RUN_UNTIL(watch.event, watch.ups == 1);

	server_do(&server, "ACL SETUSER edge resetpass >two");
	server_do(&server, "CLIENT KILL USER edge");
	RUN_UNTIL(watch.event, strstr(watch.text, "refused the user name or password"));
	write_file("password", "two\n");
	RUN_UNTIL(watch.event, watch.ups == 2);

	write_file("password", "");
	server_do(&server, "CLIENT KILL USER edge");
	RUN_UNTIL(watch.event, watch.ups == 3);
	shell("rm password");
	server_do(&server, "CLIENT KILL USER edge");
	RUN_UNTIL(watch.event, watch.ups == 4);
	watch_close(&watch);
	server_do(&server, "ACL DELUSER edge");
}

static void password_without_need_is_named(void **state)
{
	struct eb_redis_config config = base_config(&server);
	struct watch watch;

	(void)state;
	config.password = "not needed";
	open_quick(&watch, &config);
	RUN_UNTIL(watch.event, watch.downs);
	assert_int_equal(watch.error, EB_REDIS_AUTH);
	assert_non_null(strstr(watch.text, "the server requires none"));
	watch_close(&watch);
}

/* A server that knows no AUTH repeats its arguments in the error. */
static void password_never_in_messages(void **state)
{
	static const char *const args[] = { "--rename-command", "AUTH", "", NULL };
	struct eb_redis_config config;
	struct server other;
	struct watch watch;

	(void)state;
	server_start(&other, args);
	config = base_config(&other);
	config.username = "edge";
	config.password = "very-secret";
	open_quick(&watch, &config);
	RUN_UNTIL(watch.event, watch.downs);
	assert_int_equal(watch.error, EB_REDIS_AUTH);
	assert_null(strstr(watch.text, "very-secret"));
	assert_null(strstr(eb_redis_last_error(watch.redis), "very-secret"));
	watch_close(&watch);
	server_kill(&other);
}

static void refuses_when_full(void **state)
{
	struct eb_redis_config config = base_config(&server);
	struct eb_redis_limits limits = quick_limits();
	struct answer answers[16];
	struct watch watch;
	size_t sent = 0;

	(void)state;
	limits.max_requests = 8;
	watch_open(&watch, &config, &limits, NULL, 0);
	assert_int_equal(ask(&watch, &answers[0], "GET x"), -ENOTCONN);
	RUN_UNTIL(watch.event, eb_redis_is_up(watch.redis));
	while (sent < COUNT(answers) && !ask(&watch, &answers[sent], "GET x"))
		sent++;
	assert_in_range(sent, 8, 12);
	RUN_UNTIL(watch.event, watch.writables);
	RUN_UNTIL(watch.event, answers[sent - 1].is_there);
	assert_int_equal(watch.writables, 1);
	watch_close(&watch);
}

static void refuses_too_many_bytes(void **state)
{
	struct eb_redis_config config = base_config(&server);
	struct eb_redis_limits limits = quick_limits();
	static char value[40000];
	const char *argv[] = { "SET", "big", value };
	struct answer answers[4] = { 0 };
	struct watch watch;

	(void)state;
	memset(value, 'x', sizeof(value) - 1);
	limits.max_bytes = 100000;
	watch_open(&watch, &config, &limits, NULL, 0);
	RUN_UNTIL(watch.event, eb_redis_is_up(watch.redis));
	assert_int_equal(eb_redis_command(watch.redis, "big", 3, argv, NULL, on_answer, &answers[0]), 0);
	assert_int_equal(eb_redis_command(watch.redis, "big", 3, argv, NULL, on_answer, &answers[1]), 0);
	assert_int_equal(eb_redis_command(watch.redis, "big", 3, argv, NULL, on_answer, &answers[2]), -EAGAIN);
	RUN_UNTIL(watch.event, watch.writables && answers[1].is_there);
	assert_int_equal(eb_redis_command(watch.redis, "big", 3, argv, NULL, on_answer, &answers[2]), 0);
	RUN_UNTIL(watch.event, answers[2].is_there);
	assert_int_equal(answers[2].error, EB_REDIS_OK);
	watch_close(&watch);
}

static void refuses_large_replies(void **state)
{
	struct eb_redis_config config = base_config(&server);
	struct eb_redis_limits limits = quick_limits();
	struct answer answer;
	struct watch watch;

	(void)state;
	server_do(&server, "SETRANGE huge 50000000 x");
	server_do(&server, "EVAL %s 0", "for i = 1, 200000 do redis.call('RPUSH', 'long', i) end");
	limits.max_reply_bytes = 1000000;
	limits.request_timeout_ns = PATIENCE_NS;
	watch_open(&watch, &config, &limits, NULL, 0);
	for (int i = 0; i < 2; i++) {
		RUN_UNTIL(watch.event, eb_redis_is_up(watch.redis));
		assert_int_equal(ask(&watch, &answer, i ? "LRANGE long 0 -1" : "GET huge"), 0);
		RUN_UNTIL(watch.event, answer.is_there);
		assert_int_equal(answer.error, EB_REDIS_PROTOCOL);
	}
	server_do(&server, "DEL huge long");
	watch_close(&watch);
}

static void reconnects_after_kill(void **state)
{
	struct eb_redis_config config = base_config(&server);
	struct answer answer;
	struct watch watch;

	(void)state;
	open_quick(&watch, &config);
	RUN_UNTIL(watch.event, eb_redis_is_up(watch.redis));
	server_kill(&server);
	(void)ask(&watch, &answer, "SET k v");
	RUN_UNTIL(watch.event, answer.is_there && watch.downs > 2);
	assert_int_equal(answer.error, EB_REDIS_LOST);
	assert_int_equal(watch.error, EB_REDIS_CONNECT);
	assert_int_equal(ask(&watch, &answer, "SET k v"), -ENOTCONN);
	server_restart(&server, true);
	RUN_UNTIL(watch.event, watch.ups == 2);
	check_set_and_get(&watch);
	watch_close(&watch);
}

/* The loop goes on at full pace while the server hangs, and everything that waited is told. */
static void survives_hang(void **state)
{
	struct eb_redis_config config = base_config(&server);
	struct answer answers[3];
	struct watch watch;
	uint64_t longest = 0;

	(void)state;
	open_quick(&watch, &config);
	RUN_UNTIL(watch.event, eb_redis_is_up(watch.redis));
	server_stop(&server);
	for (int i = 0; i < 3; i++)
		assert_int_equal(ask(&watch, &answers[i], "SET k v"), 0);
	/* Connecting works, as the kernel answers; the handshake does not. Wait for two such attempts. */
	while (watch.downs < 3) {
		uint64_t before = eb_monotonic_ns(), took;

		assert_true(sd_event_run(watch.event, 5000) >= 0);
		took = eb_monotonic_ns() - before;
		longest = took > longest ? took : longest;
	}
	for (int i = 0; i < 3; i++) {
		assert_true(answers[i].is_there);
		assert_int_equal(answers[i].error, EB_REDIS_TIMEOUT);
	}
	print_message("longest turn of the loop: %.1f ms\n", longest / 1e6);
	server_continue(&server);
	RUN_UNTIL(watch.event, watch.ups == 2);
	check_set_and_get(&watch);
	watch_close(&watch);
}

/* A server that reads nothing: what waits to be sent is bounded, and ends by the write timeout. */
static void bounds_output_to_hanging_server(void **state)
{
	struct eb_redis_config config = base_config(&server);
	struct eb_redis_limits limits = quick_limits();
	static char value[30000];
	const char *argv[] = { "SET", "big", value };
	struct answer answers[400] = { 0 };
	struct watch watch;
	size_t sent = 0;

	(void)state;
	memset(value, 'x', sizeof(value) - 1);
	limits.max_requests = COUNT(answers);
	watch_open(&watch, &config, &limits, NULL, 0);
	RUN_UNTIL(watch.event, eb_redis_is_up(watch.redis));
	server_stop(&server);
	for (int round = 0; round < 10; round++) {
		while (sent < COUNT(answers) && !eb_redis_command(watch.redis, "big", 3, argv, NULL, on_answer,
								  &answers[sent]))
			sent++;
		run_once(watch.event);
	}
	assert_true(sent > 100);
	RUN_UNTIL(watch.event, watch.downs);
	for (size_t i = 0; i < sent; i++)
		assert_true(answers[i].is_there);
	server_continue(&server);
	RUN_UNTIL(watch.event, watch.ups == 2);
	watch_close(&watch);
}

static void pings_when_idle(void **state)
{
	struct eb_redis_config config = base_config(&server);
	struct eb_redis_limits limits = quick_limits();
	struct watch watch;

	(void)state;
	limits.idle_ping_ns = 50 * MS;
	watch_open(&watch, &config, &limits, NULL, 0);
	RUN_UNTIL(watch.event, eb_redis_is_up(watch.redis));
	run_for(watch.event, 300 * MS);
	assert_int_equal(watch.downs, 0);
	server_stop(&server);
	RUN_UNTIL(watch.event, watch.downs);
	assert_int_equal(watch.error, EB_REDIS_TIMEOUT);
	server_continue(&server);
	watch_close(&watch);
}

static void cut_in_pipeline(void **state)
{
	struct eb_redis_config config = base_config(&server);
	struct answer answers[100];
	struct watch watch;
	unsigned int ok = 0, lost = 0;
	pid_t proxy;

	(void)state;
	proxy = proxy_start(server.port, (struct proxy_faults){ .cut_after = 2000 }, &config.nodes[0].port);
	open_quick(&watch, &config);
	RUN_UNTIL(watch.event, eb_redis_is_up(watch.redis));
	for (size_t i = 0; i < COUNT(answers); i++)
		assert_int_equal(ask(&watch, &answers[i], "INCR cut:counter"), 0);
	RUN_UNTIL(watch.event, watch.downs);
	for (size_t i = 0; i < COUNT(answers); i++) {
		assert_true(answers[i].is_there);
		ok += !answers[i].error;
		lost += answers[i].error == EB_REDIS_LOST;
	}
	assert_int_equal(ok + lost, COUNT(answers));
	assert_true(lost > 0);
	/* Every one that was acknowledged was carried out; some more may have been. */
	assert_in_range(server_number(&server, "INCR cut:counter") - 1, ok, COUNT(answers));
	RUN_UNTIL(watch.event, watch.ups == 2);
	process_kill(proxy);
	watch_close(&watch);
}

/* A reply that takes longer than the timeout, but goes on coming. */
static void waits_for_slow_replies(void **state)
{
	struct eb_redis_config config = base_config(&server);
	struct answer answer;
	struct watch watch;
	pid_t proxy;

	(void)state;
	server_do(&server, "SETRANGE slow 40000 x");
	proxy = proxy_start(server.port, (struct proxy_faults){ .pause_ms = 100 }, &config.nodes[0].port);
	open_quick(&watch, &config);
	RUN_UNTIL(watch.event, eb_redis_is_up(watch.redis));
	assert_int_equal(ask(&watch, &answer, "GET slow"), 0);
	RUN_UNTIL(watch.event, answer.is_there);
	assert_int_equal(answer.error, EB_REDIS_OK);
	assert_true(eb_redis_last_latency_ns(watch.redis) > 500 * MS);
	assert_int_equal(watch.downs, 0);
	process_kill(proxy);
	watch_close(&watch);
	server_do(&server, "DEL slow");
}

/* Error replies: what they are called, and whether the connection goes on. */
static void classifies_replies(void **state)
{
	struct eb_redis_config config = base_config(&server);
	struct answer answer;
	struct watch watch;

	(void)state;
	open_quick(&watch, &config);
	RUN_UNTIL(watch.event, eb_redis_is_up(watch.redis));

	server_do(&server, "CONFIG SET maxmemory 1");
	assert_int_equal(ask(&watch, &answer, "HSET h f v"), 0);
	RUN_UNTIL(watch.event, answer.is_there);
	assert_int_equal(answer.error, EB_REDIS_OUT_OF_MEMORY);
	server_do(&server, "CONFIG SET maxmemory 0");

	server_do(&server, "CONFIG SET min-replicas-to-write 1");
	assert_int_equal(ask(&watch, &answer, "HSET h f v"), 0);
	RUN_UNTIL(watch.event, answer.is_there);
	assert_int_equal(answer.error, EB_REDIS_NO_REPLICAS);
	server_do(&server, "CONFIG SET min-replicas-to-write 0");

	assert_int_equal(ask(&watch, &answer, "SET h v"), 0);
	RUN_UNTIL(watch.event, answer.is_there);
	assert_int_equal(answer.error, EB_REDIS_OK);
	assert_int_equal(ask(&watch, &answer, "HSET h f v"), 0);
	RUN_UNTIL(watch.event, answer.is_there);
	assert_int_equal(answer.error, EB_REDIS_OTHER);
	assert_non_null(strstr(answer.text, "WRONGTYPE"));
	server_do(&server, "DEL h");
	assert_int_equal(watch.downs, 0);

	server_do(&server, "REPLICAOF 127.0.0.1 1");
	assert_int_equal(ask(&watch, &answer, "HSET h f v"), 0);
	RUN_UNTIL(watch.event, watch.downs);
	assert_int_equal(answer.error, EB_REDIS_READONLY);
	assert_int_equal(watch.error, EB_REDIS_READONLY);
	server_do(&server, "REPLICAOF NO ONE");
	RUN_UNTIL(watch.event, watch.ups == 2);
	watch_close(&watch);
}

/* The server's directory cannot be written: it refuses writes until it can be. */
static void misconf(void **state)
{
	struct eb_redis_config config = base_config(&server);
	struct answer answer;
	struct watch watch;

	(void)state;
	open_quick(&watch, &config);
	RUN_UNTIL(watch.event, eb_redis_is_up(watch.redis));
	server_do(&server, "SET something 1");
	server_do(&server, "CONFIG SET save %s", "3600 1");
	server_do(&server, "CONFIG SET rdbcompression no");
	shell("mkdir -p %s/dump.rdb", server.dir); /* a directory in the file's place: bgsave fails */
	server_do(&server, "BGSAVE");
	do {
		assert_int_equal(ask(&watch, &answer, "HSET h f v"), 0);
		RUN_UNTIL(watch.event, answer.is_there);
	} while (!answer.error);
	assert_int_equal(answer.error, EB_REDIS_MISCONF);
	assert_int_equal(watch.downs, 0);
	shell("rmdir %s/dump.rdb", server.dir);
	server_do(&server, "CONFIG SET stop-writes-on-bgsave-error no");
	assert_int_equal(ask(&watch, &answer, "HSET h f v"), 0);
	RUN_UNTIL(watch.event, answer.is_there);
	assert_int_equal(answer.error, EB_REDIS_OK);
	watch_close(&watch);
}

static void max_clients(void **state)
{
	struct eb_redis_config config = base_config(&server);
	struct watch first, second;

	(void)state;
	server_do(&server, "CONFIG SET maxclients 1");
	open_quick(&first, &config);
	RUN_UNTIL(first.event, eb_redis_is_up(first.redis));
	open_quick(&second, &config);
	RUN_UNTIL(second.event, second.downs > 1);
	assert_int_equal(second.ups, 0);
	assert_int_equal(second.error, EB_REDIS_MAX_CLIENTS);
	watch_close(&first);
	RUN_UNTIL(second.event, second.ups);
	watch_close(&second);
}

/* A restart with data: the server is there, but reads its files first, here for as long as it takes to see that. */
static void loading(void **state)
{
	static const char *const args[] = { "--key-load-delay", "10000", "--loading-process-events-interval-bytes",
					    "1024", NULL };
	struct eb_redis_config config;
	struct server other;
	struct watch watch;

	(void)state;
	server_start(&other, args);
	server_do(&other, "DEBUG POPULATE 3000 key 100");
	server_do(&other, "SAVE");
	config = base_config(&other);
	open_quick(&watch, &config);
	RUN_UNTIL(watch.event, eb_redis_is_up(watch.redis));
	server_kill(&other);
	server_restart(&other, false);
	RUN_UNTIL(watch.event, watch.error == EB_REDIS_LOADING);
	server_do(&other, "CONFIG SET key-load-delay 0");
	RUN_UNTIL(watch.event, watch.ups == 2);
	check_set_and_get(&watch);
	watch_close(&watch);
	server_kill(&other);
}

static void refuse_garbage(void **state)
{
	static const char *const garbage[] = {
		"HTTP/1.1 400 Bad Request\r\n\r\n",
		"*1000000000\r\n",
		"$2000000000\r\n",
		"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n",
		"$-5\r\n",
		":12\r\n:13\r\n:14\r\n",
		"\r\n",
	};

	(void)state;
	for (size_t i = 0; i < COUNT(garbage); i++) {
		struct eb_redis_config config = base_config(&server);
		struct watch watch;
		pid_t proxy;

		proxy = talker_start(garbage[i], &config.nodes[0].port);
		open_quick(&watch, &config);
		RUN_UNTIL(watch.event, watch.downs > 1);
		/* A text that never ends is bounded by the timeout, and its memory by what really came. */
		if (watch.error != EB_REDIS_PROTOCOL && watch.error != EB_REDIS_TIMEOUT)
			fail_msg("%zu: %s", i, watch.text);
		process_kill(proxy);
		watch_close(&watch);
	}
}

static void free_in_answer(const struct eb_redis_result *result, void *arg)
{
	struct watch *watch = arg;

	(void)result;
	if (watch->redis) {
		struct eb_redis *redis = watch->redis;

		watch->redis = NULL;
		eb_redis_free(redis);
	}
}

static void freed_in_callback(void **state)
{
	const char *argv[] = { "GET", "k" };
	struct eb_redis_config config = base_config(&server);
	struct watch watch;

	(void)state;
	open_quick(&watch, &config);
	RUN_UNTIL(watch.event, eb_redis_is_up(watch.redis));
	for (int i = 0; i < 10; i++)
		assert_int_equal(eb_redis_command(watch.redis, "k", 2, argv, NULL, free_in_answer, &watch), 0);
	RUN_UNTIL(watch.event, !watch.redis);
	run_for(watch.event, 50 * MS);
	sd_event_unref(watch.event);
}

static void free_calls_back(void **state)
{
	struct eb_redis_config config = base_config(&server);
	struct answer answer;
	struct watch watch;

	(void)state;
	open_quick(&watch, &config);
	RUN_UNTIL(watch.event, eb_redis_is_up(watch.redis));
	assert_int_equal(ask(&watch, &answer, "GET k"), 0);
	eb_redis_free(watch.redis);
	assert_true(answer.is_there);
	assert_int_equal(answer.error, EB_REDIS_CLOSED);
	sd_event_unref(watch.event);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(connects_over_tcp, start_server, NULL),
		cmocka_unit_test(connects_over_socket),
		cmocka_unit_test(looks_up_names),
		cmocka_unit_test(reports_names_without_address),
		cmocka_unit_test(waits_synchronously),
		cmocka_unit_test(selects_database),
		cmocka_unit_test(authenticates),
		cmocka_unit_test(reads_password_files),
		cmocka_unit_test(password_without_need_is_named),
		cmocka_unit_test(password_never_in_messages),
		cmocka_unit_test(refuses_when_full),
		cmocka_unit_test(refuses_too_many_bytes),
		cmocka_unit_test(refuses_large_replies),
		cmocka_unit_test(reconnects_after_kill),
		cmocka_unit_test(survives_hang),
		cmocka_unit_test(bounds_output_to_hanging_server),
		cmocka_unit_test(pings_when_idle),
		cmocka_unit_test(cut_in_pipeline),
		cmocka_unit_test(waits_for_slow_replies),
		cmocka_unit_test(classifies_replies),
		cmocka_unit_test(misconf),
		cmocka_unit_test(loading),
		cmocka_unit_test(refuse_garbage),
		cmocka_unit_test(freed_in_callback),
		cmocka_unit_test(free_calls_back),
		cmocka_unit_test_setup_teardown(max_clients, NULL, kill_server),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
