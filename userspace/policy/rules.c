// SPDX-License-Identifier: GPL-2.0-only
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/limit.h"
#include "config/destination.h"
#include "policy/prefix_filter.h"
#include "offence.h"
#include "policy/rules.h"

#define COVERING_MAX 129 /* prefixes that can cover one address: one of each length from 0 to 128 */

#define FNV_BASIS 2166136261u
#define FNV_PRIME 16777619u

static uint64_t rule_bit(size_t index)
{
	return 1ULL << index;
}

/* Returns err, for `return fail(...)`. */
__attribute__((format(printf, 3, 4))) static int fail(char **error, int err, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	if (vasprintf(error, format, args) < 0)
		*error = NULL;
	va_end(args);
	return err;
}

/* Identity of buckets */

static uint32_t fnv_bytes(uint32_t hash, const void *data, size_t size)
{
	const uint8_t *bytes = data;

	for (size_t i = 0; i < size; i++)
		hash = (hash ^ bytes[i]) * FNV_PRIME;
	return hash;
}

static uint32_t fnv_u64(uint32_t hash, uint64_t value)
{
	value = htole64(value);
	return fnv_bytes(hash, &value, sizeof(value));
}

/* `kind` tells a limit of packets from one of bytes. An absent limit adds nothing. */
static uint32_t fnv_limit(uint32_t hash, char kind, const struct eb_limit *limit)
{
	if (!limit->mult)
		return hash;
	hash = fnv_bytes(hash, &kind, 1);
	hash = fnv_u64(hash, limit->mult);
	hash = fnv_u64(hash, limit->burst);
	return fnv_u64(hash, limit->shift);
}

uint32_t eb_rules_id(const char *name, uint8_t family, uint8_t prefix_len, enum eb_also also,
		     const struct eb_limit *packets, const struct eb_limit *bytes)
{
	const uint8_t by = also;

	/* With its NUL, so that name and prefix length cannot run into each other. */
	uint32_t hash = fnv_bytes(FNV_BASIS, name, strlen(name) + 1);

	hash = fnv_bytes(hash, &family, 1);
	hash = fnv_bytes(hash, &prefix_len, 1);
	if (also)
		hash = fnv_bytes(hash, &by, 1);
	hash = fnv_limit(hash, 'p', packets);
	hash = fnv_limit(hash, 'b', bytes);
	return hash ? hash : 1; /* 0 marks empty entries of the table */
}

static bool share_id(const struct eb_rule *a, const struct eb_rule *b)
{
	return (a->id4 && a->id4 == b->id4) || (a->id6 && a->id6 == b->id6);
}

/* A level has its rule's name. */
static const struct eb_rule_config *rule_named(const struct eb_config *config, const char *name)
{
	for (size_t i = 0; i < config->rule_count; i++)
		if (!strncmp(config->rules[i].name, name, EB_RULE_NAME_MAX))
			return &config->rules[i];
	return &config->rules[0]; /* cannot be */
}

static int check_ids(const struct eb_config *config, const struct eb_policy *policy, char **error)
{
	for (size_t b = 1; b < policy->rule_count; b++) {
		for (size_t a = 0; a < b; a++) {
			const struct eb_rule_config *first, *second;

			if (!share_id(&policy->rules[a], &policy->rules[b]))
				continue;
			first = rule_named(config, policy->names[a]);
			second = rule_named(config, policy->names[b]);
			return fail(error, -EEXIST,
				    "%s:%u: the names of rules \"%s\" and \"%s\" (line %u) hash to the same number; "
				    "rename one of them",
				    config->path, second->line, second->name, first->name, first->line);
		}
	}
	return 0;
}

/* One rule by itself */

static __be32 mask4(uint8_t len)
{
	return len ? htonl(UINT32_MAX << (32 - len)) : 0;
}

/* One of the two halves of an IPv6 mask; `len` counts from the start of the half and may lie outside of it. */
static uint64_t mask6_half(int len)
{
	if (len <= 0)
		return 0;
	return len >= 64 ? UINT64_MAX : htobe64(UINT64_MAX << (64 - len));
}

static int compile_limits(const struct eb_rule_config *config, struct eb_rule *rule)
{
	int err = eb_limit_compile(&config->packets, false, &rule->packets);

	if (err)
		return err;
	err = eb_limit_compile(&config->bytes, true, &rule->bytes);
	if (err)
		return err;
	return eb_limit_compile(&config->new_sources, false, &rule->new_sources);
}

