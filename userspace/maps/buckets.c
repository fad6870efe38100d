// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "base/clock.h"
#include "maps/buckets.h"
#include "table.h"

/* Entries that have been full for this long are cleared by eb_buckets_sweep(). */
#define SWEEP_AFTER (24ULL * 3600 * 1000000000 * EB_TICKS_PER_NS)

/* When no agent has cleared them for this long, times may be from before the clock wrapped: two thirds of what it
 * takes. */
#define MEND_AFTER_NS (100ULL * 24 * 3600 * 1000000000)

/* A walk maps so many sets at a time: whole pages in both families, and little enough that a million buckets do not
 * count as memory of this process. */
#define WINDOW_SETS 2048u

/* One family's table. */
struct table {
	int family;
	int words;      /* of the key */
	int fd;
	int protection; /* of mappings */
	size_t set_size;
	__u32 sets;
	char *memory;   /* the whole table; NULL until a bucket is looked up by its key */
	struct eb_tags *tags;
	size_t tags_length;
};

struct eb_buckets {
	struct table *tables; /* IPv4, IPv6 */
	struct eb_state *state;
	size_t state_length;
	int cpus_fd;
};

static size_t page_round(size_t length)
{
	size_t page = sysconf(_SC_PAGESIZE);

	return (length + page - 1) / page * page;
}

static int map_memory(int fd, bool writable, struct bpf_map_info *info, void **memory, size_t *length)
{
	__u32 len = sizeof(*info);
	int err;

	memset(info, 0, sizeof(*info));
	err = bpf_obj_get_info_by_fd(fd, info, &len);
	if (err)
		return err;
	*length = page_round((size_t)info->max_entries * info->value_size);
	*memory = mmap(NULL, *length, PROT_READ | (writable ? PROT_WRITE : 0), MAP_SHARED, fd, 0);
	if (*memory == MAP_FAILED) {
		*memory = NULL;
		return -errno;
	}
	return 0;
}

/* `count` sets of a table from `first` on, in memory; or NULL with errno. `first` is a multiple of WINDOW_SETS. */
static char *map_sets(const struct table *table, __u32 first, __u32 count)
{
	char *memory = mmap(NULL, page_round(count * table->set_size), table->protection, MAP_SHARED, table->fd,
			    first * table->set_size);

	return memory == MAP_FAILED ? NULL : memory;
}

