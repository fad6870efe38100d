/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The file buckets.mdb: owns the LMDB environment, and what its two databases, `buckets` and `meta`, hold.
 *
 * Every function but eb_lmdb_file_new() and those on chunks blocks, and belongs to the one thread of store_lmdb.c.
 * Where an error is returned, it is 0, errno, or an error of LMDB: eb_lmdb_file_fail() tells what it means.
 *
 * Each commit is synced in full (no MDB_NOSYNC, no MDB_NOMETASYNC): off the loop, and with all batches that wait in one
 * transaction, that costs nothing that matters, and a power cut at any moment leaves the last commit. No MDB_WRITEMAP:
 * on a full disk it would raise SIGBUS where pwrite() fails.
 */
#ifndef EB_LMDB_FILE_H
#define EB_LMDB_FILE_H

#include "store/store.h"

struct eb_lmdb_file; /* opaque */

/* Of the directory `state_dir`, to hold `max_bytes` at most. Opens nothing yet. Returns 0 or -ENOMEM. */
int eb_lmdb_file_new(const char *state_dir, size_t max_bytes, bool read_only, struct eb_lmdb_file **out);

/* Opens it, unless it is open and still the file of that name. Makes the directory if it is missing, and puts a damaged
 * file aside as buckets.mdb.damaged; both not when it is read-only. */
int eb_lmdb_file_open(struct eb_lmdb_file *file);
bool eb_lmdb_file_is_open(const struct eb_lmdb_file *file);
void eb_lmdb_file_close(struct eb_lmdb_file *file);

/* Ends a piece of work with its error: closes a file that failed at its roots, to be opened anew. Returns negative
 * errno with a line for people in `text`; 0 and "" where `err` is 0. */
int eb_lmdb_file_fail(struct eb_lmdb_file *file, int err, char *text, size_t size);

/* A transaction that writes: eb_lmdb_file_commit() ends it, and takes it back where `err`, of what was done in it, is
 * not 0. Returns that, or the error of the commit. */
int eb_lmdb_file_begin(struct eb_lmdb_file *file);
int eb_lmdb_file_put(struct eb_lmdb_file *file, const struct eb_store_item *items, size_t count, int64_t *grown);
int eb_lmdb_file_put_meta(struct eb_lmdb_file *file, const struct eb_store_meta *meta, uint64_t expire_in_ns);
int eb_lmdb_file_commit(struct eb_lmdb_file *file, int err);

/* Leaves *meta as it is where there is no meta record. */
int eb_lmdb_file_read_meta(struct eb_lmdb_file *file, struct eb_store_meta *meta);
int eb_lmdb_file_count(struct eb_lmdb_file *file, uint64_t *out);

/* A scan goes in steps of one chunk, each a transaction of its own: a slow reader keeps no old pages. */
struct eb_lmdb_chunk; /* opaque */

struct eb_lmdb_chunk *eb_lmdb_chunk_new(void); /* NULL when out of memory */
int eb_lmdb_file_read(struct eb_lmdb_file *file, struct eb_lmdb_chunk *chunk); /* what comes next */
bool eb_lmdb_chunk_is_last(const struct eb_lmdb_chunk *chunk);
void eb_lmdb_chunk_visit(const struct eb_lmdb_chunk *chunk, eb_store_visit visit, void *arg);
void eb_lmdb_chunk_free(struct eb_lmdb_chunk *chunk); /* accepts NULL */

/* Closes it where much of it was looked at. */
void eb_lmdb_file_forget_pages(struct eb_lmdb_file *file);

/* Accepts NULL. */
void eb_lmdb_file_free(struct eb_lmdb_file *file);

#endif
