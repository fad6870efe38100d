// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/input.h"
#include "config/config_levels.h"
#include "config/config_match.h"
#include "config/config_penalty.h"
#include "config/config_rules.h"
#include "config/limit.h"
#include "config/prefix_list.h"
#include "config/quantity.h"
#include "config/destination.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#define ETHERNET_HEADER 14
#define DEFAULT_MTU 1500 /* of an interface that is not there yet */

struct rule_reader {
	struct eb_config *config;
	struct eb_rule_config *rule;
};

/* --- limits --- */

static int refuse_unless_limit(const struct eb_yaml_value *value, const struct eb_rule_config *rule)
{
	return rule->action == EB_LIMIT ? 0 : eb_yaml_fail(value, "only for rules with action: limit");
}

static int read_rate_with(const struct eb_yaml_value *value, struct eb_rate *rate,
			  int (*parse)(const char *text, struct eb_rate *out, const char **reason))
{
	const char *text, *reason;
	int err = eb_yaml_text(value, &text);

	if (err)
		return err;
	return parse(text, rate, &reason) ? eb_yaml_fail(value, "%s %s", eb_input_quote(text).text, reason) : 0;
}

static int read_packet_rate(const struct eb_yaml_value *value, void *into)
{
	return read_rate_with(value, into, eb_quantity_packet_rate);
}

static int read_byte_rate(const struct eb_yaml_value *value, void *into)
{
	return read_rate_with(value, into, eb_quantity_byte_rate);
}

/* The rate has been read by now: whether the two go together shows here. */
static int read_burst_with(const struct eb_yaml_value *value, struct eb_rate *rate, bool is_bytes)
{
	const char *text, *reason;
	struct eb_limit limit;
	int err = eb_yaml_text(value, &text);

	if (err)
		return err;
	if ((is_bytes ? eb_quantity_size : eb_quantity_count)(text, &rate->burst, &reason))
		return eb_yaml_fail(value, "%s %s", eb_input_quote(text).text, reason);
	if (!rate->burst)
		return eb_yaml_fail(value, "%s would pass nothing; use at least 1, or action: deny",
				    eb_input_quote(text).text);
	err = eb_limit_compile(rate, is_bytes, &limit);
	if (err == -ERANGE)
		return eb_yaml_fail(value, "%s would take more than 52 days to refill; lower it or raise the rate",
				    eb_input_quote(text).text);
	if (err)
		return eb_yaml_fail(value, "%s is less than two nanoseconds of the rate; raise it",
				    eb_input_quote(text).text);
	return 0;
}

static int read_packet_burst(const struct eb_yaml_value *value, void *into)
{
	return read_burst_with(value, into, false);
}

static int read_byte_burst(const struct eb_yaml_value *value, void *into)
{
	return read_burst_with(value, into, true);
}

static const struct eb_yaml_key packet_keys[] = {
	{ "rate", read_packet_rate, true },
	{ "burst", read_packet_burst, true },
};

static const struct eb_yaml_key byte_keys[] = {
	{ "rate", read_byte_rate, true },
	{ "burst", read_byte_burst, true },
};

int eb_config_packets_read(const struct eb_yaml_value *value, struct eb_rate *out)
{
	return eb_yaml_read_map(value, packet_keys, ARRAY_SIZE(packet_keys), out, NULL);
}

static int read_packets(const struct eb_yaml_value *value, void *into)
{
	struct eb_rule_config *rule = ((struct rule_reader *)into)->rule;
	int err = refuse_unless_limit(value, rule);

	return err ? err : eb_config_packets_read(value, &rule->packets);
}

static unsigned int mtu_of(const char *interface)
{
	struct ifreq request = { 0 };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	unsigned int mtu = DEFAULT_MTU;

	if (fd < 0)
		return mtu;
	strcpy(request.ifr_name, interface);
	if (!ioctl(fd, SIOCGIFMTU, &request) && request.ifr_mtu > 0)
		mtu = request.ifr_mtu;
	close(fd);
	return mtu;
}

