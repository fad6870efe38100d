/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Keeps one store equal to the maps: writes the buckets that changed and are in debt, and removes those that became
 * full. It works in passes over the table, one every tick, and at once on a fault. It never blocks: a pass is divided
 * into slices, and waits while the store has enough to do.
 *
 * At the end of each pass, in the round trip that writes the meta record, the mirror asks the store how many fields it
 * has and whether the meta record is our last one. If the store lost its content, or an older content was put back, the
 * same pass writes all buckets again.
 *
 * A cleaning removes stale fields, for which there is no bucket any more, see cleaning.h.
 */
#ifndef EB_MIRROR_H
#define EB_MIRROR_H

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "attach/dataplane.h"
#include "store/store.h"

struct eb_mirror; /* opaque */

enum eb_pass_reason {
	EB_PASS_TICK,
	EB_PASS_SHUTDOWN,
	EB_PASS_LINK_DOWN,
	EB_PASS_DETACHED,
	EB_PASS_TABLE_PRESSURE,
	EB_PASS_FLUSH,
	EB_PASS_REDIS_RECOVERED,
	EB_PASS_STORE_LOST, /* cannot be requested: also counted for a pass that found that the store lost records */
	EB_PASS_REASONS,
};

/* "tick", "shutdown" and so on, as in the metrics; a constant. */
const char *eb_pass_reason_name(enum eb_pass_reason reason);

/* The result of a pass. `error` is 0 if the store acknowledged everything and still has it. */
struct eb_pass_result {
	enum eb_pass_reason reason;
	int error;
	const char *text; /* the error as one line; "" if there is none */
	uint64_t fields_set, fields_deleted;
	uint64_t duration_ns;
	const struct eb_store_meta *other; /* of another host that wrote the same fields recently; NULL if none did */
};

struct eb_mirror_stats {
	uint64_t passes[EB_PASS_REASONS]; /* that succeeded */
	uint64_t failures;
	uint64_t fields_set, fields_deleted;
	uint64_t last_success_ns; /* CLOCK_MONOTONIC; 0 if there was none */
	uint64_t meta_written_ns; /* the same */
	uint64_t fields_held;     /* number of our fields in the store, as far as we know */
};

/*
 * The caller keeps `dataplane` and `store`. `tick_ns` is the time between passes; the first pass is at a random time
 * within it, so that many nodes do not write at the same moment. Starts paused. Calls `pass_done` at the end of every
 * pass. Returns 0 or negative errno.
 */
int eb_mirror_new(sd_event *loop, struct eb_dataplane *dataplane, struct eb_store *store, uint64_t tick_ns,
		  void (*pass_done)(const struct eb_pass_result *result, void *arg), void *arg, struct eb_mirror **out);

/* Call eb_mirror_stop() before the store is freed, which calls the callbacks of operations in flight, and
 * eb_mirror_free() afterwards. A pass in progress is abandoned, and its pass_done is not called. Both accept NULL. */
void eb_mirror_stop(struct eb_mirror *mirror);
void eb_mirror_free(struct eb_mirror *mirror);

/* Replaces the `arg` of pass_done. */
void eb_mirror_redirect(struct eb_mirror *mirror, void *arg);

/* Whether a pass for this reason is in progress or requested. */
bool eb_mirror_is_asked(const struct eb_mirror *mirror, enum eb_pass_reason reason);

/* Ticks only write while the mirror is running: a store must not be written before its content is restored. */
void eb_mirror_run(struct eb_mirror *mirror);
void eb_mirror_pause(struct eb_mirror *mirror);

/* Starts a pass now; or, if one is in progress, another one right after it, for all reasons that were requested in the
 * meantime. Table pressure causes at most one pass per tick, which replaces that of the tick. */
void eb_mirror_pass(struct eb_mirror *mirror, enum eb_pass_reason reason);

/* Call this when the connection was lost. The next connection might reach another server, which has our last meta
 * record but not the fields that were acknowledged since. If there are such fields, the pass in progress fails with
 * `text`, and the next one writes everything. */
void eb_mirror_interrupt(struct eb_mirror *mirror, const char *text);

/* Must be called from the `writable` event of the store. */
void eb_mirror_resume(struct eb_mirror *mirror);

void eb_mirror_stats(const struct eb_mirror *mirror, struct eb_mirror_stats *out);

#endif
