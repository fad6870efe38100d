/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Typed access to the buckets: the memory-mapped maps buckets_v4 and buckets_v6, with the algorithms of table.h. No
 * system call per bucket, no copy of the table, and safe beside a running XDP program.
 */
#ifndef EB_BUCKETS_H
#define EB_BUCKETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/destination.h"
#include "edgebucket.h"
#include "maps/maps.h"

struct eb_buckets; /* opaque */

/* The source and rule to which a bucket belongs, and its target where the rule has also_per. addr is masked and in
 * network byte order; an IPv4 address is in the first 4 bytes, and the rest is 0. */
struct eb_source {
	uint8_t family; /* 4 or 6 */
	uint8_t addr[16];
	struct eb_destination target;
	uint8_t unused[2]; /* 0: sources are hashed and compared as bytes */
	uint32_t rule_id;  /* eb_rule.id4 or id6 */
};

/* The family of the table that has its bucket: 6 with a target, whatever the family of the addresses. */
int eb_source_table(const struct eb_source *source);

/* A snapshot of a bucket. Times are ticks, see gcra.h; use eb_gcra_debt() to interpret them. */
struct eb_bucket_view {
	struct eb_source source;
	uint64_t packets_full_at;
	uint64_t bytes_full_at;
	uint64_t dropped; /* packets refused: exact up to 1024, beyond that an estimate */
};

/* Opens the tables of `maps`, which the caller must keep open. `writable` is required to reset, merge and sweep.
 * Returns 0 and an object for eb_buckets_close(), or negative errno. */
int eb_buckets_open(const struct eb_maps *maps, bool writable, struct eb_buckets **out);

/* A look-up of a bucket by its source maps the whole tables into memory. eb_buckets_map() maps them now, so that
 * look-ups and walks cannot run out of memory until eb_buckets_unmap() unmaps them. Returns 0 or negative errno. */
int eb_buckets_map(struct eb_buckets *buckets);
void eb_buckets_unmap(struct eb_buckets *buckets);

/*
 * From here to eb_buckets_unmap() or eb_buckets_map(), a look-up maps the part of the table that its source can be in,
 * in place of the part before it: a sixty-fourth of one table. It fails where there is no memory for that. For very
 * many look-ups in the order of eb_buckets_part(), which is below EB_BUCKET_PARTS.
 */
#define EB_TABLE_PARTS 64u
#define EB_BUCKET_PARTS (2 * EB_TABLE_PARTS)
void eb_buckets_map_by_parts(struct eb_buckets *buckets);
uint32_t eb_buckets_part(const struct eb_buckets *buckets, const struct eb_source *source);

/* Accepts NULL. */
void eb_buckets_close(struct eb_buckets *buckets);

/* The current time as the XDP program reads it: CLOCK_MONOTONIC in ticks, which wrap. */
uint64_t eb_buckets_now(void);

/* The number of buckets for which the table of a family (4 or 6) is sized. It has twice as many entries, so a walk can
 * find more buckets. */
uint32_t eb_buckets_table_size(const struct eb_buckets *buckets, int family);

/* Finds the bucket of a source. Returns 0, -ENOENT if it has none, which means a full one, or another negative
 * errno. */
int eb_buckets_find(const struct eb_buckets *buckets, const struct eb_source *source, struct eb_bucket_view *out);

/*
 * Calls `visit` for every bucket in use, in no particular order; ends early when it returns other than 0, and returns
 * that. The view is only valid during the call.
 */
int eb_buckets_each(const struct eb_buckets *buckets, int (*visit)(const struct eb_bucket_view *view, void *arg),
		    void *arg);

/* The position of a walk in slices. All zeros is the beginning. */
struct eb_bucket_cursor {
	uint32_t family_index; /* 0: IPv4, 1: IPv6, 2: at the end */
	uint32_t set;
};

/*
 * As eb_buckets_each(), in pieces: when `visit` returns other than 0, the walk ends with that,
 * and the next call begins again with the set of that bucket. Visits name the entry by `index`, below
 * eb_buckets_entries() of its family. Returns 0 at the end of both tables.
 */
int eb_buckets_walk(const struct eb_buckets *buckets, struct eb_bucket_cursor *cursor,
		    int (*visit)(const struct eb_bucket_view *view, uint32_t index, void *arg), void *arg);
uint32_t eb_buckets_entries(const struct eb_buckets *buckets, int family);