static int warn_of_small_burst(const struct eb_yaml_value *value, const struct eb_config *config, uint64_t burst)
{
	const char *interface = "an interface";
	unsigned int largest = config->seen_count ? 0 : DEFAULT_MTU + ETHERNET_HEADER;

	for (size_t i = 0; i < config->seen_count; i++) {
		unsigned int frame = mtu_of(config->seen[i]) + ETHERNET_HEADER;

		if (frame > largest) {
			largest = frame;
			interface = config->seen[i];
		}
	}
	if (burst >= largest)
		return 0;
	return eb_yaml_warn(value, "a burst of %llu bytes never passes a full frame of %s, %u bytes (VLAN tags add "
				   "up to 8)", (unsigned long long)burst, interface, largest);
}

int eb_config_bytes_read(const struct eb_yaml_value *value, const struct eb_config *config, struct eb_rate *out)
{
	int err = eb_yaml_read_map(value, byte_keys, ARRAY_SIZE(byte_keys), out, NULL);

	return err ? err : warn_of_small_burst(value, config, out->burst);
}

static int read_bytes(const struct eb_yaml_value *value, void *into)
{
	struct rule_reader *reader = into;
	int err = refuse_unless_limit(value, reader->rule);

	return err ? err : eb_config_bytes_read(value, reader->config, &reader->rule->bytes);
}

static int read_new_sources(const struct eb_yaml_value *value, void *into)
{
	struct rule_reader *reader = into;
	struct eb_rate *rate = &reader->rule->new_sources;
	int err = refuse_unless_limit(value, reader->rule);

	if (err)
		return err;
	err = eb_yaml_read_map(value, packet_keys, ARRAY_SIZE(packet_keys), rate, NULL);
	if (err || rate->burst <= reader->config->table_size)
		return err;
	return eb_yaml_warn(value, "a burst of %llu new sources is more than the table holds (table_size: %u)",
			    (unsigned long long)rate->burst, reader->config->table_size);
}

static void default_new_sources(const struct eb_config *config, struct eb_rate *rate)
{
	if (rate->tokens)
		return;
	*rate = (struct eb_rate){
		.tokens = config->table_size / 10, .period_ns = 1000000000, .burst = config->table_size / 5,
	};
}

/* --- a rule --- */

static int read_match(const struct eb_yaml_value *value, void *into)
{
	struct rule_reader *reader = into;

	return eb_config_match_read(value, reader->config, &reader->rule->match);
}

static bool is_rule_name(const char *text)
{
	size_t len = strlen(text);

	return len && len <= EB_RULE_NAME_MAX && strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-_") == len;
}

static int read_name(const struct eb_yaml_value *value, void *into)
{
	struct rule_reader *reader = into;
	const char *text;
	int err = eb_yaml_text(value, &text);

	if (err)
		return err;
	if (!is_rule_name(text))
		return eb_yaml_fail(value, "%s is not a rule's name; 1 to %d characters of a-z 0-9 - _",
				    eb_input_quote(text).text, EB_RULE_NAME_MAX);
	for (const struct eb_rule_config *other = reader->config->rules; other < reader->rule; other++)
		if (!strcmp(other->name, text))
			return eb_yaml_fail(value, "\"%s\" is already the name of the rule in line %u", text,
					    other->line);
	strcpy(reader->rule->name, text);
	return 0;
}

static int read_action(const struct eb_yaml_value *value, void *into)
{
	static const char *const names[] = { [EB_ALLOW] = "allow", [EB_DENY] = "deny", [EB_LIMIT] = "limit" };
	struct rule_reader *reader = into;
	unsigned int action;
	int err = eb_yaml_choice(value, names, ARRAY_SIZE(names), &action);

	if (!err)
		reader->rule->action = action;
	return err;
}

