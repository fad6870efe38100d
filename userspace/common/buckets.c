// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "buckets.h"
#include "table.h"

/* Entries that have been full for this long are cleared by eb_buckets_sweep(). */
#define SWEEP_AFTER (24ULL * 3600 * 1000000000 * EB_TICKS_PER_NS)

/* Whoever is alive holds a lock for about a tenth of a microsecond. */
#define LOCK_LOOKS 100
#define LOCK_LOOK_US 20

/* One family's table in memory. */
struct table {
	int family;
	int words;      /* of the key */
	size_t set_size;
	__u32 sets;
	char *memory;
	size_t length;
	struct eb_tags *tags;
	size_t tags_length;
};

struct eb_buckets {
	struct table tables[2]; /* IPv4, IPv6 */
	struct eb_state *state;
	size_t state_length;
	int cpus_fd;
};

static int map_memory(int fd, bool writable, struct bpf_map_info *info, void **memory, size_t *length)
{
	size_t page = sysconf(_SC_PAGESIZE);
	__u32 len = sizeof(*info);
	int err;

	memset(info, 0, sizeof(*info));
	err = bpf_obj_get_info_by_fd(fd, info, &len);
	if (err)
		return err;
	*length = ((size_t)info->max_entries * info->value_size + page - 1) / page * page;
	*memory = mmap(NULL, *length, PROT_READ | (writable ? PROT_WRITE : 0), MAP_SHARED, fd, 0);
	if (*memory == MAP_FAILED) {
		*memory = NULL;
		return -errno;
	}
	return 0;
}

static int map_table(const struct eb_maps *maps, int family, bool writable, struct table *table)
{
	int buckets = maps->fd[family == 4 ? EB_MAP_BUCKETS_V4 : EB_MAP_BUCKETS_V6];
	int tags = maps->fd[family == 4 ? EB_MAP_TAGS_V4 : EB_MAP_TAGS_V6];
	struct bpf_map_info info;
	void *memory;
	int err = map_memory(tags, writable, &info, &memory, &table->tags_length);

	if (err)
		return err;
	table->tags = memory;
	err = map_memory(buckets, writable, &info, &memory, &table->length);
	if (err)
		return err;
	table->family = family;
	table->words = family == 4 ? EB_WORDS4 : EB_WORDS6;
	table->set_size = info.value_size;
	table->sets = info.max_entries;
	table->memory = memory;
	return 0;
}

int eb_buckets_open(const struct eb_maps *maps, bool writable, struct eb_buckets **out)
{
	struct eb_buckets *buckets = calloc(1, sizeof(*buckets));
	struct bpf_map_info info;
	void *memory;
	int err;

	if (!buckets)
		return -ENOMEM;
	buckets->cpus_fd = maps->fd[EB_MAP_CPUS];
	err = map_table(maps, 4, writable, &buckets->tables[0]);
	if (!err)
		err = map_table(maps, 6, writable, &buckets->tables[1]);
	if (!err)
		err = map_memory(maps->fd[EB_MAP_STATE], writable, &info, &memory, &buckets->state_length);
	if (err) {
		eb_buckets_close(buckets);
		return err;
	}
	buckets->state = memory;
	*out = buckets;
	return 0;
}

void eb_buckets_close(struct eb_buckets *buckets)
{
	if (!buckets)
		return;
	for (int i = 0; i < 2; i++) {
		if (buckets->tables[i].memory)
			munmap(buckets->tables[i].memory, buckets->tables[i].length);
		if (buckets->tables[i].tags)
			munmap(buckets->tables[i].tags, buckets->tables[i].tags_length);
	}
	if (buckets->state)
		munmap(buckets->state, buckets->state_length);
	free(buckets);
}

uint64_t eb_buckets_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return eb_gcra_now(now.tv_sec * 1000000000ULL + now.tv_nsec);
}

static const struct table *table_of(const struct eb_buckets *buckets, int family)
{
	return &buckets->tables[family == 6];
}

uint32_t eb_buckets_table_size(const struct eb_buckets *buckets, int family)
{
	return table_of(buckets, family)->sets * (EB_WAYS / 2);
}

static void *set_at(const struct table *table, __u32 set)
{
	return table->memory + set * table->set_size;
}

