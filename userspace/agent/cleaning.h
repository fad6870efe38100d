/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Removes stale fields from a store, for which there is no bucket: the bucket was evicted, an earlier agent left the
 * field, or the table had no room for it. It scans the store every ten minutes, and when the mirror asks for it.
 *
 * It only removes fields between passes of the mirror, and checks the bucket of each field before. It takes at most a
 * tenth of a core: after each step of some thousand fields it rests.
 */
#ifndef EB_CLEANING_H
#define EB_CLEANING_H

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "attach/dataplane.h"
#include "store/store.h"

struct eb_cleaning; /* opaque */

/* Called when a batch of removals ends; `result->grown` is valid if there is no error. */
typedef void (*eb_cleaning_settled)(const struct eb_store_result *result, size_t fields, void *arg);

/* The caller keeps all pointers, which must outlive it. `policy` is the one in force. Starts paused. Returns 0 or
 * negative errno. */
int eb_cleaning_new(sd_event *loop, struct eb_dataplane *dataplane, const struct eb_policy *policy,
		    struct eb_store *store, eb_cleaning_settled settled, void *arg, struct eb_cleaning **out);

/* Call eb_cleaning_stop() before the store is freed, and eb_cleaning_free() afterwards. Both accept NULL. */
void eb_cleaning_stop(struct eb_cleaning *cleaning);
void eb_cleaning_free(struct eb_cleaning *cleaning);

/* Starts a cleaning after `delay_ns` nanoseconds. */
void eb_cleaning_soon(struct eb_cleaning *cleaning, uint64_t delay_ns);

/* Pauses until eb_cleaning_go_on(): reads and removes nothing, except what was already requested from the store. */
void eb_cleaning_hold(struct eb_cleaning *cleaning);

/* Resumes. `shared` says that another host writes the same fields: then it only removes fields whose times are in the
 * past, whichever host wrote them. */
void eb_cleaning_go_on(struct eb_cleaning *cleaning, bool shared);

/* Whether removals are in flight. No field may be written before they are done, see eb_store_write(). */
bool eb_cleaning_is_removing(const struct eb_cleaning *cleaning);

#endif
