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
	struct eb_spent_set *spent; /* the map */
	size_t spent_length;
	struct eb_spent_set *told, *seen;
	size_t length; /* of the two */
};

struct eb_spent_table {
	const struct eb_maps *maps;
	struct eb_buckets *buckets;
	struct counters families[2];
};

int eb_spent_make_map(uint32_t sets)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_MMAPABLE | BPF_F_INNER_MAP);

	return bpf_map_create(BPF_MAP_TYPE_ARRAY, "spent_sets", sizeof(__u32), sizeof(struct eb_spent_set), sets,
			      &opts);
}

struct eb_spent_set *eb_spent_reserve(size_t length)
{
	void *memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

static int open_family(struct eb_spent_table *table, __u32 index)
{
	struct eb_bucket_table *entries = &table->buckets->tables[index];
	struct counters *counters = &table->families[index];
	struct bpf_map_info info;
	void *memory = NULL;
	int fd, err;

	counters->length = entries->sets * sizeof(struct eb_spent_set);
	counters->told = eb_spent_reserve(counters->length);
	if (!counters->told)
		return -ENOMEM;
	fd = eb_spent_make_map(entries->sets);
	if (fd < 0)
		return fd;
	err = eb_bucket_map_memory(fd, true, &info, &memory, &counters->spent_length);
	counters->spent = memory;
	if (!err)
		err = bpf_map_update_elem(table->maps->fd[EB_MAP_SPENT], &index, &fd, BPF_ANY);
	close(fd);
	return err;
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

void eb_spent_close(struct eb_spent_table *table)
{
	if (!table)
		return;
	for (__u32 i = 0; i < 2; i++) {
		struct counters *counters = &table->families[i];

		(void)bpf_map_delete_elem(table->maps->fd[EB_MAP_SPENT], &i);
		if (counters->spent)
			munmap(counters->spent, counters->spent_length);
		if (counters->told)
			munmap(counters->told, counters->length);
		if (counters->seen)
			munmap(counters->seen, counters->length);
	}
	free(table);
}

int eb_spent_keep_seen(struct eb_spent_table *table)
{
	for (int i = 0; i < 2; i++) {
		struct counters *counters = &table->families[i];

		if (!counters->seen)
			counters->seen = eb_spent_reserve(counters->length);
		if (!counters->seen)
			return -ENOMEM;
	}
	return 0;
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
	const struct eb_spent *spent = &counters->spent[set].way[way];
	struct eb_spent_way found = { .told = &counters->told[set].way[way] };
	struct eb_bucket_view view;
	__u64 key[EB_WORDS6];
	char *memory = eb_bucket_table_set(entries, entries->memory, set);

	if ((!all && !has_more(spent, found.told)) ||
	    !eb_bucket_read_entry(entries, eb_set_key(memory, entries->words, way), key, &view))
		return true;
	found.spent = (struct eb_spent){ EB_READ(spent->packets), EB_READ(spent->bytes) };
	found.seen = counters->seen ? &counters->seen[set].way[way] : NULL;
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
