// SPDX-License-Identifier: GPL-2.0-only
/* edgebucket buckets and top: the sources that have a bucket, by rule or by what was refused. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/grow.h"
#include "cli/compare.h"
#include "cli/options.h"
#include "cli/print.h"
#include "cli/session.h"
#include "cli/table_print.h"
#include "cli/top_fleet.h"
#include "config/limit.h"
#include "config/prefix.h"
#include "policy/rules.h"

#define TOP_DEFAULT 10

/* A bucket, and which rule's. */
struct bucket_row {
	struct eb_bucket_view view;
	int rule;
};

struct bucket_list {
	const struct session *session;
	uint64_t now;
	/* which ones */
	int rule;                       /* -1 for all */
	const struct eb_prefix *within; /* NULL for all */
	bool refused_only;
	/* what was found */
	struct bucket_row *rows;
	size_t count, room;
	size_t orphans; /* of rules no longer in force */
};

static int add_row(struct bucket_list *list, const struct eb_bucket_view *view, int rule)
{
	struct bucket_row *rows = eb_grow(list->rows, list->count, &list->room, sizeof(*rows));

	if (!rows)
		return -ENOMEM;
	list->rows = rows;
	list->rows[list->count++] = (struct bucket_row){ .view = *view, .rule = rule };
	return 0;
}

static int visit(const struct eb_bucket_view *view, void *arg)
{
	struct bucket_list *list = arg;
	const struct eb_source *source = &view->source;
	int rule = session_bucket_rule(list->session, source);

	if (rule < 0) {
		list->orphans++;
		return 0;
	}
	if (!session_is_of_rule(list->session, rule, list->rule) || (list->refused_only && !view->dropped))
		return 0;
	if (list->within && !eb_prefix_overlaps(source->family, source->addr,
						eb_rules_prefix_of(&list->session->policy.rules[rule],
								   source->family),
						      list->within))
		return 0;
	return add_row(list, view, rule);
}

/* By rule in their order, IPv4 first, then by address. */
static int compare_sources(const void *left, const void *right)
{
	const struct bucket_row *a = left, *b = right;

	if (a->rule != b->rule)
		return a->rule < b->rule ? -1 : 1;
	if (a->view.source.family != b->view.source.family)
		return a->view.source.family < b->view.source.family ? -1 : 1;
	return memcmp(a->view.source.addr, b->view.source.addr, sizeof(a->view.source.addr)) ?:
	       memcmp(&a->view.source.target, &b->view.source.target, sizeof(a->view.source.target));
}

static int compare_dropped(const void *left, const void *right)
{
	const struct bucket_row *a = left, *b = right;

	if (a->view.dropped != b->view.dropped)
		return a->view.dropped > b->view.dropped ? -1 : 1;
	return compare_sources(left, right);
}

static struct text source_text(const struct bucket_list *list, const struct bucket_row *row)
{
	return session_source_text(&list->session->policy.rules[row->rule], &row->view.source);
}

static json_t *tokens_json(const struct eb_limit *limit, uint64_t full_at, uint64_t now)
{
	if (!limit->mult)
		return json_null();
	return json_pack("{s:I, s:I}", "tokens", (json_int_t)eb_limit_tokens(limit, eb_gcra_debt(full_at, now)),
			 "burst", (json_int_t)eb_limit_burst(limit));
}

/* Ticks until both limits are full. */
static uint64_t debt_of(const struct eb_bucket_view *view, uint64_t now)
{
	uint64_t packets = eb_gcra_debt(view->packets_full_at, now), bytes = eb_gcra_debt(view->bytes_full_at, now);

	return packets > bytes ? packets : bytes;
}

static json_t *row_json(const struct bucket_list *list, const struct bucket_row *row)
{
	const struct eb_policy *policy = &list->session->policy;
	const struct eb_rule *rule = &policy->rules[row->rule];

	return json_pack("{s:s, s:o, s:s, s:o, s:o, s:I, s:o}", "rule", session_rule_name(policy, row->rule).s,
			 "level", print_json_level(rule), "source", source_text(list, row).s, "packets",
			 tokens_json(&rule->packets, row->view.packets_full_at, list->now), "bytes",
			 tokens_json(&rule->bytes, row->view.bytes_full_at, list->now), "dropped",
			 (json_int_t)row->view.dropped, "full_in_seconds",
			 print_json_seconds(debt_of(&row->view, list->now) / EB_TICKS_PER_NS));
}

enum { COLUMN_RULE, COLUMN_SOURCE, COLUMN_PACKETS, COLUMN_BYTES, COLUMN_FULL_IN, COLUMN_DROPPED };

static const struct table_column columns[] = {
	[COLUMN_RULE] = { .title = "RULE" },
	[COLUMN_SOURCE] = { .title = "SOURCE" },
	[COLUMN_PACKETS] = { .title = "PACKETS LEFT", .right = true, .optional = true },
	[COLUMN_BYTES] = { .title = "BYTES LEFT", .right = true, .optional = true },
	[COLUMN_FULL_IN] = { .title = "FULL IN", .right = true },
	[COLUMN_DROPPED] = { .title = "DROPPED", .right = true },
};

