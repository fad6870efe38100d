/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Buckets of stores and maps side by side, with one row per rule and source, for the commands that show what the stores
 * hold.
 */
#ifndef EB_BUCKET_ROWS_H
#define EB_BUCKET_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cli/session.h"
#include "cli/stores.h"
#include "store/restore.h"

struct bucket_row {
	int rule; /* index into the rules of the policy */
	struct eb_prefix source;
	struct eb_destination target;
	unsigned int stores; /* bits 1 << enum store_kind: the stores whose times are used */
	bool in_maps;
	bool clamped;
	uint64_t packets, bytes;           /* debts in the stores, in ticks */
	uint64_t maps_packets, maps_bytes; /* debts in the maps, in ticks */
	uint64_t dropped;
};

struct bucket_rows {
	/* The caller's. */
	const struct session *session;
	uint64_t now;                   /* ticks: the moment that all debts are of */
	int rule;                       /* which ones; -1 for all */
	const struct eb_prefix *within; /* NULL for all */
	/* What was found. */
	struct bucket_row *items;
	size_t count, room;
	size_t orphans; /* in maps, of rules no longer in force */
	int error;      /* -ENOMEM */
};

/* Adds the debts that were collected from a store for the session's policy. */
void bucket_rows_add_stored(struct bucket_rows *rows, struct eb_restore *restore, const struct stored *stored);

/* Adds the buckets in the maps. Returns 0 or negative errno, including that of an earlier failure to add. */
int bucket_rows_add_maps(struct bucket_rows *rows);

/* Sorts by rule, family and address. Merges the rows of each source; of several stores, the later time counts. Removes
 * rows whose buckets are full everywhere. */
void bucket_rows_merge(struct bucket_rows *rows);

struct text bucket_rows_source(const struct bucket_row *row);

void bucket_rows_free(struct bucket_rows *rows);

#endif
