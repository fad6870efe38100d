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
#include "penalty.h"
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
	OUTCOME_PENALTY,    /* refused, once too often: the source is to be banned */
	OUTCOME_MOVED,      /* a reload is under way, and the source belongs to the next rule, see convert.h */
};

/* A family's maps. Constants, once everything is inlined: each look-up knows its map. */
struct table {
	void *buckets, *tags, *changed;
	__u32 sets;
	int words; /* of a key */
	__u8 family;
};

static __always_inline struct table table4(void)
{
	return (struct table){ &buckets_v4, &tags_v4, &changed_v4, sets_v4, EB_WORDS4, 4 };
}

static __always_inline struct table table6(void)
{
	return (struct table){ &buckets_v6, &tags_v6, &changed_v6, sets_v6, EB_WORDS6, 6 };
}

/* One bucket for each rule says how fast new sources may appear: a flood of invented sources stops here, and touches
 * no more than this one line and the tags of the sets that were searched. */
static __always_inline struct eb_bucket *gate_of(struct eb_state *state, const struct eb_rule *rule)
{
	return &state->gates[rule->slot & (EB_SLOTS - 1)];
}

__noinline int gate_admits(struct eb_state *state, const struct eb_rule *rule, __u64 now)
{
	if (!state || !rule)
		return 0;
	if (eb_limit_charge(&gate_of(state, rule)->packets_full_at, &rule->new_sources, 1, now) != EB_ADMITTED)
		return 0;
	count_new_source(rule);
	return 1;
}

/* One of the sets of a hash. False when the maps are smaller than the program was told, which does not happen. */
static __always_inline int find_set(const struct table *table, __u64 hash, int choice, struct eb_sets *out)
{
	__u32 index = eb_choose_set(hash, table->sets, choice);

	out->tags[choice] = bpf_map_lookup_elem(table->tags, &index);
	out->set[choice] = bpf_map_lookup_elem(table->buckets, &index);
	return out->tags[choice] && out->set[choice];
}

static __always_inline int find_sets(const struct table *table, __u64 hash, struct eb_sets *out)
{
	for (int choice = 0; choice < EB_CHOICES; choice++)
		if (!find_set(table, hash, choice, out))
			return 0;
	return 1;
}

/* Whether one of a set's tags is this one, by the word that they make together: one of its lanes becomes 0. */
static __always_inline int has_tag(const struct eb_tags *tags, __u16 tag)
{
	const __u64 ones = 0x0001000100010001ULL;
	__u64 lanes = EB_READ(*(const __u64 *)tags) ^ tag * ones;

	return ((lanes - ones) & ~lanes & ones << 15) != 0;
}

/* Looks for a key's entry, in one of its sets after the other: *entry, and its place or EB_PLACE_NONE. Most sets that
 * do not have it are told by their tags alone. */
static __always_inline int find_entry(const struct table *table, __u64 hash, const __u64 *key, __u64 **entry)
{
	for (int choice = 0; choice < EB_CHOICES; choice++) {
		__u32 index = eb_choose_set(hash, table->sets, choice);
		struct eb_tags *tags = bpf_map_lookup_elem(table->tags, &index);
		void *set;
		int way;

		if (!tags)
			return EB_PLACE_BUSY;
		if (!has_tag(tags, eb_tag(hash)))
			continue;
		set = bpf_map_lookup_elem(table->buckets, &index);
		if (!set)
			return EB_PLACE_BUSY;
		way = eb_set_find(set, tags, key, table->words, eb_tag(hash));
		if (way >= 0) {
			*entry = eb_set_key(set, table->words, way);
			return EB_PLACE(choice, way);
		}
	}
	return EB_PLACE_NONE;
}

/* The entry at a key's place. NULL when the map is smaller than the program was told. */
static __always_inline __u64 *place_entry(const struct table *table, __u64 hash, int place)
{
	__u32 index = eb_choose_set(hash, table->sets, eb_place_choice(place));
	void *set = bpf_map_lookup_elem(table->buckets, &index);

	if (!set)
		return 0;
	/* Keeps clang 19 from adding the offset before the check, which the verifier of 6.1 refuses. */
	asm volatile("" : "+r"(set));
	return eb_set_key(set, table->words, EB_PLACE_WAY(place));
}

static __always_inline int find_room(const struct table *table, __u64 hash, __u64 now)
{
	struct eb_sets sets;

	return find_sets(table, hash, &sets) ? eb_table_room(&sets, table->words, now) : EB_PLACE_BUSY;
}

