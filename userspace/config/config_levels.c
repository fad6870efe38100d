// SPDX-License-Identifier: GPL-2.0-only
#include <stdio.h>
#include <string.h>

#include "config/config_levels.h"
#include "config/config_rules.h"
#include "config/limit.h"
#include "config/prefix.h"
#include "config/quantity.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#define TIMES_MAX 1000000

struct level_reader {
	const struct eb_config *config;
	struct eb_rule_config *rule;
	struct eb_level_config *level;
	uint64_t times; /* 0 where there is none */
};

/* --- one level --- */

/* The longest prefix that the level can have: shorter than that of the one before it that has the family, or of the
 * rule; the same one where those are also by destination, and the level is not. */
static int longest_for(const struct level_reader *reader, int family)
{
	const struct eb_rule_config *rule = reader->rule;
	uint8_t len = family == 4 ? rule->per_ipv4 : rule->per_ipv6;
	enum eb_also also = rule->also_per;

	for (const struct eb_level_config *before = rule->levels; before < reader->level; before++) {
		uint8_t wider = family == 4 ? before->per_ipv4 : before->per_ipv6;

		if (wider == EB_NO_PREFIX)
			continue;
		len = wider;
		also = before->also_per;
	}
	return also && !reader->level->also_per ? len : len - 1;
}

static int read_prefix_len(const struct eb_yaml_value *value, const struct level_reader *reader, int family,
			   uint8_t *out)
{
	int longest = longest_for(reader, family);
	uint64_t len;
	int err = eb_yaml_number(value, 0, family == 4 ? 32 : 128, &len);

	if (err)
		return err;
	if ((int)len > longest)
		return eb_yaml_fail(value, "%llu is not wider than /%d, which comes before it; write levels from "
				    "narrow to wide, with a shorter prefix each", (unsigned long long)len, longest + 1);
	*out = len;
	return 0;
}

static int read_ipv4(const struct eb_yaml_value *value, void *into)
{
	struct level_reader *reader = into;

	return read_prefix_len(value, reader, 4, &reader->level->per_ipv4);
}

static int read_ipv6(const struct eb_yaml_value *value, void *into)
{
	struct level_reader *reader = into;

	return read_prefix_len(value, reader, 6, &reader->level->per_ipv6);
}

static const struct eb_yaml_key per_keys[] = {
	{ "ipv4", read_ipv4, false },
	{ "ipv6", read_ipv6, false },
};

static int read_per(const struct eb_yaml_value *value, void *into)
{
	struct level_reader *reader = into;
	int err = eb_yaml_read_map(value, per_keys, ARRAY_SIZE(per_keys), reader, NULL);

	if (!err && reader->level->per_ipv4 == EB_NO_PREFIX && reader->level->per_ipv6 == EB_NO_PREFIX)
		return eb_yaml_fail(value, "is empty; as in per: { ipv4: 24, ipv6: 48 }");
	return err;
}

static int read_also_per(const struct eb_yaml_value *value, void *into)
{
	return eb_config_also_per_read(value, &((struct level_reader *)into)->level->also_per);
}

static int read_times(const struct eb_yaml_value *value, void *into)
{
	return eb_yaml_number(value, 2, TIMES_MAX, &((struct level_reader *)into)->times);
}

static int refuse_beside_times(const struct eb_yaml_value *value, const struct level_reader *reader)
{
	return reader->times ? eb_yaml_fail(value, "and times exclude each other; write limits, or how many times the "
					    "rule's own they are") : 0;
}

static int read_packets(const struct eb_yaml_value *value, void *into)
{
	struct level_reader *reader = into;
	int err = refuse_beside_times(value, reader);

	return err ? err : eb_config_packets_read(value, &reader->level->packets);
}

static int read_bytes(const struct eb_yaml_value *value, void *into)
{
	struct level_reader *reader = into;
	int err = refuse_beside_times(value, reader);

	return err ? err : eb_config_bytes_read(value, reader->config, &reader->level->bytes);
}

