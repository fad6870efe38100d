// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/grow.h"
#include "cli/bucket_rows.h"
#include "config/prefix.h"
#include "policy/rules.h"

static bool is_wanted(const struct bucket_rows *rows, const struct bucket_row *row)
{
	if (!session_is_of_rule(rows->session, row->rule, rows->rule))
		return false;
	return !rows->within ||
	       eb_prefix_overlaps(row->source.family, row->source.addr, row->source.len, rows->within);
}

static void add(struct bucket_rows *rows, const struct bucket_row *row)
{
	struct bucket_row *items;

	if (rows->error || !is_wanted(rows, row))
		return;
	items = eb_grow(rows->items, rows->count, &rows->room, sizeof(*items));
	if (!items) {
		rows->error = -ENOMEM;
		return;
	}
	rows->items = items;
	rows->items[rows->count++] = *row;
}

struct stored_args {
	struct bucket_rows *rows;
	enum store_kind kind;
	uint64_t elapsed; /* ticks since the moment that the store's debts are of */
};

static uint64_t debt_left(uint64_t debt_ns, uint64_t elapsed)
{
	uint64_t debt = debt_ns * EB_TICKS_PER_NS;

	return debt > elapsed ? debt - elapsed : 0;
}

static void add_stored(const struct eb_restore_debt *debt, void *arg)
{
	struct stored_args *args = arg;

	add(args->rows, &(struct bucket_row){
				.rule = debt->place,
				.source = debt->source,
				.target = debt->target,
				.stores = 1U << args->kind,
				.clamped = debt->clamped,
				.packets = debt_left(debt->packets_ns, args->elapsed),
				.bytes = debt_left(debt->bytes_ns, args->elapsed),
			});
}

void bucket_rows_add_stored(struct bucket_rows *rows, struct eb_restore *restore, const struct stored *stored)
{
	struct stored_args args = {
		.rows = rows,
		.kind = stored->kind,
		.elapsed = rows->now - stored->now,
	};

	eb_restore_each(restore, add_stored, &args);
}

static int add_view(const struct eb_bucket_view *view, void *arg)
{
	struct bucket_rows *rows = arg;
	struct bucket_row row = {
		.rule = session_bucket_rule(rows->session, &view->source),
		.source.family = view->source.family,
		.in_maps = true,
		.maps_packets = eb_gcra_debt(view->packets_full_at, rows->now),
		.maps_bytes = eb_gcra_debt(view->bytes_full_at, rows->now),
		.dropped = view->dropped,
	};

	if (row.rule < 0) {
		rows->orphans++;
		return 0;
	}
	row.target = view->source.target;
	row.source.len = eb_rules_prefix_of(&rows->session->policy.rules[row.rule], row.source.family);
	memcpy(row.source.addr, view->source.addr, sizeof(row.source.addr));
	add(rows, &row);
	return rows->error;
}

int bucket_rows_add_maps(struct bucket_rows *rows)
{
	if (rows->error || !session_has_maps(rows->session))
		return rows->error;
	return eb_buckets_each(rows->session->buckets, add_view, rows);
}

static int compare_rows(const void *left, const void *right)
{
	const struct bucket_row *a = left, *b = right;

	if (a->rule != b->rule)
		return a->rule < b->rule ? -1 : 1;
	if (a->source.family != b->source.family)
		return a->source.family < b->source.family ? -1 : 1;
	return memcmp(a->source.addr, b->source.addr, sizeof(a->source.addr)) ?:
	       memcmp(&a->target, &b->target, sizeof(a->target));
}

/* Takes the times of `from` into *row, and says with row->stores whose they are. */
static void take_stored(struct bucket_row *row, const struct bucket_row *from)
{
	bool is_earlier = from->packets <= row->packets && from->bytes <= row->bytes;
	bool is_later = from->packets >= row->packets && from->bytes >= row->bytes;

	if (is_later && !is_earlier)
		row->stores = from->stores;
	else if (is_later || !is_earlier)
		row->stores |= from->stores;
	row->packets = from->packets > row->packets ? from->packets : row->packets;
	row->bytes = from->bytes > row->bytes ? from->bytes : row->bytes;
	row->clamped |= from->clamped;
}

static void join(struct bucket_row *row, const struct bucket_row *from)
{
	if (from->stores)
		take_stored(row, from);
	if (!from->in_maps)
		return;
	row->in_maps = true;
	row->maps_packets = from->maps_packets;
	row->maps_bytes = from->maps_bytes;
	row->dropped = from->dropped;
}

static bool is_in_debt(const struct bucket_row *row)
{
	return row->packets || row->bytes || row->maps_packets || row->maps_bytes;
}

void bucket_rows_merge(struct bucket_rows *rows)
{
	size_t kept = 0;

	if (rows->count)
		qsort(rows->items, rows->count, sizeof(*rows->items), compare_rows);
	for (size_t i = 0, next; i < rows->count; i = next) {
		struct bucket_row row = rows->items[i];

		for (next = i + 1; next < rows->count && compare_rows(&row, &rows->items[next]) == 0; next++)
			join(&row, &rows->items[next]);
		if (is_in_debt(&row))
			rows->items[kept++] = row;
	}
	rows->count = kept;
}

struct text bucket_rows_source(const struct bucket_row *row)
{
	return print_source(&row->source, &row->target);
}

void bucket_rows_free(struct bucket_rows *rows)
{
	free(rows->items);
	rows->items = NULL;
}
