// SPDX-License-Identifier: GPL-2.0-only
/* Three Sentinels, a master and a replica: failovers, Sentinels that are away, replicas that think otherwise. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"

#define SENTINELS 3

static struct server master, replica, sentinels[SENTINELS];
static struct eb_endpoint endpoints[SENTINELS];

static void start_all(const char *sentinel_more)
{
	static const char *const args[] = { "--repl-diskless-sync-delay", "0", NULL };
	char config[512];

	server_start(&master, args);
	server_start(&replica, args);
	server_do(&replica, "REPLICAOF 127.0.0.1 %d", master.port);
	snprintf(config, sizeof(config),
		 "sentinel monitor edge 127.0.0.1 %u 2\nsentinel down-after-milliseconds edge 300\n"
		 "sentinel failover-timeout edge 2000\n%s",
		 master.port, sentinel_more);
	for (int i = 0; i < SENTINELS; i++) {
		sentinel_start(&sentinels[i], config);
		endpoints[i] = (struct eb_endpoint){ "127.0.0.1", sentinels[i].port };
	}
}

/* Until the Sentinels know each other and the replica, they cannot fail over. */
static void wait_for_sentinels(sd_event *event)
{
	for (int i = 0; i < SENTINELS; i++) {
		bool ready = false;

		while (!ready) {
			redisReply *others = server_command(&sentinels[i], "SENTINEL sentinels edge");
			redisReply *replicas = server_command(&sentinels[i], "SENTINEL replicas edge");

			ready = others->elements == SENTINELS - 1 && replicas->elements == 1;
			freeReplyObject(others);
			freeReplyObject(replicas);
			run_once(event);
		}
	}
	RUN_UNTIL(event, server_number(&master, "WAIT 1 10") == 1);
}

static int start(void **state)
{
	(void)state;
	start_all("");
	return 0;
}

static int stop(void **state)
{
	(void)state;
	server_kill(&master);
	server_kill(&replica);
	for (int i = 0; i < SENTINELS; i++)
		server_kill(&sentinels[i]);
	return 0;
}

static struct eb_redis_config sentinel_config(void)
{
	return (struct eb_redis_config){
		.kind = EB_REDIS_SENTINEL,
		.nodes = endpoints,
		.node_count = SENTINELS,
		.sentinel_master = "edge",
		.key = "token_bucket_fallback",
		.connect_timeout_ns = 500 * MS,
	};
}

static bool goes_to(const struct watch *watch, const struct server *server)
{
	char peer[32];

	snprintf(peer, sizeof(peer), "127.0.0.1:%u", server->port);
	return eb_redis_is_up(watch->redis) && !strcmp(eb_redis_peer(watch->redis), peer);
}

static void set(struct watch *watch, const char *words)
{
	struct answer answer;

	assert_int_equal(ask(watch, &answer, words), 0);
	RUN_UNTIL(watch->event, answer.is_there);
	assert_int_equal(answer.error, EB_REDIS_OK);
}

static void finds_master(void **state)
{
	struct eb_redis_config config = sentinel_config();
	struct eb_redis_limits limits = quick_limits();
	struct watch watch;

	(void)state;
	watch_open(&watch, &config, &limits, NULL, 0);
	RUN_UNTIL(watch.event, goes_to(&watch, &master));
	set(&watch, "SET k one");
	watch_close(&watch);
}

static void asks_those_who_answer(void **state)
{
	struct eb_redis_config config = sentinel_config();
	struct eb_redis_limits limits = quick_limits();
	struct eb_endpoint some[] = { endpoints[0], { "192.0.2.1", 26379 }, endpoints[2] };
	struct watch watch;

	(void)state;
	server_stop(&sentinels[0]);
	config.nodes = some;
	watch_open(&watch, &config, &limits, NULL, 0);
	RUN_UNTIL(watch.event, goes_to(&watch, &master));
	assert_int_equal(watch.downs, 0);
	server_continue(&sentinels[0]);
	watch_close(&watch);
}

