/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Refusals -> a ban. What a bucket refuses is counted in it, exactly while that matters; the refusal that is one too
 * many bans the source, here and now, whether an agent runs or not. The agent hears of it through a queue.
 */
#ifndef EB_PENALTY_H
#define EB_PENALTY_H

#include <bpf/bpf_endian.h>

#include "account.h"
#include "ban.h"
#include "maps.h"
#include "offence.h"
#include "parse.h"
#include "table.h"

/* A window that a rule in mode monitor counts a ban for lasts no longer. */
#define SILENT_UNITS (24 * 3600 * 1000000000ULL >> EB_OFFENCE_UNIT_SHIFT)

static __always_inline __u64 silent_units(const struct eb_rule *rule)
{
	__u64 units = eb_offence_units(rule->penalty.ban_ns);

	return units < SILENT_UNITS ? units : SILENT_UNITS;
}

/* By how much a refusal raises the number in all, as in count_refusal(). It stops where there is no more room. */
static __always_inline __u64 dropped_step(struct eb_cpu *cpu, __u64 word)
{
	__u64 dropped = eb_offence_dropped(word);

	return dropped < EB_OFFENCE_DROPPED_MAX ? refusal_step(cpu, dropped) : 0;
}

/*
 * Counts a refusal by a rule with a penalty in its bucket. Returns 1 for the one that is one too many. A window begins
 * with a refusal; every refusal is counted in one, also where CPUs count at the same moment: each either begins the
 * window or adds to it.
 */
__noinline int count_offence(struct eb_cpu *cpu, const struct eb_rule *rule, struct eb_bucket *bucket)
{
	__u64 time;

	if (!cpu || !rule || !bucket)
		return 0;
	time = eb_offence_time(cpu->clock_ns);
	for (int i = 0; i < EB_CAS_TRIES; i++) {
		__u64 word = EB_READ(bucket->dropped), step = dropped_step(cpu, word);

		if (eb_offence_is_current(word, time, rule->penalty.within, silent_units(rule))) {
			__u64 add = step << EB_OFFENCE_DROPPED_SHIFT;

			if (eb_offence_count(word) <= rule->penalty.after)
				return eb_offence_count(__sync_fetch_and_add(&bucket->dropped, add + 1)) ==
				       rule->penalty.after;
			if (add)
				__sync_fetch_and_add(&bucket->dropped, add);
			return 0;
		}
		if (__sync_val_compare_and_swap(&bucket->dropped, word,
						eb_offence_word(eb_offence_dropped(word) + step, time, 1)) == word)
			return 0;
	}
	return 0;
}

/* Begins a new window, in which nothing was counted yet; where no ban is made, nothing is counted for as long as it
 * would last. */
static __always_inline void end_window(struct eb_cpu *cpu, const struct eb_rule *rule, struct eb_bucket *bucket)
{
	__u64 time = eb_offence_time(cpu->clock_ns), count = rule->monitor ? EB_OFFENCE_COUNTED : 0;

	for (int i = 0; i < EB_CAS_TRIES; i++) {
		__u64 word = EB_READ(bucket->dropped);

		if (__sync_val_compare_and_swap(&bucket->dropped, word,
						eb_offence_word(eb_offence_dropped(word), time, count)) == word)
			return;
	}
}

/* How long this ban lasts: longer than the last one where that is not long ago. */
static __always_inline __u64 term_of(const struct eb_rule *rule, const struct eb_ban *last, __u64 now_ns)
{
	__u64 term = rule->penalty.ban_ns, longer;

	if (!last || last->kind != EB_BAN || last->origin != EB_BAN_RULE ||
	    now_ns - last->until_ns >= rule->penalty.max_ns)
		return term;
	longer = last->term_ms * 1000000ULL * rule->penalty.factor;
	return longer > rule->penalty.max_ns ? rule->penalty.max_ns : longer > term ? longer : term;
}