__noinline int find_room4(__u64 hash, __u64 now)
{
	struct table table = table4();

	return find_room(&table, hash, now);
}

__noinline int find_room6(__u64 hash, __u64 now)
{
	struct table table = table6();

	return find_room(&table, hash, now);
}

static __always_inline int insert_at(const struct table *table, struct eb_state *state, const __u64 *key, __u64 hash,
				     int place, __u64 now)
{
	struct eb_sets sets;

	if (!find_sets(table, hash, &sets))
		return EB_PLACE_BUSY;
	return eb_table_insert(&sets, key, table->words, eb_tag(hash), eb_key_lock(state, hash), place, now);
}

__noinline int insert4(struct eb_state *state, const struct eb_key4 *key, __u64 hash, int place, __u64 now)
{
	struct table table = table4();

	return state && key ? insert_at(&table, state, (const __u64 *)key, hash, place, now) : EB_PLACE_BUSY;
}

__noinline int insert6(struct eb_state *state, const struct eb_key6 *key, __u64 hash, int place, __u64 now)
{
	struct table table = table6();

	return state && key ? insert_at(&table, state, (const __u64 *)key, hash, place, now) : EB_PLACE_BUSY;
}

static __always_inline int insert(const struct table *table, struct eb_state *state, const __u64 *key, __u64 hash,
				  __u64 now)
{
	int place = table->family == 4 ? find_room4(hash, now) : find_room6(hash, now);

	if (place < 0)
		return place;
	return table->family == 4 ? insert4(state, (const struct eb_key4 *)key, hash, place, now)
				  : insert6(state, (const struct eb_key6 *)key, hash, place, now);
}

/* Charges the bucket of an entry, if it still is the key's afterwards. */
static __always_inline enum outcome charge_entry(__u64 *entry, const __u64 *key, int words, const struct eb_rule *rule,
						 __u64 len, __u64 now)
{
	switch (eb_bucket_charge(eb_key_bucket(entry, words), rule, len, now)) {
	case EB_ADMITTED:
		return eb_key_equal(entry, key, words) ? OUTCOME_ADMIT : OUTCOME_CONTENDED;
	case EB_REFUSED:
		return OUTCOME_REFUSE;
	default:
		return OUTCOME_CONTENDED;
	}
}

static __always_inline void mark_changed(const struct table *table, __u32 set)
{
	__u32 group = set / EB_GROUP_SETS, index = group / EB_CHANGES_GROUPS;
	struct eb_changes *changes = bpf_map_lookup_elem(table->changed, &index);

	if (changes)
		eb_mark_changed(&changes->group[group & (EB_CHANGES_GROUPS - 1)]);
}

/* The numbers of an entry in the map at `index` of `maps`, which is parallel to the buckets. NULL while nobody wants
 * them. */
static __always_inline struct eb_spent *find_numbers(void *maps, __u32 index, __u64 hash, __u32 family, __u32 place)
{
	__u32 set_index = eb_choose_set(hash, family == 6 ? sets_v6 : sets_v4, eb_place_choice(place));
	void *sets = bpf_map_lookup_elem(maps, &index);
	struct eb_spent_set *set = sets ? bpf_map_lookup_elem(sets, &set_index) : 0;

	return set ? &set->way[EB_PLACE_WAY(place)] : 0;
}

/* Adds up what a packet was charged in an entry whose bucket is shared by a fleet. The caller marks it as changed
 * behind that: the agent takes marks away before it reads. */
__noinline int count_spent(const struct eb_rule *rule, __u64 hash, __u32 family, __u32 place, __u32 len)
{
	struct eb_spent *way = find_numbers(&spent, EB_SPENT(family), hash, family, place);

	if (!rule || !way)
		return 0;
	if (rule->packets.mult)
		eb_add_before_mark(&way->packets, eb_gcra_cost(&rule->packets, 1));
	if (rule->bytes.mult)
		eb_add_before_mark(&way->bytes, eb_gcra_cost(&rule->bytes, len));
	return 0;
}

/* Whether a command counts what is offered to this rule or level. */
static __always_inline int is_measured(const struct eb_state *state, const struct eb_rule *rule)
{
	return EB_READ(state->measured) == rule->slot + 1;
}

/* Counts a packet that is offered to an entry's bucket, whatever becomes of it. A command that was killed has left its
 * word behind: the first packet after its time takes that away. */
