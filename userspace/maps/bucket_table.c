// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "maps/bucket_table.h"
#include "offence.h"

/* A walk maps so many sets at a time: whole pages in both families, and little enough that a million buckets do not
 * count as memory of this process. */
#define WINDOW_SETS 2048u

static size_t page_round(size_t length)
{
	size_t page = sysconf(_SC_PAGESIZE);

	return (length + page - 1) / page * page;
}

int eb_bucket_map_memory(int fd, bool writable, struct bpf_map_info *info, void **memory, size_t *length)
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
static char *map_sets(const struct eb_bucket_table *table, __u32 first, __u32 count)
{
	char *memory = mmap(NULL, page_round(count * table->set_size), table->protection, MAP_SHARED, table->fd,
			    first * table->set_size);

	return memory == MAP_FAILED ? NULL : memory;
}

int eb_bucket_table_init(const struct eb_maps *maps, int family, bool writable, struct eb_bucket_table *table)
{
	int tags = maps->fd[family == 4 ? EB_MAP_TAGS_V4 : EB_MAP_TAGS_V6];
	int changes = maps->fd[family == 4 ? EB_MAP_CHANGED_V4 : EB_MAP_CHANGED_V6];
	struct bpf_map_info info;
	__u32 len = sizeof(info);
	void *memory;
	int err = eb_bucket_map_memory(tags, writable, &info, &memory, &table->tags_length);

	if (err)
		return err;
	table->tags = memory;
	err = eb_bucket_map_memory(changes, writable, &info, &memory, &table->changes_length);
	if (err)
		return err;
	table->changes = memory;
	table->family = family;
	table->words = family == 4 ? EB_WORDS4 : EB_WORDS6;
	table->fd = maps->fd[family == 4 ? EB_MAP_BUCKETS_V4 : EB_MAP_BUCKETS_V6];
	table->protection = PROT_READ | (writable ? PROT_WRITE : 0);
	memset(&info, 0, sizeof(info));
	err = bpf_obj_get_info_by_fd(table->fd, &info, &len);
	table->set_size = info.value_size;
	table->sets = info.max_entries;
	if (err || !writable)
		return err;
	table->changed_in = calloc(EB_GROUPS(table->sets), sizeof(*table->changed_in));
	return table->changed_in ? 0 : -ENOMEM;
}

static size_t length_of(const struct eb_bucket_table *table)
{
	return page_round(table->sets * table->set_size);
}

void eb_bucket_table_unmap(struct eb_bucket_table *table)
{
	if (table->memory)
		munmap(table->memory, length_of(table));
	table->memory = NULL;
	table->by_parts = false;
}

void eb_bucket_table_done(struct eb_bucket_table *table)
{
	eb_bucket_table_unmap(table);
	if (table->tags)
		munmap(table->tags, table->tags_length);
	if (table->changes)
		munmap(table->changes, table->changes_length);
	free(table->changed_in);
}

struct eb_bucket_table *eb_bucket_table_of(const struct eb_buckets *buckets, int family)
{
	return &buckets->tables[family == 6];
}

int eb_source_table(const struct eb_source *source)
{
	return source->family == 4 && !source->target.also ? 4 : 6;
}

struct eb_bucket_table *eb_bucket_table_for(const struct eb_buckets *buckets, const struct eb_source *source)
{
	return eb_bucket_table_of(buckets, eb_source_table(source));
}

void *eb_bucket_table_set(const struct eb_bucket_table *table, char *memory, __u32 set)
{
	return memory + set * table->set_size;
}

void eb_bucket_table_mark(const struct eb_bucket_table *table, __u32 set)
{
	__u32 group = set / EB_GROUP_SETS;

	eb_mark_changed(&table->changes[group / EB_CHANGES_GROUPS].group[group % EB_CHANGES_GROUPS]);
}

