// SPDX-License-Identifier: GPL-2.0-only
/* Three masters and a replica each: slots of keys, redirections, a slot that moves under fire, nodes that die. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"
#include "redis/slot.h"
#include "store/store.h"

#define NODES 6 /* masters first */
#define MASTERS 3
#define KEY "token_bucket_fallback:{edge-01}"

static struct server nodes[NODES];
static struct eb_endpoint seeds[MASTERS];
static char ids[NODES][64];

static void slots_of_keys(void **state)
{
	(void)state;
	/* From the specification, and from CLUSTER KEYSLOT. */
	assert_int_equal(eb_slot_of_key("123456789"), 0x31c3 % 16384);
	assert_int_equal(eb_slot_of_key(""), 0);
	assert_int_equal(eb_slot_of_key("{user1000}.following"), eb_slot_of_key("{user1000}.followers"));
	assert_int_equal(eb_slot_of_key("foo{bar}{zap}"), eb_slot_of_key("bar"));
	for (int i = 0; i < 500; i++) {
		static const char *const shapes[] = { "key%d", "a{b%d}c", "{}%d", "%d{", "}{%d}", "x{{%d}}y", "{%d" };
		char key[64];

		snprintf(key, sizeof(key), shapes[i % COUNT(shapes)], i * 7919);
		assert_int_equal(eb_slot_of_key(key), server_number(&nodes[0], "CLUSTER KEYSLOT %s", key));
	}
}

static bool is_cluster_ok(void)
{
	for (int i = 0; i < NODES; i++) {
		redisReply *reply = server_command(&nodes[i], "CLUSTER INFO");
		bool ok = strstr(reply->str, "cluster_state:ok") && strstr(reply->str, "cluster_known_nodes:6");

		freeReplyObject(reply);
		if (!ok)
			return false;
	}
	return true;
}

/* Until all know each other and every replica could take over. */
static void wait_for_cluster(void)
{
	while (!is_cluster_ok())
		shell("sleep 0.05");
	for (int i = 0; i < NODES; i++) {
		redisReply *role = server_command(&nodes[i], "ROLE");
		bool is_ready = !strcmp(role->element[0]->str, "master") || !strcmp(role->element[3]->str, "connected");

		freeReplyObject(role);
		if (!is_ready)
			shell("sleep 0.05");
		i -= !is_ready;
	}
}

static int start(void **state)
{
	static const char *const args[] = { "--cluster-enabled", "yes", "--cluster-node-timeout", "1000",
					    "--cluster-allow-replica-migration", "no",
					    "--cluster-require-full-coverage", "no",
					    "--repl-diskless-sync-delay", "0", NULL };

	(void)state;
	for (int i = 0; i < NODES; i++) {
		redisReply *id;

		server_start(&nodes[i], args);
		id = server_command(&nodes[i], "CLUSTER MYID");
		snprintf(ids[i], sizeof(ids[i]), "%s", id->str);
		freeReplyObject(id);
		if (i < MASTERS)
			seeds[i] = (struct eb_endpoint){ "127.0.0.1", nodes[i].port };
	}
	server_do(&nodes[0], "CLUSTER ADDSLOTSRANGE 0 5460");
	server_do(&nodes[1], "CLUSTER ADDSLOTSRANGE 5461 10922");
	server_do(&nodes[2], "CLUSTER ADDSLOTSRANGE 10923 16383");
	for (int i = 0; i < NODES; i++) {
		server_do(&nodes[i], "CLUSTER SET-CONFIG-EPOCH %d", i + 1);
		if (i)
			server_do(&nodes[i], "CLUSTER MEET 127.0.0.1 %d", nodes[0].port);
	}
	for (int i = MASTERS; i < NODES; i++) {
		redisReply *reply;

		do {
			reply = server_command(&nodes[i], "CLUSTER REPLICATE %s", ids[i - MASTERS]);
			if (reply->type != REDIS_REPLY_ERROR)
				break;
			freeReplyObject(reply);
			shell("sleep 0.05");
		} while (true);
		freeReplyObject(reply);
	}
	wait_for_cluster();
	return 0;
}

