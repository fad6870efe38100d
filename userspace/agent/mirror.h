/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Keeps one store equal to the maps: writes the buckets that changed and are in debt, removes those that became full.
 * Done in passes over the table, one every tick and at once on a fault. Never blocks: a pass is cut into slices, and
 * waits whenever the store has enough to do.
 *
 * Each pass ends with a question to the store, in the round trip that writes the meta record: how many fields it has,
 * and whether the meta record is our last one. A store that lost its content, or had an earlier one put back, is
 * written anew by the same pass.
 *
 * Fields that no bucket stands for any more are removed by a cleaning, see cleaning.h.
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
	EB_PASS_STORE_LOST, /* not asked for: what a pass was as well that found the store without what was written */
	EB_PASS_REASONS,
};

/* "tick", "shutdown", … as in metrics. */
const char *eb_pass_reason_name(enum eb_pass_reason reason);

/* What a pass did. error is 0 when the store acknowledged all of it, and has it. */
struct eb_pass_result {
	enum eb_pass_reason reason;
	int error;
	const char *text; /* for people; "" when all is well */
	uint64_t fields_set, fields_deleted;
	uint64_t duration_ns;
	const struct eb_store_meta *other; /* of another host that wrote the same fields of late; NULL when none did */
};

struct eb_mirror_stats {
	uint64_t passes[EB_PASS_REASONS]; /* that ended well */
	uint64_t failures;
	uint64_t fields_set, fields_deleted;
	uint64_t last_success_ns; /* CLOCK_MONOTONIC; 0 when none */
	uint64_t meta_written_ns; /* the same */
	uint64_t fields_held;     /* that the store has from us, as far as we know */
};

/*
 * `dataplane` and `store` stay the caller's. `tick_ns` is the time between passes, the
 * first one at a random time within it, so that many nodes do not write together. Starts paused. `pass_done` is called
 * at the end of every pass. Returns 0 or negative errno.
 */
int eb_mirror_new(sd_event *loop, struct eb_dataplane *dataplane, struct eb_store *store, uint64_t tick_ns,
		  void (*pass_done)(const struct eb_pass_result *result, void *arg), void *arg, struct eb_mirror **out);

/* A pass under way is forgotten, its pass_done not called. To be called before the store is freed, which calls back
 * what is under way; eb_mirror_free() comes after that. Both accept NULL. */
void eb_mirror_stop(struct eb_mirror *mirror);
void eb_mirror_free(struct eb_mirror *mirror);

/* pass_done gets another `arg` from now on. */
void eb_mirror_redirect(struct eb_mirror *mirror, void *arg);

/* Whether a pass for this reason is under way, or to come. */
bool eb_mirror_is_asked(const struct eb_mirror *mirror, enum eb_pass_reason reason);

/* Ticks only do something while running: a store must not be written before what it holds was restored. */
void eb_mirror_run(struct eb_mirror *mirror);
void eb_mirror_pause(struct eb_mirror *mirror);

/* A pass now; if one is under way, another one right after it, for all reasons that came meanwhile. Table pressure gets
 * one a tick at most, in the place of the tick's. */
void eb_mirror_pass(struct eb_mirror *mirror, enum eb_pass_reason reason);

/* The connection was lost. Another server may be reached next that has our last meta record and not what was
 * acknowledged since: if any was, the pass under way fails with `text`, and the next one writes everything. */
void eb_mirror_interrupt(struct eb_mirror *mirror, const char *text);

/* To be called from the store's `writable`. */
void eb_mirror_resume(struct eb_mirror *mirror);

void eb_mirror_stats(const struct eb_mirror *mirror, struct eb_mirror_stats *out);

#endif