/* Whose buckets they are; the limits are there. */
static void set_sources(struct eb_rule *rule, const char *name, uint8_t len4, uint8_t len6, enum eb_also also)
{
	rule->also = also;
	rule->prefix4 = len4;
	rule->prefix6 = len6;
	if (len4 != EB_NO_PREFIX) {
		rule->mask4 = mask4(len4);
		rule->id4 = eb_rules_id(name, 4, len4, also, &rule->packets, &rule->bytes);
	}
	if (len6 != EB_NO_PREFIX) {
		rule->mask6[0] = mask6_half(len6);
		rule->mask6[1] = mask6_half(len6 - 64);
		rule->id6 = eb_rules_id(name, 6, len6, also, &rule->packets, &rule->bytes);
	}
}

static void compile_penalty(const struct eb_rule_config *config, struct eb_rule *rule)
{
	const struct eb_penalty_config *penalty = &config->penalty;

	rule->penalty_mode = penalty->refresh ? EB_PENALTY_REFRESH : EB_PENALTY_ONCE;
	rule->penalty = (struct eb_penalty){
		.within = eb_offence_units(penalty->within_ns),
		.ban_ns = penalty->ban_ns,
		.max_ns = penalty->max_ns,
		.after = penalty->after,
		.factor = penalty->factor,
	};
	memcpy(rule->penalty.name, config->name, strnlen(config->name, EB_RULE_NAME_MAX));
}

static int compile_rule(const struct eb_rule_config *config, struct eb_rule *rule)
{
	int err = compile_limits(config, rule);

	if (err)
		return err;
	rule->action = config->action;
	rule->monitor = config->monitor;
	rule->crowded_pass = config->crowded_pass;
	rule->goes_on = config->goes_on;
	rule->shared = config->shared;
	rule->careful = config->careful;
	rule->level_count = config->level_count;
	set_sources(rule, config->name, config->per_ipv4, config->per_ipv6, config->also_per);
	rule->is_chain = rule->goes_on || rule->level_count || rule->also || rule->careful;
	if (config->penalty.after)
		compile_penalty(config, rule);
	return 0;
}

/* As the rule `of`, but for sources and limits. */
static int compile_level(const struct eb_rule_config *config, size_t index, const struct eb_rule *of,
			 struct eb_rule *level)
{
	const struct eb_level_config *from = &config->levels[index];
	int err = eb_limit_compile(&from->packets, false, &level->packets);

	if (err)
		return err;
	err = eb_limit_compile(&from->bytes, true, &level->bytes);
	if (err)
		return err;
	level->action = EB_LIMIT;
	level->monitor = of->monitor;
	level->crowded_pass = of->crowded_pass;
	level->new_sources = of->new_sources;
	level->shared = of->shared;
	level->careful = of->careful;
	level->level = index + 1;
	level->together = from->per_ipv4 == 0 && from->per_ipv6 == 0 && !from->also_per;
	set_sources(level, config->name, from->per_ipv4, level->together ? EB_NO_PREFIX : from->per_ipv6,
		    from->also_per);
	return 0;
}

/* Behind all rules. The configuration has checked that they fit. */
static int compile_levels(const struct eb_rule_config *config, struct eb_policy *policy, struct eb_rule *rule)
{
	int err = 0;

	rule->first_level = policy->rule_count;
	for (size_t i = 0; i < config->level_count && !err; i++) {
		err = compile_level(config, i, rule, &policy->rules[policy->rule_count]);
		memcpy(policy->names[policy->rule_count], config->name, strnlen(config->name, EB_RULE_NAME_MAX));
		policy->rule_count++;
	}
	return err;
}

static int compile_each_rule(const struct eb_config *config, struct eb_policy *policy, char **error)
{
	policy->rule_count = config->rule_count;
	policy->malformed_drop = config->malformed_drop;
	for (size_t i = 0; i < config->rule_count; i++) {
		const struct eb_rule_config *rule = &config->rules[i];
		int err = compile_rule(rule, &policy->rules[i]);

		if (!err)
			err = compile_levels(rule, policy, &policy->rules[i]);
		if (err)
			return fail(error, err, "%s:%u: rule \"%s\" has a limit that cannot be represented",
				    config->path, rule->line, rule->name);
		memcpy(policy->names[i], rule->name, strnlen(rule->name, EB_RULE_NAME_MAX));
		policy->allows |= rule->action == EB_ALLOW;
	}
	return 0;
}

