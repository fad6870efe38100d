/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Keeps the bans in Redis and in the embedded store, and gets them back after a reboot: owns these stores, which are
 * others than those of the buckets, and their mirrors. Both are always written, as bans change seldom.
 *
 * A restore takes all bans of the store that was written last. When Redis does not answer in time, the bans that it
 * holds come into force later, unless it is the older one by then.
 */
#ifndef EB_BAN_PERSIST_H
#define EB_BAN_PERSIST_H

#include <jansson.h>
#include <stdbool.h>
#include <systemd/sd-event.h>

#include "config/config.h"
#include "maps/bans.h"

struct eb_ban_persist; /* opaque */

struct eb_ban_persist_events {
	void (*restored)(void *arg); /* what is to be restored before packets pass is in force. Called from the loop */
	void (*settled)(const char *text, void *arg); /* a write ended, and none is under way; "" or the error */
	void *arg;
};

/* Opens the stores of `config`. `config` and `bans` must outlive it. Returns 0 or negative errno. */
int eb_ban_persist_new(sd_event *loop, const struct eb_config *config, struct eb_bans *bans,
		       const struct eb_ban_persist_events *events, struct eb_ban_persist **out);

/* Starts. Without `restore`, only Redis is read, and only if a previous agent did not come to it. Returns 0 or negative
 * errno. */
int eb_ban_persist_start(struct eb_ban_persist *persist, bool restore);

/* Whether packets may pass: what is to be restored before is in force. If not, events->restored follows. */
bool eb_ban_persist_is_ready(const struct eb_ban_persist *persist);

/* After a reload: `config` is the new configuration; the old one is still there. Returns 0 or negative errno. */
int eb_ban_persist_reloaded(struct eb_ban_persist *persist, const struct eb_config *config);

/* Writes at once what was not written yet. */
void eb_ban_persist_flush(struct eb_ban_persist *persist);

/* Whether a write is under way. If so, events->settled follows. */
bool eb_ban_persist_is_busy(const struct eb_ban_persist *persist);

/* For `status`: {"redis": ..., "embedded": ..., "restored": N, "refused": {...}}; the caller owns the reference. */
json_t *eb_ban_persist_status(const struct eb_ban_persist *persist);

/* Accepts NULL. */
void eb_ban_persist_free(struct eb_ban_persist *persist);

#endif