/* A source as the table's key. */
static void make_key(const struct eb_source *source, __u64 key[EB_WORDS6])
{
	memset(key, 0, EB_WORDS6 * sizeof(*key));
	if (source->family == 4) {
		struct eb_key4 *key4 = (struct eb_key4 *)key;

		memcpy(&key4->addr, source->addr, sizeof(key4->addr));
		key4->rule_id = source->rule_id;
	} else {
		struct eb_key6 *key6 = (struct eb_key6 *)key;

		memcpy(key6->addr, source->addr, sizeof(key6->addr));
		key6->rule_id = source->rule_id;
	}
}

static void read_key(const struct table *table, const __u64 *key, struct eb_source *out)
{
	memset(out, 0, sizeof(*out));
	out->family = table->family;
	if (table->family == 4) {
		const struct eb_key4 *key4 = (const struct eb_key4 *)key;

		memcpy(out->addr, &key4->addr, sizeof(key4->addr));
		out->rule_id = key4->rule_id;
	} else {
		const struct eb_key6 *key6 = (const struct eb_key6 *)key;

		memcpy(out->addr, key6->addr, sizeof(key6->addr));
		out->rule_id = key6->rule_id;
	}
}

/* Reads an entry into *view and its key into `key`. False when it is empty or on its way to another source. */
static bool read_entry(const struct table *table, const __u64 *entry, __u64 key[EB_WORDS6], struct eb_bucket_view *view)
{
	const struct eb_bucket *bucket = (const struct eb_bucket *)(entry + table->words);

	for (int i = 0; i < table->words; i++)
		key[i] = EB_READ(entry[i]);
	view->packets_full_at = EB_READ(bucket->packets_full_at);
	view->bytes_full_at = EB_READ(bucket->bytes_full_at);
	view->dropped = EB_READ(bucket->dropped);
	if (eb_key_empty(key, table->words) || view->packets_full_at == EB_LOCKED ||
	    view->bytes_full_at == EB_LOCKED || !eb_key_equal(entry, key, table->words))
		return false;
	read_key(table, key, &view->source);
	return true;
}

/* All CPUs' tallies that are in use, in the order of the table. The caller frees *out. */
static int compare_tallies(const void *a, const void *b)
{
	const struct eb_tally *x = a, *y = b;

	if (x->family != y->family)
		return x->family < y->family ? -1 : 1;
	if (x->set != y->set)
		return x->set < y->set ? -1 : 1;
	return (int)x->way - (int)y->way;
}

static int read_tallies(const struct eb_buckets *buckets, struct eb_tally **out, size_t *count)
{
	int cpus = eb_maps_cpus();
	struct eb_cpu *values;
	struct eb_tally *tallies;
	__u32 zero = 0;
	int err;

	if (cpus < 0)
		return cpus;
	values = calloc(cpus, sizeof(*values));
	tallies = calloc((size_t)cpus * EB_TALLIES, sizeof(*tallies));
	err = values && tallies ? bpf_map_lookup_elem(buckets->cpus_fd, &zero, values) : -ENOMEM;
	if (err) {
		free(values);
		free(tallies);
		return err;
	}
	*count = 0;
	for (int i = 0; i < cpus; i++)
		for (int j = 0; j < EB_TALLIES; j++)
			if (values[i].tallies[j].family && values[i].tallies[j].count)
				tallies[(*count)++] = values[i].tallies[j];
	free(values);
	qsort(tallies, *count, sizeof(*tallies), compare_tallies);
	*out = tallies;
	return 0;
}

/* A source's key, and where it hashes to. */
struct location {
	__u64 key[EB_WORDS6];
	__u64 hash;
	struct eb_sets sets;
};

static void locate(const struct eb_buckets *buckets, const struct eb_source *source, struct location *out)
{
	const struct table *table = table_of(buckets, source->family);
	__u32 first, second;

	make_key(source, out->key);
	out->hash = eb_key_hash(out->key, table->words, buckets->state->seed);
	first = eb_first_set(out->hash, table->sets);
	second = eb_second_set(out->hash, table->sets);
	out->sets = (struct eb_sets){
		.first = set_at(table, first),
		.second = set_at(table, second),
		.first_tags = &table->tags[first],
		.second_tags = &table->tags[second],
	};
}

/* The source's entry, or NULL. */
static __u64 *find_entry(const struct table *table, const struct location *location)
{
	int place = eb_table_find(&location->sets, location->key, table->words, eb_tag(location->hash));

	return place < 0 ? NULL : eb_place_key(&location->sets, table->words, place);
}

