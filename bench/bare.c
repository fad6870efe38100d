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

/* Field, value, field, value, …: what one HSCAN answers, kept as hiredis made it. */
struct page {
	redisReply *reply;
	struct page *next;
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

static void free_pages(struct page *page)
{
	while (page) {
		struct page *next = page->next;

		freeReplyObject(page->reply);
		free(page);
		page = next;
	}
}

static bool is_page(const redisReply *reply)
{
	return reply && reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
	       reply->element[0]->type == REDIS_REPLY_STRING && reply->element[1]->type == REDIS_REPLY_ARRAY;
}

/* Reads the whole hash; keeps it where `pages` is not NULL. */
static int read_all(redisContext *redis, const char *key, size_t *count, struct page **pages)
{
	char cursor[24] = "0";

	*count = 0;
	do {
		redisReply *reply = redisCommand(redis, "HSCAN %s %s COUNT 5000", key, cursor);
		struct page *page = pages ? malloc(sizeof(*page)) : NULL;

		if (!is_page(reply) || (pages && !page)) {
			freeReplyObject(reply);
			free(page);
			return -EIO;
		}
		snprintf(cursor, sizeof(cursor), "%s", reply->element[0]->str);
		*count += reply->element[1]->elements / 2;
		if (page) {
			*page = (struct page){ .reply = reply, .next = *pages };
			*pages = page;
		} else {
			freeReplyObject(reply);
		}
	} while (strcmp(cursor, "0") != 0);
	return 0;
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

static void add_text(struct batch *batch, const char *text, size_t len)
{
	batch->argv[batch->argc] = text;
	batch->lengths[batch->argc++] = len;
}

static int write_all(redisContext *redis, const struct page *pages)
{
	struct batch batch = { .argc = 0 };
	unsigned int under_way = 0;
	int err = 0;

	add_text(&batch, "HSET", 4);
	add_text(&batch, COPY_KEY, strlen(COPY_KEY));
	for (const struct page *page = pages; page; page = page->next) {
		const redisReply *texts = page->reply->element[1];

		for (size_t i = 0; i < texts->elements && !err; i++) {
			add_text(&batch, texts->element[i]->str, texts->element[i]->len);
			if (batch.argc == 2 + 2 * BATCH_FIELDS)
				err = send_batch(redis, &batch, &under_way);
		}
	}
	if (!err && batch.argc > 2)
		err = send_batch(redis, &batch, &under_way);
	while (!err && under_way--)
		err = take_reply(redis);
	return err;
}

static int measure(redisContext *redis, const char *key, struct page **pages)
{
	double start = now(), read, written;
	size_t count;
	int err = read_all(redis, key, &count, NULL);

	read = now() - start;
	if (!err)
		err = read_all(redis, key, &count, pages);
	start = now();
	if (!err)
		err = write_all(redis, *pages);
	written = now() - start;
	freeReplyObject(redisCommand(redis, "DEL " COPY_KEY));
	if (!err)
		printf("%.0f\t%.0f\n", count / read, count / written);
	return err;
}

int bench_bare(const struct bench_cpus *cpus, char **args)
{
	redisContext *redis = redisConnectUnix(args[0]);
	struct page *pages = NULL;
	int err = -EIO;

	(void)cpus;
	if (redis && !redis->err)
		err = measure(redis, args[1], &pages);
	free_pages(pages);
	if (redis)
		redisFree(redis);
	return err;
}