static void reports_unknown_name(void **state)
{
	struct eb_redis_config config = sentinel_config();
	struct eb_redis_limits limits = quick_limits();
	struct watch watch;

	(void)state;
	config.sentinel_master = "nobody";
	watch_open(&watch, &config, &limits, NULL, 0);
	RUN_UNTIL(watch.event, watch.downs);
	assert_int_equal(watch.error, EB_REDIS_NO_MASTER);
	assert_non_null(strstr(watch.text, "does not know this master"));
	watch_close(&watch);
}

/* Somebody asks for a failover: the old master lives on as a replica. We hear of it and go over. */
static void follows_failover(void **state)
{
	struct eb_redis_config config = sentinel_config();
	struct eb_redis_limits limits = quick_limits();
	struct server swap;
	struct watch watch;

	(void)state;
	watch_open(&watch, &config, &limits, NULL, 0);
	wait_for_sentinels(watch.event);
	RUN_UNTIL(watch.event, goes_to(&watch, &master));
	server_do(&sentinels[0], "SENTINEL failover edge");
	RUN_UNTIL(watch.event, goes_to(&watch, &replica));
	set(&watch, "SET k two");
	assert_int_equal(server_number(&replica, "STRLEN k"), 3);
	swap = master;
	master = replica;
	replica = swap;
	/* The old master has become a replica of the new one before the next test. */
	RUN_UNTIL(watch.event, server_number(&master, "WAIT 1 10") == 1);
	watch_close(&watch);
}

static void follows_death(void **state)
{
	struct eb_redis_config config = sentinel_config();
	struct eb_redis_limits limits = quick_limits();
	struct server swap;
	struct watch watch;

	(void)state;
	watch_open(&watch, &config, &limits, NULL, 0);
	wait_for_sentinels(watch.event);
	RUN_UNTIL(watch.event, goes_to(&watch, &master));
	/* Sentinels wait for twice the failover timeout before the next one. */
	server_kill(&master);
	RUN_UNTIL(watch.event, goes_to(&watch, &replica));
	set(&watch, "SET k three");
	/* It comes back, and for a moment thinks that it is a master: nobody sends us there. */
	server_restart(&master, true);
	run_for(watch.event, 300 * MS);
	assert_true(goes_to(&watch, &replica));
	swap = master;
	master = replica;
	replica = swap;
	watch_close(&watch);
}

/* A Sentinel that is behind names a replica: we ask it for its role, and write nothing. */
static void refuses_replica(void **state)
{
	struct eb_redis_config config = sentinel_config();
	struct eb_redis_limits limits = quick_limits();
	struct server liar;
	struct eb_endpoint endpoint;
	struct watch watch;
	char text[256];

	(void)state;
	sentinel_start(&liar, "");
	server_kill(&liar);
	/* A monitored replica is what Sentinel itself would correct: a fixed answer in its place. */
	snprintf(text, sizeof(text), "+PONG\r\n*2\r\n$9\r\n127.0.0.1\r\n$%d\r\n%u\r\n",
		 snprintf(NULL, 0, "%u", replica.port), replica.port);
	endpoint = (struct eb_endpoint){ .host = "127.0.0.1" };
	liar.pid = talker_start(text, &endpoint.port);
	config.nodes = &endpoint;
	config.node_count = 1;
	watch_open(&watch, &config, &limits, NULL, 0);
	RUN_UNTIL(watch.event, watch.downs > 3);
	assert_int_equal(watch.ups, 0);
	assert_int_equal(watch.error, EB_REDIS_NO_MASTER);
	server_kill(&liar);
	watch_close(&watch);
}

