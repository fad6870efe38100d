/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Keeps the buckets in Redis and in the embedded store: owns the stores and their mirrors, and decides which one is
 * written. recovery.h gets the buckets back from them.
 *
 *  - With `redis`, Redis is mirrored to every tick; the embedded store takes over while Redis is away, so that a
 *    shutdown then does not lose the state.
 *  - Without, the embedded store is mirrored to every tick.
 *  - A reload may change `redis`.
 */
#ifndef EB_PERSIST_H
#define EB_PERSIST_H

#include <jansson.h>
#include <systemd/sd-event.h>

#include "agent/mirror.h"
#include "agent/recovery.h"
#include "attach/dataplane.h"
#include "config/config.h"
#include "store/store.h"

struct eb_persist; /* opaque */

struct eb_persist_events {
	void (*restored)(void *arg); /* decided: time to enforce. Called once, from the loop */
	/* A pass that eb_persist_fault() asked for came to its end; `text` is "" or what went wrong. */
	void (*fault_done)(enum eb_pass_reason reason, uint64_t fields_set, uint64_t fields_deleted, const char *text,
			   void *arg);
	void *arg;
};

/* Opens the stores that `config` names. `config` and `dataplane` must outlive it. Returns 0 or negative errno with a
 * malloc'ed line in *error. */
int eb_persist_new(sd_event *loop, const struct eb_config *config, struct eb_dataplane *dataplane,
		   const struct eb_persist_events *events, struct eb_persist **out, char **error);

/* Begins: with `restore`, restores first; in any case calls events->restored, and mirrors from then on. */
int eb_persist_start(struct eb_persist *persist, bool restore);

/*
 * Ahead of a reload: makes what it takes to go to another Redis, where the configuration has one. Either
 * eb_persist_reloaded() follows, before the loop runs, or eb_persist_abandon(). On failure, negative errno with a
 * malloc'ed line in *error, neither does.
 */
int eb_persist_prepare(struct eb_persist *persist, const struct eb_config *config, char **error);
void eb_persist_abandon(struct eb_persist *persist);

/* After a reload: other rules are in force, and the configuration moved. The Redis before is written to until the other
 * one has everything. Returns 0 or negative errno. */
int eb_persist_reloaded(struct eb_persist *persist, const struct eb_config *config);

/* Whether a store is still to be read, also one that is late. */
bool eb_persist_is_restoring(const struct eb_persist *persist);

/* Writes at once. False when there is no store at all. */
bool eb_persist_fault(struct eb_persist *persist, enum eb_pass_reason reason);

/* For `status`: {"redis": …, "embedded": …, "restore": …}; the caller frees it. */
json_t *eb_persist_status(const struct eb_persist *persist);

/* For metrics, of both stores together unless it says otherwise. */
struct eb_persist_figures {
	bool has_store;                   /* any */
	bool has_redis, redis_is_up;
	bool has_other_writer;            /* in Redis, under the name of this node */
	struct eb_histogram redis_latency[EB_STORE_OPS];
	struct eb_recovery_figures recovery;
	uint64_t passes[EB_PASS_REASONS]; /* that ended well */
	uint64_t failures;
	uint64_t fields_set, fields_deleted;
	uint64_t last_success_ns;         /* CLOCK_MONOTONIC; 0 when none */
};

void eb_persist_figures(const struct eb_persist *persist, struct eb_persist_figures *out);

/* Accepts NULL. */
void eb_persist_free(struct eb_persist *persist);

#endif
