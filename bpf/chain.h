/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Several buckets for one packet: of a rule and its levels, and of the rules behind one with `then: continue`. All of
 * them admit the packet and are charged, or none is.
 *
 * No lock is held over several buckets. The buckets are found, then looked at, each in the order of rules and levels,
 * then charged: first idle and new ones, then those in use, the narrowest first. A bucket that refuses when it is
 * looked at costs no tokens. A bucket that has become too empty between look and charge refuses too, and what was
 * charged before it is given back, by a compare-and-swap from what this CPU wrote to what it had found. That fails when
 * another CPU charged the bucket meanwhile; then the bucket stays charged for a packet that was refused. So the bound
 * of every bucket holds: what is admitted was charged to all. A race between CPUs costs a bucket at most one packet's
 * unused tokens. Narrow buckets come first because they are rarely shared by CPUs: giving back works there,
 * and the wide ones, which are shared, are charged last. Every loop is bounded (EB_CAS_TRIES); a packet that loses all
 * rounds is refused.
 *
 * The buckets of a careful rule come here too, for what was heard of them (EB_HEARD()).
 *
 * A rule that only monitors drops nothing: when one of its buckets refuses, none of its own is charged, and the packet
 * goes on. When a source got no bucket (crowded) and the packet is to pass, that one bucket is left out.
 *
 * The functions are __noinline and global to the verifier, as those of charge.h, which says why. The loops over buckets
 * are unrolled: verifiers before 6.8 take no loop that the compiler enters in its middle ("back-edge").
 */
#ifndef EB_CHAIN_H
#define EB_CHAIN_H

#include <bpf/bpf_endian.h>

#include "charge.h"
#include "classify.h"
#include "verdict.h"

#define AT_NONE 255 /* eb_step.at of a source without a bucket */

/* eb_step.turn, when a bucket is charged. Those that hold no information first: a new source could be given their
 * entries, and the packet's own must not take one another's. */
enum { TURN_IDLE, TURN_NEW, TURN_IN_USE };

static __always_inline const struct eb_policy *policy_at(__u32 index)
{
	index &= 1;
	return bpf_map_lookup_elem(&policy, &index);
}

static __always_inline const struct eb_rule *step_rule(const struct eb_step *step)
{
	const struct eb_policy *found = policy_at(step->policy);

	return found ? &found->rules[step->place & (EB_LIMITS_MAX - 1)] : 0;
}

/* Hides that two calls for a step give the same, which a compiler would keep on the stack. */
static __always_inline struct eb_step *step_at(struct eb_chain *chain, __u32 index)
{
	asm volatile("" : "+r"(chain));
	return &chain->steps[index];
}

/* The family of the table that has the bucket; 0 when the packet does not meet this level. */
static __always_inline __u8 step_family(const struct eb_rule *rule, const struct eb_packet *packet)
{
	if (packet->family == 4 || rule->together)
		return !rule->id4 ? 0 : rule->also ? 6 : 4;
	return rule->id6 ? 6 : 0;
}

/* What the packet is sent to, for a rule with also_per. Without branches, for the verifier's sake. */
static __always_inline void add_target(const struct eb_rule *rule, const struct eb_packet *packet, struct eb_key6 *key)
{
	__u64 *words = (__u64 *)key, dst = 0 - (__u64)(rule->also & 1), port = 0 - (__u64)(rule->also >> 1 & 1);

	words[2] = (packet->daddr[0] & dst) | (bpf_htons(packet->dport) & port);
	words[3] = packet->daddr[1] & dst;
	key->also = rule->also;
}

/* The packet's key in the table of IPv6, which also has the buckets of rules with also_per. */
static __always_inline void make_key6(const struct eb_rule *rule, const struct eb_packet *packet, struct eb_key6 *key)
{
	__u64 *words = (__u64 *)key;

	*key = (struct eb_key6){ .rule_id = packet->family == 4 ? rule->id4 : rule->id6, .family = packet->family };
	words[0] = packet->saddr[0] & (packet->family == 4 ? (__u32)rule->mask4 : rule->mask6[0]);
	words[1] = packet->saddr[1] & rule->mask6[1]; /* of IPv4, 0 */
	add_target(rule, packet, key);
}