/* Slots */

bool eb_rules_same(const struct eb_policy *a, size_t index_a, const struct eb_policy *b, size_t index_b)
{
	const struct eb_rule *x = &a->rules[index_a], *y = &b->rules[index_b];

	if (memcmp(a->names[index_a], b->names[index_b], EB_RULE_NAME_MAX))
		return false;
	if (!x->level || !y->level)
		return x->level == y->level;
	return x->prefix4 == y->prefix4 && x->prefix6 == y->prefix6 && x->also == y->also;
}

/* What was rule `index` of `policy` before, or NULL. `previous` comes out of a pinned map: do not trust its numbers
 * with memory. */
static const struct eb_rule *find_previous(const struct eb_policy *previous, const struct eb_policy *policy,
					   size_t index)
{
	for (size_t i = 0; i < previous->rule_count && i < EB_LIMITS_MAX; i++)
		if (eb_rules_same(previous, i, policy, index) && previous->rules[i].slot < EB_SLOTS)
			return &previous->rules[i];
	return NULL;
}

static void mark_slots(const struct eb_policy *previous, bool used[EB_SLOTS])
{
	for (size_t i = 0; i < previous->rule_count && i < EB_LIMITS_MAX; i++)
		if (previous->rules[i].slot < EB_SLOTS)
			used[previous->rules[i].slot] = true;
}

/* There is always a free one: the rules kept use slots of `previous`, so at most 128 are taken when the first new one
 * comes, and 255 when the last does. */
static __u32 take_slot(bool used[EB_SLOTS])
{
	__u32 slot = 0;

	while (slot < EB_SLOTS - 1 && used[slot])
		slot++;
	used[slot] = true;
	return slot;
}

static void assign_slots(struct eb_policy *policy, const struct eb_policy *previous)
{
	bool used[EB_SLOTS] = { false };

	if (previous)
		mark_slots(previous, used);
	for (size_t i = 0; i < policy->rule_count; i++) {
		const struct eb_rule *kept = previous ? find_previous(previous, policy, i) : NULL;

		policy->rules[i].slot = kept ? kept->slot : take_slot(used);
	}
}

/* Protocols, and what only some of them have */

static bool asks_for_ports(const struct eb_match *match)
{
	return match->numbers[EB_DPORT].count || match->numbers[EB_SPORT].count;
}

static bool asks_for_flags(const struct eb_match *match)
{
	return match->flags_set || match->flags_clear;
}

static bool asks_for_detail(const struct eb_match *match)
{
	return asks_for_flags(match) || match->has_icmp_type;
}

static bool match_accepts_proto(const struct eb_match *match, int proto)
{
	if (match->has_proto && !eb_octets_have(&match->protos, proto))
		return false;
	if (asks_for_flags(match) && proto != IPPROTO_TCP)
		return false;
	if (match->has_icmp_type && proto != IPPROTO_ICMP && proto != IPPROTO_ICMPV6)
		return false;
	return !asks_for_ports(match) || eb_protocol_has_port(proto);
}

static bool match_accepts_detail(const struct eb_match *match, enum eb_detail kind, int byte)
{
	if (kind == EB_DETAIL_TCP)
		return (byte & match->flags_set) == match->flags_set && !(byte & match->flags_clear);
	if (!match->has_icmp_type)
		return true;
	return eb_octets_have(kind == EB_DETAIL_ICMP ? &match->icmp_types : &match->icmpv6_types, byte);
}

/*
 * Whether a packet belongs to the rule although what the rule asks for, port or protocol, cannot be known. Hiding it
 * must not carry the packet past a rule, so the rule gets it unless it would let it through: an allow rule does, and so
 * does any rule that only monitors. Then later rules decide.
 */
static bool rule_takes_unknown(const struct eb_rule_config *rule)
{
	return rule->action != EB_ALLOW && !rule->monitor;
}

