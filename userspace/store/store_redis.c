// SPDX-License-Identifier: GPL-2.0-only
/*
 * Buckets or bans in Redis: one hash of fields, one of meta data. HSET of many fields a command, many commands under
 * way.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config_redis.h"
#include "redis/redis.h"
#include "store/store_ops.h"

/* Measured: a million fields in HSETs of 128 are as fast with 64 commands under way as with more, and a server that
 * hangs leaves no more than this in memory. */
#define WINDOW 64

/* How many fields are asked for at once: first, and at least after replies that did not come in time. Fewer stay fewer:
 * what did not come through once would time out again. */
#define SCAN_COUNT 5000
#define SCAN_COUNT_MIN 50

/* A scan that asked for more fields than this goes round in circles. */
#define SCAN_FIELDS_MAX 80000000
#define NS_PER_MS 1000000

struct store_redis {
	struct eb_store base;
	struct eb_redis *redis;
	char *key, *meta_key;
	size_t in_flight; /* commands that write */
	bool was_full;
	struct scan *scan;
	unsigned int scan_count;
	int depth;
	bool freed;
};

/* Some commands that are acknowledged as one. */
struct operation {
	struct store_redis *store;
	unsigned int commands; /* not answered yet */
	uint64_t fields_set, fields_deleted;
	int64_t grown;
	uint64_t fields;
	int error; /* the first */
	char text[200];
	uint64_t latency_ns; /* the longest */
	eb_store_done done;
	void *arg;
};

struct scan {
	struct store_redis *store;
	char cursor[24];
	uint64_t asked; /* fields, in all steps */
	bool is_held;    /* the next step is not sent */
	bool is_waiting; /* and is due */
	uint64_t latency_ns; /* all steps */
	eb_store_visit visit;
	eb_store_done done;
	void *arg;
};

struct meta_read {
	struct store_redis *store;
	eb_store_meta_done done;
	void *arg;
};

static int to_errno(enum eb_redis_error error)
{
	switch (error) {
	case EB_REDIS_OK:
		return 0;
	case EB_REDIS_CLOSED:
		return -ECANCELED;
	case EB_REDIS_CONNECT:
	case EB_REDIS_LOST:
	case EB_REDIS_TLS:
		return -ENOTCONN;
	case EB_REDIS_TIMEOUT:
		return -ETIMEDOUT;
	case EB_REDIS_AUTH:
	case EB_REDIS_NO_PERMISSION:
		return -EACCES;
	case EB_REDIS_READONLY:
		return -EROFS;
	case EB_REDIS_OUT_OF_MEMORY:
		return -ENOSPC;
	default:
		return -EIO;
	}
}

static struct store_redis *self(const struct eb_store *store)
{
	return (struct store_redis *)store;
}

static void leave(struct store_redis *store)
{
	if (--store->depth || !store->freed)
		return;
	free(store->key);
	free(store->meta_key);
	free(store);
}

static void tell_writable(struct store_redis *store)
{
	if (!store->was_full || store->freed || store->in_flight > WINDOW / 2)
		return;
	store->was_full = false;
	if (store->base.events.writable)
		store->base.events.writable(store->base.events.arg);
}

static void finish_operation(struct operation *operation)
{
	struct store_redis *store = operation->store;
	struct eb_store_result result = {
		.error = operation->error,
		.text = operation->text,
		.latency_ns = operation->latency_ns,
		.grown = operation->grown,
		.fields = operation->fields,
	};

	if (operation->error) {
		eb_store_note_error(&store->base, operation->text);
	} else {
		store->base.counts.fields_set += operation->fields_set;
		store->base.counts.fields_deleted += operation->fields_deleted;
	}
	if (operation->done)
		operation->done(&result, operation->arg);
	free(operation);
}

static void fail_operation(struct operation *operation, int error, const char *text)
{
	if (operation->error)
		return;
	operation->error = error;
	snprintf(operation->text, sizeof(operation->text), "%s", text);
}

static void on_written(const struct eb_redis_result *redis_result, void *arg)
{
	struct operation *operation = arg;
	struct store_redis *store = operation->store;

	store->depth++;
	store->in_flight--;
	eb_store_note_latency(&store->base, EB_STORE_WRITE, redis_result->latency_ns);
	if (redis_result->error)
		fail_operation(operation, to_errno(redis_result->error), redis_result->text);
	if (redis_result->latency_ns > operation->latency_ns)
		operation->latency_ns = redis_result->latency_ns;
	if (!--operation->commands)
		finish_operation(operation);
	tell_writable(store);
	leave(store);
}

static int64_t number_of(const struct eb_redis_result *result)
{
	return !result->error && result->reply->type == EB_REDIS_INTEGER ? result->reply->integer : 0;
}