static void fill_tokens(const struct eb_limit *limit, uint64_t full_at, uint64_t now, bool is_bytes,
			struct table_cell *cell)
{
	uint64_t tokens = eb_limit_tokens(limit, eb_gcra_debt(full_at, now)), burst = eb_limit_burst(limit);

	if (!limit->mult) {
		strcpy(cell->text.s, "-");
		return;
	}
	snprintf(cell->text.s, sizeof(cell->text.s), "%.40s/%.40s", print_tokens(limit, tokens, is_bytes).s,
		 print_tokens(limit, burst, is_bytes).s);
	cell->colour = tokens ? COLOUR_NONE : COLOUR_RED;
}

static void fill_row(const void *arg, size_t index, struct table_cell *cells)
{
	const struct bucket_list *list = arg;
	const struct bucket_row *row = &list->rows[index];
	const struct eb_rule *rule = &list->session->policy.rules[row->rule];
	uint64_t debt = debt_of(&row->view, list->now);

	cells[COLUMN_RULE].text = session_limit_name(&list->session->policy, row->rule);
	cells[COLUMN_SOURCE].text = source_text(list, row);
	fill_tokens(&rule->packets, row->view.packets_full_at, list->now, false, &cells[COLUMN_PACKETS]);
	fill_tokens(&rule->bytes, row->view.bytes_full_at, list->now, true, &cells[COLUMN_BYTES]);
	cells[COLUMN_FULL_IN].text = debt ? print_duration(debt / EB_TICKS_PER_NS) : (struct text){ "full" };
	cells[COLUMN_DROPPED].text = print_count(row->view.dropped);
	cells[COLUMN_DROPPED].colour = row->view.dropped ? COLOUR_RED : COLOUR_DIM;
}

static void print_list_json(const struct bucket_list *list)
{
	struct json_list json;

	print_json_list_begin(&json);
	for (size_t i = 0; i < list->count; i++)
		print_json_list_add(&json, row_json(list, &list->rows[i]));
	print_json_list_end(&json);
}

static void print_list(const struct bucket_list *list, size_t found)
{
	table_print(columns, sizeof(columns) / sizeof(columns[0]), list->count, fill_row, list);
	if (list->refused_only)
		return;
	if (found > list->count)
		cli_note("%zu more not shown", found - list->count);
	if (list->orphans && list->rule < 0 && !list->within)
		cli_note("not shown: %zu buckets of rules or limits that are no longer in force", list->orphans);
}

/* Finds, sorts, cuts to `limit` rows (0 for all) and prints. */
static enum cli_result show(struct bucket_list *list, int (*compare)(const void *, const void *), size_t limit,
			    bool json)
{
	size_t found;
	int err;

	list->now = eb_buckets_now();
	err = eb_buckets_each(list->session->buckets, visit, list);
	if (err)
		return cli_fail("the buckets cannot be read: %s", strerror(-err));
	if (list->count)
		qsort(list->rows, list->count, sizeof(*list->rows), compare);
	found = list->count;
	if (limit && list->count > limit)
		list->count = limit;
	if (json)
		print_list_json(list);
	else
		print_list(list, found);
	return CLI_DONE;
}

/* The whole of both commands but their options. */
static enum cli_result run(const struct cli *cli, const char *rule, struct session *session, struct bucket_list *list,
			   int (*compare)(const void *, const void *), size_t limit)
{
	enum cli_result result = session_open(cli, SESSION_BUCKETS, session);

	if (!result)
		result = session_option_rule(session, rule, &list->rule);
	if (!result)
		result = show(list, compare, limit, cli->json);
	free(list->rows);
	session_close(session);
	return result;
}

enum cli_result cmd_buckets(struct cli *cli, int argc, char **argv)
{
	const char *rule = NULL;
	bool with_store = false;
	int64_t limit = 0;
	const struct option_spec specs[] = {
		{ "redis", 0, OPTION_FLAG, &with_store, 0 },
		{ "rule", 'r', OPTION_TEXT, &rule, 0 },
		{ "limit", 'n', OPTION_NUMBER, &limit, INT64_MAX },
	};
	struct session session;
	struct bucket_list list = { .session = &session };
	struct eb_prefix within;

	if (options_parse(cli, argc, argv, specs, 3, 1))
		return CLI_MISUSED;
	if (cli->arg_count) {
		if (session_parse_prefix(cli, cli->args[0], &within))
			return CLI_MISUSED;
		list.within = &within;
	}
	if (with_store)
		return compare_show(cli, rule, list.within, limit);
	return run(cli, rule, &session, &list, compare_sources, limit);
}

enum cli_result cmd_top(struct cli *cli, int argc, char **argv)
{
	const char *rule = NULL;
	bool of_fleet = false;
	int64_t limit = TOP_DEFAULT;
	const struct option_spec specs[] = {
		{ "fleet", 0, OPTION_FLAG, &of_fleet, 0 },
		{ "rule", 'r', OPTION_TEXT, &rule, 0 },
		{ "limit", 'n', OPTION_NUMBER, &limit, INT64_MAX },
	};
	struct session session;
	struct bucket_list list = { .session = &session, .refused_only = true };

	if (options_parse(cli, argc, argv, specs, 3, 0))
		return CLI_MISUSED;
	if (of_fleet)
		return top_fleet_show(cli, rule, limit);
	return run(cli, rule, &session, &list, compare_dropped, limit);
}
