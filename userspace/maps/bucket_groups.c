// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <string.h>

#include <bpf/bpf.h>

#include "maps/bucket_table.h"

/* ---- what changed ---- */

/* A mark that is set from here on is of a later collection. */
static void collect(struct eb_bucket_table *table, uint32_t number)
{
	for (uint32_t i = 0; i < EB_CHANGES(table->sets); i++) {
		_Static_assert(sizeof(struct eb_changes) == sizeof(__u64), "marks are read as one word");
		if (!EB_READ(*(__u64 *)&table->changes[i]))
			continue;
		for (uint32_t j = 0; j < EB_CHANGES_GROUPS; j++)
			if (eb_take_mark(&table->changes[i].group[j]))
				table->changed_in[i * EB_CHANGES_GROUPS + j] = number;
	}
}

uint32_t eb_buckets_collect_changes(struct eb_buckets *buckets)
{
	buckets->collections++;
	for (int i = 0; i < 2; i++)
		collect(&buckets->tables[i], buckets->collections);
	return buckets->collections;
}

uint32_t eb_buckets_groups(const struct eb_buckets *buckets, int family)
{
	return EB_GROUPS(eb_bucket_table_of(buckets, family)->sets);
}

uint32_t eb_buckets_changed_in(const struct eb_buckets *buckets, int family, uint32_t group)
{
	return eb_bucket_table_of(buckets, family)->changed_in[group];
}

/* ---- walking ---- */

/*
 * The sets of a group, as the kernel copies them in one call. Mapping them costs far more when few groups changed: each
 * page that is unmapped interrupts the other CPUs. A copy is not taken at one moment, but what is charged meanwhile is
 * marked, and copied again. An entry that changes hands meanwhile has another tag behind the copy than before it.
 */
struct copy {
	__u32 first, count;
	struct eb_tags tags[EB_GROUP_SETS]; /* from before */
	__u64 sets[EB_GROUP_SETS * sizeof(struct eb_set6) / sizeof(__u64)];
};

static bool is_empty_group(const struct eb_bucket_table *table, __u32 first, __u32 count)
{
	for (__u32 set = first; set < first + count; set++)
		if (!eb_bucket_set_is_empty(table, set))
			return false;
	return true;
}

static int copy_group(const struct eb_bucket_table *table, __u32 first, __u32 count, struct copy *out)
{
	__u32 before = first - 1, last, sets[EB_GROUP_SETS];
	int err;

	out->first = first;
	out->count = count;
	memcpy(out->tags, &table->tags[first], count * sizeof(out->tags[0]));
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	err = bpf_map_lookup_batch(table->fd, first ? &before : NULL, &last, sets, out->sets, &count, NULL);
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return err && !(err == -ENOENT && count == out->count) ? err : 0;
}

static int visit_copy(const struct eb_bucket_table *table, struct copy *copy, const struct eb_group_visitor *visitor,
		      void *arg)
{
	struct eb_bucket_view view;
	__u64 key[EB_WORDS6];
	int ret = 0;

	for (__u32 i = 0; i < copy->count * EB_WAYS && !ret; i++) {
		__u32 set = i / EB_WAYS, way = i % EB_WAYS;
		void *entries = eb_bucket_table_set(table, (char *)copy->sets, set);
		__u16 tag = copy->tags[set].way[way];

		if (tag && tag == EB_READ(table->tags[copy->first + set].way[way]) &&
		    eb_bucket_read_entry(table, eb_set_key(entries, table->words, way), key, &view))
			ret = visitor->visit(&view, copy->first * EB_WAYS + i, arg);
	}
	return ret;
}

static int visit_group(const struct eb_bucket_table *table, __u32 group, const struct eb_group_visitor *visitor,
		       void *arg)
{
	__u32 first = group * EB_GROUP_SETS;
	__u32 count = table->sets - first < EB_GROUP_SETS ? table->sets - first : EB_GROUP_SETS;
	struct copy copy;
	int ret = 0;

	if (!is_empty_group(table, first, count)) {
		ret = copy_group(table, first, count, &copy);
		if (!ret)
			ret = visit_copy(table, &copy, visitor, arg);
	}
	if (!ret)
		visitor->leave(table->family, group, arg);
	return ret;
}

/* The cursor stays with a group until it is left. */
static int walk_groups(const struct eb_bucket_table *table, struct eb_bucket_cursor *cursor,
		       const struct eb_group_visitor *visitor, void *arg)
{
	for (; cursor->set < table->sets; cursor->set += EB_GROUP_SETS) {
		__u32 group = cursor->set / EB_GROUP_SETS;
		int ret = visitor->enter(table->family, group, arg) ? visit_group(table, group, visitor, arg) : 0;

		if (ret)
			return ret;
	}
	return 0;
}

int eb_buckets_walk_groups(const struct eb_buckets *buckets, struct eb_bucket_cursor *cursor,
			   const struct eb_group_visitor *visitor, void *arg)
{
	for (; cursor->family_index < 2; cursor->family_index++, cursor->set = 0) {
		int ret = walk_groups(&buckets->tables[cursor->family_index], cursor, visitor, arg);

		if (ret)
			return ret;
	}
	return 0;
}
