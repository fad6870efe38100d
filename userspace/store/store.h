/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where buckets or bans are kept outside the maps: Redis, or an LMDB environment on disk, behind one interface.
 *
 * The interface is asynchronous: the event loop delivers results, and no function blocks. record.h and ban_record.h
 * format and parse fields and values; a store does not interpret them. The mirror writes; the restore and the command
 * line read.
 */
#ifndef EB_STORE_H
#define EB_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "base/histogram.h"

/* A good number of fields for one command of Redis: more would not be faster, and delay other clients of a slow
 * server. */
#define EB_STORE_BATCH_ITEMS 128
#define EB_STORE_FIELD_MAX 144 /* including the NUL; the longest field has 32 + 1 + 43 + 46 bytes */
#define EB_STORE_VALUE_MAX 96 /* including the NUL; that of a ban has up to 20 + 1 + 12 + 1 + 40 bytes */

/* The version of fields and values. Records of another version are not restored. */
#define EB_STORE_SCHEMA 1

struct eb_store; /* opaque */

struct eb_store_item {
	char field[EB_STORE_FIELD_MAX];
	char value[EB_STORE_VALUE_MAX]; /* "" removes the field */
};

/* The caller owns it; eb_store_write() copies what it needs. */
struct eb_store_batch {
	size_t count;
	struct eb_store_item items[EB_STORE_BATCH_ITEMS];
};

struct eb_store_meta {
	uint32_t schema;      /* 0 if there is no meta record */
	char boot_id[40];
	uint64_t saved_at_ns; /* since the Unix epoch */
	char agent[40];
};

struct eb_store_result {
	int error;            /* 0 or negative errno */
	const char *text;     /* the error as one line; "" if there is none */
	uint64_t latency_ns;
	int64_t grown;        /* of a batch: number of added fields minus number of removed fields */
	uint64_t fields;      /* of a count: number of fields */
};

/* Called exactly once for each accepted operation, from the event loop or from eb_store_free(). */
typedef void (*eb_store_done)(const struct eb_store_result *result, void *arg);
typedef void (*eb_store_meta_done)(const struct eb_store_result *result, const struct eb_store_meta *meta, void *arg);

/* Called for each field that a scan finds. The texts are NUL-terminated, but can contain NULs. A field might be visited
 * more than once. The callee must not free the store. */
typedef void (*eb_store_visit)(const char *field, size_t field_len, const char *value, size_t value_len, void *arg);

/* Each one can be NULL. */
struct eb_store_events {
	void (*up)(void *arg);
	void (*down)(const char *text, void *arg); /* called again for each failed attempt */
	void (*writable)(void *arg); /* after an operation was refused with -EAGAIN: there is room again */
	void *arg;
};

enum eb_store_op { EB_STORE_WRITE, EB_STORE_READ, EB_STORE_OPS };

/* Counts since the store was opened, for metrics. */
struct eb_store_counts {
	uint64_t fields_set, fields_deleted; /* acknowledged */
	uint64_t errors;                     /* operations that failed */
	struct eb_histogram latency[EB_STORE_OPS]; /* of commands that Redis answered; empty for LMDB */
};

/*
 * Sets and removes the fields of a batch, which is acknowledged as a whole. If it fails, any part of it might have been
 * executed: write it again. Batches that are in flight at the same time must not contain the same field, because a
 * Cluster might reorder them. Returns 0; -EAGAIN if too much is in flight (see `writable`); -ENOTCONN if the store is
 * down; or -ENOMEM.
 */
int eb_store_write(struct eb_store *store, const struct eb_store_batch *batch, eb_store_done done, void *arg);

/* Writes the meta record, and sets it and all fields to expire in `expire_in_ns` nanoseconds, by the clock of the
 * store. The store writes it after every batch that was acknowledged before. Returns as eb_store_write(). */
int eb_store_write_meta(struct eb_store *store, const struct eb_store_meta *meta, uint64_t expire_in_ns,
			eb_store_done done, void *arg);

int eb_store_read_meta(struct eb_store *store, eb_store_meta_done done, void *arg);

/* Counts the fields, after all operations that were accepted before. Takes one command. Returns as eb_store_write(). */
int eb_store_count(struct eb_store *store, eb_store_done done, void *arg);

/* Visits every field. A field that is written during the scan might be visited or not. Returns -EBUSY if another scan
 * is in progress, and otherwise as eb_store_write(). A scan that does not end fails with -ELOOP. */
int eb_store_scan(struct eb_store *store, eb_store_visit visit, eb_store_done done, void *arg);

/* Pauses the scan in progress, if any, or resumes it; the resumed scan might fail at once. Fields that were already
 * requested are still visited. The next scan is not paused. */
void eb_store_hold_scan(struct eb_store *store, bool hold);

bool eb_store_is_up(const struct eb_store *store);
const char *eb_store_name(const struct eb_store *store); /* "redis" or "lmdb" */

/* The server to which the store is connected, as eb_redis_peer(); "" while it is down, and for LMDB. Valid until the
 * next call. */
const char *eb_store_peer(const struct eb_store *store);

/* Why the last operation, or the last attempt to reach the store, failed; "" if none failed. Valid until the next
 * call. */
const char *eb_store_last_error(const struct eb_store *store);
void eb_store_counts(const struct eb_store *store, struct eb_store_counts *out);

/* Replaces the `arg` of the events. */
void eb_store_redirect(struct eb_store *store, void *arg);

/* Calls the callbacks of all operations in progress, with -ECANCELED; LMDB first completes a write in progress. Accepts
 * NULL. Safe inside callbacks, except visits. */
void eb_store_free(struct eb_store *store);

/* The backends. `events` is copied. */

/* Each has its own keys in Redis and its own connections, its own file on disk. */
enum eb_store_content { EB_STORE_BUCKETS, EB_STORE_BANS };

struct eb_redis_config;
struct eb_redis_limits;

/* `node` is the identity of this node; "" if it has none. `limits` can be NULL. Otherwise as eb_redis_new(). */
int eb_store_redis_new(sd_event *event, const struct eb_redis_config *config, const struct eb_redis_limits *limits,
		       const char *node, enum eb_store_content content, const struct eb_store_events *events,
		       struct eb_store **out);

/*
 * An environment of at most `max_bytes` in the directory `state_dir`, which is created if it does not exist. A thread
 * opens it now, and retries before later operations if that fails: a disk that is full or read-only can recover. The
 * command line uses `read_only`. Returns 0 or negative errno.
 */
int eb_store_lmdb_new(sd_event *event, const char *state_dir, size_t max_bytes, bool read_only,
		      enum eb_store_content content, const struct eb_store_events *events, struct eb_store **out);

#endif
