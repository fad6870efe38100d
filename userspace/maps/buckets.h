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

#include "edgebucket.h"
#include "maps/maps.h"

struct eb_buckets; /* opaque */

/* Whose bucket. addr is masked, in network byte order; IPv4 in the first 4 bytes, the rest 0. */
struct eb_source {
	uint8_t family; /* 4 or 6 */
	uint8_t addr[16];
	uint32_t rule_id; /* eb_rule.id4 or id6 */
};

/* A bucket as it was at one moment. Times are ticks, see gcra.h; read them with eb_gcra_debt(). */
struct eb_bucket_view {
	struct eb_source source;
	uint64_t packets_full_at;
	uint64_t bytes_full_at;
	uint64_t dropped; /* packets refused: exact up to 1024, beyond that an estimate */
};

/* Maps the tables of `maps`, which the caller keeps open. `writable` is needed to reset, merge and sweep. Returns 0
 * and an object for eb_buckets_close(), or negative errno. */
int eb_buckets_open(const struct eb_maps *maps, bool writable, struct eb_buckets **out);

/* Looking buckets up by their source maps the whole tables. eb_buckets_map() does so now, so that neither look-ups nor
 * walks can fail for want of memory until eb_buckets_unmap(), which gives it back. Returns 0 or negative errno. */
int eb_buckets_map(struct eb_buckets *buckets);
void eb_buckets_unmap(struct eb_buckets *buckets);

/* Accepts NULL. */
void eb_buckets_close(struct eb_buckets *buckets);

/* Now, as the XDP program reads it: CLOCK_MONOTONIC in ticks, which wrap. */
uint64_t eb_buckets_now(void);

/* How many buckets the tables hold (a table_size each has twice as many entries, so more may be found). */
uint32_t eb_buckets_table_size(const struct eb_buckets *buckets, int family);

/* Finds one source's bucket. -ENOENT when it has none, which is to say a full one. */
int eb_buckets_find(const struct eb_buckets *buckets, const struct eb_source *source, struct eb_bucket_view *out);

/*
 * Calls `visit` for every bucket in use of a family (4 or 6; 0 for both), in no particular order; ends early when it
 * returns other than 0, and returns that. The view is only valid during the call.
 */
int eb_buckets_each(const struct eb_buckets *buckets, int family,
		    int (*visit)(const struct eb_bucket_view *view, void *arg), void *arg);

/* Where a walk that is done in pieces has come to; begins zeroed. */
struct eb_bucket_cursor {
	uint32_t family_index; /* 0 IPv4, 1 IPv6, 2 at the end */
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

struct eb_bucket_count {
	uint64_t in_use; /* entries with a source */
	uint64_t in_debt; /* of these, not full: cannot be given to another source */
};

void eb_buckets_count(const struct eb_buckets *buckets, int family, struct eb_bucket_count *out);

/* Fills the buckets of `count` sources, of which those without one are left out, or all, and says how many of all were
 * in debt. Their entries go to nobody else for EB_IDLE_MARGIN. Their refusals are forgotten with them. Return
 * 0 or negative errno. */
int eb_buckets_reset(struct eb_buckets *buckets, const struct eb_source *sources, size_t count);
int eb_buckets_reset_all(struct eb_buckets *buckets, uint64_t *in_debt);

/*
 * Gives a source's bucket a debt, making the bucket if needed. The debts of *view are those that its times are ahead
 * of `now`. EB_MERGE_LATER keeps the later of the two times; EB_MERGE_ADD adds both debts: what exceeds the burst is
 * repaid by refusing for longer, and only the longest refill that there is (EB_BURST_MAX) ends that. Safe while
 * packets are charged. Returns 1 when the bucket's debt grew, 0 when it was as large already, -ENOSPC when every place
 * it could have is in debt, -EBUSY when packets kept getting in the way.
 */
enum eb_merge { EB_MERGE_LATER, EB_MERGE_ADD };
int eb_buckets_merge(struct eb_buckets *buckets, const struct eb_bucket_view *view, enum eb_merge merge, uint64_t now);

/*
 * Takes the bucket away from its source if its times are those of *view: the entry is nobody's then. Safe while packets
 * are charged: one that has found the bucket is refused, as contended. Returns 0, -EAGAIN with *view as it is now when
 * something was charged meanwhile, or -ENOENT when the source has no bucket.
 */
int eb_buckets_take_away(struct eb_buckets *buckets, struct eb_bucket_view *view);

/* Clears entries that have been full for a day: what is left of their times would be misread once the clock has wrapped
 * (gcra.h). To be called daily. Returns how many. */
uint64_t eb_buckets_sweep(struct eb_buckets *buckets);

/*
 * Sets debts above a burst of `policy` back to it when nobody has swept for so long that the clock may have wrapped:
 * they may never have been made. Otherwise such a debt is to be repaid, and stays. To be called at start. Returns how
 * many.
 */
uint64_t eb_buckets_mend(struct eb_buckets *buckets, const struct eb_policy *policy);

/* Empties the entries that an agent before had in hand when it was killed; nobody else ever does that. Returns 0 or
 * negative errno. */
int eb_buckets_recover(struct eb_buckets *buckets);

#endif