static int read_mode(const struct eb_yaml_value *value, void *into)
{
	static const char *const names[] = { "enforce", "monitor" };
	struct rule_reader *reader = into;
	unsigned int mode;
	int err;

	if (reader->rule->action == EB_ALLOW)
		return eb_yaml_fail(value, "only for rules with action: limit or deny");
	err = eb_yaml_choice(value, names, ARRAY_SIZE(names), &mode);
	if (!err)
		reader->rule->monitor = mode;
	return err;
}

static int read_when_crowded(const struct eb_yaml_value *value, void *into)
{
	static const char *const names[] = { "drop", "pass" };
	struct eb_rule_config *rule = ((struct rule_reader *)into)->rule;
	unsigned int choice;
	int err = refuse_unless_limit(value, rule);

	if (err)
		return err;
	err = eb_yaml_choice(value, names, ARRAY_SIZE(names), &choice);
	if (err)
		return err;
	rule->crowded_pass = choice;
	return 0;
}

static int read_per_with(const struct eb_yaml_value *value, unsigned int max, uint8_t *out)
{
	uint64_t len;
	int err = eb_yaml_number(value, 0, max, &len);

	if (!err)
		*out = len;
	return err;
}

static int read_per_ipv4(const struct eb_yaml_value *value, void *into)
{
	return read_per_with(value, 32, &((struct eb_rule_config *)into)->per_ipv4);
}

static int read_per_ipv6(const struct eb_yaml_value *value, void *into)
{
	return read_per_with(value, 128, &((struct eb_rule_config *)into)->per_ipv6);
}

static const struct eb_yaml_key per_keys[] = {
	{ "ipv4", read_per_ipv4, false },
	{ "ipv6", read_per_ipv6, false },
};

static int read_per(const struct eb_yaml_value *value, void *into)
{
	struct rule_reader *reader = into;
	int err = refuse_unless_limit(value, reader->rule);

	return err ? err : eb_yaml_read_map(value, per_keys, ARRAY_SIZE(per_keys), reader->rule, NULL);
}

int eb_config_also_per_read(const struct eb_yaml_value *value, enum eb_also *out)
{
	unsigned int choice;
	int err = eb_yaml_choice(value, eb_also_names, EB_ALSOS, &choice);

	if (!err)
		*out = choice;
	return err;
}

static int read_also_per(const struct eb_yaml_value *value, void *into)
{
	struct rule_reader *reader = into;
	int err = refuse_unless_limit(value, reader->rule);

	return err ? err : eb_config_also_per_read(value, &reader->rule->also_per);
}

static int read_then(const struct eb_yaml_value *value, void *into)
{
	static const char *const names[] = { "pass", "continue" };
	struct eb_rule_config *rule = ((struct rule_reader *)into)->rule;
	unsigned int choice;
	int err = refuse_unless_limit(value, rule);

	if (err)
		return err;
	err = eb_yaml_choice(value, names, ARRAY_SIZE(names), &choice);
	if (err)
		return err;
	rule->goes_on = choice;
	return 0;
}

static int read_share_fleet(const struct eb_yaml_value *value, void *into)
{
	static const char *const names[] = { "careful" };
	struct eb_rule_config *rule = into;
	unsigned int choice;

	rule->shared = rule->careful = true;
	return eb_yaml_choice(value, names, ARRAY_SIZE(names), &choice);
}

static int read_share_name(const struct eb_yaml_value *value, struct eb_rule_config *rule)
{
	static const char *const names[] = { "node", "fleet" };
	unsigned int choice;
	int err = eb_yaml_choice(value, names, ARRAY_SIZE(names), &choice);

	if (!err)
		rule->shared = choice;
	return err;
}

