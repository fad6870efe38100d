// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "config/config_redis.h"
#include "redis/redis.h"
#include "redis/script.h"
#include "store/exchange.h"
#include "store/exchange_scripts.h"
#include "store/store.h"

#define US_PER_S 1000000ULL

/* A server's clock may be so much ahead of what a node expects: more than the way there takes, or a clock that is a
 * thousandth fast. */
#define SLACK_US (2 * US_PER_S)
#define DRIFT_SHARE 1000

/* Batches that are formatted before the loop gets its turn. */
#define SEND_LANES 16

enum lane_state { LANE_FREE, LANE_FILLING, LANE_FLYING, LANE_DOUBTFUL };

struct lane {
	struct eb_exchange *exchange;
	char *key, *number_key;
	enum lane_state state;
	uint64_t number; /* of the batch that has one, or had */
	bool is_numbered, is_view;
	uint64_t since_us; /* CLOCK_MONOTONIC: when the amounts of the batch began to come together */
	struct eb_exchange_item *items;
	unsigned int count, size;
	uint64_t server_us, heard_us; /* the lane's time when it was heard of last, CLOCK_MONOTONIC then; 0: never */
};

struct beat {
	struct eb_exchange *exchange;
	eb_exchange_nodes_done done;
	void *arg;
	char name[256], text[128];
};

struct eb_exchange {
	struct eb_redis *redis;
	struct eb_exchange_events events;
	struct eb_script script, nodes_script;
	struct lane lanes[EB_EXCHANGE_LANES];
	char *nodes_key;
	char incarnation[17];
	sd_event_source *sending;
	unsigned int next; /* lane to look at */
	unsigned int busy;
	struct beat *beat;
	bool freed;
};

/* ---- lanes ---- */

unsigned int eb_exchange_lane(const char *field)
{
	uint32_t hash = 2166136261u; /* FNV-1a */

	for (; *field; field++)
		hash = (hash ^ (uint8_t)*field) * 16777619u;
	hash ^= hash >> 16;
	return (hash ^ hash >> 8) % EB_EXCHANGE_LANES;
}

static void free_lane(struct lane *lane)
{
	lane->exchange->busy--;
	lane->state = LANE_FREE;
	lane->count = 0;
	lane->is_numbered = false;
}

bool eb_exchange_is_free(const struct eb_exchange *exchange, unsigned int lane)
{
	return exchange->lanes[lane].state == LANE_FREE;
}

bool eb_exchange_are_all_free(const struct eb_exchange *exchange)
{
	return !exchange->busy;
}

static int grow(struct lane *lane)
{
	unsigned int size = lane->size ? 2 * lane->size : 4;
	struct eb_exchange_item *items = realloc(lane->items, size * sizeof(*items));

	if (!items)
		return -ENOMEM;
	lane->items = items;
	lane->size = size;
	return 0;
}

static int send_lane(struct lane *lane, bool whole);

int eb_exchange_add(struct eb_exchange *exchange, unsigned int lane_index, const struct eb_exchange_item *item,
		    bool is_view, uint64_t since_us)
{
	struct lane *lane = &exchange->lanes[lane_index];
	int err;

	if (lane->state == LANE_FLYING || lane->state == LANE_DOUBTFUL || lane->count == EB_EXCHANGE_ITEMS)
		return -EAGAIN;
	err = lane->count == lane->size ? grow(lane) : 0;
	if (err)
		return err;
	exchange->busy += lane->state == LANE_FREE;
	lane->state = LANE_FILLING;
	lane->is_view = is_view;
	lane->since_us = since_us;
	lane->items[lane->count++] = *item;
	if (lane->count == EB_EXCHANGE_ITEMS)
		(void)send_lane(lane, false); /* or later, with the others */
	return 0;
}

/* ---- batches ---- */

static bool is_answer(const struct eb_redis_reply *reply, size_t count)
{
	if (!reply || reply->type != EB_REDIS_ARRAY || reply->count != 2 + count)
		return false;
	for (size_t i = 0; i < reply->count; i++)
		if (reply->items[i].type != EB_REDIS_INTEGER || reply->items[i].integer < 0)
			return false;
	for (size_t i = 2; i < reply->count; i++)
		if (reply->items[i].integer > (long long)EB_EXCHANGE_DEBT_MAX_US)
			return false;
	return true;
}