int eb_buckets_find(const struct eb_buckets *buckets, const struct eb_source *source, struct eb_bucket_view *out)
{
	const struct table *table = table_of(buckets, source->family);
	struct eb_tally *tallies = NULL;
	struct eb_bucket_view view;
	struct location location;
	__u64 seen[EB_WORDS6], *entry;
	size_t count = 0;
	int err;

	locate(buckets, source, &location);
	entry = find_entry(table, &location);
	if (!entry || !read_entry(table, entry, seen, &view) || !eb_key_equal(seen, location.key, table->words))
		return -ENOENT;
	err = read_tallies(buckets, &tallies, &count);
	if (err)
		return err;
	for (size_t i = 0; i < count; i++)
		if (tallies[i].tag == location.hash && tallies[i].family == source->family)
			view.dropped += tallies[i].count;
	free(tallies);
	*out = view;
	return 0;
}

/* The tallies not passed yet while walking a table in order. */
struct tally_cursor {
	const struct eb_tally *next;
	const struct eb_tally *end;
};

/* Adds up the tallies of one entry, and moves on to the next entry's. */
static uint64_t take_tallies(struct tally_cursor *cursor, const struct eb_buckets *buckets, const struct table *table,
			     __u32 set, int way, const __u64 *key)
{
	struct eb_tally here = { .family = table->family, .set = set, .way = way };
	uint64_t sum = 0;

	while (cursor->next < cursor->end && compare_tallies(cursor->next, &here) < 0)
		cursor->next++;
	for (; cursor->next < cursor->end && compare_tallies(cursor->next, &here) == 0; cursor->next++)
		if (cursor->next->tag == eb_key_hash(key, table->words, buckets->state->seed))
			sum += cursor->next->count;
	return sum;
}

static int walk_table(const struct eb_buckets *buckets, const struct table *table, struct tally_cursor *cursor,
		      int (*visit)(const struct eb_bucket_view *view, void *arg), void *arg)
{
	struct eb_bucket_view view;
	__u64 key[EB_WORDS6];
	int ret = 0;

	for (__u32 set = 0; set < table->sets; set++) {
		for (int way = 0; way < EB_WAYS && !ret; way++) {
			if (!read_entry(table, eb_set_key(set_at(table, set), table->words, way), key, &view))
				continue;
			view.dropped += take_tallies(cursor, buckets, table, set, way, key);
			ret = visit(&view, arg);
		}
		if (ret)
			return ret;
	}
	return 0;
}

int eb_buckets_each(const struct eb_buckets *buckets, int family,
		    int (*visit)(const struct eb_bucket_view *view, void *arg), void *arg)
{
	struct eb_tally *tallies;
	struct tally_cursor cursor;
	size_t count;
	int ret = read_tallies(buckets, &tallies, &count);

	if (ret)
		return ret;
	cursor = (struct tally_cursor){ .next = tallies, .end = tallies + count };
	for (int i = 0; i < 2 && !ret; i++)
		if (family == 0 || family == buckets->tables[i].family)
			ret = walk_table(buckets, &buckets->tables[i], &cursor, visit, arg);
	free(tallies);
	return ret;
}

/* Calls `visit` for every entry of both tables, empty ones included. */
static void each_entry(struct eb_buckets *buckets,
		       void (*visit)(const struct table *table, __u64 *entry, __u16 *tag, void *arg), void *arg)
{
	for (int i = 0; i < 2; i++) {
		const struct table *table = &buckets->tables[i];

		for (__u32 set = 0; set < table->sets; set++) {
			for (int way = 0; way < EB_WAYS; way++) {
				visit(table, eb_set_key(set_at(table, set), table->words, way),
				      &table->tags[set].way[way], arg);
			}
		}
	}
}

struct count_args {
	uint64_t now;
	struct eb_bucket_count count;
};

static int count_bucket(const struct eb_bucket_view *view, void *arg)
{
	struct count_args *args = arg;

	args->count.in_use++;
	if (eb_gcra_debt(view->packets_full_at, args->now) || eb_gcra_debt(view->bytes_full_at, args->now))
		args->count.in_debt++;
	return 0;
}