static void fill_details(const struct eb_match *match, uint64_t bit, bool takes_unknown, struct eb_policy *policy)
{
	bool asks = asks_for_detail(match);

	policy->uses |= asks ? EB_USES_DETAIL : 0;
	policy->detail_any |= asks ? 0 : bit;
	for (int byte = 0; byte < 256; byte++) {
		policy->detail[EB_DETAIL_NONE][byte] |= !asks || takes_unknown ? bit : 0;
		for (int kind = EB_DETAIL_TCP; kind < EB_DETAILS; kind++)
			policy->detail[kind][byte] |= match_accepts_detail(match, kind, byte) ? bit : 0;
	}
}

static void fill_fragments(const struct eb_match *match, uint64_t bit, bool takes_unknown, struct eb_policy *policy)
{
	policy->uses |= match->has_fragment ? EB_USES_FRAGMENT : 0;
	policy->fragment[EB_WHOLE] |= match->has_fragment && match->is_fragment ? 0 : bit;
	policy->fragment[EB_FRAGMENT] |= match->has_fragment && !match->is_fragment ? 0 : bit;
	policy->fragment[EB_FRAGMENT_UNKNOWN] |= !match->has_fragment || takes_unknown ? bit : 0;
}

static void fill_sets(const struct eb_config *config, struct eb_policy *policy)
{
	for (size_t i = 0; i < config->rule_count; i++) {
		const struct eb_match *match = &config->rules[i].match;
		bool takes_unknown = rule_takes_unknown(&config->rules[i]);
		bool asks = match->has_proto || asks_for_ports(match) || asks_for_detail(match);
		uint64_t bit = rule_bit(i);

		policy->src_any |= match->has_src ? 0 : bit;
		policy->dst_any |= match->has_dst ? 0 : bit;
		policy->port_unknown |= !asks_for_ports(match) || takes_unknown ? bit : 0;
		policy->l4_unknown |= !asks || takes_unknown ? bit : 0;
		for (int proto = 0; proto < 256; proto++)
			policy->proto[proto] |= match_accepts_proto(match, proto) ? bit : 0;
		for (int number = 0; number < EB_NUMBERS; number++)
			policy->number_any[number] |= match->numbers[number].count ? 0 : bit;
		fill_details(match, bit, takes_unknown, policy);
		fill_fragments(match, bit, takes_unknown, policy);
	}
}

/* Ports, lengths, VLANs */

static bool config_asks_for(const struct eb_config *config, enum eb_number number)
{
	for (size_t i = 0; i < config->rule_count; i++)
		if (config->rules[i].match.numbers[number].count)
			return true;
	return false;
}

static void fill_ranges(const struct eb_ranges *ranges, uint64_t bit, uint64_t *sets)
{
	for (size_t i = 0; i < ranges->count; i++)
		for (unsigned int value = ranges->items[i].first; value <= ranges->items[i].last; value++)
			sets[value] |= bit;
}

static int compile_number(const struct eb_config *config, enum eb_number number, struct eb_ruleset *ruleset)
{
	size_t size = EB_NUMBER_SIZE(number);
	uint64_t *sets;

	if (!config_asks_for(config, number))
		return 0;
	sets = ruleset->numbers[number] = malloc(size * sizeof(*sets));
	if (!sets)
		return -ENOMEM;
	ruleset->policy.uses |= EB_USES_NUMBER(number);
	for (size_t value = 0; value < size; value++)
		sets[value] = ruleset->policy.number_any[number];
	for (size_t i = 0; i < config->rule_count; i++)
		fill_ranges(&config->rules[i].match.numbers[number], rule_bit(i), sets);
	return 0;
}

static int compile_numbers(const struct eb_config *config, struct eb_ruleset *ruleset)
{
	int err = 0;

	for (int number = 0; number < EB_NUMBERS && !err; number++)
		err = compile_number(config, number, ruleset);
	return err;
}

/* Interfaces */

static void compile_interfaces(const struct eb_config *config, struct eb_ruleset *ruleset)
{
	uint64_t asking = 0;

	for (size_t i = 0; i < config->rule_count; i++)
		asking |= config->rules[i].match.interfaces ? rule_bit(i) : 0;
	for (size_t i = 0; i < config->rule_count; i++)
		ruleset->policy.interface_any |= rule_bit(i) & ~asking;
	if (!asking)
		return;
	ruleset->policy.uses |= EB_USES_INTERFACE;
	ruleset->interfaces.any = ruleset->policy.interface_any;
	ruleset->interfaces.count = config->entry_count;
	for (size_t n = 0; n < config->entry_count; n++)
		for (size_t i = 0; i < config->rule_count; i++)
			ruleset->interfaces.asking[n] |= config->rules[i].match.interfaces >> n & 1 ? rule_bit(i) : 0;
}