static __always_inline void make_key(const struct eb_rule *rule, const struct eb_packet *packet, struct eb_step *step)
{
	struct eb_key4 *key4 = (struct eb_key4 *)step->key;

	if (step->family == 6) {
		make_key6(rule, packet, (struct eb_key6 *)step->key);
		return;
	}
	key4->addr = packet->family == 4 ? *(const __be32 *)packet->saddr & rule->mask4 : 0;
	key4->rule_id = rule->id4;
}

static __always_inline __u64 *step_entry(const struct table *table, const struct eb_step *step)
{
	return place_entry(table, step->tag, step->at);
}

/* ---- finding ---- */

static __always_inline int find_in(const struct table *table, struct eb_cpu *cpu, struct eb_state *state,
				   const struct eb_packet *packet, struct eb_step *step, const struct eb_rule *rule)
{
	__u64 early = eb_gcra_now(cpu->clock_ns), *entry;
	int place;

	step->tag = eb_key_hash(step->key, table->words, state->seed);
	place = find_entry(table, step->tag, step->key, &entry);
	if (place == EB_PLACE_NONE) {
		__u8 next = EB_READ(rule->next);

		if (next) {
			step->policy = !step->policy;
			step->place = next - 1;
			return OUTCOME_MOVED;
		}
		return eb_limit_refuses_early(&gate_of(state, rule)->packets_full_at, &rule->new_sources, 1, early) ?
			OUTCOME_CROWDED : OUTCOME_ADMIT;
	}
	if (place < 0)
		return OUTCOME_CONTENDED;
	step->at = place;
	return eb_bucket_refuses_early(eb_key_bucket(entry, table->words), rule, packet->len, early) ?
		OUTCOME_REFUSE : OUTCOME_ADMIT;
}

/* Looks for a step's bucket. OUTCOME_MOVED: it has gone to the other policy, and is to be looked for again. */
__noinline int find_step(struct eb_cpu *cpu, const struct eb_packet *packet, struct eb_step *step)
{
	struct table v4 = table4(), v6 = table6();
	struct eb_state *state = get_state();
	const struct eb_rule *rule;

	if (!cpu || !state || !packet || !step)
		return OUTCOME_CONTENDED;
	rule = step_rule(step);
	if (!rule)
		return OUTCOME_CONTENDED;
	step->family = step_family(rule, packet);
	step->at = AT_NONE;
	if (!step->family)
		return OUTCOME_ADMIT;
	make_key(rule, packet, step);
	return step->family == 4 ? find_in(&v4, cpu, state, packet, step, rule)
				 : find_in(&v6, cpu, state, packet, step, rule);
}

/* ---- looking ---- */

/* eb_gcra_ceiling() of a careful rule's bucket. */
__noinline __u64 careful_ceiling(const struct eb_step *step, __u32 of_bytes, __u64 cost, __u64 now)
{
	const struct eb_state *state = get_state();
	const struct eb_rule *rule;
	struct eb_spent *heard;
	__u64 full_at = EB_FULL;

	if (!state || !step)
		return 0;
	rule = step_rule(step);
	if (!rule)
		return 0;
	heard = find_numbers(&spent, EB_HEARD(step->family), step->tag, step->family, step->at);
	if (heard)
		full_at = of_bytes ? EB_READ(heard->bytes) : EB_READ(heard->packets);
	return eb_gcra_ceiling(of_bytes ? &rule->bytes : &rule->packets, cost, eb_gcra_debt(full_at, now),
			       EB_READ(state->fleet_nodes));
}

