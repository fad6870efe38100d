/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Buckets of stores and maps side by side, one row for each source of a rule: for the commands that show what is
 * stored.
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
	int rule; /* its place in the policy */
	struct eb_prefix source;
	unsigned int stores; /* bits 1 << enum store_kind: which one's times count */
	bool in_maps;
	bool clamped;
	uint64_t packets, bytes;           /* debts by the stores, in ticks */
	uint64_t maps_packets, maps_bytes; /* by the maps */
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

/* Adds the debts that were collected from a store. */
void bucket_rows_add_stored(struct bucket_rows *rows, struct eb_restore *restore, const struct stored *stored);

/* Adds the buckets in the maps. Returns 0 or negative errno, also when adding before has failed. */
int bucket_rows_add_maps(struct bucket_rows *rows);

/* Sorts by rule, family and address, makes one row of those of one source (of stores, the later time is the truth), and
 * leaves out what is full everywhere. */
void bucket_rows_merge(struct bucket_rows *rows);

struct text bucket_rows_source(const struct bucket_row *row);

void bucket_rows_free(struct bucket_rows *rows);

#endif
