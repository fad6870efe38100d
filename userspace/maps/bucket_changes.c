// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "maps/bucket_table.h"

/* ---- reset ---- */

/* Full as of now, not EB_FULL: nobody gets the entry for EB_IDLE_MARGIN, in which the mirror sees that it became full.
 * One that is being taken is full already. */
static void fill_time(__u64 *full_at, __u64 now)
{
	__u64 seen;

	do {
		seen = EB_READ(*full_at);
		if (eb_gcra_is_locked(seen) || !eb_gcra_debt(seen, now))
			return;
	} while (__sync_val_compare_and_swap(full_at, seen, eb_gcra_full_at(now, 0)) != seen);
}

static void fill_bucket(const struct eb_bucket_table *table, __u32 set, struct eb_bucket *bucket)
{
	__u64 now = eb_buckets_now();

	fill_time(&bucket->packets_full_at, now);
	fill_time(&bucket->bytes_full_at, now);
	EB_WRITE(bucket->dropped, 0);
	eb_bucket_table_mark(table, set);
}

static __u32 set_of(const struct eb_bucket_table *table, const struct eb_bucket_location *location, int place)
{
	return eb_choose_set(location->hash, table->sets, eb_place_choice(place));
}

static int fill_source(struct eb_buckets *buckets, const struct eb_source *source)
{
	const struct eb_bucket_table *table = eb_bucket_table_for(buckets, source);
	struct eb_bucket_location location;
	int place, err = eb_bucket_locate(buckets, source, &location);

	if (err)
		return err;
	place = eb_bucket_find_place(table, &location);
	if (place < 0)
		return -ENOENT;
	fill_bucket(table, set_of(table, &location, place),
		    eb_key_bucket(eb_place_key(&location.sets, table->words, place), table->words));
	return 0;
}

int eb_buckets_reset(struct eb_buckets *buckets, const struct eb_source *sources, size_t count)
{
	int err = 0;

	for (size_t i = 0; i < count && !err; i++) {
		err = fill_source(buckets, &sources[i]);
		if (err == -ENOENT)
			err = 0;
	}
	return err;
}

struct reset_args {
	uint64_t now;
	uint64_t in_debt;
};

static int reset_entry(const struct eb_bucket_position *position, __u64 *entry, __u16 *tag, void *arg)
{
	const struct eb_bucket_table *table = position->table;
	struct eb_bucket *bucket = eb_key_bucket(entry, table->words);
	struct reset_args *args = arg;

	(void)tag;
	if (eb_key_empty(entry, table->words))
		return 0;
	args->in_debt += eb_gcra_debt(EB_READ(bucket->packets_full_at), args->now) ||
			 eb_gcra_debt(EB_READ(bucket->bytes_full_at), args->now);
	fill_bucket(table, position->set, bucket);
	return 0;
}

int eb_buckets_reset_all(struct eb_buckets *buckets, uint64_t *in_debt)
{
	struct reset_args args = { .now = eb_buckets_now() };
	int err = eb_bucket_tables_walk(buckets, 0, false, reset_entry, &args);

	*in_debt = args.in_debt;
	return err;
}

/* ---- merge, take away ---- */

/* The time of a bucket that had `seen` and gets the debt of `added`, both as of `now`. */
static __u64 merged_time(__u64 seen, __u64 added, enum eb_merge merge, __u64 now)
{
	__u64 before = eb_gcra_debt(seen, now), debt = eb_gcra_debt(added, now);

	if (merge == EB_MERGE_ADD)
		debt = before + debt < EB_BURST_MAX ? before + debt : EB_BURST_MAX;
	if (debt == 0 || debt <= before)
		return seen;
	return eb_gcra_full_at(now, debt);
}

#define MERGE_TRIES 1000

/* Returns 1 when the time changed, 0 when not, -EBUSY. */
static int merge_time(__u64 *full_at, __u64 added, enum eb_merge merge, __u64 now)
{
	for (int i = 0; i < MERGE_TRIES; i++) {
		__u64 seen = EB_READ(*full_at);
		__u64 merged = merged_time(seen, added, merge, now);

		if (eb_gcra_is_locked(seen))
			continue;
		if (merged == seen)
			return 0;
		if (__sync_val_compare_and_swap(full_at, seen, merged) == seen)
			return 1;
	}
	return -EBUSY;
}

/* Makes a bucket with these debts for a source that had none a moment ago. */
static int insert(const struct eb_bucket_table *table, const struct eb_bucket_location *location,
		  const struct eb_bucket_view *view, __u64 now)
{
	__u64 read = eb_buckets_now();
	int place = eb_table_room(&location->sets, table->words, read);
	__u64 packets = merged_time(EB_FULL, view->packets_full_at, EB_MERGE_LATER, now);
	__u64 bytes = merged_time(EB_FULL, view->bytes_full_at, EB_MERGE_LATER, now);
	__u64 *entry;

	if (place < 0)
		return -ENOSPC;
	if (!eb_place_take(&location->sets, location->key, table->words, eb_tag(location->hash), place, EB_HELD, read))
		return -EBUSY;
	entry = eb_place_key(&location->sets, table->words, place);
	eb_bucket_unlock(eb_key_bucket(entry, table->words), EB_HELD, packets, bytes);
	eb_bucket_table_mark(table, set_of(table, location, place));
	return packets != EB_FULL || bytes != EB_FULL;
}

/* For how long a bucket is waited for that a CPU has locked to make it. That takes less than a microsecond, but a
 * virtual CPU can be held up in the middle. */
