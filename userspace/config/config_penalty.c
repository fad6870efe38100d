// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>

#include "config/config_penalty.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#define SECOND_NS 1000000000ULL
#define DAY_NS (24 * 3600 * SECOND_NS)

#define WITHIN_MAX_NS DAY_NS
#define BAN_MAX_NS (30 * DAY_NS)
#define FACTOR_MAX 100
#define DEFAULT_FACTOR 2
#define DEFAULT_MAX_NS (3600 * SECOND_NS)

/* A rule must not ban more than a network of one owner, and the program marks its filter's bit in one step. */
#define PER4_MIN 24
#define PER6_MIN 48

static int read_after(const struct eb_yaml_value *value, void *into)
{
	struct eb_penalty_config *penalty = into;
	uint64_t after;
	int err = eb_yaml_count(value, 1, EB_PENALTY_AFTER_MAX, " refusals", &after);

	if (!err)
		penalty->after = after;
	return err;
}

static int read_within(const struct eb_yaml_value *value, void *into)
{
	return eb_yaml_duration(value, SECOND_NS, WITHIN_MAX_NS, "1s to 24h",
				&((struct eb_penalty_config *)into)->within_ns);
}

static int read_ban(const struct eb_yaml_value *value, void *into)
{
	return eb_yaml_duration(value, SECOND_NS, BAN_MAX_NS, "1s to 30 days",
				&((struct eb_penalty_config *)into)->ban_ns);
}

static int read_max(const struct eb_yaml_value *value, void *into)
{
	struct eb_penalty_config *penalty = into;
	int err = eb_yaml_duration(value, SECOND_NS, BAN_MAX_NS, "1s to 30 days", &penalty->max_ns);

	if (!err && penalty->max_ns < penalty->ban_ns)
		return eb_yaml_fail(value, "less than ban: the first ban would be longer than the longest");
	return err;
}

static int read_factor(const struct eb_yaml_value *value, void *into)
{
	uint64_t factor;
	int err = eb_yaml_number(value, 1, FACTOR_MAX, &factor);

	if (!err)
		((struct eb_penalty_config *)into)->factor = factor;
	return err;
}

static int read_refresh(const struct eb_yaml_value *value, void *into)
{
	return eb_yaml_bool(value, &((struct eb_penalty_config *)into)->refresh);
}

/* `max` is compared with `ban`. */
static const struct eb_yaml_key keys[] = {
	{ "after", read_after, true },
	{ "within", read_within, true },
	{ "ban", read_ban, true },
	{ "factor", read_factor, false },
	{ "max", read_max, false },
	{ "refresh", read_refresh, false },
};

int eb_config_penalty_read(const struct eb_yaml_value *value, struct eb_rule_config *rule)
{
	struct eb_penalty_config *penalty = &rule->penalty;
	int err;

	if (rule->per_ipv4 < PER4_MIN || rule->per_ipv6 < PER6_MIN)
		return eb_yaml_fail(value, "bans a whole source; with per, a source must be no wider than ipv4: %d and "
				    "ipv6: %d", PER4_MIN, PER6_MIN);
	penalty->factor = DEFAULT_FACTOR;
	err = eb_yaml_read_map(value, keys, ARRAY_SIZE(keys), penalty, NULL);
	if (!err && !penalty->max_ns)
		penalty->max_ns = penalty->ban_ns > DEFAULT_MAX_NS ? penalty->ban_ns : DEFAULT_MAX_NS;
	return err;
}
