/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Gets the buckets back: owns what is read of each store, and the decision when packets are limited. persist.c owns the
 * stores, and says when one is up.
 *
 * A restore takes the later record of each bucket from both stores. When Redis does not answer in time, what it holds
 * is added later.
 */
#ifndef EB_RECOVERY_H
#define EB_RECOVERY_H

#include <jansson.h>
#include <systemd/sd-event.h>

#include "attach/dataplane.h"
#include "base/histogram.h"
#include "config/config.h"
#include "store/store.h"

enum eb_recovery_source { EB_FROM_REDIS, EB_FROM_EMBEDDED };

struct eb_recovery; /* opaque */

struct eb_recovery_events {
	void (*decided)(void *arg);  /* stores may be written from here on, see eb_recovery_may_write() */
	void (*restored)(void *arg); /* follows from the loop: time to enforce. Called once */
	void (*late)(void *arg);     /* what Redis had to say after the decision is restored, or given up */
	void *arg;
};

/* `config` and `dataplane` must outlive it. Returns 0 or -ENOMEM. */
int eb_recovery_new(sd_event *loop, const struct eb_config *config, struct eb_dataplane *dataplane,
		    const struct eb_recovery_events *events, struct eb_recovery **out);

/*
 * What it reads from, in place of what was there before; NULL for none. Both arguments stay the caller's, and must live
 * until another call or eb_recovery_stop(). What was still to be read is read from the new one; where there is none,
 * true is returned, and eb_recovery_give_up() must follow.
 */
bool eb_recovery_set_store(struct eb_recovery *recovery, enum eb_recovery_source source, struct eb_store *store,
			   const char *address);

/* What was to be read of Redis is not to be had any more. */
void eb_recovery_give_up(struct eb_recovery *recovery);

/* Begins: with `restore`, reads the stores; without, only Redis, if an agent before did not come to it. In any case
 * calls events->restored. Returns 0 or negative errno. */
int eb_recovery_start(struct eb_recovery *recovery, bool restore);

/* The store can be reached from here on / cannot, or an attempt to reach it failed. */
void eb_recovery_store_up(struct eb_recovery *recovery, enum eb_recovery_source source);
void eb_recovery_store_down(struct eb_recovery *recovery, enum eb_recovery_source source, const char *text);

/* After a reload: other rules are in force, and the configuration moved. Returns 0 or negative errno. */
int eb_recovery_reloaded(struct eb_recovery *recovery, const struct eb_config *config);

/* Whether a store is still to be read, also one that is late. */
bool eb_recovery_is_reading(const struct eb_recovery *recovery);

/* Whether it was decided, and the store is not to be read any more / and nothing in it would be lost by writing. */
bool eb_recovery_is_over(const struct eb_recovery *recovery, enum eb_recovery_source source);
bool eb_recovery_may_write(const struct eb_recovery *recovery, enum eb_recovery_source source);

/* For `status`; the caller frees it. */
json_t *eb_recovery_status(const struct eb_recovery *recovery);

struct eb_recovery_figures {
	struct eb_histogram reads; /* of the stores that were read completely */
	uint64_t restored;         /* buckets */
	bool has_age;
	uint64_t age_ns;           /* of what was restored, when it was */
};

void eb_recovery_figures(const struct eb_recovery *recovery, struct eb_recovery_figures *out);

/* Ahead of the end of the stores: what they still call back is ignored. Accepts NULL. */
void eb_recovery_stop(struct eb_recovery *recovery);

/* After the end of the stores. Accepts NULL. */
void eb_recovery_free(struct eb_recovery *recovery);

#endif
