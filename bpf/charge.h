/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Rule and packet -> the source's bucket -> admit or refuse. The table itself is table.h's; this part masks the
 * source, asks the gate before a new source may enter, and says what became of it.
 *
 * The functions marked __noinline are global to the verifier: it checks each once, for any arguments of their types
 * (hence the tests for NULL), instead of once for every way that leads there. Only what few packets need is: where the
 * kernel makes returns safe against speculation, a call costs as much as a look-up (measured 9 ns).
 */
#ifndef EB_CHARGE_H
#define EB_CHARGE_H

#include "account.h"
#include "maps.h"
#include "parse.h"
#include "table.h"

/* Sets in buckets_v4 and buckets_v6; the agent sets them before loading, as the max_entries of these maps and of their
 * tags. */
const volatile __u32 sets_v4 = 1;
const volatile __u32 sets_v6 = 1;

enum outcome {
	OUTCOME_ADMIT,
	OUTCOME_REFUSE,
	OUTCOME_CROWDED,    /* the gate was closed to a new source */
	OUTCOME_TABLE_FULL, /* all places that a new source could have are in debt */
	OUTCOME_CONTENDED,  /* other CPUs kept getting in the way: refused, so the limit holds */
	OUTCOME_MOVED,      /* a reload is under way, and the source belongs to the next rule: see charge_next() */
};

/* One bucket for each rule says how fast new sources may appear: a flood of invented sources stops here, and touches
 * no more than this one line and the two sets that were searched. */
__noinline int gate_admits(struct eb_state *state, const struct eb_rule *rule, __u64 now)
{
	struct eb_bucket *gate;

	if (!state || !rule)
		return 0;
	gate = &state->gates[rule->slot & (EB_SLOTS - 1)];
	if (eb_limit_charge(&gate->packets_full_at, &rule->new_sources, 1, now) != EB_ADMITTED)
		return 0;
	count_new_source(rule);
	return 1;
}

/* The sets of a hash. False when the maps are smaller than the program was told, which cannot be. */
static __always_inline int find_sets4(__u64 hash, struct eb_sets *out)
{
	__u32 a = eb_first_set(hash, sets_v4), b = eb_second_set(hash, sets_v4);

	out->first_tags = bpf_map_lookup_elem(&tags_v4, &a);
	out->second_tags = bpf_map_lookup_elem(&tags_v4, &b);
	out->first = bpf_map_lookup_elem(&buckets_v4, &a);
	out->second = bpf_map_lookup_elem(&buckets_v4, &b);
	return out->first && out->second && out->first_tags && out->second_tags;
}

static __always_inline int find_sets6(__u64 hash, struct eb_sets *out)
{
	__u32 a = eb_first_set(hash, sets_v6), b = eb_second_set(hash, sets_v6);

	out->first_tags = bpf_map_lookup_elem(&tags_v6, &a);
	out->second_tags = bpf_map_lookup_elem(&tags_v6, &b);
	out->first = bpf_map_lookup_elem(&buckets_v6, &a);
	out->second = bpf_map_lookup_elem(&buckets_v6, &b);
	return out->first && out->second && out->first_tags && out->second_tags;
}

/* eb_table_insert() of each family. */
__noinline int insert4(struct eb_state *state, const struct eb_key4 *key, __u64 hash, __u64 now)
{
	struct eb_sets sets;

	if (!state || !key || !find_sets4(hash, &sets))
		return EB_PLACE_BUSY;
	return eb_table_insert(&sets, (const __u64 *)key, EB_WORDS4, eb_tag(hash), eb_key_lock(state, hash), now);
}

__noinline int insert6(struct eb_state *state, const struct eb_key6 *key, __u64 hash, __u64 now)
{
	struct eb_sets sets;

	if (!state || !key || !find_sets6(hash, &sets))
		return EB_PLACE_BUSY;
	return eb_table_insert(&sets, (const __u64 *)key, EB_WORDS6, eb_tag(hash), eb_key_lock(state, hash), now);
}

/* Charges the bucket at a place, if it still is the key's afterwards. */
static __always_inline enum outcome charge_place(const struct eb_sets *sets, const __u64 *key, int words, int place,
						 const struct eb_rule *rule, __u64 len, __u64 now)
{
	__u64 *entry = eb_place_key(sets, words, place);

	switch (eb_bucket_charge(eb_key_bucket(entry, words), rule, len, now)) {
	case EB_ADMITTED:
		return eb_key_equal(entry, key, words) ? OUTCOME_ADMIT : OUTCOME_CONTENDED;
	case EB_REFUSED:
		return OUTCOME_REFUSE;
	default:
		return OUTCOME_CONTENDED;
	}
}

