/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The buckets that a fleet shares, in Redis: tells what was admitted here, and hears of the debts that follow from what
 * all nodes told. docs/fleet.md says what keys there are, and proves what that is worth.
 *
 * The buckets are spread over EB_EXCHANGE_LANES lanes by a hash of their field, each with keys in a slot of its own. A
 * lane has one batch, which is filled, then sent, and answered; a script on the server does all of a batch at once. A
 * batch has a number. One without an answer is sent again, with the same number, and the script adds what it says once.
 *
 * A server that lost writes, as in a failover, does not know the number before, and refuses. Then, and at first, a lane
 * wants views: the debts of its buckets as this node heard of them last; the server takes the later of its time and
 * that. What was charged since follows.
 *
 * Nothing blocks. The agent uses it.
 */
#ifndef EB_EXCHANGE_H
#define EB_EXCHANGE_H

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "config/config.h"
#include "maps/buckets.h"
#include "store/exchange_field.h"

#define EB_EXCHANGE_LANES 256
#define EB_EXCHANGE_ITEMS 256 /* of a batch: a script of half a millisecond */

struct eb_exchange; /* opaque */

/* One of the two limits of a bucket. */
struct eb_exchange_item {
	char field[EB_EXCHANGE_FIELD_MAX];
	uint64_t amount_us; /* that was charged, or the debt; microseconds of refill, rounded up */
	struct eb_source source;
	bool of_bytes, is_careful;
	uint64_t full_at; /* here, when the item was made; ticks */
	__u64 *told, *own, *charged; /* the caller's; charged can be NULL */
	uint64_t of_others;          /* of `charged`, when the item was made */
	uint64_t debt_us; /* the answer, rounded up */
};

struct eb_exchange_events {
	void (*up)(void *arg);
	void (*down)(const char *text, void *arg); /* called again for each failed attempt */
	/* The server took a batch. The next one of the lane can be filled after this call, not in it. */
	void (*answered)(unsigned int lane, const struct eb_exchange_item *items, unsigned int count, void *arg);
	/* The server lost what it was told of the lane, and did not take these: views are wanted, then these again. */
	void (*wants_views)(unsigned int lane, const struct eb_exchange_item *items, unsigned int count, void *arg);
	/* The server refused a batch, or answered nonsense; it is sent again with the next eb_exchange_send(). */
	void (*refused)(const char *text, void *arg);
	void *arg;
};

/* Starts to connect. `config` and `events` are copied. Returns 0 or negative errno. */
int eb_exchange_new(sd_event *loop, const struct eb_redis_config *config, const char *fleet,
		    const struct eb_exchange_events *events, struct eb_exchange **out);

/* Calls nothing back. Accepts NULL. */
void eb_exchange_free(struct eb_exchange *exchange);

bool eb_exchange_is_up(const struct eb_exchange *exchange);
const char *eb_exchange_peer(const struct eb_exchange *exchange);

/* The key of a lane's hash, malloc'ed; NULL if out of memory. `prefix` is redis.key. */
char *eb_exchange_key(const char *prefix, const char *fleet, unsigned int lane);

/* The lane of a limit (exchange_field.h). */
unsigned int eb_exchange_lane(const char *field);

/* Whether the lane has no batch, neither one being filled nor one on its way. */
bool eb_exchange_is_free(const struct eb_exchange *exchange, unsigned int lane);
bool eb_exchange_are_all_free(const struct eb_exchange *exchange);

/* Adds to the batch of a lane, which has only views or none; no field twice. `since_us` (CLOCK_MONOTONIC), the same for
 * the whole batch, is when the amounts began to come together. Returns 0; -EAGAIN where the lane is busy
 * or the batch is full, or -ENOMEM. */
int eb_exchange_add(struct eb_exchange *exchange, unsigned int lane_index, const struct eb_exchange_item *item,
		    bool is_view, uint64_t since_us);

/* Sends all batches that were filled, or have no answer. */
void eb_exchange_send(struct eb_exchange *exchange);

/* ---- the nodes ---- */

#define EB_EXCHANGE_NODES_MAX 4096

struct eb_exchange_node {
	char name[256], incarnation[17];
	uint64_t seen_us;       /* ago */
	int64_t clock_offset_us;/* its wall clock, less that of the server */
	uint64_t lag_us;        /* as it said last */
	uint64_t sources;       /* that it shared in the last tick */
};

struct eb_exchange_nodes {
	struct eb_exchange_node *list;
	size_t count;
	uint64_t server_us; /* the server's TIME, since the Unix epoch */
};

/* `nodes` is only valid during the call, and empty after an error. */
typedef void (*eb_exchange_nodes_done)(int error, const char *text, const struct eb_exchange_nodes *nodes, void *arg);

/* Says that this node is there, forgets those not seen for a day, and lists all, `self` included as it was before.
 * Returns 0; -EBUSY while another call is not answered, -ENOTCONN or -ENOMEM. */
int eb_exchange_beat(struct eb_exchange *exchange, const struct eb_exchange_node *self, eb_exchange_nodes_done done,
		     void *arg);

/* This agent's number, at random. */
const char *eb_exchange_incarnation(const struct eb_exchange *exchange);

#endif
