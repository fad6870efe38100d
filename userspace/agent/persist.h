/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Keeps the buckets in Redis and in the embedded store: owns the stores and their mirrors, and decides which one is
 * written. recovery.h gets the buckets back from them.
 *
 *  - With `redis`, Redis is mirrored to every tick; the embedded store takes over while Redis is away, so that a
 *    shutdown then does not lose the state.
 *  - Without, the embedded store is mirrored to every tick.
 *  - A reload may change `redis`.
 *
 * The bans are kept by ban_persist.h, which this module starts, flushes and ends with the buckets.
 */
#ifndef EB_PERSIST_H
#define EB_PERSIST_H

#include <jansson.h>
#include <systemd/sd-event.h>

#include "agent/mirror.h"
#include "agent/recovery.h"
#include "attach/dataplane.h"
#include "config/config.h"
#include "maps/bans.h"
#include "store/store.h"

struct eb_persist; /* opaque */

struct eb_persist_events {
	void (*restored)(void *arg); /* the restore is decided, so enforce now. Called once, from the event loop */
	/* A pass that eb_persist_fault() requested has ended; `text` is "" or the error. */
	void (*fault_done)(enum eb_pass_reason reason, uint64_t fields_set, uint64_t fields_deleted, const char *text,
			   void *arg);
	void *arg;
};

/* Opens the stores of `config`. `config`, `dataplane` and `bans` must outlive it. Returns 0, or negative errno with a
 * malloc'ed line in *error. */
int eb_persist_new(sd_event *loop, const struct eb_config *config, struct eb_dataplane *dataplane, struct eb_bans *bans,
		   const struct eb_persist_events *events, struct eb_persist **out, char **error);

/* Starts. With `restore`, restores first. In both cases, calls events->restored, and mirrors from then on. Returns 0 or
 * negative errno. */
int eb_persist_start(struct eb_persist *persist, bool restore);

/*
 * Call this before a reload: allocates what a switch to another Redis needs, if `config` has one. Call
 * eb_persist_reloaded() or eb_persist_abandon() afterwards, before the event loop runs. Returns 0; or negative errno
 * with a malloc'ed line in *error, and then neither of the two must be called.
 */
int eb_persist_prepare(struct eb_persist *persist, const struct eb_config *config, char **error);
void eb_persist_abandon(struct eb_persist *persist);

/* Call this after a reload: other rules are in force, and `config` is the new configuration. Continues to write to the
 * previous Redis until the new one has everything. Returns 0 or negative errno. */
int eb_persist_reloaded(struct eb_persist *persist, const struct eb_config *config);

/* Whether a store must still be read, including one that answers late. */
bool eb_persist_is_restoring(const struct eb_persist *persist);

/* Writes at once, because of a fault. Returns false if there is no store at all. */
bool eb_persist_fault(struct eb_persist *persist, enum eb_pass_reason reason);

/* For `status`: {"redis": ..., "embedded": ..., "restore": ...}; the caller owns the reference. */
json_t *eb_persist_status(const struct eb_persist *persist);

/* For `status`: see eb_ban_persist_status(). */
json_t *eb_persist_ban_status(const struct eb_persist *persist);

/* For metrics. Figures are of both stores together unless stated otherwise. */
struct eb_persist_figures {
	bool has_store;                   /* any */
	bool has_redis, redis_is_up;
	bool has_other_writer;            /* another host writes to Redis under the name of this node */
	struct eb_histogram redis_latency[EB_STORE_OPS];
	struct eb_recovery_figures recovery;
	uint64_t passes[EB_PASS_REASONS]; /* that succeeded */
	uint64_t failures;
	uint64_t fields_set, fields_deleted;
	uint64_t last_success_ns;         /* CLOCK_MONOTONIC; 0 if there was none */
};

void eb_persist_figures(const struct eb_persist *persist, struct eb_persist_figures *out);

/* Accepts NULL. */
void eb_persist_free(struct eb_persist *persist);

#endif