static bool is_refusal(const struct eb_redis_reply *reply)
{
	return reply && reply->type == EB_REDIS_ARRAY && reply->count == 2 &&
	       reply->items[0].type == EB_REDIS_INTEGER && reply->items[0].integer == 0 &&
	       reply->items[1].type == EB_REDIS_INTEGER && reply->items[1].integer >= 0;
}

static void take_answer(struct lane *lane, const struct eb_redis_reply *reply)
{
	struct eb_exchange *exchange = lane->exchange;
	unsigned int count = lane->count;

	lane->server_us = reply->items[1].integer;
	lane->heard_us = eb_monotonic_us();
	for (unsigned int i = 0; i < count; i++)
		lane->items[i].debt_us = reply->items[2 + i].integer;
	free_lane(lane);
	exchange->events.answered(lane - exchange->lanes, lane->items, count, exchange->events.arg);
}

/* The server knows another number than that of the batch before: it lost what came since. */
static void take_refusal(struct lane *lane, const struct eb_redis_reply *reply)
{
	struct eb_exchange *exchange = lane->exchange;
	unsigned int count = lane->count;

	lane->number = reply->items[1].integer;
	free_lane(lane);
	exchange->events.wants_views(lane - exchange->lanes, lane->items, count, exchange->events.arg);
}

static void on_batch(const struct eb_redis_result *result, void *arg)
{
	struct lane *lane = arg;
	struct eb_exchange *exchange = lane->exchange;

	if (exchange->freed)
		return;
	lane->state = LANE_DOUBTFUL;
	if (eb_script_is_unknown(result) && send_lane(lane, true) == 0)
		return;
	if (!result->error && is_refusal(result->reply))
		take_refusal(lane, result->reply);
	else if (!result->error && is_answer(result->reply, lane->count))
		take_answer(lane, result->reply);
	else if (result->reply)
		exchange->events.refused(result->error ? result->text : "the answer to a batch is malformed",
					 exchange->events.arg);
}

/* The earliest and the latest time that it can be there when a batch arrives that is sent now; 0 where that is not
 * known. */
static void expect_time(const struct lane *lane, uint64_t *least, uint64_t *most)
{
	uint64_t since = eb_monotonic_us() - lane->heard_us;

	*least = lane->server_us ? lane->server_us + since - since / DRIFT_SHARE : 0;
	*most = lane->server_us ? lane->server_us + since + since / DRIFT_SHARE + SLACK_US : 0;
}

struct batch_text {
	const char *argv[10 + 2 * EB_EXCHANGE_ITEMS];
	char number[21], least[21], most[21], age[21], amounts[EB_EXCHANGE_ITEMS][21];
};

static int format_batch(const struct lane *lane, bool whole, struct batch_text *text)
{
	const struct eb_script *script = &lane->exchange->script;
	uint64_t least, most;
	int argc = 0;

	expect_time(lane, &least, &most);
	snprintf(text->number, sizeof(text->number), "%" PRIu64, lane->number);
	snprintf(text->least, sizeof(text->least), "%" PRIu64, least);
	snprintf(text->most, sizeof(text->most), "%" PRIu64, most);
	snprintf(text->age, sizeof(text->age), "%" PRIu64, eb_monotonic_us() - lane->since_us);
	text->argv[argc++] = whole ? "EVAL" : "EVALSHA";
	text->argv[argc++] = whole ? script->text : script->sha;
	text->argv[argc++] = "2";
	text->argv[argc++] = lane->key;
	text->argv[argc++] = lane->number_key;
	text->argv[argc++] = text->number;
	text->argv[argc++] = lane->is_view ? "view" : "add";
	text->argv[argc++] = text->least;
	text->argv[argc++] = text->most;
	text->argv[argc++] = text->age;
	for (unsigned int i = 0; i < lane->count; i++) {
		snprintf(text->amounts[i], sizeof(text->amounts[i]), "%" PRIu64, lane->items[i].amount_us);
		text->argv[argc++] = lane->items[i].field;
		text->argv[argc++] = text->amounts[i];
	}
	return argc;
}

/* Returns 0 or negative errno, with the batch to be sent later. */
static int send_lane(struct lane *lane, bool whole)
{
	static struct batch_text text;
	int argc, err;

	if (!lane->is_numbered)
		lane->number++;
	lane->is_numbered = true;
	argc = format_batch(lane, whole, &text);
	err = eb_redis_command(lane->exchange->redis, lane->key, argc, text.argv, NULL, on_batch, lane);
	if (err)
		return err;
	lane->state = LANE_FLYING;
	return 0;
}

