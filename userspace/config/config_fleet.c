// SPDX-License-Identifier: GPL-2.0-only
#include <string.h>

#include "base/input.h"
#include "config/config_fleet.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define MS 1000000ULL

/* It becomes part of Redis keys, in braces. */
static int read_name(const struct eb_yaml_value *value, void *into)
{
	struct eb_fleet_config *fleet = into;
	const char *text;
	int err = eb_yaml_text(value, &text);

	if (err)
		return err;
	if (!*text || strlen(text) > EB_FLEET_NAME_MAX ||
	    text[strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-_")])
		return eb_yaml_fail(value, "%s is not a fleet's name; 1 to %d characters of a-z 0-9 - _",
				    eb_input_quote(text).text, EB_FLEET_NAME_MAX);
	strcpy(fleet->name, text);
	return 0;
}

static int read_tick(const struct eb_yaml_value *value, void *into)
{
	return eb_yaml_duration(value, 10 * MS, 60000 * MS, "10ms to 1min",
				&((struct eb_fleet_config *)into)->tick_ns);
}

static int read_lost_after(const struct eb_yaml_value *value, void *into)
{
	return eb_yaml_duration(value, 1000 * MS, 3600000 * MS, "1s to 1h",
				&((struct eb_fleet_config *)into)->lost_after_ns);
}

static int read_on_lost(const struct eb_yaml_value *value, void *into)
{
	static const char *const names[] = { [EB_ON_LOST_SHARE] = "share", [EB_ON_LOST_NODE] = "node" };
	struct eb_fleet_config *fleet = into;
	unsigned int choice;
	int err = eb_yaml_choice(value, names, ARRAY_SIZE(names), &choice);

	if (!err)
		fleet->on_lost = choice;
	return err;
}

static const struct eb_yaml_key keys[] = {
	{ "name", read_name, true },
	{ "tick", read_tick, false },
	{ "lost_after", read_lost_after, false },
	{ "on_lost", read_on_lost, false },
};

int eb_config_fleet_read(const struct eb_yaml_value *value, void *into)
{
	struct eb_fleet_config *fleet = &((struct eb_config *)into)->fleet;
	int err;

	*fleet = (struct eb_fleet_config){ .tick_ns = 200 * MS, .lost_after_ns = 5000 * MS,
					    .line = eb_yaml_line(value) };
	err = eb_yaml_read_map(value, keys, ARRAY_SIZE(keys), fleet, NULL);
	if (err || fleet->lost_after_ns >= 3 * fleet->tick_ns)
		return err;
	return eb_yaml_fail(value, "lost_after is less than three times tick; one late answer would count as a loss");
}

int eb_config_fleet_check(const struct eb_config *config, struct eb_findings *findings)
{
	bool is_shared = config->bans_shared;

	if (!config->fleet.name[0])
		return 0;
	if (!config->redis)
		return eb_findings_fail(findings, "%s:%u: fleet: needs redis, through which the nodes share their "
					"buckets", config->path, config->fleet.line);
	if (!config->node[0])
		return eb_findings_fail(findings, "%s:%u: fleet: needs a node, which must be unique among its nodes",
					config->path, config->fleet.line);
	for (size_t i = 0; i < config->rule_count; i++)
		is_shared |= config->rules[i].shared;
	if (!is_shared)
		return eb_findings_warn(findings, "%s:%u: fleet: neither a rule nor bans: has share: fleet, so "
					"nothing is shared", config->path, config->fleet.line);
	return 0;
}