uint64_t eb_rules_of_interface(const struct eb_interface_rules *interfaces, uint64_t entries)
{
	uint64_t rules = interfaces->any;

	for (size_t n = 0; n < interfaces->count; n++)
		rules |= entries >> n & 1 ? interfaces->asking[n] : 0;
	return rules;
}

/* Prefixes */

static const struct eb_prefix_list *match_side(const struct eb_match *match, int side)
{
	return side == EB_TRIE_SRC ? &match->src : &match->dst;
}

static const struct eb_prefix_list *except_side(const struct eb_match *match, int side)
{
	return side == EB_TRIE_SRC ? &match->src_except : &match->dst_except;
}

static size_t count_family(const struct eb_prefix_list *list, int family)
{
	size_t count = 0;

	for (size_t i = 0; i < list->count; i++)
		count += list->items[i].family == family;
	return count;
}

static size_t count_prefixes(const struct eb_config *config, int side, int family)
{
	size_t count = 0;

	if (side == EB_TRIE_TUNNEL) {
		for (int kind = 0; kind < EB_TUNNELS; kind++)
			count += count_family(&config->tunnels[kind].from, family);
		return count;
	}
	for (size_t i = 0; i < config->rule_count; i++) {
		const struct eb_match *match = &config->rules[i].match;

		count += count_family(match_side(match, side), family) + count_family(except_side(match, side), family);
	}
	return count;
}

/* One entry for each prefix of a list, with its rule's bit alone. */
static void collect_list(const struct eb_prefix_list *list, int family, uint64_t bit, bool is_except,
			 struct eb_trie *trie)
{
	for (size_t i = 0; i < list->count; i++) {
		const struct eb_prefix *prefix = &list->items[i];
		struct eb_trie_entry *entry = &trie->items[trie->count];

		if (prefix->family != family)
			continue;
		memcpy(entry->addr, prefix->addr, family == 4 ? 4 : 16);
		entry->len = prefix->len;
		entry->is_except = is_except;
		entry->rules = bit;
		trie->count++;
	}
}

static void collect_prefixes(const struct eb_config *config, int side, int family, struct eb_trie *trie)
{
	if (side == EB_TRIE_TUNNEL) {
		for (int kind = 0; kind < EB_TUNNELS; kind++)
			collect_list(&config->tunnels[kind].from, family, 1ULL << kind, false, trie);
		return;
	}
	for (size_t i = 0; i < config->rule_count; i++) {
		const struct eb_match *match = &config->rules[i].match;

		collect_list(match_side(match, side), family, rule_bit(i), false, trie);
		collect_list(except_side(match, side), family, rule_bit(i), true, trie);
	}
}

/* By address, then length: a prefix comes right before those that it covers. */
static int compare_entries(const void *left, const void *right)
{
	const struct eb_trie_entry *a = left, *b = right;
	int order = memcmp(a->addr, b->addr, sizeof(a->addr));

	return order ? order : a->len - b->len;
}

static bool entry_covers(const struct eb_trie_entry *outer, const struct eb_trie_entry *inner)
{
	int bytes = outer->len / 8, bits = outer->len % 8;

	if (outer->len > inner->len || memcmp(outer->addr, inner->addr, bytes))
		return false;
	return !bits || !((outer->addr[bytes] ^ inner->addr[bytes]) >> (8 - bits));
}

/* A prefix around the current one, and the rules that except it or one around it. */
struct cover {
	struct eb_trie_entry *entry;
	uint64_t except;
};

/* Whoever excepts a prefix does not want what it covers, though a longer one be listed too. */
static void add_to_cover(struct cover *cover, const struct eb_trie_entry *raw)
{
	if (raw->is_except)
		cover->except |= raw->rules;
	else
		cover->entry->rules |= raw->rules;
	cover->entry->rules &= ~cover->except;
}