/* A few lanes at a time; the rest when there is room, or with the loop's next turn. */
static int on_sending(sd_event_source *source, void *arg)
{
	struct eb_exchange *exchange = arg;
	int sent = 0, err = 0;

	for (; exchange->next < EB_EXCHANGE_LANES && sent < SEND_LANES && !err; exchange->next++) {
		struct lane *lane = &exchange->lanes[exchange->next];

		if (lane->state != LANE_FILLING && lane->state != LANE_DOUBTFUL)
			continue;
		err = send_lane(lane, false);
		sent++;
	}
	if (err || exchange->next == EB_EXCHANGE_LANES)
		(void)sd_event_source_set_enabled(source, SD_EVENT_OFF);
	return 0;
}

void eb_exchange_send(struct eb_exchange *exchange)
{
	exchange->next = 0;
	(void)sd_event_source_set_enabled(exchange->sending, SD_EVENT_ON);
}

/* ---- nodes ---- */

static bool parse_node(const struct eb_redis_reply *name, const struct eb_redis_reply *value, uint64_t now_us,
		       struct eb_exchange_node *out)
{
	uint64_t seen;

	*out = (struct eb_exchange_node){ .seen_us = 0 };
	if (!name->str || !value->str || name->len >= sizeof(out->name) || strlen(name->str) != name->len)
		return false;
	memcpy(out->name, name->str, name->len);
	if (sscanf(value->str, "%" SCNu64 " %16[0-9a-f] %" SCNd64 " %" SCNu64 " %" SCNu64, &seen, out->incarnation,
		   &out->clock_offset_us, &out->lag_us, &out->sources) != 5)
		return false;
	out->seen_us = now_us > seen ? now_us - seen : 0;
	return true;
}

/* The caller frees out->list. */
static int read_nodes(const struct eb_redis_reply *reply, struct eb_exchange_nodes *out)
{
	if (!reply || reply->type != EB_REDIS_ARRAY || !reply->count || !reply->items[0].str ||
	    sscanf(reply->items[0].str, "%" SCNu64, &out->server_us) != 1)
		return -EPROTO;
	out->list = calloc(reply->count / 2 + 1, sizeof(*out->list));
	if (!out->list)
		return -ENOMEM;
	for (size_t i = 1; i + 1 < reply->count && out->count < EB_EXCHANGE_NODES_MAX; i += 2)
		out->count += parse_node(&reply->items[i], &reply->items[i + 1], out->server_us,
					 &out->list[out->count]);
	return 0;
}

static int send_beat(struct beat *beat, bool whole);

static void on_beat(const struct eb_redis_result *result, void *arg)
{
	struct beat *beat = arg;
	struct eb_exchange *exchange = beat->exchange;
	struct eb_exchange_nodes nodes = { .count = 0 };
	int err;

	if (!exchange->freed && eb_script_is_unknown(result) && send_beat(beat, true) == 0)
		return;
	if (!exchange->freed) {
		exchange->beat = NULL;
		err = !result->reply ? -ENOTCONN : result->error ? -EIO : read_nodes(result->reply, &nodes);
		beat->done(err, result->error ? result->text : "the list of nodes is malformed", &nodes, beat->arg);
	}
	free(nodes.list);
	free(beat);
}

static int send_beat(struct beat *beat, bool whole)
{
	struct eb_exchange *exchange = beat->exchange;
	const struct eb_script *script = &exchange->nodes_script;
	const char *argv[] = { whole ? "EVAL" : "EVALSHA", whole ? script->text : script->sha, "1",
			       exchange->nodes_key, beat->name, beat->text };

	return eb_redis_command(exchange->redis, exchange->nodes_key, 6, argv, NULL, on_beat, beat);
}

int eb_exchange_beat(struct eb_exchange *exchange, const struct eb_exchange_node *self, eb_exchange_nodes_done done,
		     void *arg)
{
	struct beat *beat;
	int err;

	if (exchange->beat)
		return -EBUSY;
	beat = calloc(1, sizeof(*beat));
	if (!beat)
		return -ENOMEM;
	*beat = (struct beat){ .exchange = exchange, .done = done, .arg = arg };
	snprintf(beat->name, sizeof(beat->name), "%s", self->name);
	snprintf(beat->text, sizeof(beat->text), "%s %" PRId64 " %" PRIu64 " %" PRIu64, exchange->incarnation,
		 self->clock_offset_us, self->lag_us, self->sources);
	err = send_beat(beat, false);
	if (err)
		free(beat);
	else
		exchange->beat = beat;
	return err;
}