static void authenticates(void **state)
{
	struct eb_redis_config config = sentinel_config();
	struct eb_redis_limits limits = quick_limits();
	struct watch watch;

	(void)state;
	stop(NULL);
	start_all("user default off\n"
		  "user edgebucket on >sentinel-secret resetchannels -@all &+switch-master "
		  "+sentinel|get-master-addr-by-name +subscribe +ping\n"
		  "user sentinel on >peer-secret ~* &* +@all\nsentinel sentinel-user sentinel\n"
		  "sentinel sentinel-pass peer-secret\n");
	server_set_user(&master, "redis-secret", "+role", NULL);
	config.username = "edgebucket";
	config.password = "redis-secret";
	config.sentinel_username = "edgebucket";
	config.sentinel_password = "sentinel-secret";
	watch_open(&watch, &config, &limits, NULL, 0);
	RUN_UNTIL(watch.event, goes_to(&watch, &master));
	set(&watch, "HSET token_bucket_fallback:{x} f v");
	run_for(watch.event, 200 * MS);
	assert_int_equal(watch.downs, 0);
	watch_close(&watch);
	server_set_user(&master, "redis-secret", "+role", "-role");
	watch_open(&watch, &config, &limits, NULL, 0);
	RUN_UNTIL(watch.event, watch.downs);
	assert_int_equal(watch.error, EB_REDIS_NO_PERMISSION);
	assert_non_null(strstr(watch.text, "role"));
	watch_close(&watch);
	config.sentinel_password = "wrong";
	watch_open(&watch, &config, &limits, NULL, 0);
	RUN_UNTIL(watch.event, watch.downs);
	assert_non_null(strstr(watch.text, "refused the user name or password"));
	watch_close(&watch);
}

static void over_tls(void **state)
{
	static const char *args[16];
	struct eb_redis_config config = sentinel_config();
	struct eb_redis_limits limits = quick_limits();
	struct server tls_master, tls_sentinel;
	struct eb_endpoint endpoint;
	struct watch watch;
	char text[1024], ca[128];

	(void)state;
	shell("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=both "
	      "-addext subjectAltName=IP:127.0.0.1 -keyout both.key -out both.crt");
	snprintf(ca, sizeof(ca), "%s/both.crt", test_dir());
	args[0] = "--tls-cert-file";
	args[1] = ca;
	args[2] = "--tls-key-file";
	snprintf(text, sizeof(text), "%s/both.key", test_dir());
	args[3] = strdup(text);
	args[4] = "--tls-ca-cert-file";
	args[5] = ca;
	args[6] = "--tls-auth-clients";
	args[7] = "no";
	server_start(&tls_master, args);
	endpoint = (struct eb_endpoint){ "127.0.0.1", free_port() };
	snprintf(text, sizeof(text),
		 "tls-port %u\ntls-cert-file %s\ntls-key-file %s\ntls-ca-cert-file %s\ntls-auth-clients no\n"
		 "tls-replication yes\nsentinel monitor edge 127.0.0.1 %u 1\n",
		 endpoint.port, ca, args[3], ca, tls_master.tls_port);
	sentinel_start(&tls_sentinel, text);
	config.nodes = &endpoint;
	config.node_count = 1;
	config.tls = config.sentinel_tls = (struct eb_redis_tls){ .is_on = true, .ca = ca };
	watch_open(&watch, &config, &limits, NULL, 0);
	RUN_UNTIL(watch.event, eb_redis_is_up(watch.redis));
	set(&watch, "SET k v");
	watch_close(&watch);
	config.sentinel_tls.ca = NULL;
	watch_open(&watch, &config, &limits, NULL, 0);
	RUN_UNTIL(watch.event, watch.downs);
	assert_non_null(strstr(watch.text, "certificate was refused"));
	watch_close(&watch);
	server_kill(&tls_master);
	server_kill(&tls_sentinel);
	free((char *)args[3]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_master),
		cmocka_unit_test(asks_those_who_answer),
		cmocka_unit_test(reports_unknown_name),
		cmocka_unit_test(follows_failover),
		cmocka_unit_test(refuses_replica),
		cmocka_unit_test(follows_death),
		cmocka_unit_test(authenticates),
		cmocka_unit_test(over_tls),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