/* A source as the table's key. */
static void make_key(const struct eb_source *source, __u64 key[EB_WORDS6])
{
	memset(key, 0, EB_WORDS6 * sizeof(*key));
	if (eb_source_table(source) == 4) {
		struct eb_key4 *key4 = (struct eb_key4 *)key;

		memcpy(&key4->addr, source->addr, sizeof(key4->addr));
		key4->rule_id = source->rule_id;
	} else {
		struct eb_key6 *key6 = (struct eb_key6 *)key;

		memcpy(key6->addr, source->addr, sizeof(key6->addr));
		memcpy(key6->to, source->target.to, sizeof(key6->to));
		key6->rule_id = source->rule_id;
		key6->family = source->family;
		key6->also = source->target.also;
	}
}

void eb_bucket_read_key(const struct eb_bucket_table *table, const __u64 *key, struct eb_source *out)
{
	memset(out, 0, sizeof(*out));
	if (table->family == 4) {
		const struct eb_key4 *key4 = (const struct eb_key4 *)key;

		out->family = 4;
		memcpy(out->addr, &key4->addr, sizeof(key4->addr));
		out->rule_id = key4->rule_id;
	} else {
		const struct eb_key6 *key6 = (const struct eb_key6 *)key;

		out->family = key6->family;
		memcpy(out->addr, key6->addr, sizeof(key6->addr));
		out->target.also = key6->also;
		memcpy(out->target.to, key6->to, sizeof(key6->to));
		out->rule_id = key6->rule_id;
	}
}

bool eb_bucket_read_entry(const struct eb_bucket_table *table, const __u64 *entry, __u64 key[EB_WORDS6],
			  struct eb_bucket_view *view)
{
	const struct eb_bucket *bucket = (const struct eb_bucket *)(entry + table->words);

	for (int i = 0; i < table->words; i++)
		key[i] = EB_READ(entry[i]);
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	view->packets_full_at = EB_READ(bucket->packets_full_at);
	view->bytes_full_at = EB_READ(bucket->bytes_full_at);
	view->dropped = eb_offence_dropped(EB_READ(bucket->dropped));
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	if (eb_key_empty(key, table->words) || eb_gcra_is_locked(view->packets_full_at) ||
	    eb_gcra_is_locked(view->bytes_full_at) || !eb_key_equal(entry, key, table->words))
		return false;
	eb_bucket_read_key(table, key, &view->source);
	return true;
}

int eb_bucket_table_map(struct eb_bucket_table *table)
{
	if (table->by_parts)
		eb_bucket_table_unmap(table);
	if (!table->memory)
		table->memory = map_sets(table, 0, table->sets);
	return table->memory ? 0 : -errno;
}

/* ---- by parts ---- */

void eb_bucket_table_map_by_parts(struct eb_bucket_table *table)
{
	if (table->memory)
		return;
	table->by_parts = true;
	table->part = -1;
}

/* A part is what hashes with the same highest bits choose, as eb_choose_set() keeps their order. */
#define PART_SHIFT (64 - __builtin_ctz(EB_TABLE_PARTS))

int eb_bucket_table_part(__u64 hash)
{
	return hash >> PART_SHIFT;
}

/* Puts what `protection` and `flags` say in place of the sets from `first` to `last`, and what shares their pages. */
static int replace_sets(const struct eb_bucket_table *table, __u32 first, __u32 last, int protection, int flags, int fd)
{
	size_t page = sysconf(_SC_PAGESIZE), from = first * table->set_size / page * page;
	size_t length = page_round((last + 1) * table->set_size) - from;

	return mmap(table->memory + from, length, protection, flags | MAP_FIXED, fd, fd < 0 ? 0 : from) == MAP_FAILED
		       ? -errno
		       : 0;
}

/* The sets that one choice of the part's hashes can lead to. */
static int map_choice(const struct eb_bucket_table *table, int part, int choice)
{
	__u64 lowest = (__u64)part << PART_SHIFT, highest = lowest | ((1ULL << PART_SHIFT) - 1);

	return replace_sets(table, eb_choose_set(lowest, table->sets, choice),
			    eb_choose_set(highest, table->sets, choice), table->protection, MAP_SHARED, table->fd);
}