/* The debt that the step's bucket may have with a packet of `cost`. */
static __always_inline __u64 ceiling(const struct eb_step *step, const struct eb_rule *rule, int of_bytes, __u64 cost,
				     __u64 now)
{
	if (rule->careful)
		return careful_ceiling(step, of_bytes, cost, now);
	return of_bytes ? rule->bytes.burst : rule->packets.burst;
}

static __always_inline int has_room(const struct eb_step *step, const struct eb_rule *rule, int of_bytes,
				    const __u64 *full_at, __u64 tokens, __u64 now)
{
	const struct eb_limit *limit = of_bytes ? &rule->bytes : &rule->packets;
	__u64 cost = eb_gcra_cost(limit, tokens);

	return !limit->mult ||
	       eb_gcra_debt(EB_READ(*full_at), now) + cost <= ceiling(step, rule, of_bytes, cost, now);
}

static __always_inline int fits(const struct eb_limit *limit, __u64 tokens)
{
	return !limit->mult || eb_gcra_conforms(limit, 0, eb_gcra_cost(limit, tokens));
}

static __always_inline int look_at_new(const struct eb_packet *packet, struct eb_step *step,
				       const struct eb_rule *rule, __u64 now)
{
	step->turn = TURN_NEW;
	if (!fits(&rule->packets, 1) || !fits(&rule->bytes, packet->len))
		return OUTCOME_REFUSE;
	return gate_admits(get_state(), rule, now) ? OUTCOME_ADMIT : OUTCOME_CROWDED;
}

static __always_inline int look_in(const struct table *table, const struct eb_packet *packet, struct eb_step *step,
				   const struct eb_rule *rule, __u64 now)
{
	__u64 *entry = step_entry(table, step);
	struct eb_bucket *bucket;

	if (!entry)
		return OUTCOME_CONTENDED;
	bucket = eb_key_bucket(entry, table->words);
	step->turn = eb_bucket_idle(bucket, now) ? TURN_IDLE : TURN_IN_USE;
	return has_room(step, rule, 0, &bucket->packets_full_at, 1, now) &&
	       has_room(step, rule, 1, &bucket->bytes_full_at, packet->len, now) ? OUTCOME_ADMIT : OUTCOME_REFUSE;
}

/* Whether the bucket would admit the packet, or the gate a new source, and when it is the bucket's turn. */
__noinline int look_step(const struct eb_packet *packet, struct eb_step *step, __u64 now)
{
	struct table v4 = table4(), v6 = table6();
	const struct eb_rule *rule;

	if (!packet || !step)
		return OUTCOME_CONTENDED;
	rule = step_rule(step);
	if (!rule)
		return OUTCOME_CONTENDED;
	if (step->at == AT_NONE)
		return look_at_new(packet, step, rule, now);
	return step->family == 4 ? look_in(&v4, packet, step, rule, now) : look_in(&v6, packet, step, rule, now);
}

/* ---- charging ---- */

/* As eb_limit_charge(), up to a debt of `most`, with *seen what was there before. */
static __always_inline enum eb_charge charge_time(__u64 *full_at, __u64 cost, __u64 most, __u64 now, __u64 *seen)
{
	for (int i = 0; i < EB_CAS_TRIES; i++) {
		__u64 before = EB_READ(*full_at), debt = eb_gcra_debt(before, now);

		if (eb_gcra_is_locked(before))
			continue;
		if (debt + cost > most)
			return EB_REFUSED;
		*seen = before;
		if (__sync_val_compare_and_swap(full_at, before, eb_gcra_full_at(now, debt + cost)) == before)
			return EB_ADMITTED;
	}
	return EB_BUSY;
}

/* Takes such a charge back, unless another CPU has charged since. */
static __always_inline void give_time_back(__u64 *full_at, const struct eb_limit *limit, __u64 tokens, __u64 now,
					   __u64 seen)
{
	__u64 charged = eb_gcra_full_at(now, eb_gcra_debt(seen, now) + eb_gcra_cost(limit, tokens));

	if (limit->mult)
		__sync_val_compare_and_swap(full_at, charged, seen);
}

