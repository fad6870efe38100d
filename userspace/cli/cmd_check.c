// SPDX-License-Identifier: GPL-2.0-only
/* edgebucket check: reads a configuration as the agent would, and says what it means. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/printable.h"
#include "cli/lockout.h"
#include "cli/options.h"
#include "cli/print.h"
#include "cli/table_print.h"
#include "config/config.h"
#include "config/protocol.h"
#include "policy/rules.h"

/* A configuration and what became of it. */
struct checked {
	const struct eb_config *config;
	const struct eb_ruleset *ruleset;
};

/* Appends to `text`, which ends in "..." when that is too much. */
__attribute__((format(printf, 2, 3))) static void append(struct text *text, const char *format, ...)
{
	size_t used = strlen(text->s), room = sizeof(text->s) - used;
	va_list args;
	int size;

	va_start(args, format);
	size = vsnprintf(text->s + used, room, format, args);
	va_end(args);
	if (size >= (int)room)
		strcpy(text->s + sizeof(text->s) - 4, "...");
}

static void append_prefixes(struct text *text, const char *name, const struct eb_prefix_list *list)
{
	if (list->count == 1)
		append(text, " %s %s", name, print_prefix(list->items[0].family, list->items[0].addr,
							  list->items[0].len).s);
	else
		append(text, " %s %zu prefixes", name, list->count);
}

static void append_ranges(struct text *text, enum eb_number number, const struct eb_ranges *ranges)
{
	static const char *const names[EB_NUMBERS] = {
		[EB_DPORT] = "dport", [EB_SPORT] = "sport", [EB_LENGTH] = "length", [EB_VLAN] = "vlan",
	};

	for (size_t i = 0; i < ranges->count; i++) {
		const struct eb_range *range = &ranges->items[i];

		append(text, "%s%s%s", i ? "," : " ", i ? "" : names[number], i ? "" : " ");
		if (number == EB_VLAN && !range->first)
			append(text, "none");
		else
			append(text, "%u", range->first);
		if (range->last != range->first)
			append(text, "-%u", range->last);
	}
}

static void append_flags(struct text *text, const struct eb_match *match)
{
	char set[64], clear[64];

	if (!match->flags_set && !match->flags_clear)
		return;
	eb_tcp_flags_print(match->flags_set, "", set, sizeof(set));
	eb_tcp_flags_print(match->flags_clear, "!", clear, sizeof(clear));
	append(text, " flags %s%s%s", set, *set && *clear ? "," : "", clear);
}

static void append_icmp_types(struct text *text, const struct eb_octets *types, bool is_6)
{
	char name[EB_PROTOCOL_NAME_MAX];

	for (int type = 0, count = 0; type < 256; type++)
		if (eb_octets_have(types, type))
			append(text, "%s%s", count++ ? "," : is_6 ? " icmpv6 type " : " icmp type ",
			       eb_icmp_print(type, is_6, name));
}

static void append_interfaces(struct text *text, const struct eb_config *config, uint64_t interfaces)
{
	for (size_t i = 0, count = 0; i < config->entry_count; i++)
		if (interfaces >> i & 1)
			append(text, "%s%s", count++ ? "," : " interface ", config->entries[i].text);
}

static struct text match_text(const struct eb_config *config, const struct eb_match *match)
{
	char proto[EB_PROTOCOL_NAME_MAX];
	struct text text = { "" };

	if (match->has_src)
		append_prefixes(&text, "src", &match->src);
	if (match->has_dst)
		append_prefixes(&text, "dst", &match->dst);
	if (match->src_except.count)
		append_prefixes(&text, "src except", &match->src_except);
	if (match->dst_except.count)
		append_prefixes(&text, "dst except", &match->dst_except);
	for (int i = 0, count = 0; i < 256; i++)
		if (eb_octets_have(&match->protos, i))
			append(&text, "%s%s", count++ ? "," : " ", eb_protocol_print(i, proto));
	for (int number = 0; number < EB_NUMBERS; number++)
		append_ranges(&text, number, &match->numbers[number]);
	append_flags(&text, match);
	append_icmp_types(&text, &match->icmp_types, false);
	append_icmp_types(&text, &match->icmpv6_types, true);
	if (match->has_fragment)
		append(&text, match->is_fragment ? " fragments" : " no fragments");
	append_interfaces(&text, config, match->interfaces);
	if (!*text.s)
		append(&text, " everything");
	memmove(text.s, text.s + 1, strlen(text.s)); /* the leading space */
	return text;
}

