// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config_redis.h"
#include "redis/redis.h"
#include "redis/script.h"
#include "store/ban_share.h"
#include "store/ban_share_scripts.h"

#define NS_PER_MS 1000000

#define SCAN_FIELDS 2000
#define NEWS_ENTRIES 16
#define JOURNAL_ENTRIES (2 * EB_BAN_SHARE_WRITES)

/* A hash of which more fields were asked for goes round in circles. */
#define SCAN_FIELDS_MAX 80000000

#define HEAD 9 /* words of a call before fields and values */

enum call { CALL_SCAN, CALL_NEWS, CALL_WRITE, CALLS };

/* A position of the journal, or a cursor of a scan. */
struct place {
	char text[48];
};

struct eb_ban_share {
	struct eb_redis *redis;
	struct eb_script scripts[CALLS];
	char *key, *journal_key;
	void (*down)(void *arg);
	void *down_arg;
	char last_error[320];
	bool freed;

	struct place position; /* up to where the journal was read */
	struct place cursor;   /* of the scan under way */
	struct place cleaning;
	bool is_whole;  /* the hash was not read to its end */
	bool is_begun;  /* but to the cursor */
	uint64_t asked; /* fields */

	/* The call under way, to be sent again where the server does not know its script. */
	bool busy;
	enum call call;
	int argc;
	const char *argv[HEAD + 2 * EB_STORE_BATCH_ITEMS];
	char numbers[3][24];
	struct eb_store_batch batch;
	eb_store_visit visit;
	eb_ban_share_done done;
	void *arg;
};

/* ---- calls ---- */

static void on_answer(const struct eb_redis_result *answer, void *arg);

static int send_call(struct eb_ban_share *share, bool by_name)
{
	const struct eb_script *script = &share->scripts[share->call];

	share->argv[0] = by_name ? "EVALSHA" : "EVAL";
	share->argv[1] = by_name ? script->sha : script->text;
	return eb_redis_command(share->redis, share->key, share->argc, share->argv, NULL, on_answer, share);
}

static void add_word(struct eb_ban_share *share, const char *word)
{
	share->argv[share->argc++] = word;
}

static void add_number(struct eb_ban_share *share, int index, uint64_t number)
{
	snprintf(share->numbers[index], sizeof(share->numbers[index]), "%" PRIu64, number);
	add_word(share, share->numbers[index]);
}

static void begin_call(struct eb_ban_share *share, enum call call, eb_ban_share_done done, void *arg)
{
	share->call = call;
	share->done = done;
	share->arg = arg;
	share->argc = 2;
	add_word(share, "2");
	add_word(share, share->key);
	add_word(share, share->journal_key);
}

static int finish_call(struct eb_ban_share *share)
{
	int err = send_call(share, true);

	share->busy = !err;
	return err;
}

/* ---- answers ---- */

static bool take_place(const struct eb_redis_reply *reply, struct place *out)
{
	if (reply->type != EB_REDIS_STRING || reply->len >= sizeof(out->text) || strlen(reply->str) != reply->len)
		return false;
	memcpy(out->text, reply->str, reply->len + 1);
	return true;
}

static void visit_all(const struct eb_ban_share *share, const struct eb_redis_reply *reply)
{
	for (size_t i = 2; i + 1 < reply->count; i += 2) {
		const struct eb_redis_reply *field = &reply->items[i], *value = &reply->items[i + 1];

		if (field->str && value->str)
			share->visit(field->str, field->len, value->str, value->len, share->arg);
	}
}

static int take_scan(struct eb_ban_share *share, const struct eb_redis_reply *reply, bool *more)
{
	struct place last;

	if (reply->count < 2 || !take_place(&reply->items[0], &last) || !take_place(&reply->items[1], &share->cursor))
		return -EPROTO;
	if (!share->is_begun)
		share->position = last;
	*more = strcmp(share->cursor.text, "0") != 0 && share->asked < SCAN_FIELDS_MAX;
	share->is_begun = share->is_whole = *more;
	visit_all(share, reply);
	return 0;
}

static int take_news(struct eb_ban_share *share, const struct eb_redis_reply *reply, bool *more)
{
	if (!reply->count)
		return -ESTALE;
	if (reply->count < 2 || reply->items[1].type != EB_REDIS_INTEGER ||
	    !take_place(&reply->items[0], &share->position))
		return -EPROTO;
	*more = reply->items[1].integer;
	visit_all(share, reply);
	return 0;
}

/* Where nobody else wrote in between, what we wrote need not be read again. */
static int take_written(struct eb_ban_share *share, const struct eb_redis_reply *reply)
{
	struct place before, after;

	if (reply->count != 3 || !take_place(&reply->items[0], &before) || !take_place(&reply->items[1], &after) ||
	    !take_place(&reply->items[2], &share->cleaning))
		return -EPROTO;
	if (strcmp(before.text, share->position.text) == 0)
		share->position = after;
	return 0;
}

static int take_answer(struct eb_ban_share *share, const struct eb_redis_reply *reply, bool *more)
{
	if (reply->type != EB_REDIS_ARRAY)
		return -EPROTO;
	if (share->call == CALL_SCAN)
		return take_scan(share, reply, more);
	return share->call == CALL_NEWS ? take_news(share, reply, more) : take_written(share, reply);
}

static void note_error(struct eb_ban_share *share, const char *text)
{
	snprintf(share->last_error, sizeof(share->last_error), "%s", text);
}