/* A name, or { fleet: careful }. */
static int read_share(const struct eb_yaml_value *value, void *into)
{
	static const struct eb_yaml_key keys[] = { { "fleet", read_share_fleet, true } };
	struct rule_reader *reader = into;
	int err = refuse_unless_limit(value, reader->rule);

	if (err)
		return err;
	if (eb_yaml_is_map(value))
		err = eb_yaml_read_map(value, keys, ARRAY_SIZE(keys), reader->rule, NULL);
	else
		err = read_share_name(value, reader->rule);
	if (err)
		return err;
	if (reader->rule->shared && !reader->config->fleet.name[0])
		return eb_yaml_fail(value, "needs the section fleet, as in fleet: { name: edge }");
	return 0;
}

static int read_penalty(const struct eb_yaml_value *value, void *into)
{
	struct rule_reader *reader = into;
	int err = refuse_unless_limit(value, reader->rule);

	return err ? err : eb_config_penalty_read(value, reader->rule);
}

static int read_levels(const struct eb_yaml_value *value, void *into)
{
	struct rule_reader *reader = into;
	int err = refuse_unless_limit(value, reader->rule);

	return err ? err : eb_config_levels_read(value, reader->config, reader->rule);
}

/* The action comes before the keys that depend on it, and what levels are multiples of before them. */
static const struct eb_yaml_key rule_keys[] = {
	{ "name", read_name, true },
	{ "action", read_action, true },
	{ "match", read_match, false },
	{ "per", read_per, false },
	{ "also_per", read_also_per, false },
	{ "packets", read_packets, false },
	{ "bytes", read_bytes, false },
	{ "levels", read_levels, false },
	{ "then", read_then, false },
	{ "share", read_share, false },
	{ "penalty", read_penalty, false },
	{ "new_sources", read_new_sources, false },
	{ "when_crowded", read_when_crowded, false },
	{ "mode", read_mode, false },
};

static void init_rule(struct eb_rule_config *rule, unsigned int line)
{
	*rule = (struct eb_rule_config){
		.per_ipv4 = 32,
		.per_ipv6 = 64,
		.line = line,
	};
}

static bool matches_all(const struct eb_match *match)
{
	for (int number = 0; number < EB_NUMBERS; number++)
		if (match->numbers[number].count)
			return false;
	return !match->has_src && !match->has_dst && !match->has_proto && !match->src_except.count &&
	       !match->dst_except.count && !match->flags_set && !match->flags_clear && !match->has_icmp_type &&
	       !match->has_fragment && !match->interfaces;
}

/* What an enforced rule denies of all packets, in words; NULL where that depends. */
static const char *denied_by(const struct eb_rule_config *rule)
{
	static const char *const words[] = { NULL, "all of IPv4", "all of IPv6", "everything" };
	struct eb_match match = rule->match;
	unsigned int families = 0;

	if (rule->action != EB_DENY || rule->monitor)
		return NULL;
	match.has_src = false;
	if (!matches_all(&match))
		return NULL;
	for (size_t i = 0; i < match.src.count; i++)
		if (match.src.items[i].len == 0)
			families |= match.src.items[i].family == 4 ? 1 : 2;
	return words[rule->match.has_src ? families : 3];
}

static int finish_rule(const struct eb_yaml_value *value, struct rule_reader *reader)
{
	struct eb_rule_config *rule = reader->rule;

	if (denied_by(rule))
		return eb_yaml_warn(value, "denies %s that no rule before it matches, including your own session; "
				    "\"edgebucket apply FILE --confirm 60s\" rolls it back unless you confirm it",
				    denied_by(rule));
	if (rule->action != EB_LIMIT)
		return 0;
	if (!rule->packets.tokens && !rule->bytes.tokens)
		return eb_yaml_fail(value, "action: limit needs at least one of packets and bytes");
	default_new_sources(reader->config, &rule->new_sources);
	return 0;
}

