// SPDX-License-Identifier: GPL-2.0-only
/* edgebucket rules: the rules in force, their limits, and what became of their packets. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/agent_client.h"
#include "cli/options.h"
#include "cli/print.h"
#include "cli/session.h"
#include "config/destination.h"
#include "cli/table_print.h"
#include "policy/rules.h"

struct rules_view {
	const struct session *session;
	json_t *lists; /* where prefixes come from, as the agent says; NULL while none runs */
	struct eb_counters counters[EB_LIMITS_MAX];
};

static json_t *counters_json(const struct eb_counters *counters)
{
	json_t *object = json_object();

	for (int i = 0; i < EB_VERDICTS; i++)
		json_object_set_new(object, eb_verdict_name(i),
				    json_pack("{s:I, s:I}", "packets", (json_int_t)counters->packets[i], "bytes",
					      (json_int_t)counters->bytes[i]));
	return object;
}

/* Puts the agent's lists of a rule into its object. */
static void add_lists(const struct rules_view *view, const char *name, json_t *object)
{
	json_t *lists = json_array(), *item;
	size_t i;

	json_array_foreach(view->lists, i, item) {
		const char *rule = json_string_value(json_object_get(item, "rule"));

		if (!rule || strcmp(rule, name) != 0)
			continue;
		item = json_copy(item);
		json_object_del(item, "rule");
		json_array_append_new(lists, item);
	}
	json_object_set_new(object, "lists", lists);
}

static json_t *per_json(const struct eb_rule *rule)
{
	bool has6 = rule->together || rule->prefix6 != EB_NO_PREFIX;

	return json_pack("{s:o, s:o, s:s}", "ipv4",
			 rule->prefix4 != EB_NO_PREFIX ? json_integer(rule->prefix4) : json_null(), "ipv6",
			 has6 ? json_integer(rule->together ? 0 : rule->prefix6) : json_null(), "also",
			 eb_also_names[rule->also]);
}

static json_t *levels_json(const struct rules_view *view, const struct eb_rule *rule)
{
	json_t *levels = json_array();

	for (int i = 0; i < rule->level_count && rule->first_level + i < session_rule_count(view->session); i++) {
		const struct eb_rule *level = &view->session->policy.rules[rule->first_level + i];

		json_array_append_new(levels, json_pack("{s:o, s:o, s:o, s:o, s:o, s:I}", "level",
							print_json_level(level), "per", per_json(level), "packets",
							print_json_limit(&level->packets), "bytes",
							print_json_limit(&level->bytes), "counters",
							counters_json(&view->counters[rule->first_level + i]),
							"new_sources_total", (json_int_t)view->
							counters[rule->first_level + i].new_sources));
	}
	return levels;
}

static json_t *rule_json(const struct rules_view *view, int index)
{
	const struct eb_policy *policy = &view->session->policy;
	const struct eb_rule *rule = &policy->rules[index];
	bool is_limit = rule->action == EB_LIMIT;
	json_t *object;

	object = json_pack("{s:s, s:s, s:s, s:o, s:o, s:o}", "name", session_rule_name(policy, index).s, "action",
			   eb_action_name(rule->action), "mode", rule->monitor ? "monitor" : "enforce", "packets",
			   print_json_limit(&rule->packets), "bytes", print_json_limit(&rule->bytes), "counters",
			   counters_json(&view->counters[index]));
	if (view->lists)
		add_lists(view, session_rule_name(policy, index).s, object);
	if (!is_limit)
		return object;
	json_object_set_new(object, "new_sources", print_json_limit(&rule->new_sources));
	json_object_set_new(object, "new_sources_total", json_integer(view->counters[index].new_sources));
	json_object_set_new(object, "penalty", print_json_penalty(rule));
	json_object_set_new(object, "penalties", json_integer((json_int_t)view->counters[index].penalties));
	json_object_set_new(object, "when_crowded", json_string(rule->crowded_pass ? "pass" : "drop"));
	json_object_set_new(object, "per", per_json(rule));
	json_object_set_new(object, "levels", levels_json(view, rule));
	json_object_set_new(object, "then", json_string(rule->goes_on ? "continue" : "pass"));
	json_object_set_new(object, "share", json_string(rule->shared ? "fleet" : "node"));
	json_object_set_new(object, "careful", json_boolean(rule->careful));
	return object;
}

