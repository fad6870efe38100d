/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The memory-mapped tables below buckets.h: mapping them, finding an entry by its source, walking them. For the files
 * that implement buckets.h; all others use that.
 */
#ifndef EB_BUCKET_TABLE_H
#define EB_BUCKET_TABLE_H

#include "maps/buckets.h"
#include "table.h"

/* One family's table. */
struct eb_bucket_table {
	int family;
	int words; /* of the key */
	int fd;
	int protection; /* of mappings */
	size_t set_size;
	__u32 sets;
	char *memory; /* the whole table, or addresses for it; NULL until a bucket is looked up by its key */
	bool by_parts; /* see eb_buckets_map_by_parts() */
	int part;      /* the one that is in memory then; -1 for none */
	struct eb_tags *tags;
	size_t tags_length;
	struct eb_changes *changes;
	size_t changes_length;
	uint32_t *changed_in; /* by group, see eb_buckets_collect_changes(); NULL where that is not allowed */
};

struct eb_buckets {
	struct eb_bucket_table *tables; /* IPv4, IPv6 */
	struct eb_state *state;
	size_t state_length;
	uint32_t collections; /* of changes, so far */
};

struct bpf_map_info;

/* Maps a map of one record, or any other array, whole; writes its description to *info. Returns 0 or negative errno. */
int eb_bucket_map_memory(int fd, bool writable, struct bpf_map_info *info, void **memory, size_t *length);

/* 0 or negative errno; to be given to eb_bucket_table_done() in any case. */
int eb_bucket_table_init(const struct eb_maps *maps, int family, bool writable, struct eb_bucket_table *table);
void eb_bucket_table_done(struct eb_bucket_table *table);

/* Maps the whole table, if it is not. Returns 0 or negative errno. */
int eb_bucket_table_map(struct eb_bucket_table *table);
void eb_bucket_table_unmap(struct eb_bucket_table *table);

/* A table that is not mapped is mapped by parts from here on, until it is unmapped or mapped whole. */
void eb_bucket_table_map_by_parts(struct eb_bucket_table *table);

/* The part of the table that has the sets of a source with this hash, below EB_TABLE_PARTS. */
int eb_bucket_table_part(__u64 hash);

struct eb_bucket_table *eb_bucket_table_of(const struct eb_buckets *buckets, int family);

/* The one that has the bucket of a source. */
struct eb_bucket_table *eb_bucket_table_for(const struct eb_buckets *buckets, const struct eb_source *source);

/* Set `set` of `memory`, which begins with set 0. */
void *eb_bucket_table_set(const struct eb_bucket_table *table, char *memory, __u32 set);

/* True for a set without any tag: it holds no entry. */
bool eb_bucket_set_is_empty(const struct eb_bucket_table *table, __u32 set);

/* Says that a bucket in this set was changed. */
void eb_bucket_table_mark(const struct eb_bucket_table *table, __u32 set);

/* The source of a key. */
void eb_bucket_read_key(const struct eb_bucket_table *table, const __u64 *key, struct eb_source *out);

/* Reads an entry into *view and its key into `key`. False when it is empty or on its way to another source. */
bool eb_bucket_read_entry(const struct eb_bucket_table *table, const __u64 *entry, __u64 key[EB_WORDS6],
			  struct eb_bucket_view *view);

/* A source's key, and where it hashes to. */
struct eb_bucket_location {
	__u64 key[EB_WORDS6];
	__u64 hash;
	struct eb_sets sets;
};

__u64 eb_bucket_hash(const struct eb_buckets *buckets, const struct eb_source *source);

/* Maps the table of the source, or its part. Returns 0 or negative errno. */
int eb_bucket_locate(const struct eb_buckets *buckets, const struct eb_source *source, struct eb_bucket_location *out);

/* The source's place, negative when it has none. */
int eb_bucket_find_place(const struct eb_bucket_table *table, const struct eb_bucket_location *location);

/* Where a walk has come to. */
struct eb_bucket_position {
	const struct eb_bucket_table *table;
	__u32 set;
	int way;
};

/* What walks call for each entry. Returns 0 to go on. */
typedef int (*eb_bucket_entry_visit)(const struct eb_bucket_position *position, __u64 *entry, __u16 *tag, void *arg);

/*
 * Calls `visit` for the entries of a table from set `from` on: those with a tag, or all. Ends early when it returns
 * other than 0, and returns that, or negative errno.
 */
int eb_bucket_table_walk(const struct eb_bucket_table *table, __u32 from, bool all, eb_bucket_entry_visit visit,
			 void *arg);

/* The same for the tables of a family (4 or 6; 0 for both) from their first set on. */
int eb_bucket_tables_walk(const struct eb_buckets *buckets, int family, bool all, eb_bucket_entry_visit visit,
			  void *arg);

#endif
