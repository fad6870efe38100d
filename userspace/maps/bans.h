/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The bans in the pinned maps: who is banned until when, and the filter in front of them (include/ban.h). The agent
 * changes them, or a command while no agent runs; everybody reads them.
 *
 * The latest word about a prefix counts for all of it: a ban takes away the holes within it and leaves the bans there,
 * which may last longer; lifting a ban takes away the bans within the prefix, and leaves a hole where a wider one still
 * covers it.
 */
#ifndef EB_BANS_H
#define EB_BANS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/config.h"
#include "maps/maps.h"

struct eb_bans; /* opaque */

/* A ban or a hole to be made. */
struct eb_ban_order {
	struct eb_prefix prefix;
	uint64_t until_ns; /* CLOCK_MONOTONIC, EB_BAN_FOREVER */
	enum eb_ban_kind kind;
	enum eb_ban_origin origin;
	uint64_t since_ns; /* CLOCK_MONOTONIC; 0: now */
	uint32_t index;    /* the caller's: where it stands in what was asked for */
	char reason[EB_BAN_REASON_MAX]; /* NUL-padded, not terminated when full */
};

struct eb_ban_view {
	struct eb_prefix prefix;
	struct eb_ban ban;
};

/* Opens the bans of *maps, which must outlive it. With `writable`, counts them and makes the filter anew; the caller
 * holds the instance lock. Returns 0 or negative errno. */
int eb_bans_open(const struct eb_maps *maps, bool writable, struct eb_bans **out);

/* Accepts NULL. */
void eb_bans_close(struct eb_bans *bans);

/* Who is told of each change from here on. Owned by the caller, until eb_bans_unwatch(). */
struct eb_ban_watcher {
	/* The entry of this prefix was added or replaced; or removed, which `removed` was. NULL, NULL: any may be. */
	void (*changed)(const struct eb_prefix *prefix, const struct eb_ban *removed, void *arg);
	void *arg;
	struct eb_ban_watcher *next;
};

void eb_bans_watch(struct eb_bans *bans, struct eb_ban_watcher *watcher);
void eb_bans_unwatch(struct eb_bans *bans, struct eb_ban_watcher *watcher);

/* How many entries there may be, and how long after its end a penalty's ban is remembered. */
void eb_bans_set_limits(struct eb_bans *bans, size_t max, uint64_t memory_ns);

/* Counts the bans that the program made since the last call. Returns 0 or negative errno. */
int eb_bans_take_made(struct eb_bans *bans);

/* How many entries there are, holes and those that ran out included. */
size_t eb_bans_count(const struct eb_bans *bans);

/* Bans by who made them, holes not counted. */
size_t eb_bans_count_of(const struct eb_bans *bans, enum eb_ban_origin origin);

/* When the next one runs out, CLOCK_MONOTONIC; EB_BAN_FOREVER for none. */
uint64_t eb_bans_next_end(const struct eb_bans *bans);

struct eb_ban_outcome {
	size_t done;    /* are in force */
	size_t refused; /* found no room: they are the first ones of `orders` now */
};

/* Puts orders into force, in place of what there was of the same prefixes; of one prefix the one with the highest index
 * counts. Sorts them; orders that come in the order of addresses, some thousand at a time, are put several times as
 * fast. There are at most `max` entries in all. Returns 0, also when some were refused, or negative errno. */
int eb_bans_add(struct eb_bans *bans, struct eb_ban_order *orders, size_t count, size_t max,
		struct eb_ban_outcome *out);

/* The same for what a store has, each with its `since_ns`: where a prefix has an entry, that is the later word and
 * stays, and a hole that a later ban around it closes is none. */
int eb_bans_restore(struct eb_bans *bans, struct eb_ban_order *orders, size_t count, size_t max,
		    struct eb_ban_outcome *out);

/* Lifts the bans of some prefixes and within them, step by step. `prefixes` are as eb_ban_lift_sort() leaves them, and
 * stay the caller's, until the end. Other changes can be made between two steps. */
struct eb_ban_lift; /* opaque */

/* Sorts prefixes, each once. Returns how many there are. */
size_t eb_ban_lift_sort(struct eb_prefix *prefixes, size_t count);

/* Returns 0 or negative errno. */
int eb_ban_lift_new(struct eb_bans *bans, const struct eb_prefix *prefixes, size_t count, struct eb_ban_lift **out);

/* Looks at some thousand entries. Returns 1 while there is more to do, 0 at the end, or negative errno. */
int eb_ban_lift_step(struct eb_ban_lift *lift);

/* How many were in force and are lifted, and how many holes were made. */
size_t eb_ban_lift_lifted(const struct eb_ban_lift *lift);

/* Accepts NULL. */
void eb_ban_lift_free(struct eb_ban_lift *lift);

/* All of it at once. Sorts the prefixes. Returns 0 or negative errno. */
int eb_bans_lift(struct eb_bans *bans, struct eb_prefix *prefixes, size_t count, size_t *lifted);

/* Takes back the bans of exactly these prefixes that `origin` made: what others decided of them, of wider ones and of
 * narrower ones stays. *lifted counts those that were in force. Returns 0 or negative errno. */
int eb_bans_withdraw(struct eb_bans *bans, const struct eb_prefix *prefixes, size_t count, enum eb_ban_origin origin,
		     size_t *lifted);

/* Looks at some more entries, and removes what ran out and holes that have nothing around them. Returns 1 while there
 * is more to look at, 0 at the end, or negative errno, which ends it too. A lift ends a sweep, and none begins before
 * the end of that. */
int eb_bans_sweep(struct eb_bans *bans);

/* Whether a sweep is under way. */
bool eb_bans_is_sweeping(const struct eb_bans *bans);

/* Visits every entry, of IPv4 first, in no order, also those that ran out. A change meanwhile can show one twice or not
 * at all. Ends when `visit` returns other than 0, and returns that, 0 or negative errno. */
int eb_bans_each(const struct eb_bans *bans, int (*visit)(const struct eb_ban_view *view, void *arg), void *arg);

/* The same in parts of some thousand entries. eb_ban_walk_next() visits a part; it returns 1 while there are more, 0 at
 * the end, or negative errno. eb_ban_walk_free() accepts NULL. */
struct eb_ban_walk; /* opaque */

int eb_ban_walk_new(const struct eb_bans *bans, struct eb_ban_walk **out);
int eb_ban_walk_next(struct eb_ban_walk *walk, void (*visit)(const struct eb_ban_view *view, void *arg), void *arg);
void eb_ban_walk_free(struct eb_ban_walk *walk);

/* The entry of exactly this prefix, also a hole, or one that ran out. False when there is none. */
bool eb_bans_get(const struct eb_bans *bans, const struct eb_prefix *prefix, struct eb_ban_view *out);

/* Whether an entry bans at a time. */
bool eb_ban_holds(const struct eb_ban *ban, uint64_t now_ns);

/* What bans all of a prefix at a time, as the program would find it. False when nothing does. */
bool eb_bans_find(const struct eb_bans *bans, const struct eb_prefix *prefix, uint64_t now_ns,
		  struct eb_ban_view *out);

/* "operator", "rule", "feed", "fleet" */
const char *eb_ban_origin_name(enum eb_ban_origin origin);

#endif