enum { COLUMN_NAME, COLUMN_ACTION, COLUMN_PACKETS, COLUMN_BYTES, COLUMN_VERDICTS,
       COLUMN_NEW = COLUMN_VERDICTS + 2 * EB_VERDICTS, COLUMN_PENALTIES };

static const struct table_column columns[] = {
	[COLUMN_NAME] = { .title = "RULE" },
	[COLUMN_ACTION] = { .title = "ACTION" },
	[COLUMN_PACKETS] = { .title = "PACKET LIMIT", .optional = true },
	[COLUMN_BYTES] = { .title = "BYTE LIMIT", .optional = true },
	[COLUMN_VERDICTS + 2 * EB_PASS] = { .title = "PASSED", .right = true },
	{ .title = "BYTES", .right = true },
	[COLUMN_VERDICTS + 2 * EB_DROP] = { .title = "DROPPED", .right = true },
	{ .title = "BYTES", .right = true, .optional = true },
	[COLUMN_VERDICTS + 2 * EB_WOULD_DROP] = { .title = "WOULD DROP", .right = true, .optional = true },
	{ .title = "BYTES", .right = true, .optional = true },
	[COLUMN_VERDICTS + 2 * EB_CROWDED] = { .title = "CROWDED", .right = true, .optional = true },
	{ .title = "BYTES", .right = true, .optional = true },
	[COLUMN_VERDICTS + 2 * EB_CONTINUE] = { .title = "WENT ON", .right = true, .optional = true },
	{ .title = "BYTES", .right = true, .optional = true },
	[COLUMN_NEW] = { .title = "NEW SOURCES", .right = true, .optional = true },
	[COLUMN_PENALTIES] = { .title = "PENALTIES", .right = true, .optional = true },
};

static void fill_verdict(const struct eb_counters *counters, enum eb_verdict verdict, struct table_cell cells[2])
{
	static const enum colour colours[EB_VERDICTS] = {
		[EB_DROP] = COLOUR_RED,
		[EB_WOULD_DROP] = COLOUR_YELLOW,
		[EB_CROWDED] = COLOUR_RED,
	};
	uint64_t packets = counters->packets[verdict];

	cells[0].text = packets ? print_count(packets) : (struct text){ "-" };
	cells[1].text = packets ? print_size(counters->bytes[verdict]) : (struct text){ "-" };
	cells[0].colour = packets ? colours[verdict] : COLOUR_NONE;
}

static void fill_row(const void *arg, size_t row, struct table_cell *cells)
{
	const struct rules_view *view = arg;
	const struct eb_rule *rule = &view->session->policy.rules[row];

	cells[COLUMN_NAME].text = session_limit_name(&view->session->policy, row);
	snprintf(cells[COLUMN_ACTION].text.s, sizeof(cells->text.s), "%s%s",
		 rule->level ? "level" : eb_action_name(rule->action),
		 rule->monitor ? " (monitor)" : "");
	cells[COLUMN_PACKETS].text = print_limit(&rule->packets, false);
	cells[COLUMN_BYTES].text = print_limit(&rule->bytes, true);
	for (int i = 0; i < EB_VERDICTS; i++)
		fill_verdict(&view->counters[row], i, &cells[COLUMN_VERDICTS + 2 * i]);
	cells[COLUMN_NEW].text = view->counters[row].new_sources ? print_count(view->counters[row].new_sources)
								 : (struct text){ "-" };
	cells[COLUMN_PENALTIES].text = view->counters[row].penalties ? print_count(view->counters[row].penalties)
								     : (struct text){ "-" };
}