static void on_answer(const struct eb_redis_result *answer, void *arg)
{
	struct eb_ban_share *share = arg;
	struct eb_ban_share_result result = { .text = answer->text };

	if (share->freed || (eb_script_is_unknown(answer) && !send_call(share, false)))
		return;
	share->busy = false;
	if (answer->error)
		result.error = answer->reply ? -EIO : -ENOTCONN;
	else
		result.error = take_answer(share, answer->reply, &result.more);
	if (result.error && !answer->error)
		result.text = result.error == -ESTALE ? "the journal does not reach back" : "an answer is malformed";
	if (result.error && result.error != -ESTALE)
		note_error(share, result.text);
	share->done(&result, share->arg);
}

/* ---- use ---- */

bool eb_ban_share_is_up(const struct eb_ban_share *share)
{
	return eb_redis_is_up(share->redis);
}

const char *eb_ban_share_last_error(const struct eb_ban_share *share)
{
	return share->last_error;
}

void eb_ban_share_restart(struct eb_ban_share *share)
{
	share->is_whole = true;
	share->is_begun = false;
	share->asked = 0;
	strcpy(share->cursor.text, "0");
}

static void add_scan(struct eb_ban_share *share)
{
	share->asked += SCAN_FIELDS;
	add_word(share, share->cursor.text);
	add_number(share, 0, SCAN_FIELDS);
}

static void add_news(struct eb_ban_share *share, const struct eb_ban_share_life *life)
{
	add_word(share, share->position.text);
	add_number(share, 0, life->least_ns / NS_PER_MS);
	add_number(share, 1, life->set_ns / NS_PER_MS);
	add_number(share, 2, NEWS_ENTRIES);
}

int eb_ban_share_read(struct eb_ban_share *share, const struct eb_ban_share_life *life, eb_store_visit visit,
		      eb_ban_share_done done, void *arg)
{
	if (share->busy)
		return -EBUSY;
	begin_call(share, share->is_whole ? CALL_SCAN : CALL_NEWS, done, arg);
	share->visit = visit;
	if (share->is_whole)
		add_scan(share);
	else
		add_news(share, life);
	return finish_call(share);
}

int eb_ban_share_write(struct eb_ban_share *share, const struct eb_store_batch *batch, uint64_t before_ns,
		       const struct eb_ban_share_life *life, eb_ban_share_done done, void *arg)
{
	if (share->busy)
		return -EBUSY;
	if (!batch->count || batch->count > EB_STORE_BATCH_ITEMS)
		return -EINVAL;
	share->batch.count = batch->count;
	memcpy(share->batch.items, batch->items, batch->count * sizeof(*batch->items));
	begin_call(share, CALL_WRITE, done, arg);
	add_word(share, share->cleaning.text);
	add_number(share, 0, before_ns);
	add_number(share, 1, life->set_ns / NS_PER_MS);
	add_number(share, 2, JOURNAL_ENTRIES);
	for (size_t i = 0; i < batch->count; i++) {
		add_word(share, share->batch.items[i].field);
		add_word(share, share->batch.items[i].value);
	}
	return finish_call(share);
}

/* ---- life ---- */

static void on_down(enum eb_redis_error error, const char *text, void *arg)
{
	struct eb_ban_share *share = arg;

	(void)error;
	note_error(share, text);
	share->down(share->down_arg);
}

static int name_keys(struct eb_ban_share *share, const char *key, const char *fleet)
{
	if (asprintf(&share->key, "%s:fleet:{%s}:bans", key, fleet) < 0) {
		share->key = NULL;
		return -ENOMEM;
	}
	if (asprintf(&share->journal_key, "%s:journal", share->key) < 0) {
		share->journal_key = NULL;
		return -ENOMEM;
	}
	return 0;
}

static int init_scripts(struct eb_ban_share *share)
{
	static const char *const texts[CALLS] = {
		[CALL_SCAN] = eb_ban_share_scan_script,
		[CALL_NEWS] = eb_ban_share_news_script,
		[CALL_WRITE] = eb_ban_share_write_script,
	};
	int err = 0;

	for (int i = 0; i < CALLS && !err; i++)
		err = eb_script_init(texts[i], &share->scripts[i]);
	return err;
}

int eb_ban_share_new(sd_event *loop, const struct eb_redis_config *config, const char *fleet,
		     void (*down)(void *arg), void *arg, struct eb_ban_share **out)
{
	struct eb_ban_share *share = calloc(1, sizeof(*share));
	struct eb_redis_events events = { .down = on_down, .arg = share };
	const char *keys[2];
	int err;

	if (!share)
		return -ENOMEM;
	share->down = down;
	share->down_arg = arg;
	strcpy(share->cleaning.text, "0");
	eb_ban_share_restart(share);
	err = init_scripts(share);
	if (!err)
		err = name_keys(share, config->key, fleet);
	keys[0] = share->key;
	keys[1] = share->journal_key;
	if (!err)
		err = eb_redis_new(loop, config, NULL, keys, 2, &events, &share->redis);
	if (err) {
		eb_ban_share_free(share);
		return err;
	}
	*out = share;
	return 0;
}

void eb_ban_share_free(struct eb_ban_share *share)
{
	if (!share)
		return;
	share->freed = true;
	eb_redis_free(share->redis);
	free(share->key);
	free(share->journal_key);
	free(share);
}
