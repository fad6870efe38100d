// SPDX-License-Identifier: GPL-2.0-only
/* edgebucket bans: who is banned, until when and why. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/grow.h"
#include "base/printable.h"
#include "cli/options.h"
#include "cli/session.h"
#include "cli/table_print.h"
#include "config/prefix.h"
#include "maps/bans.h"

struct ban_rows {
	const struct eb_prefix *within; /* NULL for all */
	uint64_t now_ns;
	struct eb_ban_view *items;
	size_t count, room;
};

static bool is_shown(const struct ban_rows *rows, const struct eb_ban_view *view)
{
	const struct eb_prefix *prefix = &view->prefix;

	if (view->ban.until_ns <= rows->now_ns)
		return false;
	return !rows->within || eb_prefix_overlaps(prefix->family, prefix->addr, prefix->len, rows->within);
}

static int collect(const struct eb_ban_view *view, void *arg)
{
	struct ban_rows *rows = arg;
	struct eb_ban_view *items;

	if (!is_shown(rows, view))
		return 0;
	items = eb_grow(rows->items, rows->count, &rows->room, sizeof(*items));
	if (!items)
		return -ENOMEM;
	rows->items = items;
	rows->items[rows->count++] = *view;
	return 0;
}

static int compare(const void *a, const void *b)
{
	const struct eb_ban_view *first = a, *second = b;
	const struct eb_prefix *x = &first->prefix, *y = &second->prefix;
	int order = x->family - y->family;

	if (!order)
		order = memcmp(x->addr, y->addr, sizeof(x->addr));
	return order ? order : x->len - y->len;
}

static void copy_reason(const struct eb_ban *ban, char out[EB_BAN_REASON_MAX + 1])
{
	memcpy(out, ban->reason, EB_BAN_REASON_MAX);
	out[EB_BAN_REASON_MAX] = '\0';
}

static struct text print_reason(const struct eb_ban *ban)
{
	char reason[EB_BAN_REASON_MAX + 1], shown[EB_PRINTABLE_MAX];
	const char *rest = reason;
	struct text text = { "" };
	size_t used = 0;

	copy_reason(ban, reason);
	while (*rest && used + EB_PRINTABLE_MAX < sizeof(text.s)) {
		size_t len = eb_printable_next(&rest, shown);

		memcpy(text.s + used, shown, len);
		used += len;
	}
	text.s[used] = '\0';
	return used ? text : (struct text){ "-" };
}

static void show_row(const void *arg, size_t row, struct table_cell *cells)
{
	const struct ban_rows *rows = arg;
	const struct eb_ban_view *view = &rows->items[row];
	bool is_hole = view->ban.kind == EB_BAN_HOLE;

	cells[0].text = print_prefix(view->prefix.family, view->prefix.addr, view->prefix.len);
	if (view->ban.until_ns == EB_BAN_FOREVER)
		strcpy(cells[1].text.s, "for good");
	else
		cells[1].text = print_duration(view->ban.until_ns - rows->now_ns);
	if (is_hole)
		strcpy(cells[2].text.s, "-");
	else
		cells[2].text = print_count(view->ban.refused);
	strcpy(cells[3].text.s, is_hole ? "not banned" : eb_ban_origin_name(view->ban.origin));
	cells[4].text = print_reason(&view->ban);
}

static void show_table(const struct ban_rows *rows)
{
	static const struct table_column columns[] = {
		{ .title = "PREFIX" },
		{ .title = "FOR ANOTHER", .right = true },
		{ .title = "REFUSED", .right = true },
		{ .title = "FROM" },
		{ .title = "REASON", .optional = true },
	};

	if (rows->count)
		table_print(columns, sizeof(columns) / sizeof(columns[0]), rows->count, show_row, rows);
	else
		puts("no prefix is banned");
}

/* Seconds since the epoch. */
static json_t *wall_time(uint64_t at_ns, uint64_t now_ns)
{
	int64_t ahead = (int64_t)(at_ns - now_ns);

	return at_ns == EB_BAN_FOREVER ? json_null() : json_real((double)((int64_t)eb_wallclock_ns() + ahead) / 1e9);
}

static json_t *row_json(const struct ban_rows *rows, const struct eb_ban_view *view)
{
	char reason[EB_BAN_REASON_MAX + 1];

	copy_reason(&view->ban, reason);
	return json_pack("{s:s, s:b, s:o, s:o, s:o, s:I, s:s, s:o}", "prefix",
			 print_prefix(view->prefix.family, view->prefix.addr, view->prefix.len).s, "banned",
			 view->ban.kind == EB_BAN, "since", wall_time(view->ban.since_ns, rows->now_ns), "until",
			 wall_time(view->ban.until_ns, rows->now_ns), "for",
			 view->ban.until_ns == EB_BAN_FOREVER ? json_null()
							      : print_json_seconds(view->ban.until_ns - rows->now_ns),
			 "refused", (json_int_t)view->ban.refused, "from", eb_ban_origin_name(view->ban.origin),
			 "reason", eb_printable_json(reason));
}

static void show_json(const struct ban_rows *rows)
{
	struct json_list list;

	print_json_list_begin(&list);
	for (size_t i = 0; i < rows->count; i++)
		print_json_list_add(&list, row_json(rows, &rows->items[i]));
	print_json_list_end(&list);
}

static enum cli_result show(const struct cli *cli, const struct session *session, struct ban_rows *rows)
{
	struct eb_bans *bans;
	int err = eb_bans_open(&session->maps, false, &bans);

	if (err)
		return cli_fail("the bans cannot be opened: %s", strerror(-err));
	err = eb_bans_each(bans, collect, rows);
	eb_bans_close(bans);
	if (err)
		return cli_fail("the bans cannot be read: %s", strerror(-err));
	if (rows->count)
		qsort(rows->items, rows->count, sizeof(*rows->items), compare);
	if (cli->json)
		show_json(rows);
	else
		show_table(rows);
	return CLI_DONE;
}

enum cli_result cmd_bans(struct cli *cli, int argc, char **argv)
{
	struct ban_rows rows = { .now_ns = eb_monotonic_ns() };
	struct eb_prefix within;
	struct session session;
	enum cli_result result;

	if (options_parse(cli, argc, argv, NULL, 0, 1))
		return CLI_MISUSED;
	if (cli->arg_count) {
		if (session_parse_prefix(cli, cli->args[0], &within))
			return CLI_MISUSED;
		rows.within = &within;
	}
	result = session_open(cli, SESSION_MAPS, &session);
	if (!result)
		result = show(cli, &session, &rows);
	free(rows.items);
	session_close(&session);
	return result;
}
