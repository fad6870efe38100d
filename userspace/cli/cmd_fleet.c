// SPDX-License-Identifier: GPL-2.0-only
/* edgebucket fleet: the nodes that share buckets, as the agent sees them. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/agent_client.h"
#include "cli/options.h"
#include "cli/session.h"
#include "cli/table_print.h"

struct fleet_rows {
	json_t *fleet, *nodes;
	const char *self;
};

static double real(const json_t *object, const char *name)
{
	return json_number_value(json_object_get(object, name));
}

static struct text seconds(double value)
{
	return print_duration(fabs(value) < 1e9 ? (uint64_t)(fabs(value) * 1e9) : UINT64_MAX);
}

static struct text offset(double value)
{
	struct text text, length = seconds(value);

	snprintf(text.s, sizeof(text.s), "%s%.*s", value < 0 ? "-" : "+", (int)sizeof(text.s) - 2, length.s);
	return text;
}

static void show_node(const void *arg, size_t row, struct table_cell *cells)
{
	const struct fleet_rows *rows = arg;
	const json_t *node = json_array_get(rows->nodes, row);
	const char *name = json_string_value(json_object_get(node, "node"));
	bool is_seen = json_is_true(json_object_get(node, "seen"));

	snprintf(cells[0].text.s, sizeof(cells[0].text.s), "%s%s", name ? name : "",
		 name && !strcmp(name, rows->self) ? " *" : "");
	cells[1].text = seconds(real(node, "seen_seconds_ago"));
	cells[1].colour = is_seen ? COLOUR_GREEN : COLOUR_RED;
	cells[2].text = print_count((uint64_t)json_integer_value(json_object_get(node, "changed")));
	cells[3].text = seconds(real(node, "lag_seconds"));
	cells[4].text = offset(real(node, "clock_offset_seconds"));
}

static void show(const struct fleet_rows *rows)
{
	static const struct table_column columns[] = {
		{ .title = "NODE" },
		{ .title = "SEEN AGO", .right = true },
		{ .title = "CHANGED", .right = true },
		{ .title = "LAG", .right = true },
		{ .title = "CLOCK", .right = true },
	};
	json_int_t seen = json_integer_value(json_object_get(rows->fleet, "nodes_seen"));

	printf("Fleet %s: %lld node%s seen, told %s, heard %s, lag %s%s\n",
	       json_string_value(json_object_get(rows->fleet, "name")), (long long)seen, seen == 1 ? "" : "s",
	       print_count(json_integer_value(json_object_get(rows->fleet, "told"))).s,
	       print_count(json_integer_value(json_object_get(rows->fleet, "heard"))).s,
	       seconds(real(rows->fleet, "lag_seconds")).s,
	       json_is_true(json_object_get(rows->fleet, "lost")) ? ", LOST" : "");
	if (json_is_true(json_object_get(rows->fleet, "namesake")))
		printf("Another agent has the name %s: give each host a unique node:\n", rows->self);
	table_print(columns, sizeof(columns) / sizeof(columns[0]), json_array_size(rows->nodes), show_node, rows);
}

enum cli_result cmd_fleet(struct cli *cli, int argc, char **argv)
{
	struct fleet_rows rows = { .self = "" };
	json_t *status = NULL;
	struct session session;
	enum cli_result result;

	if (options_parse(cli, argc, argv, NULL, 0, 0))
		return CLI_MISUSED;
	result = session_open(cli, SESSION_OPTIONAL, &session);
	if (!result)
		result = agent_ask(&session, "status", AGENT_TIMEOUT_MS, &status);
	rows.fleet = json_object_get(status, "fleet");
	rows.nodes = json_object_get(rows.fleet, "nodes");
	if (json_is_string(json_object_get(status, "node")))
		rows.self = json_string_value(json_object_get(status, "node"));
	if (!result && !json_is_object(rows.fleet))
		result = cli_fail("this node is in no fleet: the configuration has no section fleet");
	else if (!result && cli->json)
		result = print_json(json_incref(rows.fleet));
	else if (!result)
		show(&rows);
	json_decref(status);
	session_close(&session);
	return result;
}
