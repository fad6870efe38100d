// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "config_rules.h"
#include "limit.h"
#include "prefix.h"
#include "protocol.h"
#include "quantity.h"
#include "input.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#define ETHERNET_HEADER 14
#define DEFAULT_MTU 1500 /* of an interface that is not there yet */

struct rule_reader {
	struct eb_config *config;
	struct eb_rule_config *rule;
};

/* --- match --- */

static int read_proto(const struct eb_yaml_value *value, void *into)
{
	struct eb_match *match = into;
	const char *text;
	int err = eb_yaml_text(value, &text);

	if (err)
		return err;
	match->proto = eb_protocol_parse(text);
	if (match->proto < 0)
		return eb_yaml_fail(value, "%s is not a protocol; write a name like udp or a number from 0 to 255",
				    eb_input_quote(text).text);
	return 0;
}

static int parse_ports(const char *text, struct eb_port_range *out)
{
	const char *dash = strchr(text, '-');
	uint64_t first, last;
	char start[8];

	if (dash) {
		if ((size_t)(dash - text) >= sizeof(start))
			return -EINVAL;
		memcpy(start, text, dash - text);
		start[dash - text] = '\0';
	}
	if (eb_quantity_integer(dash ? start : text, &first) || eb_quantity_integer(dash ? dash + 1 : text, &last))
		return -EINVAL;
	if (first > last || last > UINT16_MAX)
		return -ERANGE;
	*out = (struct eb_port_range){ .first = first, .last = last };
	return 0;
}