static __always_inline int outcome_of(enum eb_charge charge)
{
	return charge == EB_REFUSED ? OUTCOME_REFUSE : OUTCOME_CONTENDED;
}

/* Says that a time of the step's bucket was changed. */
static __always_inline void mark_step(const struct table *table, const struct eb_step *step)
{
	mark_changed(table, eb_choose_set(step->tag, table->sets, eb_place_choice(step->at)));
}

/* Charges both limits of a bucket, or none. */
static __always_inline enum eb_charge charge_times(struct eb_bucket *bucket, const struct eb_packet *packet,
						   struct eb_step *step, const struct eb_rule *rule, __u64 now)
{
	__u64 packet_cost = eb_gcra_cost(&rule->packets, 1), cost = eb_gcra_cost(&rule->bytes, packet->len);
	enum eb_charge charge = EB_ADMITTED;

	if (rule->packets.mult)
		charge = charge_time(&bucket->packets_full_at, packet_cost, ceiling(step, rule, 0, packet_cost, now),
				     now, &step->packets_seen);
	if (charge != EB_ADMITTED || !rule->bytes.mult)
		return charge;
	charge = charge_time(&bucket->bytes_full_at, cost, ceiling(step, rule, 1, cost, now), now, &step->bytes_seen);
	if (charge != EB_ADMITTED)
		give_time_back(&bucket->packets_full_at, &rule->packets, 1, now, step->packets_seen);
	return charge;
}

/* Of the source that had the step's entry before. */
__noinline int forget_heard(const struct eb_step *step)
{
	struct eb_spent *heard;

	if (!step)
		return 0;
	heard = find_numbers(&spent, EB_HEARD(step->family), step->tag, step->family, step->at);
	if (!heard)
		return 0;
	EB_WRITE(heard->packets, EB_FULL);
	EB_WRITE(heard->bytes, EB_FULL);
	return 0;
}

static __always_inline int charge_in(const struct table *table, const struct eb_packet *packet, struct eb_step *step,
				     const struct eb_rule *rule, __u64 now)
{
	__u64 *entry = step_entry(table, step);
	enum eb_charge charge;

	if (!entry)
		return OUTCOME_CONTENDED;
	charge = charge_times(eb_key_bucket(entry, table->words), packet, step, rule, now);
	mark_step(table, step); /* one refused may have been charged in between */
	if (charge != EB_ADMITTED)
		return outcome_of(charge);
	if (!eb_key_equal(entry, step->key, table->words))
		return OUTCOME_CONTENDED;
	step->is_charged = 1;
	return OUTCOME_ADMIT;
}

/* Makes the step's bucket. Apart from charge_step(), whose stack this would need, too. */
__noinline int insert_step(struct eb_step *step, __u64 now)
{
	struct table v4 = table4(), v6 = table6();
	struct eb_state *state = get_state();
	int place;

	if (!state || !step)
		return OUTCOME_CONTENDED;
	place = step->family == 4 ? insert(&v4, state, step->key, step->tag, now)
				  : insert(&v6, state, step->key, step->tag, now);
	if (place < 0)
		return outcome_of_no_place(place);
	step->at = place;
	forget_heard(step);
	return OUTCOME_ADMIT;
}

__noinline int charge_step(const struct eb_packet *packet, struct eb_step *step, __u64 now)
{
	struct table v4 = table4(), v6 = table6();
	const struct eb_rule *rule;

	if (!packet || !step)
		return OUTCOME_CONTENDED;
	rule = step_rule(step);
	if (!rule)
		return OUTCOME_CONTENDED;
	return step->family == 4 ? charge_in(&v4, packet, step, rule, now) : charge_in(&v6, packet, step, rule, now);
}