/*
 * Makes sorted entries distinct, and each one's set complete: with the rules of the prefixes that cover it and those
 * that ask for no address, without the rules that except it. One pass; `covering` holds the prefixes around the current
 * one, outermost first, whose own sets are complete already. The last entry kept is always its top, so a repetition
 * only adds to that.
 */
static void complete_entries(struct eb_trie *trie, uint64_t any)
{
	struct eb_trie_entry *items = trie->items;
	struct cover covering[COVERING_MAX];
	size_t depth = 0, kept = 0;

	for (size_t i = 0; i < trie->count; i++) {
		const struct eb_trie_entry raw = items[i];
		struct cover cover = { .entry = &items[kept] };

		if (kept && !compare_entries(&items[kept - 1], &raw)) {
			add_to_cover(&covering[depth - 1], &raw);
			continue;
		}
		while (depth && !entry_covers(covering[depth - 1].entry, &raw))
			depth--;
		items[kept++] = raw;
		cover.entry->is_except = false;
		cover.entry->rules = depth ? covering[depth - 1].entry->rules : any;
		cover.except = depth ? covering[depth - 1].except : 0;
		add_to_cover(&cover, &raw);
		covering[depth++] = cover;
	}
	trie->count = kept;
}

static int compile_trie(const struct eb_config *config, int side, int family, uint64_t any, struct eb_trie *trie)
{
	size_t count = count_prefixes(config, side, family);

	if (!count)
		return 0;
	trie->items = calloc(count, sizeof(*trie->items));
	if (!trie->items)
		return -ENOMEM;
	collect_prefixes(config, side, family, trie);
	qsort(trie->items, trie->count, sizeof(*trie->items), compare_entries);
	complete_entries(trie, any);
	return 0;
}

static void compile_tunnels(const struct eb_config *config, struct eb_policy *policy)
{
	for (int kind = 0; kind < EB_TUNNELS; kind++) {
		if (!config->tunnels[kind].from.count)
			continue;
		policy->tunnels |= 1U << kind;
		policy->tunnel_ports[kind] = config->tunnels[kind].port;
	}
}

static int compile_tries(const struct eb_config *config, struct eb_ruleset *ruleset)
{
	struct eb_policy *policy = &ruleset->policy;
	const struct {
		int side, family;
		uint64_t any;
		struct eb_trie *trie;
		__u32 uses;
	} tries[] = {
		{ EB_TRIE_SRC, 4, policy->src_any, &ruleset->v4[EB_TRIE_SRC], EB_USES_SRC4 },
		{ EB_TRIE_DST, 4, policy->dst_any, &ruleset->v4[EB_TRIE_DST], EB_USES_DST4 },
		{ EB_TRIE_SRC, 6, policy->src_any, &ruleset->v6[EB_TRIE_SRC], EB_USES_SRC6 },
		{ EB_TRIE_DST, 6, policy->dst_any, &ruleset->v6[EB_TRIE_DST], EB_USES_DST6 },
		{ EB_TRIE_TUNNEL, 4, 0, &ruleset->v4[EB_TRIE_TUNNEL], EB_USES_TUNNEL4 },
		{ EB_TRIE_TUNNEL, 6, 0, &ruleset->v6[EB_TRIE_TUNNEL], EB_USES_TUNNEL6 },
	};

	for (size_t i = 0; i < sizeof(tries) / sizeof(tries[0]); i++) {
		int err = compile_trie(config, tries[i].side, tries[i].family, tries[i].any, tries[i].trie);

		if (!err)
			err = eb_filter_make(tries[i].trie, tries[i].family,
					     &policy->filters[EB_FILTER(tries[i].family, tries[i].side)]);
		if (err)
			return err;
		policy->uses |= tries[i].trie->count ? tries[i].uses : 0;
	}
	return 0;
}

/* The ruleset as a whole */

/* Files that were half-written, and of which no earlier content is there to go on with. */
static int check_files(const struct eb_config *config, char **error)
{
	for (size_t i = 0; i < config->rule_count; i++) {
		const struct eb_match *match = &config->rules[i].match;

		for (size_t j = 0; j < match->file_count; j++)
			if (match->files[j].is_busy)
				return fail(error, -EBUSY, "%s: is being written; try again when it is complete, and "
							   "replace it by rename", match->files[j].path);
	}
	return 0;
}

