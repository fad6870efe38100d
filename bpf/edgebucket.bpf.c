/* SPDX-License-Identifier: GPL-2.0-only */
/* The XDP program: parse, look for a ban, classify, charge, account, verdict. */
#include <linux/bpf.h>
#include <stdbool.h>

#include <bpf/bpf_helpers.h>

#include "account.h"
#include "banned.h"
#include "chain.h"
#include "charge.h"
#include "classify.h"
#include "frame.h"
#include "maps.h"
#include "parse.h"
#include "tunnel.h"
#include "verdict.h"

static __always_inline int pass_frame(enum eb_frame_kind kind, __u32 len)
{
	count_frame(kind, len);
	return XDP_PASS;
}

static __always_inline int decide_malformed(const struct eb_policy *policy, __u32 len)
{
	count_frame(EB_MALFORMED, len);
	return policy->malformed_drop ? XDP_DROP : XDP_PASS;
}

/* Whether a banned source's packet is dropped. Only here, a policy in mode monitor turns the drop into a count. */
static __always_inline int drops_banned(const struct eb_policy *policy, __u32 len)
{
	count_frame(policy->bans_monitor ? EB_WOULD_BAN : EB_BANNED, len);
	return !policy->bans_monitor;
}

static __always_inline int is_allowed(const struct eb_rule *rule)
{
	return rule && rule->action == EB_ALLOW;
}

static __always_inline int limit(struct eb_cpu *cpu, struct eb_state *state, const struct eb_rule *rule, __u64 rules,
				 __u32 index, const struct eb_packet *packet)
{
	enum outcome outcome = charge_source(cpu, state, rule, packet);

	switch (outcome) {
	case OUTCOME_MOVED:
		return charge_chain(cpu, packet, rules, index);
	case OUTCOME_ADMIT:
		return finish(cpu, rule, packet, EB_PASS);
	case OUTCOME_PENALTY:
		penalize(cpu, state, rule, packet);
		return finish(cpu, rule, packet, refuse(rule));
	case OUTCOME_REFUSE:
		return finish(cpu, rule, packet, refuse(rule));
	case OUTCOME_TABLE_FULL:
		count_frame(EB_TABLE_FULL, packet->len);
		return finish(cpu, rule, packet, EB_CROWDED);
	case OUTCOME_CROWDED:
		return finish(cpu, rule, packet, EB_CROWDED);
	default:
		count_frame(EB_CONTENDED, packet->len);
		return finish(cpu, rule, packet, refuse(rule));
	}
}

/* Gives a watcher that wants frames the one of the event that was just sampled. Needs Linux 5.18. */
__noinline int sample_frame(struct xdp_md *ctx, struct eb_cpu *cpu, const struct eb_state *state)
{
	struct eb_frame_sample *sample;
	__u32 len, size, last;
	__u64 ns;

	if (!cpu || !state)
		return 0;
	ns = cpu->sampled_ns;
	cpu->sampled_ns = 0;
	size = EB_READ(state->snaplen);
	if (!multi_buffer || !size)
		return 0;
	len = bpf_xdp_get_buff_len(ctx);
	if (size > len)
		size = len;
	last = eb_mask(size - 1, 2047); /* by which verifiers know that the size is not 0 */
	if (last >= EB_SNAPLEN_MAX)
		return 0;
	sample = bpf_ringbuf_reserve(&events, sizeof(*sample), 0);
	if (!sample) {
		cpu->events_lost++;
		return 0;
	}
	sample->time_ns = ns;
	sample->ifindex = ctx->ingress_ifindex;
	sample->len = len;
	sample->count = bpf_xdp_load_bytes(ctx, 0, sample->data, last + 1) ? 0 : last + 1;
	sample->ethernet = ethernet;
	__builtin_memset(sample->pad, 0, sizeof(sample->pad));
	bpf_ringbuf_submit(sample, 0);
	return 0;
}

SEC("xdp.frags")
int edgebucket(struct xdp_md *ctx)
{
	struct eb_packet packet = { .len = frame_len(ctx) };
	struct eb_state *state = get_state();
	const struct eb_policy *current;
	const struct eb_rule *rule;
	enum eb_parsed parsed;
	struct eb_cpu *cpu;
	__u64 rules;
	__u32 index;
	int is_suspect, verdict;

	if (!state)
		return XDP_PASS;
	index = EB_READ(state->active) & 1;
	current = bpf_map_lookup_elem(&policy, &index);
	cpu = this_cpu();
	if (!current || !cpu)
		return XDP_PASS;
	read_early(cpu);
	packet.wants_detail = !!(current->uses & EB_USES_DETAIL);

	parsed = parse(ctx, &packet);
	if (parsed == EB_PARSED_IP && current->uses & EB_USES_TUNNELS)
		parsed = open_tunnel(ctx, current, &packet, index);
	switch (parsed) {
	case EB_PARSED_IP:
		break;
	case EB_PARSED_NOT_IP:
		count_not_ip(ctx->ingress_ifindex);
		return pass_frame(EB_NOT_IP, packet.len);
	case EB_PARSED_ND:
		return pass_frame(EB_NEIGHBOUR_DISCOVERY, packet.len);
	case EB_PARSED_GROUP:
		return pass_frame(EB_GROUP_MEMBERSHIP, packet.len);
	default:
		return decide_malformed(current, packet.len);
	}

	is_suspect = may_be_banned(state, &packet);
	if (is_suspect && !current->allows) {
		if (ban_refuses(cpu, &packet) && drops_banned(current, packet.len))
			return XDP_DROP;
		is_suspect = 0;
	}
	rules = eb_classify(current, index, ctx->ingress_ifindex, &packet);
	rule = rules ? eb_first_rule(current, rules) : 0;
	if (is_suspect && !is_allowed(rule) && ban_refuses(cpu, &packet) && drops_banned(current, packet.len))
		return XDP_DROP;
	if (!rule)
		return pass_frame(EB_UNMATCHED, packet.len);
	switch (rule->action) {
	case EB_ALLOW:
		return finish(cpu, rule, &packet, EB_PASS);
	case EB_DENY:
		verdict = finish(cpu, rule, &packet, refuse(rule));
		break;
	default:
		verdict = rule->is_chain ? charge_chain(cpu, &packet, rules, index)
					 : limit(cpu, state, rule, rules, index, &packet);
	}
	if (cpu->sampled_ns)
		sample_frame(ctx, cpu, state);
	return verdict;
}

char _license[] SEC("license") = "GPL";
