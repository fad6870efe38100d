// SPDX-License-Identifier: GPL-2.0-only
/* edgebucket rules: the rules in force, their limits, and what became of their packets. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "options.h"
#include "print.h"
#include "rules.h"
#include "session.h"
#include "table_print.h"

struct rules_view {
	const struct session *session;
	struct eb_counters counters[EB_RULES_MAX];
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
	if (!is_limit)
		return object;
	json_object_set_new(object, "new_sources", print_json_limit(&rule->new_sources));
	json_object_set_new(object, "when_crowded", json_string(rule->crowded_pass ? "pass" : "drop"));
	json_object_set_new(object, "per", json_pack("{s:i, s:i}", "ipv4", rule->prefix4, "ipv6", rule->prefix6));
	return object;
}

enum { COLUMN_NAME, COLUMN_ACTION, COLUMN_PACKETS, COLUMN_BYTES, COLUMN_VERDICTS };

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

	cells[COLUMN_NAME].text = session_rule_name(&view->session->policy, row);
	snprintf(cells[COLUMN_ACTION].text.s, sizeof(cells->text.s), "%s%s", eb_action_name(rule->action),
		 rule->monitor ? " (monitor)" : "");
	cells[COLUMN_PACKETS].text = print_limit(&rule->packets, false);
	cells[COLUMN_BYTES].text = print_limit(&rule->bytes, true);
	for (int i = 0; i < EB_VERDICTS; i++)
		fill_verdict(&view->counters[row], i, &cells[COLUMN_VERDICTS + 2 * i]);
}

static enum cli_result print_rules_json(const struct rules_view *view)
{
	struct json_list list;

	print_json_list_begin(&list);
	for (int i = 0; i < session_rule_count(view->session); i++)
		print_json_list_add(&list, rule_json(view, i));
	print_json_list_end(&list);
	return CLI_DONE;
}

static enum cli_result print_rules(const struct rules_view *view, bool json)
{
	if (json)
		return print_rules_json(view);
	table_print(columns, sizeof(columns) / sizeof(columns[0]), session_rule_count(view->session), fill_row, view);
	return CLI_DONE;
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
		err = read_counters(&view);
		result = err ? cli_fail("%s/counters: %s", session.places.pin_dir, strerror(-err)) :
			       print_rules(&view, cli->json);
	}
	session_close(&session);
	return result;
}