__noinline int count_demand(struct eb_state *state, __u64 hash, __u32 family, __u32 place, __u32 len)
{
	struct eb_spent *way;

	if (!state)
		return 0;
	if (bpf_ktime_get_ns() > EB_READ(state->measured_until_ns)) {
		EB_WRITE(state->measured, 0);
		return 0;
	}
	way = find_numbers(&demand, EB_SPENT(family), hash, family, place);
	if (!way)
		return 0;
	__sync_fetch_and_add(&way->packets, 1);
	__sync_fetch_and_add(&way->bytes, len);
	return 0;
}

/* Counts a refusal in its bucket. OUTCOME_PENALTY when it is one too many, otherwise OUTCOME_REFUSE. */
static __always_inline enum outcome count_refused(struct eb_cpu *cpu, const struct eb_rule *rule,
						  struct eb_bucket *bucket)
{
	if (!rule->penalty_mode) {
		count_refusal(cpu, bucket);
		return OUTCOME_REFUSE;
	}
	if (!count_offence(cpu, rule, bucket))
		return OUTCOME_REFUSE;
	end_window(cpu, rule, bucket);
	return OUTCOME_PENALTY;
}

static __always_inline enum outcome outcome_of_no_place(int place)
{
	return place == EB_PLACE_FULL ? OUTCOME_TABLE_FULL : OUTCOME_CONTENDED;
}

/*
 * Charges a key's bucket. The CPU's last reading of the clock tells most refusals; the exact time is read where that
 * does not. Refusals by the bucket are counted in it.
 */
static __always_inline enum outcome charge_key(const struct table *table, struct eb_cpu *cpu, struct eb_state *state,
					       const struct eb_rule *rule, const __u64 *key, __u64 len)
{
	__u64 hash = eb_key_hash(key, table->words, state->seed), early = eb_gcra_now(cpu->clock_ns), now, *entry;
	int place = find_entry(table, hash, key, &entry), is_new = place == EB_PLACE_NONE;
	enum outcome outcome = OUTCOME_REFUSE;

	if (is_new) {
		if (EB_READ(rule->next))
			return OUTCOME_MOVED;
		if (eb_limit_refuses_early(&gate_of(state, rule)->packets_full_at, &rule->new_sources, 1, early))
			return OUTCOME_CROWDED;
		now = read_exact(cpu);
		if (!gate_admits(state, rule, now))
			return OUTCOME_CROWDED;
		place = insert(table, state, key, hash, now);
		entry = place < 0 ? 0 : place_entry(table, hash, place);
	}
	if (place < 0 || !entry)
		return outcome_of_no_place(place);
	if (is_new || !eb_bucket_refuses_early(eb_key_bucket(entry, table->words), rule, len, early))
		outcome = charge_entry(entry, key, table->words, rule, len, is_new ? now : read_exact(cpu));
	if (outcome == OUTCOME_REFUSE)
		outcome = count_refused(cpu, rule, eb_key_bucket(entry, table->words));
	if (outcome == OUTCOME_ADMIT && rule->shared)
		count_spent(rule, hash, table->family, place, len);
	if (outcome != OUTCOME_REFUSE) /* one refused as contended may have been charged */
		mark_changed(table, eb_choose_set(hash, table->sets, eb_place_choice(place)));
	if (is_measured(state, rule))
		count_demand(state, hash, table->family, place, len);
	return outcome;
}

static __always_inline enum outcome charge_source4(struct eb_cpu *cpu, struct eb_state *state,
						   const struct eb_rule *rule, const struct eb_packet *packet)
{
	__u64 key = eb_key4_word(*(const __be32 *)packet->saddr & rule->mask4, rule->id4);
	struct table table = table4();

	return charge_key(&table, cpu, state, rule, &key, packet->len);
}

static __always_inline enum outcome charge_source6(struct eb_cpu *cpu, struct eb_state *state,
						   const struct eb_rule *rule, const struct eb_packet *packet)
{
	struct eb_key6 key = { .rule_id = rule->id6, .family = 6 };
	struct table table = table6();
	__u64 *words = (__u64 *)&key;

	words[0] = packet->saddr[0] & rule->mask6[0];
	words[1] = packet->saddr[1] & rule->mask6[1];
	return charge_key(&table, cpu, state, rule, words, packet->len);
}

/* For rules without also_per. */
static __always_inline enum outcome charge_source(struct eb_cpu *cpu, struct eb_state *state,
						  const struct eb_rule *rule, const struct eb_packet *packet)
{
	return packet->family == 4 ? charge_source4(cpu, state, rule, packet)
				   : charge_source6(cpu, state, rule, packet);
}

#endif
