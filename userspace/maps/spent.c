// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "maps/bucket_table.h"
#include "maps/spent.h"

/* One family's. */
struct counters {
	struct eb_spent_set *spent, *heard; /* the maps; heard can be NULL */
	struct eb_spent_set *told, *own;
	struct eb_spent_set *seen, *charged, *charged_to; /* can be NULL */
	size_t map_length, length; /* of the maps, and of the others */
};

struct eb_spent_table {
	const struct eb_maps *maps;
	struct eb_buckets *buckets;
	struct counters families[2];
};

int eb_spent_open_map(int outer, uint32_t place, uint32_t sets, bool writable, struct eb_spent_set **out,
		      size_t *length)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_MMAPABLE | BPF_F_INNER_MAP);
	struct bpf_map_info info;
	void *memory = NULL;
	int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "spent_sets", sizeof(__u32), sizeof(struct eb_spent_set), sets,
				&opts);
	int err;

	if (fd < 0)
		return fd;
	err = eb_bucket_map_memory(fd, writable, &info, &memory, length);
	*out = memory;
	if (!err)
		err = bpf_map_update_elem(outer, &place, &fd, BPF_ANY);
	close(fd);
	return err;
}

struct eb_spent_set *eb_spent_reserve(size_t length)
{
	void *memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

static int open_family(struct eb_spent_table *table, int index)
{
	struct eb_bucket_table *entries = &table->buckets->tables[index];
	struct counters *counters = &table->families[index];

	counters->length = entries->sets * sizeof(struct eb_spent_set);
	counters->told = eb_spent_reserve(counters->length);
	counters->own = eb_spent_reserve(counters->length);
	if (!counters->told || !counters->own)
		return -ENOMEM;
	return eb_spent_open_map(table->maps->fd[EB_MAP_SPENT], EB_SPENT(entries->family), entries->sets, true,
				 &counters->spent, &counters->map_length);
}

int eb_spent_open(const struct eb_maps *maps, struct eb_buckets *buckets, struct eb_spent_table **out)
{
	struct eb_spent_table *table = calloc(1, sizeof(*table));
	int err = 0;

	if (!table)
		return -ENOMEM;
	table->maps = maps;
	table->buckets = buckets;
	for (__u32 i = 0; i < 2 && !err; i++)
		err = open_family(table, i);
	if (err) {
		eb_spent_close(table);
		return err;
	}
	*out = table;
	return 0;
}

static void close_memory(struct eb_spent_set *memory, size_t length)
{
	if (memory)
		munmap(memory, length);
}

void eb_spent_close(struct eb_spent_table *table)
{
	if (!table)
		return;
	for (__u32 place = 0; place < EB_SPENT_PLACES; place++)
		(void)bpf_map_delete_elem(table->maps->fd[EB_MAP_SPENT], &place);
	for (int i = 0; i < 2; i++) {
		struct counters *counters = &table->families[i];

		close_memory(counters->spent, counters->map_length);
		close_memory(counters->heard, counters->map_length);
		close_memory(counters->told, counters->length);
		close_memory(counters->own, counters->length);
		close_memory(counters->seen, counters->length);
		close_memory(counters->charged, counters->length);
		close_memory(counters->charged_to, counters->length);
	}
	free(table);
}

static bool reserve_once(struct eb_spent_set **memory, size_t length)
{
	if (!*memory)
		*memory = eb_spent_reserve(length);
	return *memory;
}

int eb_spent_keep_seen(struct eb_spent_table *table)
{
	for (int i = 0; i < 2; i++) {
		struct counters *counters = &table->families[i];

		if (!reserve_once(&counters->charged, counters->length) ||
		    !reserve_once(&counters->charged_to, counters->length) ||
		    !reserve_once(&counters->seen, counters->length))
			return -ENOMEM;
	}
	return 0;
}

void eb_spent_forget_charged(struct eb_spent_table *table)
{
	for (int i = 0; i < 2; i++) {
		struct counters *counters = &table->families[i];

		if (counters->charged)
			(void)madvise(counters->charged, counters->length, MADV_DONTNEED);
		if (counters->charged_to)
			(void)madvise(counters->charged_to, counters->length, MADV_DONTNEED);
	}
}

int eb_spent_keep_heard(struct eb_spent_table *table)
{
	int err = 0;

	for (int i = 0; i < 2 && !err; i++) {
		struct eb_bucket_table *entries = &table->buckets->tables[i];
		struct counters *counters = &table->families[i];

		if (!counters->heard)
			err = eb_spent_open_map(table->maps->fd[EB_MAP_SPENT], EB_HEARD(entries->family),
						entries->sets, true, &counters->heard, &counters->map_length);
	}
	return err;
}

/* Where a source's entry is. Returns 0, -ENOENT or another negative errno. */
static int find_way(const struct eb_buckets *buckets, const struct eb_source *source, uint32_t *set, int *way)
{
	const struct eb_bucket_table *entries = eb_bucket_table_for(buckets, source);
	struct eb_bucket_location location;
	int err = eb_bucket_locate(buckets, source, &location), place;

	if (err)
		return err;
	place = eb_bucket_find_place(entries, &location);
	if (place < 0)
		return -ENOENT;
	*set = eb_choose_set(location.hash, entries->sets, eb_place_choice(place));
	*way = EB_PLACE_WAY(place);
	return 0;
}

static void read_way(const struct counters *counters, uint32_t set, uint32_t way, struct eb_spent_way *out)
{
	const struct eb_spent *spent = &counters->spent[set].way[way];

	*out = (struct eb_spent_way){
		.spent = { EB_READ(spent->packets), EB_READ(spent->bytes) },
		.told = &counters->told[set].way[way],
		.own = &counters->own[set].way[way],
		.seen = counters->seen ? &counters->seen[set].way[way] : NULL,
		.charged = counters->seen ? &counters->charged[set].way[way] : NULL,
		.charged_to = counters->seen ? &counters->charged_to[set].way[way] : NULL,
	};
}

int eb_spent_find(const struct eb_spent_table *table, const struct eb_source *source, struct eb_spent_way *out)
{
	uint32_t set;
	int way, err = find_way(table->buckets, source, &set, &way);

	if (!err)
		read_way(&table->families[eb_source_table(source) == 6], set, way, out);
	return err;
}

int eb_spent_hear(struct eb_spent_table *table, const struct eb_source *source, bool of_bytes, uint64_t full_at)
{
	struct eb_spent_set *heard = table->families[eb_source_table(source) == 6].heard;
	uint32_t set;
	int way, err = heard ? find_way(table->buckets, source, &set, &way) : -ENOENT;

	if (err)
		return err;
	if (of_bytes)
		EB_WRITE(heard[set].way[way].bytes, full_at);
	else
		EB_WRITE(heard[set].way[way].packets, full_at);
	return 0;
}

int eb_spent_heard(const struct eb_maps *maps, const struct eb_buckets *buckets, const struct eb_source *source,
		   struct eb_spent *out)
{
	struct eb_spent_set heard;
	__u32 index = EB_HEARD(eb_source_table(source)), set, id;
	int way, err = find_way(buckets, source, &set, &way), fd;