static int stop(void **state)
{
	(void)state;
	for (int i = 0; i < NODES; i++)
		server_kill(&nodes[i]);
	return 0;
}

static struct eb_redis_config cluster_config(void)
{
	return (struct eb_redis_config){
		.kind = EB_REDIS_CLUSTER,
		.nodes = seeds,
		.node_count = MASTERS,
		.key = "token_bucket_fallback",
		.connect_timeout_ns = 500 * MS,
	};
}

static void open_cluster(struct watch *watch, const char *const *keys, size_t count)
{
	struct eb_redis_config config = cluster_config();
	struct eb_redis_limits limits = quick_limits();

	limits.request_timeout_ns = 1000 * MS;
	watch_open(watch, &config, &limits, keys, count);
	RUN_UNTIL(watch->event, eb_redis_is_up(watch->redis));
}

/* Which node serves the slot now, by one that lives. */
static int owner_of(uint16_t slot)
{
	for (int i = 0; i < NODES; i++) {
		redisReply *reply;
		int found = -1;

		if (!nodes[i].pid)
			continue;
		reply = server_command(&nodes[i], "CLUSTER SLOTS");
		for (size_t r = 0; r < reply->elements && found < 0; r++) {
			redisReply **range = reply->element[r]->element;

			if (slot < range[0]->integer || slot > range[1]->integer)
				continue;
			for (int n = 0; n < NODES; n++)
				if (nodes[n].port == range[2]->element[1]->integer)
					found = n;
		}
		freeReplyObject(reply);
		if (found >= 0)
			return found;
	}
	return -1;
}

static void finds_nodes_of_keys(void **state)
{
	static const char *const keys[] = { "key-a", "key-b:meta", "key-c", "key-d" };
	struct answer answer;
	struct watch watch;
	char words[64];

	(void)state;
	open_cluster(&watch, keys, COUNT(keys));
	for (size_t i = 0; i < COUNT(keys); i++) {
		snprintf(words, sizeof(words), "SET %s v", keys[i]);
		assert_int_equal(ask(&watch, &answer, words), 0);
		RUN_UNTIL(watch.event, answer.is_there);
		assert_int_equal(answer.error, EB_REDIS_OK);
		assert_int_equal(server_number(&nodes[owner_of(eb_slot_of_key(keys[i]))], "STRLEN %s", keys[i]), 1);
	}
	/* A key that was not announced is found as well. */
	assert_int_equal(ask(&watch, &answer, "SET unannounced v"), 0);
	RUN_UNTIL(watch.event, answer.is_there);
	assert_int_equal(answer.error, EB_REDIS_OK);
	assert_int_equal(watch.downs, 0);
	watch_close(&watch);
}

static void one_seed_is_enough(void **state)
{
	static const char *const keys[] = { KEY };
	struct eb_endpoint some[] = { { "192.0.2.1", 7000 }, { "127.0.0.1", free_port() }, seeds[1] };
	struct eb_redis_config config = cluster_config();
	struct eb_redis_limits limits = quick_limits();
	struct watch watch;

	(void)state;
	config.nodes = some;
	watch_open(&watch, &config, &limits, keys, 1);
	RUN_UNTIL(watch.event, eb_redis_is_up(watch.redis));
	watch_close(&watch);
}

/* Writers that never stop: fields f0.. of one hash, each acknowledged one counted. */
#define FIELDS 500
struct load {
	struct watch *watch;
	unsigned int sent, acked, failed;
	enum eb_redis_error error;
	char acked_fields[FIELDS];
};

struct load_request {
	struct load *load;
	unsigned int number;
};

static void on_load(const struct eb_redis_result *result, void *arg)
{
	struct load_request *request = arg;
	struct load *load = request->load;

	if (result->error) {
		load->failed++;
		load->error = result->error;
	} else {
		load->acked++;
		load->acked_fields[request->number % FIELDS] = 1;
	}
	free(request);
}

