// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "redis/resp.h"

#define CHUNK_MIN (16 * 1024)
#define CHUNK_MAX (1024 * 1024)

/* hiredis 1.0 made sizes of arrays size_t and added the types of RESP3. */
#if HIREDIS_MAJOR >= 1
typedef size_t array_size;
#else
typedef int array_size;
#endif

/*
 * Replies live in chunks that are kept from one reply to the next: a scan of a million fields would otherwise be two
 * million small allocations.
 */
struct chunk {
	struct chunk *next;
	size_t size, used;
	_Alignas(16) char bytes[];
};

struct eb_resp {
	redisReader *reader;
	size_t max_bytes;
	size_t arena_bytes; /* of the reply being read */
	bool refused;       /* it would have been larger than max_bytes */
	struct chunk *chunks; /* the newest first */
};

static bool add_chunk(struct eb_resp *resp, size_t need)
{
	size_t size = resp->chunks ? resp->chunks->size * 2 : CHUNK_MIN;
	struct chunk *chunk;

	if (size > CHUNK_MAX)
		size = CHUNK_MAX;
	if (size < need)
		size = need;
	chunk = malloc(sizeof(*chunk) + size);
	if (!chunk)
		return false;
	chunk->next = resp->chunks;
	chunk->size = size;
	chunk->used = 0;
	resp->chunks = chunk;
	return true;
}

static void *arena_alloc(struct eb_resp *resp, size_t size)
{
	void *bytes;

	size = (size + 7) & ~(size_t)7;
	if (size > resp->max_bytes - resp->arena_bytes) {
		resp->refused = true;
		return NULL;
	}
	if ((!resp->chunks || resp->chunks->size - resp->chunks->used < size) && !add_chunk(resp, size))
		return NULL;
	bytes = resp->chunks->bytes + resp->chunks->used;
	resp->chunks->used += size;
	resp->arena_bytes += size;
	return bytes;
}

/* Forgets the reply; keeps the newest chunk, which is the largest ordinary one. */
static void arena_reset(struct eb_resp *resp)
{
	struct chunk *chunk = resp->chunks, *next;

	resp->arena_bytes = 0;
	if (!chunk)
		return;
	chunk->used = 0;
	for (next = chunk->next, chunk->next = NULL; (chunk = next);) {
		next = chunk->next;
		free(chunk);
	}
	if (resp->chunks->size > CHUNK_MAX) {
		free(resp->chunks);
		resp->chunks = NULL;
	}
}

/* Items of an array are part of it; only the reply itself is allocated by itself. */
static struct eb_redis_reply *place(const redisReadTask *task)
{
	struct eb_redis_reply *reply;

	if (task->parent) {
		struct eb_redis_reply *parent = task->parent->obj;

		return &parent->items[task->idx];
	}
	reply = arena_alloc(task->privdata, sizeof(*reply));
	if (reply)
		memset(reply, 0, sizeof(*reply));
	return reply;
}

static void *create_string(const redisReadTask *task, char *text, size_t len)
{
	struct eb_redis_reply *reply = place(task);
	char *copy = reply ? arena_alloc(task->privdata, len + 1) : NULL;

	if (!copy)
		return NULL;
	memcpy(copy, text, len);
	copy[len] = '\0';
	reply->type = task->type == REDIS_REPLY_ERROR    ? EB_REDIS_ERROR
		      : task->type == REDIS_REPLY_STATUS ? EB_REDIS_STATUS
							 : EB_REDIS_STRING;
	reply->str = copy;
	reply->len = len;
	return reply;
}

static void *create_array(const redisReadTask *task, array_size elements)
{
	struct eb_redis_reply *reply = place(task);
	struct eb_resp *resp = task->privdata;
	size_t count = elements;

	if (!reply)
		return NULL;
	if (count > resp->max_bytes / sizeof(*reply->items)) {
		resp->refused = true;
		return NULL;
	}
	reply->type = EB_REDIS_ARRAY;
	reply->items = arena_alloc(resp, count * sizeof(*reply->items));
	if (!reply->items)
		return NULL;
	memset(reply->items, 0, count * sizeof(*reply->items));
	reply->count = count;
	return reply;
}

static void *create_integer(const redisReadTask *task, long long value)
{
	struct eb_redis_reply *reply = place(task);

	if (reply) {
		reply->type = EB_REDIS_INTEGER;
		reply->integer = value;
	}
	return reply;
}

