/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What packets were charged in each entry of the tables, of rules that a fleet shares: the program adds it up in the
 * map `spent`, and one reader finds what came since it looked last. A difference of two times of a bucket would not do:
 * a bucket that is full in between refills nothing, and the difference would count that as charged.
 *
 * The memory is there while a reader is: 64 bytes for a set of four entries, in the kernel and twice more here, where
 * only what is used takes memory.
 */
#ifndef EB_SPENT_H
#define EB_SPENT_H

#include <stdbool.h>
#include <stdint.h>

#include "maps/buckets.h"

struct eb_spent_table; /* opaque */

/* Puts a map of zeros at a place of `outer`, the descriptor of the map `spent` or `demand`, and maps it into memory:
 * for munmap(), where *out is not NULL, also after an error. Returns 0 or negative errno. */
int eb_spent_open_map(int outer, uint32_t place, uint32_t sets, bool writable, struct eb_spent_set **out,
		      size_t *length);

/* Memory for marks beside it, `length` bytes of zeros that cost nothing until they are written; for munmap(). NULL if
 * there is none. */
struct eb_spent_set *eb_spent_reserve(size_t length);

/* Ticks (gcra.h) that wrap. */
struct eb_spent_way {
	struct eb_spent spent; /* by now */
	struct eb_spent *told; /* what the reader knows of; it may run ahead of `spent` */
	struct eb_spent *own;  /* for the reader, 0 at first: when the bucket were full without what others charged */
	struct eb_spent *seen; /* another mark of the reader's; NULL unless eb_spent_keep_seen() was called, as are: */
	struct eb_spent *charged;    /* for the reader, 0 at first: what it charged the bucket itself, */
	struct eb_spent *charged_to; /* and until when that bucket is in debt, and the entry its source's */
};

/* Starts to count, from 0: puts new counters into the maps. `buckets` must outlive it. Only one process at a time, the
 * agent. Returns 0 or negative errno. */
int eb_spent_open(const struct eb_maps *maps, struct eb_buckets *buckets, struct eb_spent_table **out);

/* Ends counting. Accepts NULL. */
void eb_spent_close(struct eb_spent_table *table);

/* Gives every entry a second mark, and room for what the reader charges, 0 at first. Returns 0 or negative errno. */
int eb_spent_keep_seen(struct eb_spent_table *table);

/* Makes all `charged` and `charged_to` 0. */
void eb_spent_forget_charged(struct eb_spent_table *table);

/* Finds the counters of a source's bucket. Returns 0, -ENOENT where it has none, or another negative errno. */
int eb_spent_find(const struct eb_spent_table *table, const struct eb_source *source, struct eb_spent_way *out);

/* Makes room for what the program is to know of careful rules' buckets, unless it is there: as much memory again in the
 * kernel. Returns 0 or negative errno. */
int eb_spent_keep_heard(struct eb_spent_table *table);

/* Says that a source's bucket is full at `full_at` by what the fleet told. To be called once its debt is at least that.
 * Returns 0, -ENOENT where it has no bucket or there is no room for it, or another negative errno. */
int eb_spent_hear(struct eb_spent_table *table, const struct eb_source *source, bool of_bytes, uint64_t full_at);

/* Reads the times at which a source's bucket is full by what the fleet told this node's agent, of any process. Returns
 * 0; -ENOENT where it has no bucket or no agent hears of any, or another negative errno. */
int eb_spent_heard(const struct eb_maps *maps, const struct eb_buckets *buckets, const struct eb_source *source,
		   struct eb_spent *out);

/* The ticks of `spent` that `told` does not know of; 0 when it runs ahead. */
uint64_t eb_spent_since(uint64_t spent, uint64_t told);

/* Where a walk is. All zeros is the beginning. */
struct eb_spent_cursor {
	uint32_t family_index, set, way;
};

/* Returns false to be called again with the same bucket, when the walk goes on. */
typedef bool (*eb_spent_visit)(const struct eb_bucket_view *view, const struct eb_spent_way *way, void *arg);

/*
 * Visits the buckets that were charged since `told` in groups that changed after collection `after` of changes
 * (eb_buckets_collect_changes()), or all buckets of all groups, of at most `sets` sets. The times of *view are read
 * before the counters: these can be ahead by a packet of each CPU. Returns 0 at the end of both tables, 1 where there
 * is more, or negative errno.
 */
int eb_spent_walk(struct eb_spent_table *table, struct eb_spent_cursor *cursor, uint32_t sets, uint32_t after,
		  bool all, eb_spent_visit visit, void *arg);

#endif