enum { LIST_RULE, LIST_NAME, LIST_PREFIXES, LIST_SKIPPED, LIST_SOURCE, LIST_PROBLEM };

static const struct table_column list_columns[] = {
	[LIST_RULE] = { .title = "RULE" },
	[LIST_NAME] = { .title = "LIST" },
	[LIST_PREFIXES] = { .title = "PREFIXES", .right = true },
	[LIST_SKIPPED] = { .title = "LINES LEFT OUT", .right = true, .optional = true },
	[LIST_SOURCE] = { .title = "FROM" },
	[LIST_PROBLEM] = { .title = "NOT IN FORCE", .optional = true },
};

static void put_text(const json_t *item, const char *name, const char *none, struct table_cell *cell)
{
	const char *text = json_string_value(json_object_get(item, name));

	snprintf(cell->text.s, sizeof(cell->text.s), "%s", text ? text : none);
}

static void fill_list(const void *arg, size_t row, struct table_cell *cells)
{
	const struct rules_view *view = arg;
	const json_t *item = json_array_get(view->lists, row);
	json_int_t skipped = json_integer_value(json_object_get(item, "skipped"));

	put_text(item, "rule", "?", &cells[LIST_RULE]);
	put_text(item, "list", "?", &cells[LIST_NAME]);
	put_text(item, "source", "the configuration", &cells[LIST_SOURCE]);
	put_text(item, "problem", "-", &cells[LIST_PROBLEM]);
	cells[LIST_PREFIXES].text = print_count(json_integer_value(json_object_get(item, "prefixes")));
	cells[LIST_SKIPPED].text = skipped ? print_count(skipped) : (struct text){ "-" };
	cells[LIST_PROBLEM].colour = COLOUR_RED;
}

static enum cli_result print_rules_json(const struct rules_view *view)
{
	struct json_list list;

	print_json_list_begin(&list);
	for (int i = 0; i < session_own_rule_count(view->session); i++)
		print_json_list_add(&list, rule_json(view, i));
	print_json_list_end(&list);
	return CLI_DONE;
}

static enum cli_result print_rules(const struct rules_view *view, bool json)
{
	if (json)
		return print_rules_json(view);
	table_print(columns, sizeof(columns) / sizeof(columns[0]), session_rule_count(view->session), fill_row, view);
	if (json_array_size(view->lists)) {
		putchar('\n');
		table_print(list_columns, sizeof(list_columns) / sizeof(list_columns[0]), json_array_size(view->lists),
			    fill_list, view);
	}
	return CLI_DONE;
}

/* The maps have the prefixes of all lists together; which came from where, an agent that runs knows. */
static void ask_for_lists(struct rules_view *view)
{
	json_t *reply;

	if (!agent_is_running(view->session) || agent_ask(view->session, "lists", AGENT_TIMEOUT_MS, &reply))
		return;
	view->lists = json_incref(json_object_get(reply, "lists"));
	json_decref(reply);
}

static int read_counters(struct rules_view *view)
{
	int err = 0;

	for (int i = 0; i < session_rule_count(view->session) && !err; i++)
		err = eb_maps_counters(&view->session->maps, view->session->policy.rules[i].slot, &view->counters[i]);
	return err;
}

enum cli_result cmd_rules(struct cli *cli, int argc, char **argv)
{
	struct session session;
	struct rules_view view = { .session = &session };
	enum cli_result result;
	int err;

	if (options_parse(cli, argc, argv, NULL, 0, 0))
		return CLI_MISUSED;
	result = session_open(cli, SESSION_MAPS, &session);
	if (!result) {
		ask_for_lists(&view);
		err = read_counters(&view);
		result = err ? cli_fail("%s/counters: %s", session.paths.pin_dir, strerror(-err)) :
			       print_rules(&view, cli->json);
	}
	json_decref(view.lists);
	session_close(&session);
	return result;
}
