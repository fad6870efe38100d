/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Packet -> rule: Lakshman and Stiliadis' bit vectors (SIGCOMM 1998). Each dimension is one look-up that gives the set
 * of rules which accept the packet's value; the lowest bit common to all sets is the first matching rule. The cost
 * does not depend on the number of rules.
 *
 * What cannot be known of a packet (ports, flags, protocol, whether it is a fragment) matches as if it were what a rule
 * asks for, unless the rule would let the packet through: the agent puts this into eb_policy.port_unknown, l4_unknown,
 * detail[EB_DETAIL_NONE] and fragment[EB_FRAGMENT_UNKNOWN].
 */
#ifndef EB_CLASSIFY_H
#define EB_CLASSIFY_H

#include "filter.h"
#include "maps.h"
#include "parse.h"

/* Whether the trie behind a filter has to be asked for an address, of which these are the first bytes. */
static __always_inline int may_be_listed(const struct eb_policy *policy, __u32 index, __u32 number, __u64 addr)
{
	const struct eb_filter *filter = &policy->filters[number];
	__u32 place = EB_FILTER_PLACE(index, number), bit, word;
	void *words;
	__u64 *bits;

	if (!filter->shift)
		return 1;
	bit = eb_filter_bit(filter, addr);
	word = bit / 64;
	words = bpf_map_lookup_elem(&filters, &place);
	bits = words ? bpf_map_lookup_elem(words, &word) : 0;
	return !bits || (*bits >> (bit % 64)) & 1;
}

static __always_inline __u64 rules_of_prefix4(__u32 trie, const __u64 *addr, __u64 any)
{
	struct eb_lpm4 key = { .prefixlen = 32, .addr = *(const __be32 *)addr };
	void *prefixes = bpf_map_lookup_elem(&prefixes_v4, &trie);
	__u64 *rules = prefixes ? bpf_map_lookup_elem(prefixes, &key) : 0;

	return rules ? *rules : any;
}

static __always_inline __u64 rules_of_prefix6(__u32 trie, const __u64 *addr, __u64 any)
{
	struct eb_lpm6 key = { .prefixlen = 128 };
	void *prefixes = bpf_map_lookup_elem(&prefixes_v6, &trie);
	__u64 *rules;

	__builtin_memcpy(key.addr, addr, sizeof(key.addr));
	rules = prefixes ? bpf_map_lookup_elem(prefixes, &key) : 0;
	return rules ? *rules : any;
}

static __always_inline __u64 rules_of_addresses(const struct eb_policy *policy, __u32 index,
						const struct eb_packet *packet)
{
	__u32 uses = policy->uses;
	__u64 src = policy->src_any, dst = policy->dst_any;

	if (packet->family == 4) {
		if (uses & EB_USES_SRC4 &&
		    may_be_listed(policy, index, EB_FILTER(4, EB_TRIE_SRC), (__u32)packet->saddr[0]))
			src = rules_of_prefix4(EB_TRIE(index, EB_TRIE_SRC), packet->saddr, src);
		if (uses & EB_USES_DST4 &&
		    may_be_listed(policy, index, EB_FILTER(4, EB_TRIE_DST), (__u32)packet->daddr[0]))
			dst = rules_of_prefix4(EB_TRIE(index, EB_TRIE_DST), packet->daddr, dst);
	} else {
		if (uses & EB_USES_SRC6 &&
		    may_be_listed(policy, index, EB_FILTER(6, EB_TRIE_SRC), packet->saddr[0]))
			src = rules_of_prefix6(EB_TRIE(index, EB_TRIE_SRC), packet->saddr, src);
		if (uses & EB_USES_DST6 &&
		    may_be_listed(policy, index, EB_FILTER(6, EB_TRIE_DST), packet->daddr[0]))
			dst = rules_of_prefix6(EB_TRIE(index, EB_TRIE_DST), packet->daddr, dst);
	}
	return src & dst;
}

static __always_inline __u64 rules_of_number(const struct eb_policy *policy, __u32 index, enum eb_number number,
					     __u32 value)
{
	__u32 key = EB_NUMBER(index, number, value);
	__u64 *rules;

	if (!(policy->uses & EB_USES_NUMBER(number)))
		return ~0ULL;
	rules = bpf_map_lookup_elem(&numbers, &key);
	return rules ? *rules : 0;
}

static __always_inline __u64 rules_of_ports(const struct eb_policy *policy, __u32 index, const struct eb_packet *packet)
{
	/* Rules that ask for a port are in no set of a protocol that has none. */
	if (packet->l4 != EB_L4_PORT)
		return policy->port_unknown;
	return rules_of_number(policy, index, EB_DPORT, packet->dport) &
	       rules_of_number(policy, index, EB_SPORT, packet->sport);
}

static __always_inline __u64 rules_of_l4(const struct eb_policy *policy, __u32 index, const struct eb_packet *packet)
{
	__u64 rules;

	if (packet->l4 == EB_L4_UNKNOWN)
		return policy->l4_unknown;
	rules = policy->proto[packet->proto] & rules_of_ports(policy, index, packet);
	/* Likewise for rules that ask for flags or types. */
	if (policy->uses & EB_USES_DETAIL)
		rules &= policy->detail[packet->detail_of & (EB_DETAILS - 1)][packet->detail];
	return rules;
}

static __always_inline __u64 rules_of_interface(const struct eb_policy *policy, __u32 index, __u32 ifindex)
{
	struct eb_interface_key key = { .policy = index, .ifindex = ifindex };
	__u64 *rules = bpf_map_lookup_elem(&interfaces, &key);

	return rules ? *rules : policy->interface_any;
}

/* What most policies ask for nothing of. */
static __always_inline __u64 rules_of_rest(const struct eb_policy *policy, __u32 index, __u32 ifindex,
					   const struct eb_packet *packet)
{
	__u32 length = packet->ip_len < 65535 ? packet->ip_len : 65535;
	__u64 rules = rules_of_number(policy, index, EB_LENGTH, length) &
		      rules_of_number(policy, index, EB_VLAN, packet->vlan & (EB_NUMBER_SIZE(EB_VLAN) - 1));

	if (policy->uses & EB_USES_FRAGMENT)
		rules &= policy->fragment[packet->fragment & (EB_FRAGMENTS - 1)];
	if (policy->uses & EB_USES_INTERFACE)
		rules &= rules_of_interface(policy, index, ifindex);
	return rules;
}

/* The index of the lowest bit of a set that is not empty. Without branches, of which the verifier would follow all 64
 * outcomes; and hidden from clang 14, which makes __builtin_ctzll() of it and crashes on that for BPF (16 does not). */
static __always_inline __u32 lowest_bit(__u64 set)
{
	__u64 lowest = set & -set;

	asm volatile("" : "+r"(lowest));
	return __builtin_popcountll(lowest - 1);
}

/* The set of rules that match. `index` is where `policy` was found, `ifindex` where the packet came in; it is asked for
 * with EB_USES_INTERFACE alone. */
static __always_inline __u64 eb_classify(const struct eb_policy *policy, __u32 index, __u32 ifindex,
					 const struct eb_packet *packet)
{
	__u64 rules = rules_of_l4(policy, index, packet);

	if (policy->uses & EB_USES_REST)
		rules &= rules_of_rest(policy, index, ifindex, packet);
	if (rules)
		rules &= rules_of_addresses(policy, index, packet);
	return rules;
}

/* The first of a set that is not empty. */
static __always_inline const struct eb_rule *eb_first_rule(const struct eb_policy *policy, __u64 rules)
{
	return &policy->rules[lowest_bit(rules) & (EB_RULES_MAX - 1)];
}

#endif
