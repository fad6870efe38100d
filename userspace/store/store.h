/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where buckets are kept while no map holds them: Redis, or an LMDB environment on disk, behind one interface.
 *
 * Asynchronous: results come from the loop; no function blocks. Fields and values are texts of the CONTRACT, which
 * record.h makes and reads; a store does not look into them. The mirror writes, restore and the command line read.
 */
#ifndef EB_STORE_H
#define EB_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "base/histogram.h"

/* What fits one command of Redis well: more fields gain nothing, and hold up other clients of a slow server. */
#define EB_STORE_BATCH_ITEMS 128
#define EB_STORE_FIELD_MAX 128 /* with the NUL; the longest field has 32 + 1 + 43 bytes */
#define EB_STORE_VALUE_MAX 64

/* Version of fields and values; another one's are not restored. */
#define EB_STORE_SCHEMA 1

struct eb_store; /* opaque */

struct eb_store_item {
	char field[EB_STORE_FIELD_MAX];
	char value[EB_STORE_VALUE_MAX]; /* "" to remove the field */
};

/* The caller's; eb_store_write() copies what it needs. */
struct eb_store_batch {
	size_t count;
	struct eb_store_item items[EB_STORE_BATCH_ITEMS];
};

struct eb_store_meta {
	uint32_t schema;      /* 0 when there is no meta record */
	char boot_id[40];
	uint64_t saved_at_ns; /* since the Unix epoch */
	char agent[40];
};

struct eb_store_result {
	int error;            /* 0 or negative errno */
	const char *text;     /* one line for people; "" when all is well */
	uint64_t latency_ns;
	int64_t grown;        /* of a batch: fields that were not there before, less those that are gone now */
	uint64_t fields;      /* of a count: how many there are */
};

/* Each called exactly once for each operation that was taken, from the loop or from eb_store_free(). */
typedef void (*eb_store_done)(const struct eb_store_result *result, void *arg);
typedef void (*eb_store_meta_done)(const struct eb_store_result *result, const struct eb_store_meta *meta, void *arg);

/* One field found by a scan, not necessarily NUL-free, but NUL-terminated; a field may come up more than once. Must
 * not free the store. */
typedef void (*eb_store_visit)(const char *field, size_t field_len, const char *value, size_t value_len, void *arg);

/* Any of them may be NULL. */
struct eb_store_events {
	void (*up)(void *arg);
	void (*down)(const char *text, void *arg); /* may come again, for each attempt that failed */
	void (*writable)(void *arg); /* an operation was refused with -EAGAIN; now there is room again */
	void *arg;
};

enum eb_store_op { EB_STORE_WRITE, EB_STORE_READ, EB_STORE_OPS };

/* Counts of what has been done, for metrics. */
struct eb_store_counts {
	uint64_t fields_set, fields_deleted; /* acknowledged */
	uint64_t errors;                     /* operations that failed */
	struct eb_histogram latency[EB_STORE_OPS]; /* of commands that Redis answered; none of LMDB */
};

/*
 * Sets and removes the fields of a batch; acknowledged as one. When it failed, any part of it may have been done:
 * write it again. Batches that are under way together must not name the same field (Cluster may turn their order).
 * Returns 0; -EAGAIN when too much is under way (see `writable`); -ENOTCONN when the store is down; -ENOMEM.
 */
int eb_store_write(struct eb_store *store, const struct eb_store_batch *batch, eb_store_done done, void *arg);

/* Writes the meta record, and lets it and all fields expire `expire_in_ns` from now, by the clock of the store. It
 * comes after every batch that was acknowledged before. */
int eb_store_write_meta(struct eb_store *store, const struct eb_store_meta *meta, uint64_t expire_in_ns,
			eb_store_done done, void *arg);

int eb_store_read_meta(struct eb_store *store, eb_store_meta_done done, void *arg);

/* Counts the fields, in the time of one command. What was asked for before is done before. */
int eb_store_count(struct eb_store *store, eb_store_done done, void *arg);

/* Visits every field. Fields that are written meanwhile may or may not be seen. One scan at a time: -EBUSY. A scan that
 * does not come to its end fails with -ELOOP. */
int eb_store_scan(struct eb_store *store, eb_store_visit visit, eb_store_done done, void *arg);

/* Holds the scan under way, if any, or lets it go on, which may end it with an error at once. What was asked for before
 * still is visited. The next scan is not held. */
void eb_store_hold_scan(struct eb_store *store, bool hold);

bool eb_store_is_up(const struct eb_store *store);
const char *eb_store_name(const struct eb_store *store); /* "redis" or "lmdb" */

/* Where it is connected to, as eb_redis_peer(); "" while it is down, and for LMDB. Valid until the next call. */
const char *eb_store_peer(const struct eb_store *store);

/* Why the last operation or attempt to reach it failed; "" when none did. Valid until the next call. */
const char *eb_store_last_error(const struct eb_store *store);
void eb_store_counts(const struct eb_store *store, struct eb_store_counts *out);

/* The events get another `arg` from now on. */
void eb_store_redirect(struct eb_store *store, void *arg);

/* Operations under way are called back with -ECANCELED; LMDB first ends what it is writing. Accepts NULL. Safe inside
 * callbacks, but for visits. */
void eb_store_free(struct eb_store *store);

/* The backends. `events` is copied. */

struct eb_redis_config;
struct eb_redis_limits;

/* `node` is the identity, "" for none; `limits` may be NULL. As eb_redis_new(). */
int eb_store_redis_new(sd_event *event, const struct eb_redis_config *config, const struct eb_redis_limits *limits,
		       const char *node, const struct eb_store_events *events, struct eb_store **out);

/*
 * An environment in the directory `state_dir`, which is made if it is missing, of at most `max_bytes`. Opened by a
 * thread of its own, now and, when that fails, before later operations again: a disk that is full or read-only now
 * need not stay so. `read_only` for the command line. Returns 0 or -ENOMEM and the like.
 */
int eb_store_lmdb_new(sd_event *event, const char *state_dir, size_t max_bytes, bool read_only,
		      const struct eb_store_events *events, struct eb_store **out);

#endif