static int init_table(const struct eb_maps *maps, int family, bool writable, struct table *table)
{
	int tags = maps->fd[family == 4 ? EB_MAP_TAGS_V4 : EB_MAP_TAGS_V6];
	struct bpf_map_info info;
	__u32 len = sizeof(info);
	void *memory;
	int err = map_memory(tags, writable, &info, &memory, &table->tags_length);

	if (err)
		return err;
	table->tags = memory;
	table->family = family;
	table->words = family == 4 ? EB_WORDS4 : EB_WORDS6;
	table->fd = maps->fd[family == 4 ? EB_MAP_BUCKETS_V4 : EB_MAP_BUCKETS_V6];
	table->protection = PROT_READ | (writable ? PROT_WRITE : 0);
	memset(&info, 0, sizeof(info));
	err = bpf_obj_get_info_by_fd(table->fd, &info, &len);
	table->set_size = info.value_size;
	table->sets = info.max_entries;
	return err;
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
	buckets->tables = calloc(2, sizeof(*buckets->tables));
	err = buckets->tables ? init_table(maps, 4, writable, &buckets->tables[0]) : -ENOMEM;
	if (!err)
		err = init_table(maps, 6, writable, &buckets->tables[1]);
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

void eb_buckets_unmap(struct eb_buckets *buckets)
{
	for (int i = 0; i < 2; i++) {
		struct table *table = &buckets->tables[i];

		if (table->memory)
			munmap(table->memory, page_round(table->sets * table->set_size));
		table->memory = NULL;
	}
}

void eb_buckets_close(struct eb_buckets *buckets)
{
	if (!buckets)
		return;
	if (buckets->tables) {
		eb_buckets_unmap(buckets);
		for (int i = 0; i < 2; i++)
			if (buckets->tables[i].tags)
				munmap(buckets->tables[i].tags, buckets->tables[i].tags_length);
	}
	if (buckets->state)
		munmap(buckets->state, buckets->state_length);
	free(buckets->tables);
	free(buckets);
}

uint64_t eb_buckets_now(void)
{
	return eb_gcra_now(eb_monotonic_ns());
}

static struct table *table_of(const struct eb_buckets *buckets, int family)
{
	return &buckets->tables[family == 6];
}

uint32_t eb_buckets_table_size(const struct eb_buckets *buckets, int family)
{
	return table_of(buckets, family)->sets * (EB_WAYS / 2);
}

static void *set_at(const struct table *table, char *memory, __u32 set)
{
	return memory + set * table->set_size;
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
	if (eb_key_empty(key, table->words) || eb_gcra_is_locked(view->packets_full_at) ||
	    eb_gcra_is_locked(view->bytes_full_at) || !eb_key_equal(entry, key, table->words))
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

/* What a bucket counted and what its tallies hold make the refusals. A reset takes what tallies hold off the bucket, so
 * below 0 is what a CPU is just adding to it. */
static uint64_t sum_dropped(uint64_t in_bucket, uint64_t in_tallies)
{
	uint64_t sum = in_bucket + in_tallies;

	return sum <= INT64_MAX ? sum : 0;
}

/* A source's key, and where it hashes to. */
struct location {
	__u64 key[EB_WORDS6];
	__u64 hash;
	__u32 first, second;
	struct eb_sets sets;
};

/* Maps a whole table, if it is not. */
static int map_table(struct table *table)
{
	if (!table->memory)
		table->memory = map_sets(table, 0, table->sets);
	return table->memory ? 0 : -errno;
}

int eb_buckets_map(struct eb_buckets *buckets)
{
	int err = map_table(&buckets->tables[0]);

	return err ? err : map_table(&buckets->tables[1]);
}

static int locate(const struct eb_buckets *buckets, const struct eb_source *source, struct location *out)
{
	struct table *table = table_of(buckets, source->family);
	int err = map_table(table);

	if (err)
		return err;
	make_key(source, out->key);
	out->hash = eb_key_hash(out->key, table->words, buckets->state->seed);
	out->first = eb_first_set(out->hash, table->sets);
	out->second = eb_second_set(out->hash, table->sets);
	out->sets = (struct eb_sets){
		.first = set_at(table, table->memory, out->first),
		.second = set_at(table, table->memory, out->second),
		.first_tags = &table->tags[out->first],
		.second_tags = &table->tags[out->second],
	};
	return 0;
}

/* The source's place, negative when it has none. */
static int find_place(const struct table *table, const struct location *location)
{
	return eb_table_find(&location->sets, location->key, table->words, eb_tag(location->hash));
}

/* Whether a tally counts for the bucket at this place. */
static bool is_tally_of(const struct eb_tally *tally, int family, const struct location *location, int place)
{
	return tally->tag == location->hash && tally->family == family && tally->way == (place & (EB_WAYS - 1)) &&
	       tally->set == (place < EB_WAYS ? location->first : location->second);
}

int eb_buckets_find(const struct eb_buckets *buckets, const struct eb_source *source, struct eb_bucket_view *out)
{
	const struct table *table = table_of(buckets, source->family);
	struct eb_tally *tallies = NULL;
	struct eb_bucket_view view;
	struct location location;
	__u64 seen[EB_WORDS6], tallied = 0;
	size_t count = 0;
	int place, err = locate(buckets, source, &location);

	if (err)
		return err;
	place = find_place(table, &location);
	if (place < 0 || !read_entry(table, eb_place_key(&location.sets, table->words, place), seen, &view) ||
	    !eb_key_equal(seen, location.key, table->words))
		return -ENOENT;
	err = read_tallies(buckets, &tallies, &count);
	if (err)
		return err;
	for (size_t i = 0; i < count; i++)
		if (is_tally_of(&tallies[i], source->family, &location, place))
			tallied += tallies[i].count;
	free(tallies);
	view.dropped = sum_dropped(view.dropped, tallied);
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

/* Where a walk has come to. */
struct position {
	const struct table *table;
	__u32 set;
	int way;
};

/* What walks call for each entry. Returns 0 to go on. */
typedef int (*entry_visit)(const struct position *position, __u64 *entry, __u16 *tag, void *arg);

/* True for a set without any tag: nobody has an entry there. Read as one word; most of a table is so. */
static bool is_empty_set(const struct table *table, __u32 set)
{
	_Static_assert(sizeof(struct eb_tags) == sizeof(__u64), "a set's tags are one word");
	__u64 tags;

	memcpy(&tags, &table->tags[set], sizeof(tags));
	return tags == 0;
}

static int visit_set(const struct table *table, char *entries, __u32 set, bool all, entry_visit visit, void *arg)
{
	int ret = 0;

	for (int way = 0; way < EB_WAYS && !ret; way++) {
		struct position position = { table, set, way };
		__u16 *tag = &table->tags[set].way[way];

		if (all || EB_READ(*tag))
			ret = visit(&position, eb_set_key(entries, table->words, way), tag, arg);
	}
	return ret;
}

/* Visits the sets from `from` to below `end`, all in one window, which is only mapped when there is something in it. */
static int walk_window(const struct table *table, __u32 from, __u32 end, bool all, entry_visit visit, void *arg)
{
	__u32 first = from / WINDOW_SETS * WINDOW_SETS;
	char *window = NULL, *memory = table->memory ? set_at(table, table->memory, first) : NULL;
	int ret = 0;

	for (__u32 set = from; set < end && !ret; set++) {
		if (!all && is_empty_set(table, set))
			continue;
		if (!memory)
			memory = window = map_sets(table, first, end - first);
		if (!memory)
			return -errno;
		ret = visit_set(table, set_at(table, memory, set - first), set, all, visit, arg);
	}
	if (window)
		munmap(window, page_round((end - first) * table->set_size));
	return ret;
}

/*
 * Calls `visit` for the entries of a table from set `from` on: those with a tag, or all. Ends early when it returns
 * other than 0, and returns that, or negative errno.
 */
static int walk_table(const struct table *table, __u32 from, bool all, entry_visit visit, void *arg)
{
	int ret = 0;

	while (from < table->sets && !ret) {
		__u32 end = (from / WINDOW_SETS + 1) * WINDOW_SETS;

		if (end > table->sets)
			end = table->sets;
		ret = walk_window(table, from, end, all, visit, arg);
		from = end;
	}
	return ret;
}

static int walk_tables(const struct eb_buckets *buckets, int family, bool all, entry_visit visit, void *arg)
{
	int ret = 0;

	for (int i = 0; i < 2 && !ret; i++)
		if (family == 0 || family == buckets->tables[i].family)
			ret = walk_table(&buckets->tables[i], 0, all, visit, arg);
	return ret;
}

struct view_args {
	const struct eb_buckets *buckets;
	struct tally_cursor tallies;
	int (*visit)(const struct eb_bucket_view *view, void *arg);
	void *arg;
};

static int visit_view(const struct position *position, __u64 *entry, __u16 *tag, void *arg)
{
	struct view_args *args = arg;
	struct eb_bucket_view view;
	__u64 key[EB_WORDS6];

	(void)tag;
	if (!read_entry(position->table, entry, key, &view))
		return 0;
	view.dropped = sum_dropped(view.dropped, take_tallies(&args->tallies, args->buckets, position->table,
							      position->set, position->way, key));
	return args->visit(&view, args->arg);
}

int eb_buckets_each(const struct eb_buckets *buckets, int family,
		    int (*visit)(const struct eb_bucket_view *view, void *arg), void *arg)
{
	struct view_args args = { .buckets = buckets, .visit = visit, .arg = arg };
	struct eb_tally *tallies;
	size_t count;
	int ret = read_tallies(buckets, &tallies, &count);

	if (ret)
		return ret;
	args.tallies = (struct tally_cursor){ .next = tallies, .end = tallies + count };
	ret = walk_tables(buckets, family, false, visit_view, &args);
	free(tallies);
	return ret;
}

struct walk_args {
	struct eb_bucket_cursor *cursor;
	int (*visit)(const struct eb_bucket_view *view, uint32_t index, void *arg);
	void *arg;
};

static int visit_indexed(const struct position *position, __u64 *entry, __u16 *tag, void *arg)
{
	struct walk_args *args = arg;
	struct eb_bucket_view view;
	__u64 key[EB_WORDS6];

	(void)tag;
	args->cursor->set = position->set;
	if (!read_entry(position->table, entry, key, &view))
		return 0;
	return args->visit(&view, position->set * EB_WAYS + position->way, args->arg);
}

int eb_buckets_walk(const struct eb_buckets *buckets, struct eb_bucket_cursor *cursor,
		    int (*visit)(const struct eb_bucket_view *view, uint32_t index, void *arg), void *arg)
{
	struct walk_args args = { .cursor = cursor, .visit = visit, .arg = arg };
	int ret = 0;

	for (; cursor->family_index < 2; cursor->family_index++, cursor->set = 0) {
		ret = walk_table(&buckets->tables[cursor->family_index], cursor->set, false, visit_indexed, &args);
		if (ret)
			return ret;
	}
	return 0;
}

uint32_t eb_buckets_entries(const struct eb_buckets *buckets, int family)
{
	return table_of(buckets, family)->sets * EB_WAYS;
}

struct count_args {
	uint64_t now;
	struct eb_bucket_count count;
};

static int count_entry(const struct position *position, __u64 *entry, __u16 *tag, void *arg)
{
	struct eb_bucket_view view;
	struct count_args *args = arg;
	__u64 key[EB_WORDS6];

	(void)tag;
	if (!read_entry(position->table, entry, key, &view))
		return 0;
	args->count.in_use++;
	if (eb_gcra_debt(view.packets_full_at, args->now) || eb_gcra_debt(view.bytes_full_at, args->now))
		args->count.in_debt++;
	return 0;
}

void eb_buckets_count(const struct eb_buckets *buckets, int family, struct eb_bucket_count *out)
{
	struct count_args args = { .now = eb_buckets_now() };

	(void)walk_tables(buckets, family, false, count_entry, &args);
	*out = args.count;
}

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

static void fill_bucket(struct eb_bucket *bucket)
{
	__u64 now = eb_buckets_now();

	fill_time(&bucket->packets_full_at, now);
	fill_time(&bucket->bytes_full_at, now);
	EB_WRITE(bucket->dropped, 0);
}

static int compare_hashes(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* Takes a tally off its bucket, if that still is the one it was counted for. */
static int forget_tally(const struct eb_buckets *buckets, const struct eb_tally *tally)
{
	struct table *table = table_of(buckets, tally->family);
	int err = map_table(table);
	__u64 *entry;

	if (err || tally->set >= table->sets)
		return err;
	entry = eb_set_key(set_at(table, table->memory, tally->set), table->words, tally->way & (EB_WAYS - 1));
	if (eb_key_hash(entry, table->words, buckets->state->seed) == tally->tag)
		__sync_fetch_and_sub(&eb_key_bucket(entry, table->words)->dropped, tally->count);
	return 0;
}

/*
 * Forgets the refusals in tallies of buckets whose `dropped` was just set to 0: of those with one of `hashes`, which
 * are sorted, or of all (NULL). Only its CPU may write a tally, so they are subtracted instead. What a CPU adds to a
 * bucket between the two steps goes on counting: it errs by one tally of each CPU at most, and never below 0.
 */
static int forget_tallies(const struct eb_buckets *buckets, const uint64_t *hashes, size_t hash_count)
{
	struct eb_tally *tallies;
	size_t count;
	int err = read_tallies(buckets, &tallies, &count);

	if (err)
		return err;
	for (size_t i = 0; i < count && !err; i++)
		if (!hashes || bsearch(&tallies[i].tag, hashes, hash_count, sizeof(*hashes), compare_hashes))
			err = forget_tally(buckets, &tallies[i]);
	free(tallies);
	return err;
}

/* Fills one source's bucket, and says what its key hashes to. */
static int fill_source(struct eb_buckets *buckets, const struct eb_source *source, uint64_t *hash)
{
	const struct table *table = table_of(buckets, source->family);
	struct location location;
	int place, err = locate(buckets, source, &location);

	if (err)
		return err;
	place = find_place(table, &location);
	if (place < 0)
		return -ENOENT;
	fill_bucket(eb_key_bucket(eb_place_key(&location.sets, table->words, place), table->words));
	*hash = location.hash;
	return 0;
}

int eb_buckets_reset(struct eb_buckets *buckets, const struct eb_source *sources, size_t count)
{
	uint64_t *hashes = calloc(count ? count : 1, sizeof(*hashes));
	size_t found = 0;
	int err = hashes ? 0 : -ENOMEM;

	for (size_t i = 0; i < count && !err; i++) {
		err = fill_source(buckets, &sources[i], &hashes[found]);
		if (!err)
			found++;
		else if (err == -ENOENT)
			err = 0;
	}
	if (!err && found) {
		qsort(hashes, found, sizeof(*hashes), compare_hashes);
		err = forget_tallies(buckets, hashes, found);
	}
	free(hashes);
	return err;
}

static int reset_entry(const struct position *position, __u64 *entry, __u16 *tag, void *arg)
{
	const struct table *table = position->table;
	struct eb_bucket *bucket = eb_key_bucket(entry, table->words);
	struct count_args *args = arg;

	(void)tag;
	if (eb_key_empty(entry, table->words))
		return 0;
	args->count.in_debt += eb_gcra_debt(EB_READ(bucket->packets_full_at), args->now) ||
			       eb_gcra_debt(EB_READ(bucket->bytes_full_at), args->now);
	fill_bucket(bucket);
	return 0;
}

int eb_buckets_reset_all(struct eb_buckets *buckets, uint64_t *in_debt)
{
	struct count_args args = { .now = eb_buckets_now() };
	int err = walk_tables(buckets, 0, false, reset_entry, &args);

	if (!err)
		err = forget_tallies(buckets, NULL, 0);
	*in_debt = args.count.in_debt;
	return err;
}

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

/* Returns 1 when the time changed, 0 when not, -EBUSY. */
static int merge_time(__u64 *full_at, __u64 added, enum eb_merge merge, __u64 now)
{
	for (int i = 0; i < 1000; i++) {
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
static int insert(const struct table *table, const struct location *location, const struct eb_bucket_view *view,
		  __u64 now)
{
	int place = eb_table_room(&location->sets, table->words, eb_buckets_now());
	__u64 packets = merged_time(EB_FULL, view->packets_full_at, EB_MERGE_LATER, now);
	__u64 bytes = merged_time(EB_FULL, view->bytes_full_at, EB_MERGE_LATER, now);
	__u64 *entry;

	if (place < 0)
		return -ENOSPC;
	if (!eb_place_take(&location->sets, location->key, table->words, eb_tag(location->hash), place, EB_HELD,
			   eb_buckets_now()))
		return -EBUSY;
	entry = eb_place_key(&location->sets, table->words, place);
	eb_bucket_unlock(eb_key_bucket(entry, table->words), EB_HELD, packets, bytes);
	return packets != EB_FULL || bytes != EB_FULL;
}

/* For how long a bucket is waited for that a CPU has locked to make it. That takes less than a microsecond, but a
 * virtual CPU can be held up in the middle. */
#define BUSY_NS 1000000000ULL
#define BUSY_PAUSE_US 20

static int try_merge(struct eb_buckets *buckets, const struct eb_bucket_view *view, enum eb_merge merge, __u64 now)
{
	const struct table *table = table_of(buckets, view->source.family);
	struct eb_bucket *bucket;
	struct location location;
	__u64 *entry;
	int place, packets, bytes, err = locate(buckets, &view->source, &location);

	if (err)
		return err;
	place = find_place(table, &location);
	if (place < 0)
		return insert(table, &location, view, now);
	entry = eb_place_key(&location.sets, table->words, place);
	bucket = eb_key_bucket(entry, table->words);
	packets = merge_time(&bucket->packets_full_at, view->packets_full_at, merge, now);
	bytes = merge_time(&bucket->bytes_full_at, view->bytes_full_at, merge, now);
	if (packets < 0 || bytes < 0 || !eb_key_equal(entry, location.key, table->words))
		return -EBUSY;
	return packets || bytes;
}

int eb_buckets_merge(struct eb_buckets *buckets, const struct eb_bucket_view *view, enum eb_merge merge, uint64_t now)
{
	uint64_t end = eb_monotonic_ns() + BUSY_NS;
	int err;

	while ((err = try_merge(buckets, view, merge, now)) == -EBUSY && eb_monotonic_ns() < end)
		usleep(BUSY_PAUSE_US);
	return err;
}

int eb_buckets_take_away(struct eb_buckets *buckets, struct eb_bucket_view *view)
{
	const struct table *table = table_of(buckets, view->source.family);
	struct eb_bucket_view seen;
	struct eb_bucket *bucket;
	struct location location;
	struct eb_tags *tags;
	__u64 *entry, key[EB_WORDS6];
	int place, err = locate(buckets, &view->source, &location);

	if (err)
		return err;
	place = find_place(table, &location);
	if (place < 0)
		return -ENOENT;
	tags = place < EB_WAYS ? location.sets.first_tags : location.sets.second_tags;
	entry = eb_place_key(&location.sets, table->words, place);
	bucket = eb_key_bucket(entry, table->words);
	if (!read_entry(table, entry, key, &seen))
		return -ENOENT;
	if (seen.packets_full_at != view->packets_full_at || seen.bytes_full_at != view->bytes_full_at ||
	    !eb_bucket_lock(bucket, seen.packets_full_at, seen.bytes_full_at, EB_HELD)) {
		*view = seen;
		return -EAGAIN;
	}
	eb_entry_empty(entry, &tags->way[place & (EB_WAYS - 1)], table->words, EB_HELD);
	return 0;
}

static bool is_stale(__u64 full_at, uint64_t now)
{
	return eb_time_idle(full_at, now) > SWEEP_AFTER;
}

static int sweep_entry(const struct position *position, __u64 *entry, __u16 *tag, void *arg)
{
	const struct table *table = position->table;
	struct eb_bucket *bucket = eb_key_bucket(entry, table->words);
	__u64 packets = EB_READ(bucket->packets_full_at), bytes = EB_READ(bucket->bytes_full_at);
	struct count_args *args = arg;

	if (eb_key_empty(entry, table->words) || !is_stale(packets, args->now) || !is_stale(bytes, args->now) ||
	    !eb_bucket_lock(bucket, packets, bytes, EB_HELD))
		return 0;
	eb_entry_empty(entry, tag, table->words, EB_HELD);
	args->count.in_use++;
	return 0;
}

uint64_t eb_buckets_sweep(struct eb_buckets *buckets)
{
	struct count_args args = { .now = eb_buckets_now() };

	if (walk_tables(buckets, 0, false, sweep_entry, &args) == 0)
		EB_WRITE(buckets->state->swept_ns, eb_monotonic_ns());
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

	if (!eb_gcra_is_locked(seen) && eb_gcra_debt(seen, now) > limit->burst + EB_IDLE_MARGIN &&
	    __sync_val_compare_and_swap(full_at, seen, eb_gcra_full_at(now, limit->burst)) == seen)
		(*mended)++;
}

static int mend_entry(const struct position *position, __u64 *entry, __u16 *tag, void *arg)
{
	const struct table *table = position->table;
	struct eb_bucket *bucket = eb_key_bucket(entry, table->words);
	struct mend_args *args = arg;
	struct eb_source source;
	const struct eb_rule *rule;

	(void)tag;
	if (eb_key_empty(entry, table->words))
		return 0;
	read_key(table, entry, &source);
	rule = rule_of(args->policy, table->family, source.rule_id);
	if (!rule)
		return 0;
	mend_time(&bucket->packets_full_at, &rule->packets, &args->mended);
	mend_time(&bucket->bytes_full_at, &rule->bytes, &args->mended);
	return 0;
}

uint64_t eb_buckets_mend(struct eb_buckets *buckets, const struct eb_policy *policy)
{
	struct mend_args args = { .policy = policy };

	if (eb_monotonic_ns() - EB_READ(buckets->state->swept_ns) < MEND_AFTER_NS)
		return 0;
	(void)walk_tables(buckets, 0, false, mend_entry, &args);
	return args.mended;
}

/* An entry that an agent had in hand when it was killed: who lost it has its debt in another one, or had none. */
static int empty_held(const struct position *position, __u64 *entry, __u16 *tag, void *arg)
{
	const struct table *table = position->table;
	const struct eb_bucket *bucket = eb_key_bucket(entry, table->words);

	(void)arg;
	if (EB_READ(bucket->packets_full_at) == EB_HELD || EB_READ(bucket->bytes_full_at) == EB_HELD)
		eb_entry_empty(entry, tag, table->words, EB_HELD);
	return 0;
}

int eb_buckets_recover(struct eb_buckets *buckets)
{
	return walk_tables(buckets, 0, true, empty_held, NULL);
}