static void on_set(const struct eb_redis_result *result, void *arg)
{
	((struct operation *)arg)->grown += number_of(result);
	on_written(result, arg);
}

static void on_deleted(const struct eb_redis_result *result, void *arg)
{
	((struct operation *)arg)->grown -= number_of(result);
	on_written(result, arg);
}

static int send_command(struct operation *operation, const char *key, int argc, const char *const *argv,
			eb_redis_done answered)
{
	struct store_redis *store = operation->store;
	int err = eb_redis_command(store->redis, key, argc, argv, NULL, answered, operation);

	if (err)
		return err;
	operation->commands++;
	store->in_flight++;
	return 0;
}

/* Refuses while the window is full; else an operation that start_operation()'s caller sends commands for. */
static int new_operation(struct store_redis *store, unsigned int commands, eb_store_done done, void *arg,
			 struct operation **out)
{
	struct operation *operation;

	if (!eb_redis_is_up(store->redis))
		return -ENOTCONN;
	if (store->in_flight + commands > WINDOW || eb_redis_room(store->redis) < commands) {
		store->was_full = true;
		return -EAGAIN;
	}
	operation = calloc(1, sizeof(*operation));
	if (!operation)
		return -ENOMEM;
	operation->store = store;
	operation->done = done;
	operation->arg = arg;
	*out = operation;
	return 0;
}

/* `err` is that of the last command sent. One that follows another cannot be taken back: the operation fails when the
 * others are answered. */
static int settle_operation(struct operation *operation, int err)
{
	if (!err)
		return 0;
	if (operation->commands) {
		fail_operation(operation, err, strerror(-err));
		return 0;
	}
	operation->store->was_full |= err == -EAGAIN;
	free(operation);
	return err;
}

static int write_batch(struct eb_store *base, const struct eb_store_batch *batch, eb_store_done done, void *arg)
{
	const char *set[2 + 2 * EB_STORE_BATCH_ITEMS], *del[2 + EB_STORE_BATCH_ITEMS];
	struct store_redis *store = self(base);
	struct operation *operation;
	int set_count = 2, del_count = 2, err;

	if (!batch->count || batch->count > EB_STORE_BATCH_ITEMS)
		return -EINVAL;
	set[0] = "HSET";
	del[0] = "HDEL";
	set[1] = del[1] = store->key;
	for (size_t i = 0; i < batch->count; i++) {
		if (*batch->items[i].value) {
			set[set_count++] = batch->items[i].field;
			set[set_count++] = batch->items[i].value;
		} else {
			del[del_count++] = batch->items[i].field;
		}
	}
	err = new_operation(store, 2, done, arg, &operation);
	if (err)
		return err;
	operation->fields_set = (set_count - 2) / 2;
	operation->fields_deleted = del_count - 2;
	if (set_count > 2)
		err = send_command(operation, store->key, set_count, set, on_set);
	if (!err && del_count > 2)
		err = send_command(operation, store->key, del_count, del, on_deleted);
	return settle_operation(operation, err);
}

static int write_meta(struct eb_store *base, const struct eb_store_meta *meta, uint64_t expire_in_ns,
		      eb_store_done done, void *arg)
{
	struct store_redis *store = self(base);
	const char *set[2 + 2 * EB_STORE_META_FIELDS] = { "HSET", store->meta_key };
	const char *expire[] = { "PEXPIRE", NULL, NULL };
	struct eb_store_meta_text text;
	struct operation *operation;
	char expire_in[24];
	int err = new_operation(store, 3, done, arg, &operation);

	if (err)
		return err;
	eb_store_meta_format(meta, &text);
	for (int i = 0; i < EB_STORE_META_FIELDS; i++) {
		set[2 + 2 * i] = text.names[i];
		set[3 + 2 * i] = text.values[i];
	}
	/* Not a point in time: the server's clock may be another one than ours. */
	snprintf(expire_in, sizeof(expire_in), "%" PRIu64, expire_in_ns / NS_PER_MS);
	expire[2] = expire_in;
	err = send_command(operation, store->meta_key, 2 + 2 * EB_STORE_META_FIELDS, set, on_written);
	if (err)
		goto out;
	expire[1] = store->key;
	err = send_command(operation, store->key, 3, expire, on_written);
	if (err)
		goto out;
	expire[1] = store->meta_key;
	err = send_command(operation, store->meta_key, 3, expire, on_written);
out:
	return settle_operation(operation, err);
}

