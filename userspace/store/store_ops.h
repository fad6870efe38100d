/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a backend implements for store.c. Only store*.c include it.
 */
#ifndef EB_STORE_OPS_H
#define EB_STORE_OPS_H

#include "store/store.h"

struct eb_store_ops {
	const char *name;
	int (*write)(struct eb_store *store, const struct eb_store_batch *batch, eb_store_done done, void *arg);
	int (*write_meta)(struct eb_store *store, const struct eb_store_meta *meta, uint64_t expire_in_ns,
			  eb_store_done done, void *arg);
	int (*read_meta)(struct eb_store *store, eb_store_meta_done done, void *arg);
	int (*count)(struct eb_store *store, eb_store_done done, void *arg);
	int (*scan)(struct eb_store *store, eb_store_visit visit, eb_store_done done, void *arg);
	void (*hold_scan)(struct eb_store *store, bool hold);
	bool (*is_up)(const struct eb_store *store);
	const char *(*peer)(const struct eb_store *store); /* NULL if the backend has no server */
	void (*free)(struct eb_store *store);
};

/* The first member of the structure of each backend. */
struct eb_store {
	const struct eb_store_ops *ops;
	struct eb_store_events events;
	struct eb_store_counts counts;
	char last_error[320];
};

void eb_store_init(struct eb_store *store, const struct eb_store_ops *ops, const struct eb_store_events *events);

/* Record the last error, record a latency, and report that the store is down. */
void eb_store_note_error(struct eb_store *store, const char *text);
void eb_store_note_latency(struct eb_store *store, enum eb_store_op op, uint64_t latency_ns); /* 0: no reply */
void eb_store_tell_down(struct eb_store *store, const char *text);

/* The meta record as texts, for both backends. */
#define EB_STORE_META_FIELDS 4
struct eb_store_meta_text {
	const char *names[EB_STORE_META_FIELDS];
	char values[EB_STORE_META_FIELDS][40];
};

void eb_store_meta_format(const struct eb_store_meta *meta, struct eb_store_meta_text *out);

/* Parses one field into *meta. Ignores fields that are unknown, damaged or too long. */
void eb_store_meta_take(struct eb_store_meta *meta, const char *name, const char *value);

#endif