static __always_inline void give_back_in(const struct table *table, const struct eb_packet *packet,
					 const struct eb_step *step, const struct eb_rule *rule, __u64 now)
{
	__u64 *entry = step_entry(table, step);
	struct eb_bucket *bucket;

	if (!entry)
		return;
	bucket = eb_key_bucket(entry, table->words);
	give_time_back(&bucket->packets_full_at, &rule->packets, 1, now, step->packets_seen);
	give_time_back(&bucket->bytes_full_at, &rule->bytes, packet->len, now, step->bytes_seen);
	mark_step(table, step);
}

__noinline int give_step_back(const struct eb_packet *packet, struct eb_step *step, __u64 now)
{
	struct table v4 = table4(), v6 = table6();
	const struct eb_rule *rule;

	if (!packet || !step)
		return 0;
	rule = step_rule(step);
	if (!rule)
		return 0;
	step->is_charged = 0;
	if (step->family == 4)
		give_back_in(&v4, packet, step, rule, now);
	else
		give_back_in(&v6, packet, step, rule, now);
	return 0;
}

/* ---- what became of it ---- */

/* Counts a verdict for the step's rule or level. Returns what to do with the packet, as finish(). */
__noinline int finish_step(struct eb_cpu *cpu, const struct eb_packet *packet, const struct eb_step *step,
			   __u32 verdict)
{
	const struct eb_rule *rule;

	if (!cpu || !packet || !step || verdict >= EB_VERDICTS)
		return XDP_DROP;
	rule = step_rule(step);
	return rule ? finish(cpu, rule, packet, verdict) : XDP_DROP;
}

static __always_inline int count_refusal_in(const struct table *table, struct eb_cpu *cpu, const struct eb_rule *rule,
					    const struct eb_step *step)
{
	__u64 *entry = step_entry(table, step);

	return entry ? count_refused(cpu, rule, eb_key_bucket(entry, table->words)) : OUTCOME_REFUSE;
}

/* A source without a bucket has none to count in. Returns as count_refused(). */
__noinline int count_step_refusal(struct eb_cpu *cpu, const struct eb_step *step)
{
	struct table v4 = table4(), v6 = table6();
	const struct eb_rule *rule;

	if (!cpu || !step || step->at == AT_NONE)
		return OUTCOME_REFUSE;
	rule = step_rule(step);
	if (!rule)
		return OUTCOME_REFUSE;
	return step->family == 4 ? count_refusal_in(&v4, cpu, rule, step) : count_refusal_in(&v6, cpu, rule, step);
}

/* Counts the rules of all steps before `count` that were not counted: they let the packet go on, or pass. */
static __always_inline void count_steps(struct eb_cpu *cpu, const struct eb_packet *packet,
					const struct eb_chain *chain, __u32 count, int is_end)
{
	for (__u32 i = 0; i < EB_BUCKETS_MAX && i < count; i++) {
		const struct eb_step *step = &chain->steps[i];

		if (step->is_counted || (!step->is_first && !step->is_crowded))
			continue;
		finish_step(cpu, packet, step, step->is_crowded ? EB_CROWDED :
					       is_end && step->of == chain->of && !chain->end ? EB_PASS : EB_CONTINUE);
	}
}

/* Leaves the buckets of a rule out, all that came before and will come. */
static __always_inline void leave_rule_out(const struct eb_packet *packet, struct eb_chain *chain, __u8 of)
{
	if (chain->of == of)
		chain->levels = 0;
#pragma unroll
	for (int i = 0; i < EB_BUCKETS_MAX; i++) {
		struct eb_step *step = &chain->steps[i];

		if (i >= chain->count || step->of != of)
			continue;
		if (step->is_charged)
			give_step_back(packet, step, chain->now);
		step->is_counted = 1;
		step->family = 0;
	}
}

static __always_inline int first_step_of(const struct eb_chain *chain, __u8 of)
{
	for (int i = 0; i < EB_BUCKETS_MAX; i++)
		if (chain->steps[i].of == of)
			return i;
	return EB_BUCKETS_MAX;
}

