/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Keeps one store equal to the bans in the maps. Every tick it writes what changed since, and asks the store whether it
 * still has everything; if not, or when the fate of a write is unknown, it compares all of the store with the maps, and
 * writes all bans again. It never blocks.
 */
#ifndef EB_BAN_MIRROR_H
#define EB_BAN_MIRROR_H

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "maps/bans.h"
#include "store/store.h"

struct eb_ban_mirror; /* opaque */

struct eb_ban_mirror_events {
	/* A pass ended; `text` is "" or the error. */
	void (*done)(int error, const char *text, void *arg);
	/* The store lost bans; all are written again. */
	void (*lost)(void *arg);
	void *arg;
};

/* The caller keeps `bans` and `store`. Starts paused. Returns 0 or negative errno. */
int eb_ban_mirror_new(sd_event *loop, const struct eb_bans *bans, struct eb_store *store, uint64_t tick_ns,
		      const struct eb_ban_mirror_events *events, struct eb_ban_mirror **out);

/* Call eb_ban_mirror_stop() before the store is freed, and eb_ban_mirror_free() afterwards. Both accept NULL. */
void eb_ban_mirror_stop(struct eb_ban_mirror *mirror);
void eb_ban_mirror_free(struct eb_ban_mirror *mirror);

/* The store may be written from here on: its content was read, or is not wanted. */
void eb_ban_mirror_run(struct eb_ban_mirror *mirror);

/* The entry of this prefix changed; NULL: any may have. */
void eb_ban_mirror_note(struct eb_ban_mirror *mirror, const struct eb_prefix *prefix);

/* Begins a pass now, if one can be begun. */
void eb_ban_mirror_pass(struct eb_ban_mirror *mirror);

/* Whether a pass is under way. */
bool eb_ban_mirror_is_busy(const struct eb_ban_mirror *mirror);

/* The connection was lost: the next one may reach a server without what was acknowledged last. */
void eb_ban_mirror_interrupt(struct eb_ban_mirror *mirror);

/* Must be called from the `writable` event of the store. */
void eb_ban_mirror_resume(struct eb_ban_mirror *mirror);

/* The number of bans and holes in the store, as far as known. */
uint64_t eb_ban_mirror_stored(const struct eb_ban_mirror *mirror);

#endif