static int compile_own(const struct eb_config *config, struct eb_policy *policy, char **error)
{
	int err = check_files(config, error);

	if (err)
		return err;
	err = compile_each_rule(config, policy, error);
	return err ? err : check_ids(config, policy, error);
}

int eb_rules_check(const struct eb_config *config, char **error)
{
	struct eb_policy *policy = calloc(1, sizeof(*policy));
	int err = policy ? compile_own(config, policy, error) : fail(error, -ENOMEM, "out of memory");

	free(policy);
	return err;
}

static int compile_ruleset(const struct eb_config *config, const struct eb_policy *previous,
			   struct eb_ruleset *ruleset, char **error)
{
	int err = compile_own(config, &ruleset->policy, error);

	if (err)
		return err;
	assign_slots(&ruleset->policy, previous);
	fill_sets(config, &ruleset->policy);
	compile_interfaces(config, ruleset);
	compile_tunnels(config, &ruleset->policy);
	err = compile_numbers(config, ruleset);
	if (!err)
		err = compile_tries(config, ruleset);
	return err ? fail(error, err, "%s: no memory for the rules", config->path) : 0;
}

static bool entry_holds(const struct eb_trie_entry *entry, const uint8_t *addr)
{
	struct eb_trie_entry one = { .len = 128 };

	memcpy(one.addr, addr, sizeof(one.addr));
	return entry_covers(entry, &one);
}

/* Those of the longest prefix; entries are sorted so that it is the last one that holds the address. */
static uint64_t rules_of_address(const struct eb_trie *trie, const uint8_t addr[16], uint64_t any)
{
	for (size_t i = trie->count; i > 0; i--)
		if (entry_holds(&trie->items[i - 1], addr))
			return trie->items[i - 1].rules;
	return any;
}

static uint64_t rules_of_number(const struct eb_ruleset *ruleset, enum eb_number number, uint16_t value)
{
	return ruleset->numbers[number] ? ruleset->numbers[number][value] : ruleset->policy.number_any[number];
}

int eb_rules_find(const struct eb_ruleset *ruleset, const struct eb_rules_packet *packet)
{
	const struct eb_trie *tries = packet->family == 4 ? ruleset->v4 : ruleset->v6;
	const struct eb_policy *policy = &ruleset->policy;
	uint64_t rules = policy->proto[IPPROTO_TCP] & policy->detail[EB_DETAIL_TCP][EB_TCP_ACK];

	rules &= policy->fragment[EB_WHOLE] & policy->interface_any;
	rules &= policy->number_any[EB_LENGTH] & policy->number_any[EB_VLAN];
	rules &= rules_of_number(ruleset, EB_DPORT, packet->dport) & rules_of_number(ruleset, EB_SPORT, packet->sport);
	rules &= rules_of_address(&tries[EB_TRIE_SRC], packet->src, policy->src_any);
	rules &= rules_of_address(&tries[EB_TRIE_DST], packet->dst, policy->dst_any);
	/* Behind a rule that goes on, another one has the last word. */
	while (rules & (rules - 1) && policy->rules[__builtin_ctzll(rules)].goes_on)
		rules &= rules - 1;
	return rules ? __builtin_ctzll(rules) : -1;
}

int eb_rules_compile(const struct eb_config *config, const struct eb_policy *previous, struct eb_ruleset **out,
		     char **error)
{
	struct eb_ruleset *ruleset = calloc(1, sizeof(*ruleset));
	int err;

	if (!ruleset)
		return fail(error, -ENOMEM, "%s: no memory for the rules", config->path);
	err = compile_ruleset(config, previous, ruleset, error);
	if (err) {
		eb_rules_free(ruleset);
		return err;
	}
	*out = ruleset;
	return 0;
}

void eb_rules_monitor(struct eb_ruleset *ruleset)
{
	ruleset->policy.malformed_drop = false;
	ruleset->policy.bans_monitor = true;
	for (__u32 i = 0; i < ruleset->policy.rule_count; i++)
		ruleset->policy.rules[i].monitor |= ruleset->policy.rules[i].action != EB_ALLOW;
}

/* `policy` may come out of a pinned map: do not trust its numbers with memory. */
bool eb_rules_drop_nothing(const struct eb_policy *policy)
{
	for (__u32 i = 0; i < policy->rule_count && i < EB_LIMITS_MAX; i++)
		if (policy->rules[i].action != EB_ALLOW && !policy->rules[i].monitor)
			return false;
	return !policy->malformed_drop;
}