static int read_rule(const struct eb_yaml_value *value, void *into)
{
	struct eb_config *config = into;
	struct rule_reader reader = { .config = config, .rule = &config->rules[config->rule_count] };
	const char *name = eb_yaml_peek(value, "name");
	struct eb_yaml_value named = *value;
	int err;

	if (config->rule_count >= EB_RULES_MAX)
		return eb_yaml_fail(value, "more than %d rules", EB_RULES_MAX);
	init_rule(reader.rule, eb_yaml_line(value));
	config->rule_count++;
	if (name && is_rule_name(name))
		snprintf(named.label, sizeof(named.label), "rule \"%s\"", name);
	err = eb_yaml_read_map(&named, rule_keys, ARRAY_SIZE(rule_keys), &reader, NULL);
	return err ? err : finish_rule(&named, &reader);
}

static int warn_of_unreachable(const struct eb_yaml_value *value, const struct eb_config *config)
{
	for (size_t i = 0; i + 1 < config->rule_count; i++)
		if (matches_all(&config->rules[i].match) && !config->rules[i].goes_on)
			return eb_yaml_warn(value, "rule \"%s\" matches everything; the rules after it, from \"%s\" "
						   "on, never decide", config->rules[i].name,
					    config->rules[i + 1].name);
	return 0;
}

static bool is_half_written(const struct eb_match *match)
{
	for (size_t i = 0; i < match->file_count; i++)
		if (match->files[i].is_busy)
			return true;
	return false;
}

/* The first rule behind `rule` that drops whom this lets through; NULL for none. */
static const struct eb_rule_config *find_deny(const struct eb_config *config, const struct eb_rule_config *rule)
{
	if (rule->action != EB_ALLOW)
		return NULL;
	for (const struct eb_rule_config *later = rule + 1; later < config->rules + config->rule_count; later++)
		if (later->action == EB_DENY && !later->monitor)
			return later;
	return NULL;
}

/* Files without a prefix, as one has that was cut. */
static int warn_of_empty(const struct eb_yaml_value *value, const struct eb_config *config,
			 const struct eb_rule_config *rule)
{
	const struct eb_match *match = &rule->match;
	const struct eb_rule_config *deny = find_deny(config, rule);
	bool no_src = match->has_src && !match->src.count, no_dst = match->has_dst && !match->dst.count;
	struct eb_findings *findings = value->yaml->findings;

	if ((!no_src && !no_dst) || is_half_written(match))
		return 0;
	if (deny)
		return eb_findings_warn(findings, "%s:%u: rule \"%s\": its %s contains no prefix: it allows no packet, "
					"and rule \"%s\" after it denies", value->yaml->file, rule->line, rule->name,
					no_src ? "src_file" : "dst_file", deny->name);
	return eb_findings_warn(findings, "%s:%u: rule \"%s\": its %s contains no prefix: it matches no packet",
				value->yaml->file, rule->line, rule->name, no_src ? "src_file" : "dst_file");
}

static int warn_of_empty_lists(const struct eb_yaml_value *value, const struct eb_config *config)
{
	int err = 0;

	for (size_t i = 0; !err && i < config->rule_count; i++)
		err = warn_of_empty(value, config, &config->rules[i]);
	return err;
}

int eb_config_rules_read(const struct eb_yaml_value *value, void *into)
{
	struct eb_config *config = into;
	int err;

	if (eb_yaml_is_null(value))
		return 0; /* a section whose rules are all commented out */
	config->rules = calloc(EB_RULES_MAX, sizeof(*config->rules));
	if (!config->rules)
		return -ENOMEM;
	err = eb_yaml_read_list(value, read_rule, config);
	if (err)
		return err;
	err = eb_config_chains_check(value, config);
	if (err)
		return err;
	err = warn_of_empty_lists(value, config);
	return err ? err : warn_of_unreachable(value, config);
}

void eb_config_rules_free(struct eb_rule_config *rules, size_t count)
{
	for (size_t i = 0; i < count; i++)
		eb_config_match_done(&rules[i].match);
	free(rules);
}
