// SPDX-License-Identifier: GPL-2.0-only
/*
 * What hiredis and the server alone can do with the fields of a hash: read them all, and write them all to another
 * hash, which is removed again. With the same commands as edgebucket, and as many of them under way. Prints fields read
 * per second, fields written per second.
 */
#include <errno.h>
#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench.h"

#define BATCH_FIELDS 128
#define WINDOW 64
#define COPY_KEY "bench:copy"

/* What a batch is made of lies in the order of writing, so that finding it costs next to nothing. */
struct field {
	char name[80];
	char value[48];
};

struct fields {
	struct field *items;
	size_t count, room;
};

struct batch {
	const char *argv[2 + 2 * BATCH_FIELDS];
	size_t lengths[2 + 2 * BATCH_FIELDS];
	int argc;
};

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

static bool is_page(const redisReply *reply)
{
	return reply && reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
	       reply->element[0]->type == REDIS_REPLY_STRING && reply->element[1]->type == REDIS_REPLY_ARRAY;
}

static int keep(struct fields *fields, const redisReply *texts)
{
	for (size_t i = 0; i + 1 < texts->elements; i += 2) {
		struct field *field;

		if (fields->count == fields->room) {
			fields->room = fields->room ? 2 * fields->room : 1024;
			fields->items = reallocarray(fields->items, fields->room, sizeof(*fields->items));
		}
		if (!fields->items)
			return -ENOMEM;
		field = &fields->items[fields->count++];
		snprintf(field->name, sizeof(field->name), "%s", texts->element[i]->str);
		snprintf(field->value, sizeof(field->value), "%s", texts->element[i + 1]->str);
	}
	return 0;
}

/* Reads the whole hash; keeps it where `fields` is not NULL. */
static int read_all(redisContext *redis, const char *key, size_t *count, struct fields *fields)
{
	char cursor[24] = "0";
	int err = 0;

	*count = 0;
	do {
		redisReply *reply = redisCommand(redis, "HSCAN %s %s COUNT 5000", key, cursor);

		if (is_page(reply)) {
			snprintf(cursor, sizeof(cursor), "%s", reply->element[0]->str);
			*count += reply->element[1]->elements / 2;
			if (fields)
				err = keep(fields, reply->element[1]);
		} else {
			err = -EIO;
		}
		freeReplyObject(reply);
	} while (!err && strcmp(cursor, "0") != 0);
	return err;
}

/* The order of a scan is that of the server's memory, in which writing is faster than in any that buckets come in. */
static void shuffle(struct fields *fields)
{
	for (size_t i = fields->count; i > 1; i--) {
		size_t other = (size_t)random() % i;
		struct field field = fields->items[other];

		fields->items[other] = fields->items[i - 1];
		fields->items[i - 1] = field;
	}
}

static int take_reply(redisContext *redis)
{
	redisReply *reply;
	int err;

	if (redisGetReply(redis, (void **)&reply) != REDIS_OK)
		return -EIO;
	err = reply->type == REDIS_REPLY_ERROR ? -EIO : 0;
	freeReplyObject(reply);
	return err;
}

static int send_batch(redisContext *redis, struct batch *batch, unsigned int *under_way)
{
	int err = *under_way == WINDOW ? take_reply(redis) : 0;

	if (err)
		return err;
	*under_way += *under_way < WINDOW;
	err = redisAppendCommandArgv(redis, batch->argc, batch->argv, batch->lengths) == REDIS_OK ? 0 : -EIO;
	batch->argc = 2;
	return err;
}

static void add_text(struct batch *batch, const char *text)
{
	batch->argv[batch->argc] = text;
	batch->lengths[batch->argc++] = strlen(text);
}

static int write_all(redisContext *redis, const struct fields *fields)
{
	struct batch batch = { .argc = 0 };
	unsigned int under_way = 0;
	int err = 0;

	add_text(&batch, "HSET");
	add_text(&batch, COPY_KEY);
	for (size_t i = 0; i < fields->count && !err; i++) {
		add_text(&batch, fields->items[i].name);
		add_text(&batch, fields->items[i].value);
		if (batch.argc == 2 + 2 * BATCH_FIELDS)
			err = send_batch(redis, &batch, &under_way);
	}
	if (!err && batch.argc > 2)
		err = send_batch(redis, &batch, &under_way);
	while (!err && under_way--)
		err = take_reply(redis);
	return err;
}

static int measure(redisContext *redis, const char *key, struct fields *fields)
{
	double start = now(), read, written;
	size_t count;
	int err = read_all(redis, key, &count, NULL);

	read = now() - start;
	if (!err)
		err = read_all(redis, key, &count, fields);
	shuffle(fields);
	start = now();
	if (!err)
		err = write_all(redis, fields);
	written = now() - start;
	freeReplyObject(redisCommand(redis, "DEL " COPY_KEY));
	if (!err)
		printf("%.0f\t%.0f\n", count / read, count / written);
	return err;
}

int bench_bare(const struct bench_cpus *cpus, char **args)
{
	redisContext *redis = redisConnectUnix(args[0]);
	struct fields fields = { .count = 0 };
	int err = -EIO;

	(void)cpus;
	if (redis && !redis->err)
		err = measure(redis, args[1], &fields);
	free(fields.items);
	if (redis)
		redisFree(redis);
	return err;
}