/* False when the product is no limit that can be kept. */
static bool multiply(const struct eb_rate *rate, uint64_t times, bool is_bytes, struct eb_rate *out)
{
	struct eb_limit limit;

	*out = *rate;
	return !__builtin_mul_overflow(rate->tokens, times, &out->tokens) &&
	       !__builtin_mul_overflow(rate->burst, times, &out->burst) && out->burst <= INT64_MAX &&
	       !eb_quantity_rate_is_high(out, is_bytes) && !eb_limit_compile(out, is_bytes, &limit);
}

static int finish_level(const struct eb_yaml_value *value, struct level_reader *reader)
{
	struct eb_level_config *level = reader->level;

	if (!reader->times)
		return level->packets.tokens || level->bytes.tokens ? 0 :
			eb_yaml_fail(value, "has no limit; write times, packets or bytes");
	if (multiply(&reader->rule->packets, reader->times, false, &level->packets) &&
	    multiply(&reader->rule->bytes, reader->times, true, &level->bytes))
		return 0;
	return eb_yaml_fail(value, "%llu times the rule's limits is too much: above 100M/s or 400Gbit/s, or a burst "
			    "that nothing could count", (unsigned long long)reader->times);
}

/* Which prefixes are wide enough depends on also_per. */
static const struct eb_yaml_key level_keys[] = {
	{ "also_per", read_also_per, false },
	{ "per", read_per, true },
	{ "times", read_times, false },
	{ "packets", read_packets, false },
	{ "bytes", read_bytes, false },
};

static int read_level(const struct eb_yaml_value *value, void *into)
{
	struct level_reader *reader = into;
	struct eb_rule_config *rule = reader->rule;
	int err;

	if (rule->level_count >= EB_LEVELS_MAX)
		return eb_yaml_fail(value, "more than %d levels of one rule", EB_LEVELS_MAX);
	reader->level = &rule->levels[rule->level_count];
	reader->times = 0;
	*reader->level = (struct eb_level_config){
		.per_ipv4 = EB_NO_PREFIX,
		.per_ipv6 = EB_NO_PREFIX,
		.line = eb_yaml_line(value),
	};
	err = eb_yaml_read_map(value, level_keys, ARRAY_SIZE(level_keys), reader, NULL);
	if (!err)
		err = finish_level(value, reader);
	if (!err)
		rule->level_count++;
	return err;
}

int eb_config_levels_read(const struct eb_yaml_value *value, const struct eb_config *config,
			  struct eb_rule_config *rule)
{
	struct level_reader reader = { .config = config, .rule = rule };

	if (!rule->packets.tokens && !rule->bytes.tokens)
		return eb_yaml_fail(value, "the rule has no limit of its own; give it packets or bytes");
	return eb_yaml_read_list(value, read_level, &reader);
}

/* --- chains --- */

/* The rules whose buckets one packet of a family can meet. Sets have bit n for rule n. */
struct chain {
	const struct eb_config *config;
	int family;
	uint64_t meets[EB_RULES_MAX]; /* the later rules that can match a packet that this one matches */
	const struct eb_rule_config *rules[EB_BUCKETS_MAX + 1];
	size_t rule_count, bucket_count;
};

static size_t buckets_of(const struct eb_rule_config *rule, int family)
{
	size_t count = 1;

	if (rule->action != EB_LIMIT)
		return 0;
	for (size_t i = 0; i < rule->level_count; i++)
		count += (family == 4 ? rule->levels[i].per_ipv4 : rule->levels[i].per_ipv6) != EB_NO_PREFIX;
	return count;
}

static bool prefixes_meet(const struct eb_prefix_list *a, const struct eb_prefix_list *b, int family)
{
	for (size_t i = 0; i < a->count; i++)
		for (size_t j = 0; a->items[i].family == family && j < b->count; j++)
			if (eb_prefix_overlaps(family, a->items[i].addr, a->items[i].len, &b->items[j]))
				return true;
	return false;
}

static bool ranges_meet(const struct eb_ranges *a, const struct eb_ranges *b)
{
	for (size_t i = 0; i < a->count; i++)
		for (size_t j = 0; j < b->count; j++)
			if (a->items[i].first <= b->items[j].last && b->items[j].first <= a->items[i].last)
				return true;
	return !a->count || !b->count;
}