#define BUSY_NS 1000000000ULL
#define BUSY_PAUSE_US 20

static int try_merge(struct eb_buckets *buckets, const struct eb_bucket_view *view, enum eb_merge merge, __u64 now)
{
	const struct eb_bucket_table *table = eb_bucket_table_for(buckets, &view->source);
	struct eb_bucket *bucket;
	struct eb_bucket_location location;
	__u64 *entry;
	int place, packets, bytes, err = eb_bucket_locate(buckets, &view->source, &location);

	if (err)
		return err;
	place = eb_bucket_find_place(table, &location);
	if (place < 0)
		return insert(table, &location, view, now);
	entry = eb_place_key(&location.sets, table->words, place);
	bucket = eb_key_bucket(entry, table->words);
	packets = merge_time(&bucket->packets_full_at, view->packets_full_at, merge, now);
	bytes = merge_time(&bucket->bytes_full_at, view->bytes_full_at, merge, now);
	if (packets > 0 || bytes > 0)
		eb_bucket_table_mark(table, set_of(table, &location, place));
	if (packets < 0 || bytes < 0 || !eb_key_equal(entry, location.key, table->words))
		return -EBUSY;
	return packets || bytes;
}

int eb_buckets_merge(struct eb_buckets *buckets, const struct eb_bucket_view *view, enum eb_merge merge, uint64_t now)
{
	int err = try_merge(buckets, view, merge, now);
	uint64_t end = err == -EBUSY ? eb_monotonic_ns() + BUSY_NS : 0;

	while (err == -EBUSY && eb_monotonic_ns() < end) {
		usleep(BUSY_PAUSE_US);
		err = try_merge(buckets, view, merge, now);
	}
	return err;
}

/* The time of a bucket that had `seen`. */
static __u64 adjusted_time(__u64 seen, int64_t ticks, __u64 now)
{
	__u64 debt = eb_gcra_debt(seen, now);

	if (ticks < 0)
		debt = eb_gcra_debt_after(debt, -(__u64)ticks);
	else
		debt = debt + ticks < EB_BURST_MAX ? debt + ticks : EB_BURST_MAX;
	return eb_gcra_full_at(now, debt);
}

static int adjust_time(__u64 *full_at, int64_t ticks, __u64 now)
{
	for (int i = 0; i < MERGE_TRIES; i++) {
		__u64 seen = EB_READ(*full_at);

		if (eb_gcra_is_locked(seen))
			continue;
		if (ticks < 0 && !eb_gcra_debt(seen, now))
			return 0;
		if (__sync_val_compare_and_swap(full_at, seen, adjusted_time(seen, ticks, now)) == seen)
			return 0;
	}
	return -EBUSY;
}

static int insert_debt(const struct eb_bucket_table *table, const struct eb_bucket_location *location, bool of_bytes,
		       int64_t ticks, __u64 now)
{
	struct eb_bucket_view view = { .packets_full_at = EB_FULL, .bytes_full_at = EB_FULL };
	int ret;

	if (ticks <= 0)
		return 0;
	*(of_bytes ? &view.bytes_full_at : &view.packets_full_at) = adjusted_time(EB_FULL, ticks, now);
	ret = insert(table, location, &view, now);
	return ret < 0 ? ret : 0;
}

int eb_buckets_adjust(struct eb_buckets *buckets, const struct eb_source *source, bool of_bytes, int64_t ticks,
		      uint64_t now)
{
	const struct eb_bucket_table *table = eb_bucket_table_for(buckets, source);
	struct eb_bucket_location location;
	struct eb_bucket *bucket;
	__u64 *entry;
	int place, err = ticks ? eb_bucket_locate(buckets, source, &location) : 0;

	if (err || !ticks)
		return err;
	place = eb_bucket_find_place(table, &location);
	if (place < 0)
		return insert_debt(table, &location, of_bytes, ticks, now);
	entry = eb_place_key(&location.sets, table->words, place);
	bucket = eb_key_bucket(entry, table->words);
	err = adjust_time(of_bytes ? &bucket->bytes_full_at : &bucket->packets_full_at, ticks, now);
	eb_bucket_table_mark(table, set_of(table, &location, place));
	if (!err && !eb_key_equal(entry, location.key, table->words))
		return -EBUSY;
	return err;
}

int eb_buckets_take_away(struct eb_buckets *buckets, struct eb_bucket_view *view)
{
	const struct eb_bucket_table *table = eb_bucket_table_for(buckets, &view->source);
	struct eb_bucket_view seen;
	struct eb_bucket *bucket;
	struct eb_bucket_location location;
	__u64 *entry, key[EB_WORDS6];
	int place, err = eb_bucket_locate(buckets, &view->source, &location);

	if (err)
		return err;
	place = eb_bucket_find_place(table, &location);
	if (place < 0)
		return -ENOENT;
	entry = eb_place_key(&location.sets, table->words, place);
	bucket = eb_key_bucket(entry, table->words);
	if (!eb_bucket_read_entry(table, entry, key, &seen))
		return -ENOENT;
	if (seen.packets_full_at != view->packets_full_at || seen.bytes_full_at != view->bytes_full_at ||
	    !eb_bucket_lock(bucket, seen.packets_full_at, seen.bytes_full_at, EB_HELD)) {
		*view = seen;
		return -EAGAIN;
	}
	eb_entry_empty(entry, eb_place_tag(&location.sets, place), table->words, EB_HELD);
	return 0;
}
