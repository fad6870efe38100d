/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The file buckets.mdb or bans.mdb: owns the LMDB environment and the contents of its two databases, `buckets` and
 * `meta`.
 *
 * All functions except eb_lmdb_file_new() and those on chunks block; only the thread of store_lmdb.c may call them. An
 * error that they return is 0, errno, or an error of LMDB; eb_lmdb_file_fail() explains it.
 *
 * Each commit is fully synced (no MDB_NOSYNC, no MDB_NOMETASYNC), so that a power cut at any moment preserves the last
 * commit. The cost does not matter, because a thread does it, and one transaction contains all waiting batches. There
 * is no MDB_WRITEMAP, because on a full disk it would raise SIGBUS, while pwrite() only fails.
 */
#ifndef EB_LMDB_FILE_H
#define EB_LMDB_FILE_H

#include "store/store.h"

struct eb_lmdb_file; /* opaque */

/* Creates an object for the file `name` in the directory `state_dir`, of at most `max_bytes`. Does not open the file
 * yet. Returns 0 or -ENOMEM. */
int eb_lmdb_file_new(const char *state_dir, const char *name, size_t max_bytes, bool read_only,
		     struct eb_lmdb_file **out);

/* Opens the file, unless it is open and was not replaced since. Creates the directory if it does not exist, and renames
 * a damaged file to buckets.mdb.damaged or bans.mdb.damaged; does neither if it is read-only. */
int eb_lmdb_file_open(struct eb_lmdb_file *file);
bool eb_lmdb_file_is_open(const struct eb_lmdb_file *file);
void eb_lmdb_file_close(struct eb_lmdb_file *file);

/* Handles the error `err` of an operation. If the error means that the file is unusable, closes it, so that it is
 * opened again. Returns negative errno and one line in `text`, of `size` bytes; 0 and "" if `err` is 0. */
int eb_lmdb_file_fail(struct eb_lmdb_file *file, int err, char *text, size_t size);

/* A write transaction. eb_lmdb_file_commit() ends it: it aborts the transaction if `err`, the error of an operation in
 * it, is not 0. It returns `err`, or the error of the commit. */
int eb_lmdb_file_begin(struct eb_lmdb_file *file);
int eb_lmdb_file_put(struct eb_lmdb_file *file, const struct eb_store_item *items, size_t count, int64_t *grown);
int eb_lmdb_file_put_meta(struct eb_lmdb_file *file, const struct eb_store_meta *meta, uint64_t expire_in_ns);
int eb_lmdb_file_commit(struct eb_lmdb_file *file, int err);

/* *meta is unchanged if there is no meta record. */
int eb_lmdb_file_read_meta(struct eb_lmdb_file *file, struct eb_store_meta *meta);
int eb_lmdb_file_count(struct eb_lmdb_file *file, uint64_t *out);

/* A scan reads one chunk after the other, each in its own transaction, so that a slow reader does not keep old
 * pages. */
struct eb_lmdb_chunk; /* opaque */

struct eb_lmdb_chunk *eb_lmdb_chunk_new(void); /* NULL if out of memory */
int eb_lmdb_file_read(struct eb_lmdb_file *file, struct eb_lmdb_chunk *chunk); /* reads the next chunk */
bool eb_lmdb_chunk_is_last(const struct eb_lmdb_chunk *chunk);
void eb_lmdb_chunk_visit(const struct eb_lmdb_chunk *chunk, eb_store_visit visit, void *arg);
void eb_lmdb_chunk_free(struct eb_lmdb_chunk *chunk); /* accepts NULL */

/* Accepts NULL. */
void eb_lmdb_file_free(struct eb_lmdb_file *file);

#endif