static __always_inline int drop_at(struct eb_cpu *cpu, const struct eb_packet *packet, struct eb_chain *chain,
				   struct eb_step *step, enum eb_verdict verdict)
{
	for (int i = 0; i < EB_BUCKETS_MAX; i++)
		if (i < chain->count && chain->steps[i].is_charged)
			give_step_back(packet, &chain->steps[i], chain->now);
	count_steps(cpu, packet, chain, first_step_of(chain, step->of), 0);
	return finish_step(cpu, packet, step, verdict);
}

/* Counts a refusal by the step's bucket in it, and bans the source when it is one too many. */
__noinline int punish_step(struct eb_cpu *cpu, const struct eb_packet *packet, const struct eb_step *step)
{
	const struct eb_rule *rule;

	if (!cpu || !packet || !step || count_step_refusal(cpu, step) != OUTCOME_PENALTY)
		return 0;
	rule = step_rule(step);
	if (rule)
		penalize(cpu, get_state(), rule, packet);
	return 0;
}

/* Step number `what & 255` had the outcome `what >> 8`, other than to admit. Returns XDP_DROP when that is the packet's
 * end, with all counted but in the bucket; XDP_PASS when it goes on without this bucket. */
__noinline int leave_step(struct eb_cpu *cpu, const struct eb_packet *packet, struct eb_chain *chain, __u32 what)
{
	__u32 outcome = what >> 8;
	const struct eb_rule *rule;
	struct eb_step *step;

	if (!cpu || !packet || !chain)
		return XDP_DROP;
	step = &chain->steps[what & (EB_BUCKETS_MAX - 1)];
	rule = step_rule(step);
	if (!rule)
		return XDP_DROP;
	if (outcome == OUTCOME_TABLE_FULL)
		count_frame(EB_TABLE_FULL, packet->len);
	if (outcome == OUTCOME_CROWDED || outcome == OUTCOME_TABLE_FULL) {
		if (crowded_action(rule) == XDP_DROP)
			return drop_at(cpu, packet, chain, step, EB_CROWDED);
		step->family = 0;
		step->is_crowded = 1;
		return XDP_PASS;
	}
	step->is_refused = 1;
	if (outcome != OUTCOME_REFUSE)
		count_frame(EB_CONTENDED, packet->len);
	if (refuse(rule) == EB_DROP)
		return drop_at(cpu, packet, chain, step, EB_DROP);
	leave_rule_out(packet, chain, step->of);
	return finish_step(cpu, packet, step, EB_WOULD_DROP);
}

/* As leave_step(), for step `index`. Apart from it, punish_step() needs less stack. */
static __always_inline int refuse_step(struct eb_cpu *cpu, const struct eb_packet *packet, struct eb_chain *chain,
				       __u32 index, int outcome)
{
	if (outcome == OUTCOME_REFUSE)
		punish_step(cpu, packet, step_at(chain, index));
	return leave_step(cpu, packet, chain, index | outcome << 8);
}

/* Tells the fleet what the step's bucket was charged, where it shares it. */
__noinline int count_step_spent(const struct eb_packet *packet, const struct eb_step *step)
{
	struct table v4 = table4(), v6 = table6();
	const struct eb_rule *rule;

	if (!packet || !step)
		return 0;
	rule = step_rule(step);
	if (!rule || !rule->shared)
		return 0;
	count_spent(rule, step->tag, step->family, step->at, packet->len);
	if (step->family == 4)
		mark_step(&v4, step);
	else
		mark_step(&v6, step);
	return 0;
}

/* The rule without limits at the end; NULL where there is none. */
static __always_inline const struct eb_rule *end_rule(const struct eb_chain *chain)
{
	const struct eb_policy *found = policy_at(chain->policy);

	return found && chain->end ? &found->rules[(chain->end - 1) & (EB_RULES_MAX - 1)] : 0;
}