static void on_meta(const struct eb_redis_result *redis_result, void *arg)
{
	const struct eb_redis_reply *reply = redis_result->reply;
	struct meta_read *read = arg;
	struct store_redis *store = read->store;
	struct eb_store_result result = {
		.error = to_errno(redis_result->error),
		.text = redis_result->text,
		.latency_ns = redis_result->latency_ns,
	};
	struct eb_store_meta meta = { 0 };

	store->depth++;
	eb_store_note_latency(&store->base, EB_STORE_READ, redis_result->latency_ns);
	if (!result.error && reply->type != EB_REDIS_ARRAY) {
		result.error = -EPROTO;
		result.text = "the reply to HGETALL is not a hash";
	}
	for (size_t i = 0; !result.error && i + 1 < reply->count; i += 2)
		if (reply->items[i].str && reply->items[i + 1].str)
			eb_store_meta_take(&meta, reply->items[i].str, reply->items[i + 1].str);
	if (result.error)
		eb_store_note_error(&store->base, result.text);
	read->done(&result, &meta, read->arg);
	free(read);
	leave(store);
}

static int read_meta(struct eb_store *base, eb_store_meta_done done, void *arg)
{
	struct store_redis *store = self(base);
	const char *argv[] = { "HGETALL", store->meta_key };
	struct meta_read *read = malloc(sizeof(*read));
	int err;

	if (!read)
		return -ENOMEM;
	*read = (struct meta_read){ .store = store, .done = done, .arg = arg };
	err = eb_redis_command(store->redis, store->meta_key, 2, argv, NULL, on_meta, read);
	if (err)
		free(read);
	return err;
}

static void on_counted(const struct eb_redis_result *redis_result, void *arg)
{
	struct operation *operation = arg;

	operation->fields = number_of(redis_result);
	if (!redis_result->error && redis_result->reply->type != EB_REDIS_INTEGER)
		fail_operation(operation, -EPROTO, "the reply to HLEN is not a number");
	on_written(redis_result, operation);
}

static int count_fields(struct eb_store *base, eb_store_done done, void *arg)
{
	struct store_redis *store = self(base);
	const char *argv[] = { "HLEN", store->key };
	struct operation *operation;
	int err = new_operation(store, 1, done, arg, &operation);

	return err ? err : settle_operation(operation, send_command(operation, store->key, 2, argv, on_counted));
}

static void finish_scan(struct scan *scan, int error, const char *text)
{
	struct eb_store_result result = { .error = error, .text = text, .latency_ns = scan->latency_ns };

	scan->store->scan = NULL;
	if (error)
		eb_store_note_error(&scan->store->base, text);
	scan->done(&result, scan->arg);
	free(scan);
}

static void fail_scan(struct scan *scan, int error)
{
	finish_scan(scan, error, error == -ELOOP ? "HSCAN does not end" : strerror(-error));
}

static void on_scanned(const struct eb_redis_result *redis_result, void *arg);

static int send_scan(struct scan *scan)
{
	const char *argv[] = { "HSCAN", scan->store->key, scan->cursor, "COUNT", NULL };
	char count[12];

	if (scan->is_held) {
		scan->is_waiting = true;
		return 0;
	}
	scan->asked += scan->store->scan_count;
	if (scan->asked > SCAN_FIELDS_MAX)
		return -ELOOP;
	snprintf(count, sizeof(count), "%u", scan->store->scan_count);
	argv[4] = count;
	return eb_redis_command(scan->store->redis, scan->store->key, 5, argv, NULL, on_scanned, scan);
}

static bool is_scan_reply(const struct eb_redis_reply *reply)
{
	return reply->type == EB_REDIS_ARRAY && reply->count == 2 && reply->items[0].str && reply->items[0].len &&
	       reply->items[0].len < sizeof(((struct scan *)NULL)->cursor) && reply->items[1].type == EB_REDIS_ARRAY;
}

static void visit_all(const struct scan *scan, const struct eb_redis_reply *list)
{
	for (size_t i = 0; i + 1 < list->count; i += 2)
		if (list->items[i].str && list->items[i + 1].str)
			scan->visit(list->items[i].str, list->items[i].len, list->items[i + 1].str,
				    list->items[i + 1].len, scan->arg);
}

static void take_scanned(struct scan *scan, const struct eb_redis_reply *reply)
{
	bool is_last;
	int err = 0;

	if (!is_scan_reply(reply)) {
		finish_scan(scan, -EPROTO, "the reply to HSCAN is malformed");
		return;
	}
	strcpy(scan->cursor, reply->items[0].str);
	is_last = !strcmp(scan->cursor, "0");
	/* The server works on the next part while we visit this one. */
	if (!is_last)
		err = send_scan(scan);
	visit_all(scan, &reply->items[1]);
	if (err)
		fail_scan(scan, err);
	else if (is_last)
		finish_scan(scan, 0, "");
}