static void offer(struct load *load)
{
	for (int i = 0; i < 20; i++) {
		struct load_request *request = malloc(sizeof(*request));
		char field[16];
		const char *argv[] = { "HSET", KEY, field, "v" };

		*request = (struct load_request){ load, load->sent };
		snprintf(field, sizeof(field), "f%u", load->sent % FIELDS);
		if (eb_redis_command(load->watch->redis, KEY, 4, argv, NULL, on_load, request)) {
			free(request);
			return;
		}
		load->sent++;
	}
}

#define LOAD_UNTIL(load, condition)                                               \
	do {                                                                      \
		uint64_t end_ns_ = eb_monotonic_ns() + PATIENCE_NS;                  \
		while (!(condition)) {                                            \
			if (eb_monotonic_ns() > end_ns_)                             \
				fail_msg("%d: never came true: %s (%s)", __LINE__, #condition, (load)->watch->text); \
			offer(load);                                              \
			run_once((load)->watch->event);                           \
		}                                                                 \
	} while (0)

static void check_fields(const struct load *load)
{
	struct server *node = &nodes[owner_of(eb_slot_of_key(KEY))];

	for (int i = 0; i < FIELDS; i++)
		if (load->acked_fields[i])
			assert_int_equal(server_number(node, "HEXISTS " KEY " f%d", i), 1);
}

/* As redis-cli --cluster reshard does it, with the writer's turns in between. */
static void migrates_slot_under_fire(void **state)
{
	static const char *const keys[] = { KEY };
	uint16_t slot = eb_slot_of_key(KEY);
	struct watch watch;
	struct load load = { .watch = &watch };
	unsigned int before;
	int from, to;

	(void)state;
	open_cluster(&watch, keys, 1);
	LOAD_UNTIL(&load, load.acked > 1000);
	for (int round = 0; round < 4; round++) {
		from = owner_of(slot);
		to = (from + 1) % MASTERS;
		/* In the first half of the rounds the hash is gone from the source: every write is told ASK. */
		server_do(&nodes[to], "CLUSTER SETSLOT %d IMPORTING %s", slot, ids[from]);
		server_do(&nodes[from], "CLUSTER SETSLOT %d MIGRATING %s", slot, ids[to]);
		before = load.acked;
		LOAD_UNTIL(&load, load.acked > before + 500);
		server_do(&nodes[from], "MIGRATE 127.0.0.1 %d %s 0 5000", nodes[to].port, KEY);
		before = load.acked;
		LOAD_UNTIL(&load, load.acked > before + 500);
		server_do(&nodes[to], "CLUSTER SETSLOT %d NODE %s", slot, ids[to]);
		before = load.acked;
		LOAD_UNTIL(&load, load.acked > before + 500);
		server_do(&nodes[from], "CLUSTER SETSLOT %d NODE %s", slot, ids[to]);
		before = load.acked;
		LOAD_UNTIL(&load, load.acked > before + 500);
		for (int i = 0; i < MASTERS; i++)
			server_do(&nodes[i], "CLUSTER SETSLOT %d NODE %s", slot, ids[to]);
		RUN_UNTIL(watch.event, owner_of(slot) == to);
	}
	RUN_UNTIL(watch.event, load.acked + load.failed == load.sent);
	assert_int_equal(load.failed, 0);
	assert_int_equal(watch.downs, 0);
	check_fields(&load);
	print_message("%u writes, none failed\n", load.acked);
	watch_close(&watch);
}

/* The node of our slot dies: its replica takes over, and we find it. */
static void node_dies(void **state)
{
	static const char *const keys[] = { KEY };
	uint16_t slot = eb_slot_of_key(KEY);
	struct watch watch;
	struct load load = { .watch = &watch };
	unsigned int before;
	int dead;

	(void)state;
	open_cluster(&watch, keys, 1);
	LOAD_UNTIL(&load, load.acked > 1000);
	dead = owner_of(slot);
	server_kill(&nodes[dead]);
	LOAD_UNTIL(&load, watch.downs);
	LOAD_UNTIL(&load, eb_redis_is_up(watch.redis));
	before = load.acked;
	LOAD_UNTIL(&load, load.acked > before + 1000);
	assert_int_not_equal(owner_of(slot), dead);
	RUN_UNTIL(watch.event, load.acked + load.failed == load.sent);
	/* It comes back as a replica, and nothing goes there. */
	server_restart(&nodes[dead], true);
	run_for(watch.event, 200 * MS);
	before = load.failed;
	LOAD_UNTIL(&load, load.acked > 4000);
	RUN_UNTIL(watch.event, load.acked + load.failed == load.sent);
	assert_int_equal(load.failed, before);
	watch_close(&watch);
}

/* A node that hangs is a node lost; and when it wakes up, it learns that it is no master any more. */
static void node_hangs(void **state)
{
	static const char *const keys[] = { KEY };
	uint16_t slot = eb_slot_of_key(KEY);
	struct watch watch;
	struct load load = { .watch = &watch };
	unsigned int before;
	int hung;

	(void)state;
	wait_for_cluster();
	open_cluster(&watch, keys, 1);
	hung = owner_of(slot);
	server_stop(&nodes[hung]);
	LOAD_UNTIL(&load, watch.downs);
	LOAD_UNTIL(&load, eb_redis_is_up(watch.redis) && load.acked > 500);
	server_continue(&nodes[hung]);
	before = load.acked;
	LOAD_UNTIL(&load, load.acked > before + 1000);
	watch_close(&watch);
}

/* Slots without a node: said, waited for, and taken up again. */
static void slot_is_unserved(void **state)
{
	static const char *const keys[] = { KEY };
	uint16_t slot = eb_slot_of_key(KEY);
	struct answer answer;
	struct watch watch;
	int from;

	(void)state;
	wait_for_cluster();
	from = owner_of(slot);
	open_cluster(&watch, keys, 1);
	server_do(&nodes[from], "DEL " KEY);
	for (int i = 0; i < NODES; i++)
		server_do(&nodes[i], "CLUSTER DELSLOTS %d", slot);
	assert_int_equal(ask(&watch, &answer, "HSET " KEY " f v"), 0);
	RUN_UNTIL(watch.event, answer.is_there);
	assert_int_not_equal(answer.error, EB_REDIS_OK);
	RUN_UNTIL(watch.event, watch.downs && watch.error == EB_REDIS_NO_MASTER);
	assert_false(eb_redis_is_up(watch.redis));
	server_do(&nodes[from], "CLUSTER ADDSLOTS %d", slot);
	RUN_UNTIL(watch.event, eb_redis_is_up(watch.redis));
	assert_int_equal(ask(&watch, &answer, "HSET " KEY " f v"), 0);
	RUN_UNTIL(watch.event, answer.is_there);
	assert_int_equal(answer.error, EB_REDIS_OK);
	watch_close(&watch);
}

static void no_cluster(void **state)
{
	static const char *const keys[] = { KEY };
	struct eb_redis_config config = cluster_config();
	struct eb_redis_limits limits = quick_limits();
	struct server plain;
	struct eb_endpoint endpoint;
	struct answer answer;
	struct watch watch;

	(void)state;
	server_start(&plain, NULL);
	endpoint = (struct eb_endpoint){ "127.0.0.1", plain.port };
	config.nodes = &endpoint;
	config.node_count = 1;
	watch_open(&watch, &config, &limits, keys, 1);
	RUN_UNTIL(watch.event, watch.downs);
	assert_non_null(strstr(watch.text, "cluster support disabled"));
	watch_close(&watch);
	/* And the reverse: a cluster, configured as one server. */
	config = base_config(&nodes[owner_of(eb_slot_of_key(KEY)) == 0 ? 1 : 0]);
	watch_open(&watch, &config, &limits, NULL, 0);
	RUN_UNTIL(watch.event, eb_redis_is_up(watch.redis));
	assert_int_equal(ask(&watch, &answer, "HSET " KEY " f v"), 0);
	RUN_UNTIL(watch.event, answer.is_there);
	assert_int_equal(answer.error, EB_REDIS_MOVED);
	watch_close(&watch);
	server_kill(&plain);
}

/* The user of deploy/, with the rights of its line for Cluster. */
static void minimal_rights(void **state)
{
	static const char *const keys[] = { KEY };
	struct eb_redis_config config = cluster_config();
	struct eb_redis_limits limits = quick_limits();
	struct answer answer;
	struct watch watch;

	(void)state;
	for (int i = 0; i < NODES; i++)
		server_set_user(&nodes[i], "secret", "+asking", NULL);
	config.username = "edgebucket";
	config.password = "secret";
	watch_open(&watch, &config, &limits, keys, 1);
	RUN_UNTIL(watch.event, eb_redis_is_up(watch.redis));
	assert_int_equal(ask(&watch, &answer, "HSET " KEY " f v"), 0);
	RUN_UNTIL(watch.event, answer.is_there);
	assert_int_equal(answer.error, EB_REDIS_OK);
	assert_int_equal(watch.downs, 0);
	watch_close(&watch);
	for (int i = 0; i < NODES; i++)
		server_set_user(&nodes[i], "secret", "+asking", "-cluster|slots");
	watch_open(&watch, &config, &limits, keys, 1);
	RUN_UNTIL(watch.event, watch.downs);
	assert_int_equal(watch.error, EB_REDIS_NO_PERMISSION);
	assert_non_null(strstr(watch.text, "cluster|slots"));
	watch_close(&watch);
}

struct stored {
	unsigned int acks, fields;
	uint32_t schema;
};

static void on_stored(const struct eb_store_result *result, void *arg)
{
	assert_int_equal(result->error, 0);
	((struct stored *)arg)->acks++;
}

static void on_stored_meta(const struct eb_store_result *result, const struct eb_store_meta *meta, void *arg)
{
	on_stored(result, arg);
	((struct stored *)arg)->schema = meta->schema;
}

static void on_stored_field(const char *field, size_t field_len, const char *value, size_t value_len, void *arg)
{
	(void)field;
	(void)field_len;
	(void)value;
	(void)value_len;
	((struct stored *)arg)->fields++;
}

/* Without a node's name there is no hash tag: the two keys live on two nodes. */
static void store_without_node(void **state)
{
	static struct eb_store_batch batch;
	struct eb_redis_config config = cluster_config();
	struct eb_redis_limits limits = quick_limits();
	struct eb_store_meta meta = { .schema = 5 };
	struct stored stored = { 0 };
	struct eb_store *store;
	sd_event *event;

	(void)state;
	assert_int_not_equal(owner_of(eb_slot_of_key("token_bucket_fallback")),
			     owner_of(eb_slot_of_key("token_bucket_fallback:meta")));
	assert_true(sd_event_new(&event) >= 0);
	assert_int_equal(eb_store_redis_new(event, &config, &limits, "", EB_STORE_BUCKETS, NULL, &store), 0);
	RUN_UNTIL(event, eb_store_is_up(store));
	for (batch.count = 0; batch.count < EB_STORE_BATCH_ITEMS; batch.count++) {
		snprintf(batch.items[batch.count].field, EB_STORE_FIELD_MAX, "dns|10.0.0.%zu/32", batch.count);
		strcpy(batch.items[batch.count].value, "1700000000000000000 0");
	}
	assert_int_equal(eb_store_write(store, &batch, on_stored, &stored), 0);
	assert_int_equal(eb_store_write_meta(store, &meta, 1000000000000ULL, on_stored, &stored), 0);
	RUN_UNTIL(event, stored.acks == 2);
	assert_int_equal(eb_store_read_meta(store, on_stored_meta, &stored), 0);
	assert_int_equal(eb_store_scan(store, on_stored_field, on_stored, &stored), 0);
	RUN_UNTIL(event, stored.acks == 4);
	assert_int_equal(stored.schema, 5);
	assert_int_equal(stored.fields, EB_STORE_BATCH_ITEMS);
	eb_store_free(store);
	sd_event_unref(event);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(slots_of_keys),
		cmocka_unit_test(finds_nodes_of_keys),
		cmocka_unit_test(one_seed_is_enough),
		cmocka_unit_test(migrates_slot_under_fire),
		cmocka_unit_test(minimal_rights),
		cmocka_unit_test(store_without_node),
		cmocka_unit_test(no_cluster),
		cmocka_unit_test(node_dies),
		cmocka_unit_test(node_hangs),
		cmocka_unit_test(slot_is_unserved),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