/* The end of a packet that all buckets admit. */
__noinline int finish_chain(struct eb_cpu *cpu, const struct eb_packet *packet, struct eb_chain *chain)
{
	const struct eb_rule *end;

	if (!cpu || !packet || !chain)
		return XDP_DROP;
	count_steps(cpu, packet, chain, chain->count, 1);
#pragma unroll
	for (int i = 0; i < EB_BUCKETS_MAX; i++)
		if (i < chain->count && chain->steps[i].is_charged)
			count_step_spent(packet, &chain->steps[i]);
	end = end_rule(chain);
	if (!end)
		return XDP_PASS;
	return finish(cpu, end, packet, end->action == EB_ALLOW ? EB_PASS : refuse(end));
}

/* ---- the chain ---- */

/* The next rule that matches; NULL where there is none with limits. */
static __always_inline const struct eb_rule *come_to_rule(struct eb_chain *chain)
{
	const struct eb_policy *found = policy_at(chain->policy);
	const struct eb_rule *rule;
	__u32 place;

	if (!found || !chain->rules)
		return 0;
	place = lowest_bit(chain->rules) & (EB_RULES_MAX - 1);
	rule = &found->rules[place];
	if (rule->action != EB_LIMIT) {
		chain->end = place + 1;
		return 0;
	}
	chain->rules = rule->goes_on ? chain->rules & (chain->rules - 1) : 0;
	chain->of = place;
	return rule;
}

/* Goes to the next level of the rule, or to the next rule that matches. False at the end. */
static __always_inline int next_step(struct eb_chain *chain, struct eb_step *step)
{
	const struct eb_rule *rule;

	step->policy = chain->policy;
	if (chain->levels) {
		chain->levels--;
		step->place = chain->next_level++;
		step->of = chain->of;
		return 1;
	}
	rule = come_to_rule(chain);
	if (!rule)
		return 0;
	step->is_first = 1;
	step->place = step->of = chain->of;
	chain->levels = rule->level_count;
	chain->next_level = rule->first_level;
	return 1;
}

/* Whether the packet is dropped at the end although its buckets admit it: nothing is charged then. */
static __always_inline int ends_in_drop(const struct eb_chain *chain)
{
	const struct eb_rule *end = end_rule(chain);

	return end && end->action == EB_DENY && !end->monitor;
}

/* Finds all buckets. False when one refuses, by the CPU's last reading of the clock, and the packet is dropped. */
static __always_inline int find_all(struct eb_cpu *cpu, const struct eb_packet *packet, struct eb_chain *chain)
{
#pragma unroll
	for (int i = 0; i < EB_BUCKETS_MAX; i++) {
		struct eb_step *step = step_at(chain, i);
		int outcome;

		if (!next_step(chain, step))
			return 1;
		chain->count = i + 1;
		outcome = find_step(cpu, packet, step);
		if (outcome == OUTCOME_MOVED)
			outcome = find_step(cpu, packet, step);
		if (outcome != OUTCOME_ADMIT && refuse_step(cpu, packet, chain, i, outcome) == XDP_DROP)
			return 0;
	}
	/* Behind as many buckets as there can be, only a rule without any matters. */
	(void)come_to_rule(chain);
	return 1;
}

/* Looks at all buckets. False when one refuses and the packet is to be dropped. */
static __always_inline int look_at_all(struct eb_cpu *cpu, const struct eb_packet *packet, struct eb_chain *chain)
{
#pragma unroll
	for (int i = 0; i < EB_BUCKETS_MAX; i++) {
		struct eb_step *step = step_at(chain, i);
		int outcome;

		if (!step->family)
			continue;
		outcome = look_step(packet, step, chain->now);
		if (outcome != OUTCOME_ADMIT && refuse_step(cpu, packet, chain, i, outcome) == XDP_DROP)
			return 0;
		chain->turns |= 1 << step->turn;
	}
	return 1;
}

