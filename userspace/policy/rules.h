/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Rules: struct eb_config -> the contents of the policy maps. Pure: makes values in memory; dataplane.h writes them.
 */
#ifndef EB_RULES_H
#define EB_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/config.h"
#include "edgebucket.h"

/* One entry of a trie: addresses whose longest match is this prefix are accepted by these rules. */
struct eb_trie_entry {
	uint8_t addr[16]; /* network byte order; IPv4 in the first 4 bytes */
	uint8_t len;
	bool is_except; /* while the rules are compiled: these do not accept them. Then false */
	uint64_t rules;
};

struct eb_trie {
	struct eb_trie_entry *items;
	size_t count; /* 0: no rule asks for addresses of this family and side, eb_policy.src_any or dst_any serves */
	uint64_t *filter; /* in front of it; NULL for none. eb_policy.filters says how it is asked */
	size_t filter_words;
};

struct eb_ruleset {
	struct eb_policy policy; /* generation is left 0 */
	uint64_t *ports;         /* 65536 sets, or NULL when no rule asks for a port */
	struct eb_trie v4[2];    /* by EB_TRIE_SRC, EB_TRIE_DST */
	struct eb_trie v6[2];
};

/*
 * Compiles the rules of a checked configuration. `previous` is the policy in force, NULL when there is none: rules keep
 * the slot that their name has there; new ones get a slot that no rule of `previous` uses.
 *
 * Returns 0 and a ruleset for eb_rules_free(), or negative errno with a malloc'ed line in *error (-EEXIST: two rules'
 * names hash to one id, rename one; -EBUSY: a list was half-written when it was read).
 */
int eb_rules_compile(const struct eb_config *config, const struct eb_policy *previous, struct eb_ruleset **out,
		     char **error);

/* Whether they can be compiled, as far as memory allows, without looking at a million prefixes. Returns likewise. */
int eb_rules_check(const struct eb_config *config, char **error);

/* A first fragment, say, of which all is known. Addresses in network byte order, IPv4 in the first 4 bytes and zeros
 * behind them; the port in host byte order. */
struct eb_rules_packet {
	uint8_t family; /* 4 or 6 */
	uint8_t proto;
	uint16_t dport;
	uint8_t src[16], dst[16];
};

/* The rule that decides about such a packet, its index; -1 for none. Of one packet: it looks through all prefixes. */
int eb_rules_find(const struct eb_ruleset *ruleset, const struct eb_rules_packet *packet);

/*
 * Lets the ruleset drop nothing: its rules count what they would drop, and malformed frames pass. Which packets belong
 * to a rule stays as it is when the rules are enforced, other than with `mode: monitor` in the configuration.
 */
void eb_rules_monitor(struct eb_ruleset *ruleset);

/* Whether a policy cannot drop a packet, for this or any other reason. */
bool eb_rules_drop_nothing(const struct eb_policy *policy);

/* Accepts NULL. */
void eb_rules_free(struct eb_ruleset *ruleset);

/*
 * The identity of a rule's buckets: FNV-1a (32 bits) over its name, prefix length and limits, never 0. Another agent,
 * or the same one after a restart, computes the same. A rule whose limits change gets other buckets, into which the
 * agent converts the debts (eb_rules_convert()).
 */
uint32_t eb_rules_id(const char *name, uint8_t family, uint8_t prefix_len, const struct eb_limit *packets,
		     const struct eb_limit *bytes);

/*
 * The same debt under other limits: as many tokens are missing as before, a part of one counted as a whole, also when
 * that is more than the new burst (a smaller burst and back again must give nothing away). `full_at` and the result are
 * ticks of gcra.h; returns EB_FULL for a full bucket, and when either limit is absent.
 */
uint64_t eb_rules_convert(uint64_t full_at, uint64_t now, const struct eb_limit *from, const struct eb_limit *to);


/* As text. */
const char *eb_action_name(enum eb_action action);   /* "allow" … */
const char *eb_frame_kind_name(enum eb_frame_kind kind); /* "not_ip", "table_full", ... */
const char *eb_verdict_name(enum eb_verdict verdict); /* "pass", "drop", "would_drop", "crowded" */

#endif