static __always_inline enum outcome outcome_of_no_place(int place)
{
	return place == EB_PLACE_FULL ? OUTCOME_TABLE_FULL : OUTCOME_CONTENDED;
}

/* Charges an IPv4 packet's source. *tally says whose bucket it was, for count_refusal(). */
static __always_inline enum outcome charge_source4(struct eb_state *state, const struct eb_rule *rule,
						   const struct eb_packet *packet, struct eb_tally *tally, __u64 now)
{
	struct eb_key4 key = {
		.addr = *(const __be32 *)packet->saddr & rule->mask4,
		.rule_id = rule->id4,
	};
	__u64 hash = eb_key_hash((__u64 *)&key, EB_WORDS4, state->seed);
	struct eb_sets sets;
	int place;

	if (!find_sets4(hash, &sets))
		return OUTCOME_CONTENDED;
	place = eb_table_find(&sets, (__u64 *)&key, EB_WORDS4, eb_tag(hash));
	if (place < 0) {
		if (EB_READ(rule->next))
			return OUTCOME_MOVED;
		if (!gate_admits(state, rule, now))
			return OUTCOME_CROWDED;
		place = insert4(state, &key, hash, now);
		if (place < 0)
			return outcome_of_no_place(place);
	}
	tally->tag = hash;
	tally->set = place < EB_WAYS ? eb_first_set(hash, sets_v4) : eb_second_set(hash, sets_v4);
	tally->way = place & (EB_WAYS - 1);
	tally->family = 4;
	return charge_place(&sets, (__u64 *)&key, EB_WORDS4, place, rule, packet->len, now);
}

/* The same for IPv6. */
static __always_inline enum outcome charge_source6(struct eb_state *state, const struct eb_rule *rule,
						   const struct eb_packet *packet, struct eb_tally *tally, __u64 now)
{
	struct eb_key6 key = { .rule_id = rule->id6 };
	__u64 hash, *words = (__u64 *)&key;
	struct eb_sets sets;
	int place;

	words[0] = packet->saddr[0] & rule->mask6[0];
	words[1] = packet->saddr[1] & rule->mask6[1];
	hash = eb_key_hash(words, EB_WORDS6, state->seed);
	if (!find_sets6(hash, &sets))
		return OUTCOME_CONTENDED;
	place = eb_table_find(&sets, words, EB_WORDS6, eb_tag(hash));
	if (place < 0) {
		if (EB_READ(rule->next))
			return OUTCOME_MOVED;
		if (!gate_admits(state, rule, now))
			return OUTCOME_CROWDED;
		place = insert6(state, &key, hash, now);
		if (place < 0)
			return outcome_of_no_place(place);
	}
	tally->tag = hash;
	tally->set = place < EB_WAYS ? eb_first_set(hash, sets_v6) : eb_second_set(hash, sets_v6);
	tally->way = place & (EB_WAYS - 1);
	tally->family = 6;
	return charge_place(&sets, words, EB_WORDS6, place, rule, packet->len, now);
}

static __always_inline enum outcome charge_source(struct eb_state *state, const struct eb_rule *rule,
						  const struct eb_packet *packet, struct eb_tally *tally, __u64 now)
{
	return packet->family == 4 ? charge_source4(state, rule, packet, tally, now)
				   : charge_source6(state, rule, packet, tally, now);
}

/*
 * Charges a packet under the rule that takes the buckets of its own over, while a reload that changes the limits is
 * under way: what convert.h says of a source without a bucket in the old rule.
 */
__noinline int charge_next(struct eb_state *state, const struct eb_rule *next, const struct eb_packet *packet,
			   struct eb_tally *tally, __u64 now)
{
	if (!state || !next || !packet || !tally)
		return OUTCOME_CONTENDED;
	return charge_source(state, next, packet, tally, now);
}

/* The rule in the other policy than `index` that takes over, or NULL. */
static __always_inline const struct eb_rule *next_rule(const struct eb_rule *rule, __u32 index)
{
	__u32 other = !index, place = (EB_READ(rule->next) - 1) & (EB_RULES_MAX - 1);
	const struct eb_policy *next = bpf_map_lookup_elem(&policy, &other);

	return next ? &next->rules[place] : NULL;
}

#endif