const char *eb_exchange_incarnation(const struct eb_exchange *exchange)
{
	return exchange->incarnation;
}

/* ---- life ---- */

static void on_up(void *arg)
{
	struct eb_exchange *exchange = arg;

	exchange->events.up(exchange->events.arg);
	eb_exchange_send(exchange);
}

static void on_down(enum eb_redis_error error, const char *text, void *arg)
{
	struct eb_exchange *exchange = arg;

	(void)error;
	exchange->events.down(text, exchange->events.arg);
}

static void on_writable(void *arg)
{
	eb_exchange_send(arg);
}

char *eb_exchange_key(const char *prefix, const char *fleet, unsigned int lane)
{
	char *key;

	return asprintf(&key, "%s:fleet:{%s:%02x}", prefix, fleet, lane) < 0 ? NULL : key;
}

static int name_lane(struct eb_exchange *exchange, unsigned int index, const char *prefix, const char *fleet)
{
	struct lane *lane = &exchange->lanes[index];

	lane->exchange = exchange;
	lane->key = eb_exchange_key(prefix, fleet, index);
	if (!lane->key || asprintf(&lane->number_key, "%s:%s", lane->key, exchange->incarnation) < 0)
		return -ENOMEM;
	return 0;
}

static int name_keys(struct eb_exchange *exchange, const char *prefix, const char *fleet)
{
	uint64_t random;
	int err = 0;

	if (getrandom(&random, sizeof(random), 0) < 0)
		return -errno;
	snprintf(exchange->incarnation, sizeof(exchange->incarnation), "%016" PRIx64, random);
	for (unsigned int i = 0; i < EB_EXCHANGE_LANES && !err; i++)
		err = name_lane(exchange, i, prefix, fleet);
	if (!err && asprintf(&exchange->nodes_key, "%s:fleet:{%s:nodes}", prefix, fleet) < 0)
		err = -ENOMEM;
	return err;
}

static int open_redis(sd_event *loop, const struct eb_redis_config *config, struct eb_exchange *exchange)
{
	const char *keys[EB_EXCHANGE_LANES + 1] = { exchange->nodes_key };
	struct eb_redis_events events = {
		.up = on_up, .down = on_down, .writable = on_writable, .arg = exchange,
	};

	for (int i = 0; i < EB_EXCHANGE_LANES; i++)
		keys[1 + i] = exchange->lanes[i].key;
	return eb_redis_new(loop, config, NULL, keys, EB_EXCHANGE_LANES + 1, &events, &exchange->redis);
}

int eb_exchange_new(sd_event *loop, const struct eb_redis_config *config, const char *fleet,
		    const struct eb_exchange_events *events, struct eb_exchange **out)
{
	struct eb_exchange *exchange = calloc(1, sizeof(*exchange));
	int err;

	if (!exchange)
		return -ENOMEM;
	exchange->events = *events;
	err = eb_script_init(eb_exchange_script, &exchange->script);
	if (!err)
		err = eb_script_init(eb_exchange_nodes_script, &exchange->nodes_script);
	if (!err)
		err = name_keys(exchange, config->key, fleet);
	if (!err)
		err = sd_event_add_defer(loop, &exchange->sending, on_sending, exchange);
	if (err >= 0)
		err = sd_event_source_set_enabled(exchange->sending, SD_EVENT_OFF);
	if (err >= 0)
		err = open_redis(loop, config, exchange);
	if (err < 0) {
		eb_exchange_free(exchange);
		return err;
	}
	*out = exchange;
	return 0;
}

void eb_exchange_free(struct eb_exchange *exchange)
{
	if (!exchange)
		return;
	exchange->freed = true;
	eb_redis_free(exchange->redis);
	sd_event_source_disable_unref(exchange->sending);
	for (int i = 0; i < EB_EXCHANGE_LANES; i++) {
		free(exchange->lanes[i].key);
		free(exchange->lanes[i].number_key);
		free(exchange->lanes[i].items);
	}
	free(exchange->nodes_key);
	free(exchange);
}

bool eb_exchange_is_up(const struct eb_exchange *exchange)
{
	return eb_redis_is_up(exchange->redis);
}

const char *eb_exchange_peer(const struct eb_exchange *exchange)
{
	return eb_redis_peer(exchange->redis);
}