static void *create_nil(const redisReadTask *task)
{
	return place(task);
}

#if HIREDIS_MAJOR >= 1
/* We never ask for RESP3; a server that speaks it all the same must not make the reader use its own objects. */
static void *create_double(const redisReadTask *task, double value, char *text, size_t len)
{
	(void)value;
	return create_string(task, text, len);
}

static void *create_bool(const redisReadTask *task, int value)
{
	return create_integer(task, value);
}
#endif

static void free_object(void *object)
{
	(void)object; /* the arena's */
}

static redisReplyObjectFunctions functions = {
	.createString = create_string,
	.createArray = create_array,
	.createInteger = create_integer,
	.createNil = create_nil,
#if HIREDIS_MAJOR >= 1
	.createDouble = create_double,
	.createBool = create_bool,
#endif
	.freeObject = free_object,
};

struct eb_resp *eb_resp_new(size_t max_bytes)
{
	struct eb_resp *resp = calloc(1, sizeof(*resp));

	if (!resp)
		return NULL;
	resp->max_bytes = max_bytes;
	resp->reader = redisReaderCreateWithFunctions(&functions);
	if (!resp->reader) {
		free(resp);
		return NULL;
	}
	resp->reader->privdata = resp;
	return resp;
}

void eb_resp_free(struct eb_resp *resp)
{
	if (!resp)
		return;
	redisReaderFree(resp->reader);
	arena_reset(resp);
	free(resp->chunks);
	free(resp);
}

int eb_resp_feed(struct eb_resp *resp, const char *data, size_t len)
{
	if (len > resp->max_bytes - (resp->reader->len - resp->reader->pos))
		return -EMSGSIZE;
	return redisReaderFeed(resp->reader, data, len) == REDIS_OK ? 0 : -ENOMEM;
}

int eb_resp_next(struct eb_resp *resp, const struct eb_redis_reply **out)
{
	void *reply = NULL;

	/* Between replies, not in the middle of one, what the last one used is free again. */
	if (resp->reader->ridx == -1)
		arena_reset(resp);
	if (redisReaderGetReply(resp->reader, &reply) != REDIS_OK)
		return resp->refused ? -EMSGSIZE : resp->reader->err == REDIS_ERR_OOM ? -ENOMEM : -EPROTO;
	if (!reply)
		return 0;
	*out = reply;
	return 1;
}

int eb_resp_format(int argc, const char *const *argv, const size_t *lens, char **out, size_t *len)
{
	char *command;
	/* hiredis only reads the array; its prototype lacks the const. */
	long long size = redisFormatCommandArgv(&command, argc, (const char **)argv, lens);

	if (size < 0)
		return -ENOMEM;
	*out = command;
	*len = size;
	return 0;
}

void eb_resp_free_command(char *command, size_t len)
{
	if (!command)
		return;
	explicit_bzero(command, len);
	redisFreeCommand(command);
}

enum eb_redis_error eb_resp_classify(const char *text)
{
	static const struct {
		const char *prefix;
		enum eb_redis_error error;
	} classes[] = {
		{ "NOAUTH ", EB_REDIS_AUTH },
		{ "WRONGPASS ", EB_REDIS_AUTH },
		{ "ERR invalid password", EB_REDIS_AUTH },
		{ "LOADING ", EB_REDIS_LOADING },
		{ "MASTERDOWN ", EB_REDIS_LOADING },
		{ "READONLY ", EB_REDIS_READONLY },
		{ "ERR max number of clients", EB_REDIS_MAX_CLIENTS },
		{ "NOPERM ", EB_REDIS_NO_PERMISSION },
		{ "OOM ", EB_REDIS_OUT_OF_MEMORY },
		{ "MISCONF ", EB_REDIS_MISCONF },
		{ "NOREPLICAS ", EB_REDIS_NO_REPLICAS },
		{ "BUSY ", EB_REDIS_BUSY },
		{ "CLUSTERDOWN ", EB_REDIS_CLUSTER_DOWN },
		{ "TRYAGAIN ", EB_REDIS_TRY_AGAIN },
		{ "MOVED ", EB_REDIS_MOVED },
		{ "ASK ", EB_REDIS_ASK },
	};

	for (size_t i = 0; i < sizeof(classes) / sizeof(*classes); i++)
		if (!strncmp(text, classes[i].prefix, strlen(classes[i].prefix)))
			return classes[i].error;
	return EB_REDIS_OTHER;
}
