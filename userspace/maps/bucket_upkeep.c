// SPDX-License-Identifier: GPL-2.0-only
#include "base/clock.h"
#include "maps/bucket_table.h"
#include "policy/rules.h"

/* Entries that have been full for this long are cleared by eb_buckets_sweep(). */
#define SWEEP_AFTER (24ULL * 3600 * 1000000000 * EB_TICKS_PER_NS)

/* When no agent has cleared them for this long, times may be from before the clock wrapped: two thirds of what it
 * takes. */
#define MEND_AFTER_NS (100ULL * 24 * 3600 * 1000000000)

struct sweep_args {
	uint64_t now;
	uint64_t cleared;
};

static bool is_stale(__u64 full_at, uint64_t now)
{
	return eb_time_idle(full_at, now) > SWEEP_AFTER;
}

static int sweep_entry(const struct eb_bucket_position *position, __u64 *entry, __u16 *tag, void *arg)
{
	const struct eb_bucket_table *table = position->table;
	struct eb_bucket *bucket = eb_key_bucket(entry, table->words);
	__u64 packets = EB_READ(bucket->packets_full_at), bytes = EB_READ(bucket->bytes_full_at);
	struct sweep_args *args = arg;

	if (eb_key_empty(entry, table->words) || !is_stale(packets, args->now) || !is_stale(bytes, args->now) ||
	    !eb_bucket_lock(bucket, packets, bytes, EB_HELD))
		return 0;
	eb_entry_empty(entry, tag, table->words, EB_HELD);
	args->cleared++;
	return 0;
}

uint64_t eb_buckets_sweep(struct eb_buckets *buckets)
{
	struct sweep_args args = { .now = eb_buckets_now() };

	if (eb_bucket_tables_walk(buckets, 0, false, sweep_entry, &args) == 0)
		EB_WRITE(buckets->state->swept_ns, eb_monotonic_ns());
	return args.cleared;
}

struct mend_args {
	const struct eb_policy *policy;
	uint64_t mended;
};

/* The clock is read after the time, so that a debt above the burst cannot be one that was made meanwhile. */
static void mend_time(__u64 *full_at, const struct eb_limit *limit, uint64_t *mended)
{
	__u64 seen = EB_READ(*full_at), now = eb_buckets_now();

	if (!eb_gcra_is_locked(seen) && eb_gcra_debt(seen, now) > limit->burst + EB_IDLE_MARGIN &&
	    __sync_val_compare_and_swap(full_at, seen, eb_gcra_full_at(now, limit->burst)) == seen)
		(*mended)++;
}

static int mend_entry(const struct eb_bucket_position *position, __u64 *entry, __u16 *tag, void *arg)
{
	const struct eb_bucket_table *table = position->table;
	struct eb_bucket *bucket = eb_key_bucket(entry, table->words);
	struct mend_args *args = arg;
	struct eb_source source;
	int index;

	(void)tag;
	if (eb_key_empty(entry, table->words))
		return 0;
	eb_bucket_read_key(table, entry, &source);
	index = eb_rules_find_id(args->policy, source.family, source.rule_id);
	if (index < 0)
		return 0;
	mend_time(&bucket->packets_full_at, &args->policy->rules[index].packets, &args->mended);
	mend_time(&bucket->bytes_full_at, &args->policy->rules[index].bytes, &args->mended);
	eb_bucket_table_mark(table, position->set);
	return 0;
}

uint64_t eb_buckets_mend(struct eb_buckets *buckets, const struct eb_policy *policy)
{
	struct mend_args args = { .policy = policy };

	if (eb_monotonic_ns() - EB_READ(buckets->state->swept_ns) < MEND_AFTER_NS)
		return 0;
	(void)eb_bucket_tables_walk(buckets, 0, false, mend_entry, &args);
	return args.mended;
}

/* An entry that an agent had in hand when it was killed: who lost it has its debt in another one, or had none. */
static int empty_held(const struct eb_bucket_position *position, __u64 *entry, __u16 *tag, void *arg)
{
	const struct eb_bucket_table *table = position->table;
	const struct eb_bucket *bucket = eb_key_bucket(entry, table->words);

	(void)arg;
	if (EB_READ(bucket->packets_full_at) == EB_HELD || EB_READ(bucket->bytes_full_at) == EB_HELD)
		eb_entry_empty(entry, tag, table->words, EB_HELD);
	return 0;
}

int eb_buckets_recover(struct eb_buckets *buckets)
{
	return eb_bucket_tables_walk(buckets, 0, true, empty_held, NULL);
}
