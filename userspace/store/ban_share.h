/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The bans that a fleet shares, in Redis: a hash, and beside it a journal of what was written to it, a bounded stream.
 * Who has read the hash once reads only what was written since, and reads it whole again where the journal does not
 * reach back so far. Both keys are in one slot of a Cluster.
 *
 * One call at a time is under way. The event loop delivers results, and no function blocks. ban_record.h formats and
 * parses fields and values; they are not interpreted here, but for the time that a value begins with.
 */
#ifndef EB_BAN_SHARE_H
#define EB_BAN_SHARE_H

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "store/store.h"

struct eb_ban_share; /* opaque */
struct eb_redis_config;

/* How many batches may be written between two readings: so many the journal holds in any case, so that one's own are
 * not the reason to read the hash whole. */
#define EB_BAN_SHARE_WRITES 512

struct eb_ban_share_result {
	int error;        /* 0 or negative errno */
	const char *text; /* the error as one line; "" if there is none */
	bool more;        /* there is more to read now */
};

/* Called exactly once for each accepted call, but for the one that eb_ban_share_free() ends. */
typedef void (*eb_ban_share_done)(const struct eb_ban_share_result *result, void *arg);

/* How long the keys last. */
struct eb_ban_share_life {
	uint64_t least_ns; /* with less left, they get `set_ns`; 0: never */
	uint64_t set_ns;
};

/* Starts to connect. `down` is called when the connection was lost, and for each failed attempt.
 * Returns 0 or negative errno. */
int eb_ban_share_new(sd_event *loop, const struct eb_redis_config *config, const char *fleet,
		     void (*down)(void *arg), void *arg, struct eb_ban_share **out);

/* Accepts NULL. Not from a visit. */
void eb_ban_share_free(struct eb_ban_share *share);

bool eb_ban_share_is_up(const struct eb_ban_share *share);

/* Why a call, or the last attempt to connect, failed; "" if none did. */
const char *eb_ban_share_last_error(const struct eb_ban_share *share);

/* Reads the hash whole from here on, to its end. */
void eb_ban_share_restart(struct eb_ban_share *share);

/*
 * Reads a part of the hash; or, once it was read whole, of what was written since. Visits each field of it, in the
 * order of writing; texts that are too long come cut short, but not as short as any of ours. Fails with -ESTALE where
 * the journal does not reach back: then eb_ban_share_restart(). Returns 0, or negative errno as eb_redis_command().
 */
int eb_ban_share_read(struct eb_ban_share *share, const struct eb_ban_share_life *life, eb_store_visit visit,
		      eb_ban_share_done done, void *arg);

/* Writes fields, of which none is removed, and removes some that ended before a time of the wall clock. The keys last
 * at least life->set_ns from now on. Copies the batch. Returns as eb_ban_share_read(). */
int eb_ban_share_write(struct eb_ban_share *share, const struct eb_store_batch *batch, uint64_t before_ns,
		       const struct eb_ban_share_life *life, eb_ban_share_done done, void *arg);

#endif