/* The room is the power of two that holds the count. */
static int add_ports(struct eb_match *match, struct eb_port_range range)
{
	struct eb_port_range *grown;
	size_t count = match->dport_count;

	if (!(count & (count - 1))) {
		grown = reallocarray(match->dports, count ? 2 * count : 1, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		match->dports = grown;
	}
	match->dports[match->dport_count++] = range;
	return 0;
}

static int read_port(const struct eb_yaml_value *value, void *into)
{
	struct eb_match *match = into;
	struct eb_port_range range;
	const char *text;
	int err = eb_yaml_text(value, &text);

	if (err)
		return err;
	err = parse_ports(text, &range);
	if (err == -ERANGE)
		return eb_yaml_fail(value, "%s is not within 0 to 65535, the lower port first",
				    eb_input_quote(text).text);
	if (err)
		return eb_yaml_fail(value, "%s is not a port; write a number, or a range like \"1000-2000\"",
				    eb_input_quote(text).text);
	return add_ports(match, range);
}

/* A list, or one item in its place. */
static int read_items(const struct eb_yaml_value *value,
		      int (*read)(const struct eb_yaml_value *item, void *into), void *into)
{
	if (!eb_yaml_is_list(value))
		return read(value, into);
	if (!eb_yaml_list_size(value))
		return eb_yaml_fail(value, "is empty; leave the key out to match any");
	return eb_yaml_read_list(value, read, into);
}

static int read_dport(const struct eb_yaml_value *value, void *into)
{
	struct eb_match *match = into;

	if (match->proto >= 0 && !eb_protocol_has_port(match->proto))
		return eb_yaml_fail(value, "protocol %d has no ports; use tcp, udp, sctp, dccp or udplite",
				    match->proto);
	return read_items(value, read_port, match);
}

static int read_prefix(const struct eb_yaml_value *value, void *into)
{
	struct eb_prefix_list *list = into;
	struct eb_prefix_error error;
	struct eb_prefix prefix;
	const char *text;
	int err = eb_yaml_text(value, &text);

	if (err)
		return err;
	if (eb_prefix_parse(text, &prefix, &error))
		return eb_yaml_fail(value, "%s %s", eb_input_quote(text).text, error.text);
	return eb_prefix_list_add(list, &prefix);
}

static int read_src(const struct eb_yaml_value *value, void *into)
{
	struct eb_match *match = into;

	match->has_src = true;
	return read_items(value, read_prefix, &match->src);
}

static int read_dst(const struct eb_yaml_value *value, void *into)
{
	struct eb_match *match = into;

	match->has_dst = true;
	return read_items(value, read_prefix, &match->dst);
}

static int load_prefixes(const struct eb_yaml_value *value, const char *path, struct eb_prefix_list *list)
{
	int fd = eb_input_open_regular(path), err;
	FILE *file;

	if (fd < 0)
		return eb_yaml_fail(value, "%s cannot be read: %s", eb_input_quote(path).text,
				    eb_input_strerror(fd));
	file = fdopen(fd, "r");
	if (!file) {
		close(fd);
		return -ENOMEM;
	}
	err = eb_prefix_list_load(list, file, path, value->yaml->report);
	fclose(file);
	return err;
}

static int read_src_file(const struct eb_yaml_value *value, void *into)
{
	struct eb_match *match = into;
	char *path;
	int err = eb_yaml_path(value, &path);

	if (err)
		return err;
	match->has_src = true;
	err = load_prefixes(value, path, &match->src);
	free(path);
	return err;
}

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

static int read_packets(const struct eb_yaml_value *value, void *into)
{
	struct eb_rule_config *rule = ((struct rule_reader *)into)->rule;
	int err = refuse_unless_limit(value, rule);

	return err ? err : eb_yaml_read_map(value, packet_keys, ARRAY_SIZE(packet_keys), &rule->packets, NULL);
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
	const char *interface = NULL;
	unsigned int largest = 0;

	for (size_t i = 0; i < config->interface_count; i++) {
		unsigned int frame = mtu_of(config->interfaces[i]) + ETHERNET_HEADER;

		if (frame > largest) {
			largest = frame;
			interface = config->interfaces[i];
		}
	}
	if (burst >= largest)
		return 0;
	return eb_yaml_warn(value, "a burst of %llu bytes never passes a full frame of %s, %u bytes (VLAN tags add "
				   "up to 8)", (unsigned long long)burst, interface, largest);
}

static int read_bytes(const struct eb_yaml_value *value, void *into)
{
	struct rule_reader *reader = into;
	struct eb_rule_config *rule = reader->rule;
	int err = refuse_unless_limit(value, rule);

	if (!err)
		err = eb_yaml_read_map(value, byte_keys, ARRAY_SIZE(byte_keys), &rule->bytes, NULL);
	return err ? err : warn_of_small_burst(value, reader->config, rule->bytes.burst);
}

static int read_new_sources(const struct eb_yaml_value *value, void *into)
{
	struct rule_reader *reader = into;
	struct eb_rate *rate = &reader->rule->new_sources;
	int err = refuse_unless_limit(value, reader->rule);

	if (!err)
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

/* The protocol comes before the ports, which not every protocol has. */
static const struct eb_yaml_key match_keys[] = {
	{ "src", read_src, false },
	{ "src_file", read_src_file, false },
	{ "dst", read_dst, false },
	{ "proto", read_proto, false },
	{ "dport", read_dport, false },
};

static int read_match(const struct eb_yaml_value *value, void *into)
{
	struct rule_reader *reader = into;

	return eb_yaml_read_map(value, match_keys, ARRAY_SIZE(match_keys), &reader->rule->match, NULL);
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
			return eb_yaml_fail(value, "\"%s\" is the name of the rule in line %u already", text,
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

	if (!err)
		err = eb_yaml_choice(value, names, ARRAY_SIZE(names), &choice);
	if (!err)
		rule->crowded_pass = choice;
	return err;
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

/* The action comes before the keys that depend on it. */
static const struct eb_yaml_key rule_keys[] = {
	{ "name", read_name, true },
	{ "action", read_action, true },
	{ "match", read_match, false },
	{ "per", read_per, false },
	{ "packets", read_packets, false },
	{ "bytes", read_bytes, false },
	{ "new_sources", read_new_sources, false },
	{ "when_crowded", read_when_crowded, false },
	{ "mode", read_mode, false },
};

static void init_rule(struct eb_rule_config *rule, unsigned int line)
{
	*rule = (struct eb_rule_config){
		.match = { .proto = -1 },
		.per_ipv4 = 32,
		.per_ipv6 = 64,
		.line = line,
	};
}

static bool matches_all(const struct eb_match *match)
{
	return !match->has_src && !match->has_dst && match->proto < 0 && !match->dport_count;
}

static int finish_rule(const struct eb_yaml_value *value, struct rule_reader *reader)
{
	struct eb_rule_config *rule = reader->rule;

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
		if (matches_all(&config->rules[i].match))
			return eb_yaml_warn(value, "rule \"%s\" matches everything; the rules after it, from \"%s\" "
						   "on, never decide", config->rules[i].name,
					    config->rules[i + 1].name);
	return 0;
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
	return err ? err : warn_of_unreachable(value, config);
}

void eb_config_rules_free(struct eb_rule_config *rules, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		eb_prefix_list_done(&rules[i].match.src);
		eb_prefix_list_done(&rules[i].match.dst);
		free(rules[i].match.dports);
	}
	free(rules);
}