static void ask_for_less(struct store_redis *store)
{
	store->scan_count /= 8;
	if (store->scan_count < SCAN_COUNT_MIN)
		store->scan_count = SCAN_COUNT_MIN;
}

static void on_scanned(const struct eb_redis_result *redis_result, void *arg)
{
	struct scan *scan = arg;
	struct store_redis *store = scan->store;

	store->depth++;
	scan->latency_ns += redis_result->latency_ns;
	if (redis_result->error == EB_REDIS_TIMEOUT)
		ask_for_less(store);
	eb_store_note_latency(&store->base, EB_STORE_READ, redis_result->latency_ns);
	if (redis_result->error)
		finish_scan(scan, to_errno(redis_result->error), redis_result->text);
	else
		take_scanned(scan, redis_result->reply);
	leave(store);
}

static int start_scan(struct eb_store *base, eb_store_visit visit, eb_store_done done, void *arg)
{
	struct store_redis *store = self(base);
	struct scan *scan;
	int err;

	if (store->scan)
		return -EBUSY;
	scan = malloc(sizeof(*scan));
	if (!scan)
		return -ENOMEM;
	*scan = (struct scan){ .store = store, .cursor = "0", .visit = visit, .done = done, .arg = arg };
	err = send_scan(scan);
	if (err) {
		free(scan);
		return err;
	}
	store->scan = scan;
	return 0;
}

static void hold_scan(struct eb_store *base, bool hold)
{
	struct scan *scan = self(base)->scan;
	int err;

	if (!scan)
		return;
	scan->is_held = hold;
	if (hold || !scan->is_waiting)
		return;
	scan->is_waiting = false;
	err = send_scan(scan);
	if (err)
		fail_scan(scan, err);
}

static bool is_up(const struct eb_store *base)
{
	return eb_redis_is_up(self(base)->redis);
}

static const char *peer(const struct eb_store *base)
{
	return eb_redis_peer(self(base)->redis);
}

static void free_store(struct eb_store *base)
{
	struct store_redis *store = self(base);

	store->depth++;
	store->freed = true;
	memset(&base->events, 0, sizeof(base->events));
	eb_redis_free(store->redis);
	if (store->scan)
		finish_scan(store->scan, -ECANCELED, "the store was closed"); /* a held one, which asked for nothing */
	leave(store);
}

static const struct eb_store_ops ops = {
	.name = "redis",
	.write = write_batch,
	.write_meta = write_meta,
	.read_meta = read_meta,
	.count = count_fields,
	.scan = start_scan,
	.hold_scan = hold_scan,
	.is_up = is_up,
	.peer = peer,
	.free = free_store,
};

static void on_up(void *arg)
{
	struct store_redis *store = arg;

	if (store->base.events.up)
		store->base.events.up(store->base.events.arg);
}

static void on_down(enum eb_redis_error error, const char *text, void *arg)
{
	struct store_redis *store = arg;

	(void)error;
	eb_store_tell_down(&store->base, text);
}

static void on_writable(void *arg)
{
	tell_writable(arg);
}

static int name_keys(struct store_redis *store, const char *key, const char *node, enum eb_store_content content)
{
	size_t size = strlen(key) + strlen(node) + sizeof(":{}:bans:meta");

	store->key = malloc(size);
	store->meta_key = malloc(size);
	if (!store->key || !store->meta_key)
		return -ENOMEM;
	snprintf(store->key, size, *node ? "%s:{%s}" : "%s", key, node);
	if (content == EB_STORE_BANS)
		strcat(store->key, ":bans");
	snprintf(store->meta_key, size, "%s:meta", store->key);
	return 0;
}

int eb_store_redis_new(sd_event *event, const struct eb_redis_config *config, const struct eb_redis_limits *limits,
		       const char *node, enum eb_store_content content, const struct eb_store_events *events,
		       struct eb_store **out)
{
	struct store_redis *store = calloc(1, sizeof(*store));
	struct eb_redis_events redis_events = {
		.up = on_up,
		.down = on_down,
		.writable = on_writable,
		.arg = store,
	};
	const char *keys[2];
	int err;

	if (!store)
		return -ENOMEM;
	eb_store_init(&store->base, &ops, events);
	store->scan_count = SCAN_COUNT;
	err = name_keys(store, config->key, node, content);
	keys[0] = store->key;
	keys[1] = store->meta_key;
	if (!err)
		err = eb_redis_new(event, config, limits, keys, 2, &redis_events, &store->redis);
	if (err) {
		free_store(&store->base);
		return err;
	}
	*out = &store->base;
	return 0;
}
