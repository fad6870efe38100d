// SPDX-License-Identifier: GPL-2.0-only
#include "maps/bucket_table.h"

/* ---- what changed ---- */

/* A mark that is set from here on is of a later collection; see eb_mark_changed(). */
static bool take_mark(__u8 *mark)
{
	return EB_READ(*mark) && __atomic_exchange_n(mark, 0, __ATOMIC_SEQ_CST);
}

static void collect(struct eb_bucket_table *table, uint32_t number)
{
	for (uint32_t i = 0; i < EB_CHANGES(table->sets); i++) {
		_Static_assert(sizeof(struct eb_changes) == sizeof(__u64), "marks are read as one word");
		if (!EB_READ(*(__u64 *)&table->changes[i]))
			continue;
		for (uint32_t j = 0; j < EB_CHANGES_GROUPS; j++)
			if (take_mark(&table->changes[i].group[j]))
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

struct group_walk {
	const struct eb_group_visitor *visitor;
	void *arg;
};

static int visit_entry(const struct eb_bucket_position *position, __u64 *entry, __u16 *tag, void *arg)
{
	struct group_walk *walk = arg;
	struct eb_bucket_view view;
	__u64 key[EB_WORDS6];

	(void)tag;
	if (!eb_bucket_read_entry(position->table, entry, key, &view))
		return 0;
	return walk->visitor->visit(&view, position->set * EB_WAYS + position->way, walk->arg);
}

/* The cursor stays with a group until it is left. */
static int walk_groups(const struct eb_bucket_table *table, struct eb_bucket_cursor *cursor, struct group_walk *walk)
{
	struct eb_bucket_window window = { .table = table };
	int ret = 0;

	for (; cursor->set < table->sets && !ret; cursor->set += ret ? 0 : EB_GROUP_SETS) {
		uint32_t end = table->sets - cursor->set < EB_GROUP_SETS ? table->sets : cursor->set + EB_GROUP_SETS;
		uint32_t group = cursor->set / EB_GROUP_SETS;

		if (!walk->visitor->enter(table->family, group, walk->arg))
			continue;
		ret = eb_bucket_sets_walk(&window, cursor->set, end, false, visit_entry, walk);
		if (!ret)
			walk->visitor->leave(table->family, group, walk->arg);
	}
	eb_bucket_window_close(&window);
	return ret;
}

int eb_buckets_walk_groups(const struct eb_buckets *buckets, struct eb_bucket_cursor *cursor,
			   const struct eb_group_visitor *visitor, void *arg)
{
	struct group_walk walk = { visitor, arg };

	for (; cursor->family_index < 2; cursor->family_index++, cursor->set = 0) {
		int ret = walk_groups(&buckets->tables[cursor->family_index], cursor, &walk);

		if (ret)
			return ret;
	}
	return 0;
}