/* Charges those buckets whose turn it is, and makes those that are not there. Likewise. */
static __always_inline int charge_all(struct eb_cpu *cpu, const struct eb_packet *packet, struct eb_chain *chain,
				      __u8 turn)
{
	if (!(chain->turns & 1 << turn))
		return 1;
#pragma unroll
	for (int i = 0; i < EB_BUCKETS_MAX; i++) {
		struct eb_step *step = step_at(chain, i);
		int outcome = OUTCOME_ADMIT;

		if (!step->family || step->turn != turn)
			continue;
		if (turn == TURN_NEW)
			outcome = insert_step(step, chain->now);
		if (outcome == OUTCOME_ADMIT)
			outcome = charge_step(packet, step, chain->now);
		if (outcome != OUTCOME_ADMIT && refuse_step(cpu, packet, chain, i, outcome) == XDP_DROP)
			return 0;
	}
	return 1;
}

static __always_inline int run_chain(struct eb_cpu *cpu, const struct eb_packet *packet, struct eb_chain *chain)
{
	if (!find_all(cpu, packet, chain))
		return XDP_DROP;
	chain->now = read_exact(cpu);
	if (!look_at_all(cpu, packet, chain))
		return XDP_DROP;
	if (!ends_in_drop(chain) &&
	    (!charge_all(cpu, packet, chain, TURN_IDLE) || !charge_all(cpu, packet, chain, TURN_NEW) ||
	     !charge_all(cpu, packet, chain, TURN_IN_USE)))
		return XDP_DROP;
	return finish_chain(cpu, packet, chain);
}

/* Room for a chain, which the stack has too little of: one for each program that can be at work on a CPU at the same
 * time. That is one, but for PREEMPT_RT. */
static __always_inline struct eb_chain *take_chain(struct eb_cpu *cpu)
{
	for (int i = 0; i < EB_CHAINS; i++)
		if (__sync_val_compare_and_swap(&cpu->chains[i].is_taken, 0, 1) == 0)
			return &cpu->chains[i];
	return 0;
}

/* Counts the packet as offered to the bucket of the rule or level that is measured, unless one before it has refused:
 * of the same rule, or of one that enforces. */
__noinline int measure_chain(const struct eb_packet *packet, const struct eb_chain *chain)
{
	struct eb_state *state = get_state();
	__u32 refused_of = EB_LIMITS_MAX;

	if (!state || !packet || !chain)
		return 0;
#pragma unroll
	for (int i = 0; i < EB_BUCKETS_MAX; i++) {
		const struct eb_step *step = &chain->steps[i];
		const struct eb_rule *rule = step_rule(step);

		if (i >= chain->count || !rule)
			return 0;
		if (step->of == refused_of)
			continue;
		if (is_measured(state, rule) && step->at != AT_NONE)
			count_demand(state, step->tag, step_family(rule, packet), step->at, packet->len);
		if (step->is_refused && !rule->monitor)
			return 0;
		if (step->is_refused)
			refused_of = step->of;
	}
	return 0;
}

static __always_inline int refuse_unchained(struct eb_cpu *cpu, const struct eb_packet *packet, __u64 rules,
					    __u32 index)
{
	const struct eb_policy *found = policy_at(index);

	count_frame(EB_CONTENDED, packet->len);
	return found ? finish(cpu, eb_first_rule(found, rules), packet, EB_DROP) : XDP_DROP;
}

/* Charges a packet that meets more than one bucket: `rules` match, of the policy at `index`. Returns what to do. */
__noinline int charge_chain(struct eb_cpu *cpu, const struct eb_packet *packet, __u64 rules, __u32 index)
{
	struct eb_state *state;
	struct eb_chain *chain;
	int action;

	if (!cpu || !packet)
		return XDP_DROP;
	chain = take_chain(cpu);
	if (!chain)
		return refuse_unchained(cpu, packet, rules, index);
	__builtin_memset(chain->steps, 0, sizeof(chain->steps));
	chain->rules = rules;
	chain->policy = index & 1;
	chain->count = chain->levels = chain->end = chain->turns = 0;
	action = run_chain(cpu, packet, chain);
	state = get_state();
	if (state && EB_READ(state->measured))
		measure_chain(packet, chain);
	EB_WRITE(chain->is_taken, 0);
	return action;
}

#endif