	if (err)
		return err;
	err = bpf_map_lookup_elem(maps->fd[EB_MAP_SPENT], &index, &id);
	fd = err ? err : bpf_map_get_fd_by_id(id);
	if (fd < 0)
		return fd;
	err = bpf_map_lookup_elem(fd, &set, &heard);
	close(fd);
	if (!err)
		*out = heard.way[way];
	return err;
}

uint64_t eb_spent_since(uint64_t spent, uint64_t told)
{
	return (int64_t)(spent - told) > 0 ? spent - told : 0;
}

static bool has_more(const struct eb_spent *spent, const struct eb_spent *told)
{
	return eb_spent_since(EB_READ(spent->packets), told->packets) ||
	       eb_spent_since(EB_READ(spent->bytes), told->bytes);
}

static bool visit_way(const struct counters *counters, const struct eb_bucket_table *entries, uint32_t set,
		      uint32_t way, bool all, eb_spent_visit visit, void *arg)
{
	struct eb_spent_way found;
	struct eb_bucket_view view;
	__u64 key[EB_WORDS6];
	char *memory = eb_bucket_table_set(entries, entries->memory, set);

	if ((!all && !has_more(&counters->spent[set].way[way], &counters->told[set].way[way])) ||
	    !eb_bucket_read_entry(entries, eb_set_key(memory, entries->words, way), key, &view))
		return true;
	read_way(counters, set, way, &found);
	return visit(&view, &found, arg);
}

int eb_spent_walk(struct eb_spent_table *table, struct eb_spent_cursor *cursor, uint32_t sets, uint32_t after,
		  bool all, eb_spent_visit visit, void *arg)
{
	int err = eb_buckets_map(table->buckets);

	if (err)
		return err;
	for (; cursor->family_index < 2; cursor->family_index++, cursor->set = 0) {
		const struct eb_bucket_table *entries = &table->buckets->tables[cursor->family_index];
		const struct counters *counters = &table->families[cursor->family_index];

		for (; cursor->set < entries->sets; cursor->set++, cursor->way = 0) {
			if (!all && entries->changed_in[cursor->set / EB_GROUP_SETS] <= after) {
				cursor->set |= EB_GROUP_SETS - 1; /* the last of the group */
				continue;
			}
			if (eb_bucket_set_is_empty(entries, cursor->set))
				continue;
			if (!sets--)
				return 1;
			for (; cursor->way < EB_WAYS; cursor->way++)
				if (!visit_way(counters, entries, cursor->set, cursor->way, all, visit, arg))
					return 1;
		}
	}
	return 0;
}
