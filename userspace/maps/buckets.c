// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <bpf/bpf.h>

#include "base/clock.h"
#include "maps/bucket_table.h"

int eb_buckets_open(const struct eb_maps *maps, bool writable, struct eb_buckets **out)
{
	struct eb_buckets *buckets = calloc(1, sizeof(*buckets));
	struct bpf_map_info info;
	void *memory;
	int err;

	if (!buckets)
		return -ENOMEM;
	buckets->tables = calloc(2, sizeof(*buckets->tables));
	err = buckets->tables ? eb_bucket_table_init(maps, 4, writable, &buckets->tables[0]) : -ENOMEM;
	if (err)
		goto out;
	err = eb_bucket_table_init(maps, 6, writable, &buckets->tables[1]);
	if (err)
		goto out;
	err = eb_bucket_map_memory(maps->fd[EB_MAP_STATE], writable, &info, &memory, &buckets->state_length);
out:
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
	for (int i = 0; i < 2; i++)
		eb_bucket_table_unmap(&buckets->tables[i]);
}

void eb_buckets_close(struct eb_buckets *buckets)
{
	if (!buckets)
		return;
	for (int i = 0; i < 2 && buckets->tables; i++)
		eb_bucket_table_done(&buckets->tables[i]);
	if (buckets->state)
		munmap(buckets->state, buckets->state_length);
	free(buckets->tables);
	free(buckets);
}

uint64_t eb_buckets_now(void)
{
	return eb_gcra_now(eb_monotonic_ns());
}

uint32_t eb_buckets_table_size(const struct eb_buckets *buckets, int family)
{
	return eb_bucket_table_of(buckets, family)->sets * (EB_WAYS / 2);
}

int eb_buckets_map(struct eb_buckets *buckets)
{
	int err = eb_bucket_table_map(&buckets->tables[0]);

	return err ? err : eb_bucket_table_map(&buckets->tables[1]);
}

void eb_buckets_map_by_parts(struct eb_buckets *buckets)
{
	for (int i = 0; i < 2; i++)
		eb_bucket_table_map_by_parts(&buckets->tables[i]);
}

uint32_t eb_buckets_part(const struct eb_buckets *buckets, const struct eb_source *source)
{
	__u64 hash = eb_bucket_hash(buckets, source);

	return (eb_source_table(source) == 6) * EB_TABLE_PARTS + eb_bucket_table_part(hash);
}

int eb_buckets_find(const struct eb_buckets *buckets, const struct eb_source *source, struct eb_bucket_view *out)
{
	const struct eb_bucket_table *table = eb_bucket_table_for(buckets, source);
	struct eb_bucket_view view;
	struct eb_bucket_location location;
	__u64 seen[EB_WORDS6];
	int place, err = eb_bucket_locate(buckets, source, &location);

	if (err)
		return err;
	place = eb_bucket_find_place(table, &location);
	if (place < 0 || !eb_bucket_read_entry(table, eb_place_key(&location.sets, table->words, place), seen, &view) ||
	    !eb_key_equal(seen, location.key, table->words))
		return -ENOENT;
	*out = view;
	return 0;
}

struct view_args {
	int (*visit)(const struct eb_bucket_view *view, void *arg);
	void *arg;
};

static int visit_view(const struct eb_bucket_position *position, __u64 *entry, __u16 *tag, void *arg)
{
	struct view_args *args = arg;
	struct eb_bucket_view view;
	__u64 key[EB_WORDS6];

	(void)tag;
	if (!eb_bucket_read_entry(position->table, entry, key, &view))
		return 0;
	return args->visit(&view, args->arg);
}

int eb_buckets_each(const struct eb_buckets *buckets, int (*visit)(const struct eb_bucket_view *view, void *arg),
		    void *arg)
{
	struct view_args args = { .visit = visit, .arg = arg };

	return eb_bucket_tables_walk(buckets, 0, false, visit_view, &args);
}

struct walk_args {
	struct eb_bucket_cursor *cursor;
	int (*visit)(const struct eb_bucket_view *view, uint32_t index, void *arg);
	void *arg;
};

static int visit_indexed(const struct eb_bucket_position *position, __u64 *entry, __u16 *tag, void *arg)
{
	struct walk_args *args = arg;
	struct eb_bucket_view view;
	__u64 key[EB_WORDS6];

	(void)tag;
	args->cursor->set = position->set;
	if (!eb_bucket_read_entry(position->table, entry, key, &view))
		return 0;
	return args->visit(&view, position->set * EB_WAYS + position->way, args->arg);
}

int eb_buckets_walk(const struct eb_buckets *buckets, struct eb_bucket_cursor *cursor,
		    int (*visit)(const struct eb_bucket_view *view, uint32_t index, void *arg), void *arg)
{
	struct walk_args args = { .cursor = cursor, .visit = visit, .arg = arg };
	int ret = 0;

	for (; cursor->family_index < 2; cursor->family_index++, cursor->set = 0) {
		ret = eb_bucket_table_walk(&buckets->tables[cursor->family_index], cursor->set, false, visit_indexed,
					   &args);
		if (ret)
			return ret;
	}
	return 0;
}

uint32_t eb_buckets_entries(const struct eb_buckets *buckets, int family)
{
	return eb_bucket_table_of(buckets, family)->sets * EB_WAYS;
}

struct count_args {
	uint64_t now;
	struct eb_bucket_count count;
};

static int count_entry(const struct eb_bucket_position *position, __u64 *entry, __u16 *tag, void *arg)
{
	struct eb_bucket_view view;
	struct count_args *args = arg;
	__u64 key[EB_WORDS6];

	(void)tag;
	if (!eb_bucket_read_entry(position->table, entry, key, &view))
		return 0;
	args->count.in_use++;
	if (eb_gcra_debt(view.packets_full_at, args->now) || eb_gcra_debt(view.bytes_full_at, args->now))
		args->count.in_debt++;
	return 0;
}

void eb_buckets_count(const struct eb_buckets *buckets, int family, struct eb_bucket_count *out)
{
	struct count_args args = { .now = eb_buckets_now() };

	(void)eb_bucket_tables_walk(buckets, family, false, count_entry, &args);
	*out = args.count;
}