/* Puts the ban into the trie. Returns 0 where there is one in force, or no room. */
static __always_inline int put_ban(struct eb_state *state, const struct eb_rule *rule, void *trie, const void *key,
				   __u64 now_ns, struct eb_punishment *out)
{
	const struct eb_ban *last = bpf_map_lookup_elem(trie, key);
	struct eb_ban_made *made = &out->made;
	struct eb_ban *ban = &out->ban;
	__u64 term;

	if (last && last->len != made->len)
		last = 0;
	if (last && last->kind == EB_BAN && EB_READ(last->until_ns) > now_ns)
		return 0;
	if (!last && (__s32)EB_READ(state->bans_left) <= 0)
		return 0;
	made->had = !!last;
	made->had_kind = last ? last->kind : 0;
	made->had_origin = last ? last->origin : 0;
	term = term_of(rule, last, now_ns);
	*ban = (struct eb_ban){
		.until_ns = now_ns + term,
		.since_ns = now_ns,
		.refused = last ? last->refused : 0,
		.len = made->len,
		.kind = EB_BAN,
		.origin = EB_BAN_RULE,
		.refresh = rule->penalty_mode == EB_PENALTY_REFRESH,
		.term_ms = term / 1000000,
	};
	__builtin_memcpy(ban->reason, rule->penalty.name, sizeof(rule->penalty.name));
	if (bpf_map_update_elem(trie, key, ban, BPF_ANY))
		return 0;
	if (!last)
		__sync_fetch_and_add(&state->bans_left, -1);
	return 1;
}

/* Sets the filter's bit, in the array that packets read, and in the one that the agent makes meanwhile. */
static __always_inline void set_bit(__u32 family, __u32 bit)
{
#pragma unroll
	for (__u32 second = 0; second < 2; second++) {
		__u32 word = eb_ban_word(second, family, bit);
		__u64 *bits = bpf_map_lookup_elem(&ban_bits, &word);

		if (bits)
			__sync_fetch_and_or(bits, 1ULL << (bit % 64));
	}
}

static __always_inline int ban4(struct eb_state *state, const struct eb_rule *rule, const struct eb_packet *packet,
				__u64 now_ns, struct eb_punishment *out)
{
	struct eb_lpm4 key = {
		.prefixlen = rule->prefix4,
		.addr = *(const __be32 *)packet->saddr & rule->mask4,
	};

	out->made = (struct eb_ban_made){ .family = 4, .len = rule->prefix4 };
	*(__be32 *)out->made.addr = key.addr;
	if (!put_ban(state, rule, &bans_v4, &key, now_ns, out))
		return 0;
	set_bit(4, eb_ban_bit4(bpf_ntohl((__u32)key.addr)));
	__sync_fetch_and_or(&state->rule_bans, EB_BANS_V4);
	return 1;
}

static __always_inline int ban6(struct eb_state *state, const struct eb_rule *rule, const struct eb_packet *packet,
				__u64 now_ns, struct eb_punishment *out)
{
	__u64 words[2] = { packet->saddr[0] & rule->mask6[0], packet->saddr[1] & rule->mask6[1] };
	struct eb_lpm6 key = { .prefixlen = rule->prefix6 };

	out->made = (struct eb_ban_made){ .family = 6, .len = rule->prefix6 };
	__builtin_memcpy(key.addr, words, sizeof(key.addr));
	__builtin_memcpy(out->made.addr, words, sizeof(out->made.addr));
	if (!put_ban(state, rule, &bans_v6, &key, now_ns, out))
		return 0;
	set_bit(6, eb_ban_bit6(bpf_be64_to_cpu(words[0])));
	__sync_fetch_and_or(&state->rule_bans, EB_BANS_V6);
	return 1;
}

/* The verifier of Linux 6.1 takes values for a map from maps and the stack alone: hence another look at the own CPU. */
static __always_inline int ban(struct eb_cpu *cpu, struct eb_state *state, const struct eb_rule *rule,
			       const struct eb_packet *packet)
{
	struct eb_cpu *own = this_cpu();
	struct eb_punishment *out;
	int is_made;

	if (!own)
		return 0;
	out = &own->punishment;
	if (__sync_val_compare_and_swap(&out->is_taken, 0, 1))
		return 0;
	is_made = packet->family == 4 ? ban4(state, rule, packet, cpu->clock_ns, out)
				      : ban6(state, rule, packet, cpu->clock_ns, out);
	if (is_made && bpf_map_push_elem(&bans_made, &out->made, 0))
		EB_WRITE(state->bans_missed, 1);
	EB_WRITE(out->is_taken, 0);
	return is_made;
}

static __always_inline void count_penalty(const struct eb_rule *rule)
{
	__u32 slot = rule->slot;
	struct eb_counters *counter = bpf_map_lookup_elem(&counters, &slot);

	if (counter)
		counter->penalties++;
}

/* Bans the source of a packet. Where the rule only monitors, counts it. */
__noinline int penalize(struct eb_cpu *cpu, struct eb_state *state, const struct eb_rule *rule,
			const struct eb_packet *packet)
{
	if (!cpu || !state || !rule || !packet)
		return 0;
	if (rule->monitor || ban(cpu, state, rule, packet))
		count_penalty(rule);
	return 0;
}

#endif