void eb_rules_free(struct eb_ruleset *ruleset)
{
	if (!ruleset)
		return;
	for (int side = EB_TRIE_SRC; side < EB_TRIES; side++) {
		free(ruleset->v4[side].items);
		free(ruleset->v4[side].filter);
		free(ruleset->v6[side].items);
		free(ruleset->v6[side].filter);
	}
	for (int number = 0; number < EB_NUMBERS; number++)
		free(ruleset->numbers[number]);
	free(ruleset);
}

/* Debt under other limits */

typedef unsigned __int128 wide;

/* Tokens that a debt is worth, a part of one counted as a whole: rounding must not give anything away. At most 2^62
 * ticks shifted by less than 64 fit in 128 bits. */
static wide tokens_of_debt(const struct eb_limit *limit, uint64_t debt)
{
	return (((wide)debt << limit->shift) + limit->mult - 1) / limit->mult;
}

/* eb_gcra_cost() for any number of tokens, at most EB_BURST_MAX. */
static uint64_t debt_of_tokens(const struct eb_limit *limit, wide tokens)
{
	wide one = (wide)1 << limit->shift;

	if (tokens > ((wide)EB_BURST_MAX << limit->shift) / limit->mult)
		return EB_BURST_MAX;
	return (tokens * limit->mult + one - 1) >> limit->shift;
}

uint64_t eb_rules_convert(uint64_t full_at, uint64_t now, const struct eb_limit *from, const struct eb_limit *to)
{
	uint64_t debt = eb_gcra_debt(full_at, now);

	/* A bucket being handed to another source was full. */
	if (!debt || eb_gcra_is_locked(full_at) || !from->mult || !to->mult)
		return EB_FULL;
	return eb_gcra_full_at(now, debt_of_tokens(to, tokens_of_debt(from, debt)));
}

/* As text */

const char *eb_rules_level_text(const struct eb_rule *rule, char text[EB_LEVEL_TEXT_MAX])
{
	text[0] = '\0';
	if (!rule->level)
		return text;
	if (rule->together)
		snprintf(text, EB_LEVEL_TEXT_MAX, "all");
	else if (rule->prefix6 == EB_NO_PREFIX)
		snprintf(text, EB_LEVEL_TEXT_MAX, "/%u", rule->prefix4);
	else if (rule->prefix4 == EB_NO_PREFIX)
		snprintf(text, EB_LEVEL_TEXT_MAX, "/%u", rule->prefix6);
	else
		snprintf(text, EB_LEVEL_TEXT_MAX, "/%u,/%u", rule->prefix4, rule->prefix6);
	if (rule->also)
		snprintf(text + strlen(text), EB_LEVEL_TEXT_MAX - strlen(text), "+%s", eb_also_names[rule->also]);
	return text;
}

const char *eb_action_name(enum eb_action action)
{
	switch (action) {
	case EB_ALLOW:
		return "allow";
	case EB_DENY:
		return "deny";
	case EB_LIMIT:
		return "limit";
	}
	return "unknown";
}

const char *eb_frame_kind_name(enum eb_frame_kind kind)
{
	static const char *const names[EB_FRAME_KINDS] = {
		[EB_NOT_IP] = "not_ip",
		[EB_MALFORMED] = "malformed",
		[EB_UNMATCHED] = "unmatched",
		[EB_NEIGHBOUR_DISCOVERY] = "neighbour_discovery",
		[EB_GROUP_MEMBERSHIP] = "group_membership",
		[EB_CONTENDED] = "contended",
		[EB_TABLE_FULL] = "table_full",
		[EB_BANNED] = "banned",
		[EB_WOULD_BAN] = "would_ban",
	};

	return names[kind];
}

const char *eb_verdict_name(enum eb_verdict verdict)
{
	switch (verdict) {
	case EB_PASS:
		return "pass";
	case EB_DROP:
		return "drop";
	case EB_WOULD_DROP:
		return "would_drop";
	case EB_CROWDED:
		return "crowded";
	case EB_CONTINUE:
		return "continue";
	case EB_VERDICTS:
		break;
	}
	return "unknown";
}
