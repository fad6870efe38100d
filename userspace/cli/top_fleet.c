// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/grow.h"
#include "cli/fleet_buckets.h"
#include "cli/session.h"
#include "cli/stores.h"
#include "cli/table_print.h"
#include "cli/top_fleet.h"
#include "config/limit.h"

#define TICKS_PER_US (1000 * EB_TICKS_PER_NS)

struct fleet_list {
	const struct session *session;
	int rule; /* -1 for all */
	struct fleet_bucket *items;
	size_t count, room;
	int error;
};

static bool add(const struct fleet_bucket *bucket, void *arg)
{
	struct fleet_list *list = arg;
	struct fleet_bucket *items;
	int rule = fleet_bucket_rule(list->session, bucket);

	if (list->error || (list->rule >= 0 && (rule < 0 || !session_is_of_rule(list->session, rule, list->rule))))
		return false;
	items = eb_grow(list->items, list->count, &list->room, sizeof(*items));
	if (!items) {
		list->error = -ENOMEM;
		return false;
	}
	list->items = items;
	list->items[list->count++] = *bucket;
	return false;
}

static int compare(const void *a, const void *b)
{
	const struct fleet_bucket *x = a, *y = b;

	return x->debt_us < y->debt_us ? 1 : x->debt_us > y->debt_us ? -1 : 0;
}

/* NULL for a rule that is not in force here. */
static const struct eb_limit *limit_of(const struct fleet_list *list, const struct fleet_bucket *bucket)
{
	int rule = fleet_bucket_rule(list->session, bucket);

	if (rule < 0)
		return NULL;
	return bucket->limit.of_bytes ? &list->session->policy.rules[rule].bytes
				      : &list->session->policy.rules[rule].packets;
}

static void show_row(const void *arg, size_t row, struct table_cell *cells)
{
	const struct fleet_list *list = arg;
	const struct fleet_bucket *bucket = &list->items[row];
	const struct eb_limit *limit = limit_of(list, bucket);

	snprintf(cells[0].text.s, sizeof(cells[0].text.s), "%s", bucket->limit.record.rule);
	cells[1].text = print_source(&bucket->limit.record.source, &bucket->limit.record.target);
	strcpy(cells[2].text.s, bucket->limit.of_bytes ? "bytes" : "packets");
	if (limit)
		snprintf(cells[3].text.s, sizeof(cells[3].text.s), "%llu/%llu",
			 (unsigned long long)eb_limit_tokens(limit, bucket->debt_us * TICKS_PER_US),
			 (unsigned long long)eb_limit_burst(limit));
	else
		strcpy(cells[3].text.s, "-");
	cells[4].text = print_duration(bucket->debt_us * 1000);
}

static void show_table(const struct fleet_list *list)
{
	static const struct table_column columns[] = {
		{ .title = "RULE" },
		{ .title = "SOURCE" },
		{ .title = "LIMIT" },
		{ .title = "TOKENS", .right = true },
		{ .title = "FULL IN", .right = true },
	};

	if (list->count)
		table_print(columns, sizeof(columns) / sizeof(columns[0]), list->count, show_row, list);
	else
		puts("no shared bucket is in debt");
}

static void show_json(const struct fleet_list *list)
{
	struct json_list rows;

	print_json_list_begin(&rows);
	for (size_t i = 0; i < list->count; i++) {
		const struct fleet_bucket *bucket = &list->items[i];
		const struct eb_limit *limit = limit_of(list, bucket);
		const struct eb_record *record = &bucket->limit.record;
		json_t *row = json_pack("{s:s, s:s, s:s, s:f}", "rule", record->rule, "source",
					print_source(&record->source, &record->target).s, "limit",
					bucket->limit.of_bytes ? "bytes" : "packets", "full_in_seconds",
					bucket->debt_us / 1e6);

		json_object_set_new(row, "tokens", limit ? json_integer(eb_limit_tokens(limit, bucket->debt_us *
											      TICKS_PER_US))
							 : json_null());
		json_object_set_new(row, "burst", limit ? json_integer(eb_limit_burst(limit)) : json_null());
		print_json_list_add(&rows, row);
	}
	print_json_list_end(&rows);
}

static enum cli_result show(const struct cli *cli, const struct eb_config *config, struct fleet_list *list,
			    size_t limit)
{
	enum cli_result result;

	if (!config->fleet.name[0])
		return cli_fail("this node is in no fleet: the configuration has no section fleet");
	result = fleet_buckets_each(config, add, list);
	if (!result && list->error)
		result = cli_fail("%s", strerror(-list->error));
	if (result)
		return result;
	if (list->count)
		qsort(list->items, list->count, sizeof(*list->items), compare);
	if (limit && list->count > limit)
		list->count = limit;
	(cli->json ? show_json : show_table)(list);
	return CLI_DONE;
}

enum cli_result top_fleet_show(const struct cli *cli, const char *rule_name, size_t limit)
{
	struct eb_config *config = NULL;
	struct session session;
	struct fleet_list list = { .session = &session };
	enum cli_result result = session_open(cli, SESSION_MAPS | SESSION_OPTIONAL, &session);

	if (!result)
		result = stores_config(cli, &session, &config);
	if (!result)
		result = stores_policy(config, &session);
	if (!result)
		result = session_option_rule(&session, rule_name, &list.rule);
	if (!result)
		result = show(cli, config, &list, limit);
	free(list.items);
	eb_config_free(config);
	session_close(&session);
	return result;
}