void eb_buckets_count(const struct eb_buckets *buckets, int family, struct eb_bucket_count *out)
{
	struct count_args args = { .now = eb_buckets_now() };
	struct tally_cursor none = {};

	for (int i = 0; i < 2; i++)
		if (family == 0 || family == buckets->tables[i].family)
			walk_table(buckets, &buckets->tables[i], &none, count_bucket, &args);
	*out = args.count;
}

/* An entry that is being taken is full already. */
static void fill_time(__u64 *full_at)
{
	__u64 seen;

	do {
		seen = EB_READ(*full_at);
		if (seen == EB_LOCKED)
			return;
	} while (__sync_val_compare_and_swap(full_at, seen, EB_FULL) != seen);
}

static void fill_bucket(struct eb_bucket *bucket)
{
	fill_time(&bucket->packets_full_at);
	fill_time(&bucket->bytes_full_at);
	EB_WRITE(bucket->dropped, 0);
}

int eb_buckets_reset(struct eb_buckets *buckets, const struct eb_source *source)
{
	const struct table *table = table_of(buckets, source->family);
	struct location location;
	__u64 *entry;

	locate(buckets, source, &location);
	entry = find_entry(table, &location);
	if (!entry)
		return -ENOENT;
	fill_bucket(eb_key_bucket(entry, table->words));
	return 0;
}

static void reset_entry(const struct table *table, __u64 *entry, __u16 *tag, void *arg)
{
	struct eb_bucket *bucket = eb_key_bucket(entry, table->words);
	struct count_args *args = arg;

	(void)tag;
	if (eb_key_empty(entry, table->words))
		return;
	args->count.in_debt += eb_gcra_debt(EB_READ(bucket->packets_full_at), args->now) ||
			       eb_gcra_debt(EB_READ(bucket->bytes_full_at), args->now);
	fill_bucket(bucket);
}

uint64_t eb_buckets_reset_all(struct eb_buckets *buckets)
{
	struct count_args args = { .now = eb_buckets_now() };

	each_entry(buckets, reset_entry, &args);
	return args.count.in_debt;
}

/* The time of a bucket that had `seen` and gets the debt of `added`. */
static __u64 merged_time(__u64 seen, __u64 added, enum eb_merge merge, const struct eb_limit *limit, __u64 now)
{
	__u64 before = eb_gcra_debt(seen, now), debt = eb_gcra_debt(added, now);

	if (merge == EB_MERGE_ADD)
		debt = before + debt < limit->burst ? before + debt : limit->burst;
	if (debt == 0 || debt <= before)
		return seen;
	return eb_gcra_full_at(now, debt);
}

static int merge_time(__u64 *full_at, __u64 added, enum eb_merge merge, const struct eb_limit *limit, __u64 now)
{
	for (int i = 0; i < 1000; i++) {
		__u64 seen = EB_READ(*full_at);
		__u64 merged = merged_time(seen, added, merge, limit, now);

		if (seen == EB_LOCKED)
			continue;
		if (merged == seen || __sync_val_compare_and_swap(full_at, seen, merged) == seen)
			return 0;
	}
	return -EBUSY;
}

static int try_merge(struct eb_buckets *buckets, const struct eb_bucket_view *view, enum eb_merge merge,
		     const struct eb_rule *rule)
{
	const struct table *table = table_of(buckets, view->source.family);
	__u64 now = eb_buckets_now(), *entry;
	struct eb_bucket *bucket;
	struct location location;
	int place, err;

	locate(buckets, &view->source, &location);
	place = eb_table_insert(&location.sets, location.key, table->words, eb_tag(location.hash),
				eb_key_lock(buckets->state, location.hash), now);
	if (place < 0)
		return place == EB_PLACE_FULL ? -ENOSPC : -EBUSY;
	entry = eb_place_key(&location.sets, table->words, place);
	bucket = eb_key_bucket(entry, table->words);
	err = merge_time(&bucket->packets_full_at, view->packets_full_at, merge, &rule->packets, now);
	if (!err)
		err = merge_time(&bucket->bytes_full_at, view->bytes_full_at, merge, &rule->bytes, now);
	return err || eb_key_equal(entry, location.key, table->words) ? err : -EBUSY;
}

int eb_buckets_merge(struct eb_buckets *buckets, const struct eb_bucket_view *view, enum eb_merge merge,
		     const struct eb_rule *rule)
{
	int err = -EBUSY;

	for (int i = 0; i < 100 && err == -EBUSY; i++)
		err = try_merge(buckets, view, merge, rule);
	return err;
}