/* Of the other choices, the second one leads to the neighbours of the first one, and to it. */
static int map_part(struct eb_bucket_table *table, int part)
{
	const int nothing = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	int err;

	if (!table->memory) {
		char *memory = mmap(NULL, length_of(table), PROT_NONE, nothing, -1, 0);

		if (memory == MAP_FAILED)
			return -errno;
		table->memory = memory;
	} else if (part == table->part) {
		return 0;
	}
	table->part = -1;
	err = replace_sets(table, 0, table->sets - 1, PROT_NONE, nothing, -1);
	err = err ? err : map_choice(table, part, EB_CHOICE_DENSE);
	err = err ? err : map_choice(table, part, EB_CHOICE_SECOND);
	if (!err)
		table->part = part;
	return err;
}

/* ---- look-ups ---- */

__u64 eb_bucket_hash(const struct eb_buckets *buckets, const struct eb_source *source)
{
	__u64 key[EB_WORDS6];

	make_key(source, key);
	return eb_key_hash(key, eb_bucket_table_for(buckets, source)->words, buckets->state->seed);
}

int eb_bucket_locate(const struct eb_buckets *buckets, const struct eb_source *source, struct eb_bucket_location *out)
{
	struct eb_bucket_table *table = eb_bucket_table_for(buckets, source);
	int err;

	make_key(source, out->key);
	out->hash = eb_key_hash(out->key, table->words, buckets->state->seed);
	err = table->by_parts ? map_part(table, eb_bucket_table_part(out->hash)) : eb_bucket_table_map(table);
	if (err)
		return err;
	for (int choice = 0; choice < EB_CHOICES; choice++) {
		__u32 set = eb_choose_set(out->hash, table->sets, choice);

		out->sets.set[choice] = eb_bucket_table_set(table, table->memory, set);
		out->sets.tags[choice] = &table->tags[set];
	}
	return 0;
}

int eb_bucket_find_place(const struct eb_bucket_table *table, const struct eb_bucket_location *location)
{
	return eb_table_find(&location->sets, location->key, table->words, eb_tag(location->hash));
}

/* Read as one word; most sets of a table are empty. */
bool eb_bucket_set_is_empty(const struct eb_bucket_table *table, __u32 set)
{
	_Static_assert(sizeof(struct eb_tags) == sizeof(__u64), "a set's tags are one word");
	__u64 tags;

	memcpy(&tags, &table->tags[set], sizeof(tags));
	return tags == 0;
}

static int visit_set(const struct eb_bucket_table *table, char *entries, __u32 set, bool all,
		     eb_bucket_entry_visit visit, void *arg)
{
	int ret = 0;

	for (int way = 0; way < EB_WAYS && !ret; way++) {
		struct eb_bucket_position position = { table, set, way };
		__u16 *tag = &table->tags[set].way[way];

		if (all || EB_READ(*tag))
			ret = visit(&position, eb_set_key(entries, table->words, way), tag, arg);
	}
	return ret;
}

/* Visits the sets from `from` to below `end`, all in one window, which is only mapped when there is something in it. */
static int walk_window(const struct eb_bucket_table *table, __u32 from, __u32 end, bool all,
		       eb_bucket_entry_visit visit, void *arg)
{
	__u32 first = from / WINDOW_SETS * WINDOW_SETS;
	bool is_whole = table->memory && !table->by_parts;
	char *window = NULL, *memory = is_whole ? eb_bucket_table_set(table, table->memory, first) : NULL;
	int ret = 0;

	for (__u32 set = from; set < end && !ret; set++) {
		if (!all && eb_bucket_set_is_empty(table, set))
			continue;
		if (!memory)
			memory = window = map_sets(table, first, end - first);
		if (!memory)
			return -errno;
		ret = visit_set(table, eb_bucket_table_set(table, memory, set - first), set, all, visit, arg);
	}
	if (window)
		munmap(window, page_round((end - first) * table->set_size));
	return ret;
}

int eb_bucket_table_walk(const struct eb_bucket_table *table, __u32 from, bool all, eb_bucket_entry_visit visit,
			 void *arg)
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

int eb_bucket_tables_walk(const struct eb_buckets *buckets, int family, bool all, eb_bucket_entry_visit visit,
			  void *arg)
{
	int ret = 0;

	for (int i = 0; i < 2 && !ret; i++)
		if (family == 0 || family == buckets->tables[i].family)
			ret = eb_bucket_table_walk(&buckets->tables[i], 0, all, visit, arg);
	return ret;
}