enum { COLUMN_NAME, COLUMN_ACTION, COLUMN_MATCH, COLUMN_PACKETS, COLUMN_BYTES, COLUMN_PER };

static const struct table_column columns[] = {
	[COLUMN_NAME] = { .title = "RULE" },
	[COLUMN_ACTION] = { .title = "ACTION" },
	[COLUMN_MATCH] = { .title = "MATCH" },
	[COLUMN_PACKETS] = { .title = "PACKET LIMIT", .optional = true },
	[COLUMN_BYTES] = { .title = "BYTE LIMIT", .optional = true },
	[COLUMN_PER] = { .title = "PER", .optional = true },
};

static void fill_row(const void *arg, size_t row, struct table_cell *cells)
{
	const struct checked *checked = arg;
	const struct eb_rule_config *config = &checked->config->rules[row];
	const struct eb_rule *rule = &checked->ruleset->policy.rules[row];

	snprintf(cells[COLUMN_NAME].text.s, sizeof(cells->text.s), "%s", config->name);
	snprintf(cells[COLUMN_ACTION].text.s, sizeof(cells->text.s), "%s%s", eb_action_name(config->action),
		 config->monitor ? " (monitor)" : "");
	cells[COLUMN_MATCH].text = match_text(checked->config, &config->match);
	cells[COLUMN_PACKETS].text = print_limit(&rule->packets, false);
	cells[COLUMN_BYTES].text = print_limit(&rule->bytes, true);
	if (config->action == EB_LIMIT)
		snprintf(cells[COLUMN_PER].text.s, sizeof(cells->text.s), "/%u, /%u", config->per_ipv4,
			 config->per_ipv6);
	else
		strcpy(cells[COLUMN_PER].text.s, "-");
}

static json_t *rules_json(const struct checked *checked)
{
	json_t *list = json_array();

	for (size_t i = 0; i < checked->config->rule_count; i++) {
		const struct eb_rule_config *config = &checked->config->rules[i];
		const struct eb_rule *rule = &checked->ruleset->policy.rules[i];

		json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s, s:o, s:o}", "name", config->name, "action",
						      eb_action_name(config->action), "mode",
						      config->monitor ? "monitor" : "enforce", "match",
						      match_text(checked->config, &config->match).s, "packets",
						      print_json_limit(&rule->packets), "bytes",
						      print_json_limit(&rule->bytes)));
	}
	return list;
}

static enum cli_result print_checked_json(const struct checked *checked, const char *path)
{
	json_t *warnings = json_array();

	for (size_t i = 0; i < checked->config->warning_count; i++)
		json_array_append_new(warnings, eb_printable_json(checked->config->warnings[i]));
	return print_json(json_pack("{s:b, s:o, s:o, s:o}", "valid", 1, "file", eb_printable_json(path), "warnings",
				    warnings, "rules", rules_json(checked)));
}

static enum cli_result print_checked(const struct checked *checked, const char *path)
{
	size_t count = checked->config->rule_count;

	if (count)
		table_print(columns, sizeof(columns) / sizeof(columns[0]), count, fill_row, checked);
	printf("%s%s: good, %zu rule%s\n", count ? "\n" : "", path, count, count == 1 ? "" : "s");
	return CLI_DONE;
}

static enum cli_result refuse(const struct cli *cli, const char *path, char *error)
{
	if (cli->json)
		print_json(json_pack("{s:b, s:o, s:o}", "valid", 0, "file", eb_printable_json(path), "error",
				     eb_printable_json(error)));
	return cli_fail_text(error);
}

enum cli_result cmd_check(struct cli *cli, int argc, char **argv)
{
	struct eb_ruleset *ruleset = NULL;
	struct eb_config *config = NULL;
	enum cli_result result;
	struct checked checked;
	char *error = NULL;

	if (options_parse(cli, argc, argv, NULL, 0, 1))
		return CLI_MISUSED;
	if (!cli->arg_count)
		return cli_misuse(cli, "check needs a file");
	if (eb_config_read(cli->args[0], cli->redis_path, &config, &error) ||
	    eb_rules_compile(config, NULL, &ruleset, &error)) {
		eb_config_free(config);
		return refuse(cli, cli->args[0], error);
	}
	for (size_t i = 0; i < config->warning_count; i++)
		cli_note("warning: %s", config->warnings[i]);
	lockout_warn(config);
	checked = (struct checked){ .config = config, .ruleset = ruleset };
	result = cli->json ? print_checked_json(&checked, cli->args[0]) : print_checked(&checked, cli->args[0]);
	eb_rules_free(ruleset);
	eb_config_free(config);
	return result;
}