static bool is_stale(__u64 full_at, uint64_t now)
{
	return eb_time_idle(full_at, now) > SWEEP_AFTER;
}

static void sweep_entry(const struct table *table, __u64 *entry, __u16 *tag, void *arg)
{
	static const __u64 nobody[EB_WORDS6];
	const struct eb_bucket *bucket = eb_key_bucket(entry, table->words);
	struct count_args *args = arg;

	if (!eb_key_empty(entry, table->words) && is_stale(EB_READ(bucket->packets_full_at), args->now) &&
	    is_stale(EB_READ(bucket->bytes_full_at), args->now))
		args->count.in_use += eb_entry_take(entry, tag, nobody, table->words, 0, args->now);
}

uint64_t eb_buckets_sweep(struct eb_buckets *buckets)
{
	struct count_args args = { .now = eb_buckets_now() };

	each_entry(buckets, sweep_entry, &args);
	return args.count.in_use;
}

static const struct eb_rule *rule_of(const struct eb_policy *policy, int family, uint32_t rule_id)
{
	for (__u32 i = 0; i < policy->rule_count; i++)
		if ((family == 4 ? policy->rules[i].id4 : policy->rules[i].id6) == rule_id)
			return &policy->rules[i];
	return NULL;
}

struct mend_args {
	const struct eb_policy *policy;
	uint64_t mended;
};

/* The clock is read after the time, so that a debt above the burst cannot be one that was made meanwhile. */
static void mend_time(__u64 *full_at, const struct eb_limit *limit, uint64_t *mended)
{
	__u64 seen = EB_READ(*full_at), now = eb_buckets_now();

	if (seen != EB_LOCKED && eb_gcra_debt(seen, now) > limit->burst + EB_IDLE_MARGIN &&
	    __sync_val_compare_and_swap(full_at, seen, eb_gcra_full_at(now, limit->burst)) == seen)
		(*mended)++;
}

static void mend_entry(const struct table *table, __u64 *entry, __u16 *tag, void *arg)
{
	struct eb_bucket *bucket = eb_key_bucket(entry, table->words);
	struct mend_args *args = arg;
	struct eb_source source;
	const struct eb_rule *rule;

	(void)tag;
	if (eb_key_empty(entry, table->words))
		return;
	read_key(table, entry, &source);
	rule = rule_of(args->policy, table->family, source.rule_id);
	if (!rule)
		return;
	mend_time(&bucket->packets_full_at, &rule->packets, &args->mended);
	mend_time(&bucket->bytes_full_at, &rule->bytes, &args->mended);
}

uint64_t eb_buckets_mend(struct eb_buckets *buckets, const struct eb_policy *policy)
{
	struct mend_args args = { .policy = policy };

	each_entry(buckets, mend_entry, &args);
	return args.mended;
}

/* An entry whose taking was never finished: its key and tag may be half-written, so it becomes empty. */
static void unlock_entry(const struct table *table, __u64 *entry, __u16 *tag, void *arg)
{
	struct eb_bucket *bucket = eb_key_bucket(entry, table->words);
	bool *again = arg;

	if (EB_READ(bucket->packets_full_at) != EB_LOCKED)
		return;
	if (!*again)
		usleep(LOCK_LOOKS * LOCK_LOOK_US);
	*again = true;
	if (EB_READ(bucket->packets_full_at) != EB_LOCKED)
		return;
	for (int i = 0; i < table->words; i++)
		EB_WRITE(entry[i], 0);
	EB_WRITE(*tag, 0);
	__sync_val_compare_and_swap(&bucket->packets_full_at, EB_LOCKED, EB_FULL);
	__sync_val_compare_and_swap(&bucket->bytes_full_at, EB_LOCKED, EB_FULL);
}

/* True when a lock was held at every look in a time that is a thousand times what its holder needs. */
static bool is_abandoned(const __u64 *lock)
{
	for (int i = 0; i < LOCK_LOOKS; i++) {
		if (EB_READ(*lock) == 0)
			return false;
		usleep(LOCK_LOOK_US);
	}
	return true;
}

void eb_buckets_recover(struct eb_buckets *buckets)
{
	bool waited = false;

	for (int i = 0; i < EB_LOCKS; i++)
		if (is_abandoned(&buckets->state->locks[i]))
			eb_unlock(&buckets->state->locks[i]);
	each_entry(buckets, unlock_entry, &waited);
}
