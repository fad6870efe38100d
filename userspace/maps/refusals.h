/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The refusals that CPUs have counted and not written back to their buckets yet: tallies in the map `cpus`. For the
 * files that implement buckets.h.
 */
#ifndef EB_REFUSALS_H
#define EB_REFUSALS_H

#include "maps/bucket_table.h"

/* All CPUs' tallies that are in use, in the order of the table. The caller frees *out. Returns 0 or negative errno. */
int eb_refusals_read(const struct eb_buckets *buckets, struct eb_tally **out, size_t *count);

/* What a bucket counted and what its tallies hold make the refusals. A reset takes what tallies hold off the bucket, so
 * below 0 is what a CPU is just adding to it. */
uint64_t eb_refusals_sum(uint64_t in_bucket, uint64_t in_tallies);

/* Whether a tally counts for the bucket at this place. */
bool eb_refusals_count_for(const struct eb_tally *tally, int family, const struct eb_bucket_location *location,
			   int place);

/* The tallies not passed yet while walking a table in order. */
struct eb_tally_cursor {
	const struct eb_tally *next;
	const struct eb_tally *end;
};

/* Adds up the tallies of one entry, and moves on to the next entry's. */
uint64_t eb_refusals_take(struct eb_tally_cursor *cursor, const struct eb_buckets *buckets,
			  const struct eb_bucket_table *table, __u32 set, int way, const __u64 *key);

/*
 * Forgets the refusals in tallies of buckets whose `dropped` was just set to 0: of those whose keys have one of
 * `hashes`, which it sorts, or of all (NULL). Only its CPU may write a tally, so they are subtracted instead. What a
 * CPU adds to a bucket between the two steps goes on counting: it errs by one tally of each CPU at most, and never
 * below 0. Returns 0 or negative errno.
 */
int eb_refusals_forget(const struct eb_buckets *buckets, uint64_t *hashes, size_t hash_count);

#endif
