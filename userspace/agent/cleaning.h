/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Removes from a store what no bucket stands for any more: whose entry went to another source, what an earlier agent
 * left, what found no room in the tables. Every ten minutes, and when the mirror asks for it, it reads the store.
 *
 * It removes between passes of the mirror alone, after a look at each bucket.
 */
#ifndef EB_CLEANING_H
#define EB_CLEANING_H

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "attach/dataplane.h"
#include "store/store.h"

struct eb_cleaning; /* opaque */

/* Called when a batch of removals came to its end; `result->grown` counts when there is no error. */
typedef void (*eb_cleaning_settled)(const struct eb_store_result *result, size_t fields, void *arg);

/* All pointers stay the caller's and must outlive it; `policy` is the one in force. Starts held. Returns 0 or negative
 * errno. */
int eb_cleaning_new(sd_event *loop, struct eb_dataplane *dataplane, const struct eb_policy *policy,
		    struct eb_store *store, eb_cleaning_settled settled, void *arg, struct eb_cleaning **out);

/* To be called before the store is freed; eb_cleaning_free() after that. Both accept NULL. */
void eb_cleaning_stop(struct eb_cleaning *cleaning);
void eb_cleaning_free(struct eb_cleaning *cleaning);

/* Begins one after `delay_ns`. */
void eb_cleaning_soon(struct eb_cleaning *cleaning, uint64_t delay_ns);

/* Until eb_cleaning_go_on(), nothing is read and nothing removed, but for what was asked for already. */
void eb_cleaning_hold(struct eb_cleaning *cleaning);

/* With `shared`, another host writes the same fields: only what is past is removed, whoever left it. */
void eb_cleaning_go_on(struct eb_cleaning *cleaning, bool shared);

/* Whether removals are on their way. No field may be written before they are done, see eb_store_write(). */
bool eb_cleaning_is_removing(const struct eb_cleaning *cleaning);

#endif