/*
 * What changed, by groups of EB_GROUP_SETS sets each. eb_buckets_collect_changes() takes the marks away that packets
 * and the functions below set, and returns the number of the collection: 1 for the first one of `buckets`, which must
 * be writable. eb_buckets_changed_in() is the number of the last one that found something in a group, 0 for none.
 * Whoever collects first, then reads all groups that changed since a number it collected before, has missed no change
 * before its call. Only one process at a time may collect.
 */
uint32_t eb_buckets_collect_changes(struct eb_buckets *buckets);
uint32_t eb_buckets_groups(const struct eb_buckets *buckets, int family);
uint32_t eb_buckets_changed_in(const struct eb_buckets *buckets, int family, uint32_t group);

/* For eb_buckets_walk_groups(). */
struct eb_group_visitor {
	bool (*enter)(int family, uint32_t group, void *arg); /* whether to visit the buckets of the group */
	int (*visit)(const struct eb_bucket_view *view, uint32_t index, void *arg); /* as for eb_buckets_walk() */
	void (*leave)(int family, uint32_t group, void *arg); /* after all of them */
};

/* As eb_buckets_walk(), with the groups that `enter` accepts alone. When `visit` ends the walk, the next call enters
 * the group of that bucket again. */
int eb_buckets_walk_groups(const struct eb_buckets *buckets, struct eb_bucket_cursor *cursor,
			   const struct eb_group_visitor *visitor, void *arg);

struct eb_bucket_count {
	uint64_t in_use; /* entries with a source */
	uint64_t in_debt; /* those of them that are not full, and so cannot be evicted */
};

void eb_buckets_count(const struct eb_buckets *buckets, int family, struct eb_bucket_count *out);

/* Fills the buckets of `count` sources, or all buckets, and clears their counts of refusals. Sources without a bucket
 * are skipped. Other sources get these entries only after EB_IDLE_MARGIN. *in_debt is the number of buckets that were
 * in debt. Return 0 or negative errno. */
int eb_buckets_reset(struct eb_buckets *buckets, const struct eb_source *sources, size_t count);
int eb_buckets_reset_all(struct eb_buckets *buckets, uint64_t *in_debt);

/*
 * Gives the bucket of a source a debt; creates the bucket if needed. The debts are the distances of the times of *view
 * from `now`. EB_MERGE_LATER keeps the later of the two times. EB_MERGE_ADD adds both debts; a debt above the burst
 * makes the bucket refuse for longer, and is only limited by the longest possible refill (EB_BURST_MAX). Safe while
 * packets are charged. Returns 1 if the debt of the bucket grew, 0 if it was as large already, -ENOSPC if all entries
 * that the bucket could use are in debt, -EBUSY if concurrent charges prevented it repeatedly.
 */
enum eb_merge { EB_MERGE_LATER, EB_MERGE_ADD };
int eb_buckets_merge(struct eb_buckets *buckets, const struct eb_bucket_view *view, enum eb_merge merge, uint64_t now);

/*
 * Adds `ticks` to the debt that a bucket has at `now` for packets, or with `of_bytes` for bytes; takes away when they
 * are negative, down to a full bucket. Makes a bucket for a source that has none. Safe while packets are charged, and
 * does not wait. Returns 0; -ENOSPC if all entries that the bucket could use are in debt, -EBUSY if concurrent charges
 * prevented it repeatedly, or other negative errno.
 */
int eb_buckets_adjust(struct eb_buckets *buckets, const struct eb_source *source, bool of_bytes, int64_t ticks,
		      uint64_t now);

/*
 * Frees the entry of a bucket if its times are still those of *view. Safe while packets are charged: a packet whose CPU
 * has already found the bucket is refused, as contended. Returns 0; -EAGAIN, with the current state in *view, if the
 * bucket was charged in the meantime; or -ENOENT if the source has no bucket.
 */
int eb_buckets_take_away(struct eb_buckets *buckets, struct eb_bucket_view *view);

/* Frees entries that have been full for a day: after the clock wraps, their times would be misread (gcra.h). Must be
 * called daily. Returns the number of freed entries. */
uint64_t eb_buckets_sweep(struct eb_buckets *buckets);

/*
 * Reduces debts above the burst of `policy` to the burst, if no agent has swept for so long that the clock might have
 * wrapped: then such debts might only be misread times. Otherwise such a debt is real and stays. Must be called at the
 * start. Returns the number of reduced debts.
 */
uint64_t eb_buckets_mend(struct eb_buckets *buckets, const struct eb_policy *policy);

/* Frees the entries that a previous agent was changing when it was killed; nothing else would. Returns 0 or negative
 * errno. */
int eb_buckets_recover(struct eb_buckets *buckets);

#endif
