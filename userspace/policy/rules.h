/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Rules: compiles struct eb_config into the contents of the policy maps, in memory. dataplane.h writes them to the
 * maps.
 */
#ifndef EB_RULES_H
#define EB_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/config.h"
#include "edgebucket.h"

/* One entry of a trie: the rules that accept an address whose longest matching prefix is this one. */
struct eb_trie_entry {
	uint8_t addr[16]; /* network byte order; IPv4 in the first 4 bytes */
	uint8_t len;
	bool is_except; /* only during compilation: these rules do not accept the addresses. False in the result */
	uint64_t rules;
};

struct eb_trie {
	struct eb_trie_entry *items;
	size_t count; /* 0: no rule has a condition of this family and side; eb_policy.src_any or dst_any is used */
	uint64_t *filter; /* in front of the trie; NULL if there is none. eb_policy.filters has its parameters */
	size_t filter_words;
};

/* Which interfaces rules ask for. Which ones these are is found out later: they can come and go (targets.h). */
struct eb_interface_rules {
	uint64_t any;                       /* the rules that ask for none */
	uint64_t asking[EB_INTERFACES_MAX]; /* the rules that ask for eb_config.entries[n] */
	size_t count;                       /* of the entries; 0 when no rule asks for an interface */
};

struct eb_ruleset {
	struct eb_policy policy; /* generation is 0 */
	uint64_t *numbers[EB_NUMBERS]; /* EB_NUMBER_SIZE() sets, or NULL when no rule asks for this number */
	struct eb_interface_rules interfaces;
	struct eb_trie v4[EB_TRIES]; /* by EB_TRIE_SRC, EB_TRIE_DST, EB_TRIE_TUNNEL */
	struct eb_trie v6[EB_TRIES];
};

/*
 * Compiles the rules of a checked configuration. `previous` is the policy in force, or NULL: a rule keeps the slot of
 * its name in `previous`; a new rule gets a slot that no rule of `previous` uses.
 *
 * Returns 0 and a ruleset for eb_rules_free(), or negative errno with a malloc'ed line in *error (-EEXIST: the names of
 * two rules hash to the same id, so one must be renamed; -EBUSY: a list was half-written when it was read).
 */
int eb_rules_compile(const struct eb_config *config, const struct eb_policy *previous, struct eb_ruleset **out,
		     char **error);

/* Checks whether the rules can be compiled, apart from memory, without looking at the prefixes. Returns 0, or negative
 * errno with a malloc'ed line in *error. */
int eb_rules_check(const struct eb_config *config, char **error);

/* The rules that accept an interface for which these entries stand: bit n for eb_config.entries[n] (targets.h). */
uint64_t eb_rules_of_interface(const struct eb_interface_rules *interfaces, uint64_t entries);

/* A packet of TCP in a connection, whole and acknowledged. Addresses in network byte order, IPv4 in the first 4 bytes
 * and zeros behind them; the ports in host byte order. */
struct eb_rules_packet {
	uint8_t family; /* 4 or 6 */
	uint16_t sport, dport;
	uint8_t src[16], dst[16];
};

/* The rule that has the last word about such a packet, its index; -1 for none. It is not one that others follow (then:
 * continue). Its length, its VLAN and the interface are not known, and match rules that do not ask for them. Of one
 * packet: it looks through all prefixes. */
int eb_rules_find(const struct eb_ruleset *ruleset, const struct eb_rules_packet *packet);

/*
 * Makes the ruleset drop nothing: its rules count what they would drop, and malformed frames pass. In contrast to
 * `mode: monitor` in the configuration, each packet still matches the rule that it matches when the rules are enforced.
 */
void eb_rules_monitor(struct eb_ruleset *ruleset);

/* Whether a policy cannot drop any packet, because of eb_rules_monitor() or for any other reason. */
bool eb_rules_drop_nothing(const struct eb_policy *policy);

/* Accepts NULL. */
void eb_rules_free(struct eb_ruleset *ruleset);

/*
 * Whether rule or level `a` of one policy goes on as `b` of another: rules by their name, levels by that of their rule
 * and their own prefix lengths and also_per.
 */
bool eb_rules_same(const struct eb_policy *a, size_t index_a, const struct eb_policy *b, size_t index_b);

/* A level's prefixes as text, "/24,/48", "/48" where it has one family, "all" for all sources together, "/24,/48+dst"
 * with also_per; "" for a rule. The array is the caller's; the result is it. */
#define EB_LEVEL_TEXT_MAX 24
const char *eb_rules_level_text(const struct eb_rule *rule, char text[EB_LEVEL_TEXT_MAX]);

/*
 * The identity of a rule's or a level's buckets: FNV-1a (32 bits) over its name, prefix length, also_per and limits,
 * never 0. Another agent, or the same one after a restart, computes the same. A rule whose limits change gets other
 * buckets, into which the agent converts the debts (eb_rules_convert()).
 */
uint32_t eb_rules_id(const char *name, uint8_t family, uint8_t prefix_len, enum eb_also also,
		     const struct eb_limit *packets, const struct eb_limit *bytes);

/* The rule_id of a rule's or a level's buckets of an address family, 4 or 6, and the prefix length of its sources. */
static inline uint32_t eb_rules_id_of(const struct eb_rule *rule, int family)
{
	return family == 4 ? rule->id4 : rule->id6;
}

static inline uint8_t eb_rules_prefix_of(const struct eb_rule *rule, int family)
{
	return family == 4 ? rule->prefix4 : rule->prefix6;
}

/* The place of the rule or level that has the buckets of a rule_id; -1 when none has. */
static inline int eb_rules_find_id(const struct eb_policy *policy, int family, uint32_t rule_id)
{
	for (uint32_t i = 0; i < policy->rule_count; i++)
		if (policy->rules[i].action == EB_LIMIT && eb_rules_id_of(&policy->rules[i], family) == rule_id)
			return i;
	return -1;
}

/*
 * Converts a debt to other limits: the same number of tokens is missing, rounded up to a whole token, even if that
 * exceeds the new burst (a smaller burst and back again must not refill the bucket). `full_at`, `now` and the result
 * are ticks of gcra.h. Returns EB_FULL for a full bucket, and if either limit is absent.
 */
uint64_t eb_rules_convert(uint64_t full_at, uint64_t now, const struct eb_limit *from, const struct eb_limit *to);


/* Names, which are constants. */
const char *eb_action_name(enum eb_action action);   /* "allow" … */
const char *eb_frame_kind_name(enum eb_frame_kind kind); /* "not_ip", "table_full", ... */
const char *eb_verdict_name(enum eb_verdict verdict); /* "pass", "drop", "would_drop", "crowded" */

#endif