/* Only different names are of different interfaces for certain. */
static bool interfaces_meet(const struct eb_config *config, uint64_t a, uint64_t b)
{
	for (size_t i = 0; i < config->entry_count; i++)
		if ((a | b) >> i & 1 && config->entries[i].kind != EB_ENTRY_NAME)
			return true;
	return a & b;
}

/* Whether a packet can match both, by what every packet shows. One that hides the rest matches whatever asks for it. A
 * list from a file can change without this check, so it counts as one of all addresses. */
static bool matches_meet(const struct eb_config *config, const struct eb_match *a, const struct eb_match *b, int family)
{
	bool are_fixed = !a->file_count && !b->file_count;

	if (are_fixed && a->has_src && b->has_src && !prefixes_meet(&a->src, &b->src, family))
		return false;
	if (are_fixed && a->has_dst && b->has_dst && !prefixes_meet(&a->dst, &b->dst, family))
		return false;
	if (a->interfaces && b->interfaces && !interfaces_meet(config, a->interfaces, b->interfaces))
		return false;
	return ranges_meet(&a->numbers[EB_LENGTH], &b->numbers[EB_LENGTH]) &&
	       ranges_meet(&a->numbers[EB_VLAN], &b->numbers[EB_VLAN]);
}

static void compare_matches(struct chain *chain)
{
	const struct eb_config *config = chain->config;

	for (size_t i = 0; i < config->rule_count; i++)
		for (size_t j = i + 1; config->rules[i].goes_on && j < config->rule_count; j++)
			if (matches_meet(config, &config->rules[i].match, &config->rules[j].match, chain->family))
				chain->meets[i] |= 1ULL << j;
}

/* Adds rules of `candidates` until a packet meets too many buckets. False when it cannot: the chain is as before. At
 * most as deep as buckets are allowed, as each rule of the chain has one. */
static bool has_too_many(struct chain *chain, uint64_t candidates)
{
	for (; candidates; candidates &= candidates - 1) {
		size_t index = __builtin_ctzll(candidates);
		const struct eb_rule_config *rule = &chain->config->rules[index];
		size_t buckets = buckets_of(rule, chain->family);

		if (!buckets)
			continue;
		chain->rules[chain->rule_count++] = rule;
		chain->bucket_count += buckets;
		if (chain->bucket_count > EB_BUCKETS_MAX || has_too_many(chain, candidates & chain->meets[index]))
			return true;
		chain->rule_count--;
		chain->bucket_count -= buckets;
	}
	return false;
}

static int fail_chain(const struct eb_yaml_value *value, const struct chain *chain)
{
	const struct eb_rule_config *last = chain->rules[chain->rule_count - 1];
	char names[512];
	size_t used = 0;

	for (size_t i = 0; i < chain->rule_count && used < sizeof(names); i++)
		used += snprintf(names + used, sizeof(names) - used, "%s\"%s\"",
				 !i ? "" : chain->rules[i] == last ? " and " : ", ", chain->rules[i]->name);
	return eb_yaml_fail(value, "a packet can meet %zu buckets, of rules %s (line %u), and %d is the most; use "
			    "fewer levels, or then: continue in fewer rules", chain->bucket_count, names, last->line,
			    EB_BUCKETS_MAX);
}

static int check_family(const struct eb_yaml_value *value, const struct eb_config *config, int family)
{
	struct chain chain = { .config = config, .family = family };
	uint64_t candidates = 0;

	compare_matches(&chain);
	for (size_t i = 0; i < config->rule_count; i++)
		if (matches_meet(config, &config->rules[i].match, &config->rules[i].match, family))
			candidates |= 1ULL << i; /* that can match a packet of this family */
	return has_too_many(&chain, candidates) ? fail_chain(value, &chain) : 0;
}

int eb_config_chains_check(const struct eb_yaml_value *value, const struct eb_config *config)
{
	size_t levels = 0;
	int err = check_family(value, config, 4);

	if (!err)
		err = check_family(value, config, 6);
	if (err)
		return err;
	for (size_t i = 0; i < config->rule_count; i++)
		levels += config->rules[i].level_count;
	if (config->rule_count + levels > EB_LIMITS_MAX)
		return eb_yaml_fail(value, "%zu rules with %zu levels are more than %d together", config->rule_count,
				    levels, EB_LIMITS_MAX);
	return 0;
}
