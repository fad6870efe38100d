// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "config/protocol.h"
#include "maps/classify.h"

/* A policy can be replaced twice while it is being read, but not again and again. */
#define READ_TRIES 10

/* One look at one policy. */
struct look {
	const struct eb_maps *maps;
	const struct eb_policy *policy;
	const struct eb_flow *flow;
	uint32_t index;
};

/* Sets of rules: that match whatever the open parts are, and that match for some of it. */
struct sets {
	uint64_t sure;
	uint64_t possible;
};

void eb_flow_init(uint8_t family, struct eb_flow *out)
{
	*out = (struct eb_flow){ .family = family, .proto = -1, .detail = -1, .fragment = -1 };
	for (int number = 0; number < EB_NUMBERS; number++)
		out->numbers[number] = -1;
}

enum eb_detail eb_flow_detail_of(int proto)
{
	switch (proto) {
	case IPPROTO_TCP:
		return EB_DETAIL_TCP;
	case IPPROTO_ICMP:
		return EB_DETAIL_ICMP;
	case IPPROTO_ICMPV6:
		return EB_DETAIL_ICMPV6;
	default:
		return EB_DETAIL_NONE;
	}
}

static uint64_t first_rules(uint32_t count)
{
	return count >= EB_RULES_MAX ? UINT64_MAX : (1ULL << count) - 1;
}

/* Opens the trie of the flow's family and a side. Returns a descriptor or negative errno. */
static int open_trie(const struct look *look, int side)
{
	int outer = look->maps->fd[look->flow->family == 4 ? EB_MAP_PREFIXES_V4 : EB_MAP_PREFIXES_V6];
	uint32_t key = EB_TRIE(look->index, side), id;
	int err = bpf_map_lookup_elem(outer, &key, &id);

	return err ? err : bpf_map_get_fd_by_id(id);
}

static bool uses_side(const struct look *look, int side)
{
	static const uint32_t bits[2][EB_TRIES] = {
		{ EB_USES_SRC4, EB_USES_DST4, EB_USES_TUNNEL4 },
		{ EB_USES_SRC6, EB_USES_DST6, EB_USES_TUNNEL6 },
	};

	return look->policy->uses & bits[look->flow->family == 6][side];
}

/* A key that is long enough for both families. */
static void make_key(const struct look *look, const uint8_t *addr, struct eb_lpm6 *key)
{
	memset(key, 0, sizeof(*key));
	key->prefixlen = look->flow->family == 4 ? 32 : 128;
	memcpy(key->addr, addr, key->prefixlen / 8);
}

/* The rules that accept an address; `any` where no rule asks for one. */
static int rules_of_address(const struct look *look, int side, const uint8_t *addr, uint64_t any, uint64_t *out)
{
	struct eb_lpm6 key;
	int fd, err;

	*out = any;
	if (!uses_side(look, side))
		return 0;
	fd = open_trie(look, side);
	if (fd == -ENOENT)
		return 0;
	if (fd < 0)
		return fd;
	make_key(look, addr, &key);
	err = bpf_map_lookup_elem(fd, &key, out);
	close(fd);
	return err == -ENOENT ? 0 : err;
}

static int addresses(const struct look *look, struct sets *sets)
{
	const struct eb_flow *flow = look->flow;
	uint64_t src, dst;
	int err;

	err = rules_of_address(look, EB_TRIE_SRC, flow->src, look->policy->src_any, &src);
	if (err)
		return err;
	sets->sure = src & look->policy->dst_any;
	sets->possible = src;
	if (!flow->has_dst)
		return 0;
	err = rules_of_address(look, EB_TRIE_DST, flow->dst, look->policy->dst_any, &dst);
	sets->sure = sets->possible = src & dst;
	return err;
}

/* The rules for an unknown protocol; with `has_port`, for one that has ports. */
static struct sets rules_of_any_protocol(const struct eb_policy *policy, bool has_port)
{
	struct sets sets = { .sure = UINT64_MAX };

	for (int proto = 0; proto < 256; proto++) {
		if (has_port && !eb_protocol_has_port(proto))
			continue;
		sets.sure &= policy->proto[proto];
		sets.possible |= policy->proto[proto];
	}
	return sets;
}

static int rules_of_value(const struct look *look, enum eb_number number, int value, uint64_t *out)
{
	uint32_t key = EB_NUMBER(look->index, number, value);

	*out = look->policy->number_any[number];
	if (!(look->policy->uses & EB_USES_NUMBER(number)))
		return 0;
	return bpf_map_lookup_elem(look->maps->fd[EB_MAP_NUMBERS], &key, out);
}

/* Leaves in *sets what matches this too. */
static void narrow(struct sets *sets, uint64_t sure, uint64_t possible)
{
	sets->sure &= sure;
	sets->possible &= possible;
}

static int narrow_by_number(const struct look *look, enum eb_number number, struct sets *sets)
{
	int value = look->flow->numbers[number];
	uint64_t rules;
	int err;

	if (value < 0) {
		narrow(sets, look->policy->number_any[number], UINT64_MAX);
		return 0;
	}
	err = rules_of_value(look, number, value, &rules);
	if (err)
		return err;
	narrow(sets, rules, rules);
	return 0;
}

/* What a later fragment hides. */
static struct sets rules_of_hidden(const struct look *look)
{
	const struct eb_policy *policy = look->policy;
	uint64_t rules = policy->port_unknown & policy->detail[EB_DETAIL_NONE][0];
	struct sets sets = { rules, rules };

	if (look->flow->family == 6)
		return (struct sets){ policy->l4_unknown, policy->l4_unknown };
	if (look->flow->proto >= 0)
		narrow(&sets, policy->proto[look->flow->proto], policy->proto[look->flow->proto]);
	else
		narrow(&sets, rules_of_any_protocol(policy, false).sure, rules_of_any_protocol(policy, false).possible);
	return sets;
}

/* Rules that ask for ports, flags or types are in no set of a protocol that has none. */
static int transport(const struct look *look, struct sets *sets)
{
	const struct eb_policy *policy = look->policy;
	const struct eb_flow *flow = look->flow;
	bool has_port = flow->numbers[EB_DPORT] >= 0 || flow->numbers[EB_SPORT] >= 0;
	int err;

	if (flow->is_later) {
		*sets = rules_of_hidden(look);
		return 0;
	}
	*sets = rules_of_any_protocol(policy, has_port);
	if (flow->proto >= 0)
		sets->sure = sets->possible = policy->proto[flow->proto];
	if (flow->detail >= 0)
		narrow(sets, policy->detail[eb_flow_detail_of(flow->proto)][flow->detail],
		       policy->detail[eb_flow_detail_of(flow->proto)][flow->detail]);
	else
		narrow(sets, policy->detail_any, UINT64_MAX);
	err = narrow_by_number(look, EB_DPORT, sets);
	return err ? err : narrow_by_number(look, EB_SPORT, sets);
}

static int rules_of_interface(const struct look *look, int ifindex, uint64_t *out)
{
	struct eb_interface_key key = { .policy = look->index, .ifindex = ifindex };
	int err = bpf_map_lookup_elem(look->maps->fd[EB_MAP_INTERFACES], &key, out);

	if (err == -ENOENT)
		*out = look->policy->interface_any;
	return err == -ENOENT ? 0 : err;
}

/* Length, VLAN, fragment, interface. */
static int other_properties(const struct look *look, struct sets *sets)
{
	const struct eb_policy *policy = look->policy;
	const struct eb_flow *flow = look->flow;
	const __u64 *fragment = policy->fragment;
	uint64_t rules;
	int err;

	*sets = (struct sets){ UINT64_MAX, UINT64_MAX };
	if (flow->fragment < 0)
		narrow(sets, fragment[EB_WHOLE] & fragment[EB_FRAGMENT], fragment[EB_WHOLE] | fragment[EB_FRAGMENT]);
	else
		narrow(sets, fragment[flow->fragment], fragment[flow->fragment]);
	err = narrow_by_number(look, EB_LENGTH, sets);
	if (err)
		return err;
	err = narrow_by_number(look, EB_VLAN, sets);
	if (err)
		return err;
	if (!flow->ifindex) {
		narrow(sets, policy->interface_any, UINT64_MAX);
		return 0;
	}
	err = rules_of_interface(look, flow->ifindex, &rules);
	if (err)
		return err;
	narrow(sets, rules, rules);
	return 0;
}

/* Some destination of this family that a rule accepts. Returns -ENOENT when there is none. */
static int find_destination(const struct look *look, uint64_t bit, uint8_t addr[16])
{
	struct eb_lpm6 key, next;
	uint64_t rules;
	int fd, err;

	if (!uses_side(look, EB_TRIE_DST))
		return -ENOENT;
	fd = open_trie(look, EB_TRIE_DST);
	if (fd < 0)
		return fd;
	err = bpf_map_get_next_key(fd, NULL, &next);
	while (!err) {
		key = next;
		if (!bpf_map_lookup_elem(fd, &key, &rules) && rules & bit)
			break;
		err = bpf_map_get_next_key(fd, &key, &next);
	}
	close(fd);
	if (err)
		return err;
	memset(addr, 0, 16);
	memcpy(addr, key.addr, look->flow->family == 4 ? 4 : 16);
	return 0;
}

/* Some port, length or VLAN that a rule accepts. */
static int find_value(const struct look *look, enum eb_number number, uint64_t bit)
{
	uint64_t rules;

	for (int value = 0; value < EB_NUMBER_SIZE(number); value++)
		if (!rules_of_value(look, number, value, &rules) && rules & bit)
			return value;
	return -ENOENT;
}

/* Some flags or type of this protocol that a rule accepts. */
static int find_detail(const struct look *look, int proto, uint64_t bit)
{
	for (int byte = 0; byte < 256; byte++)
		if (look->policy->detail[eb_flow_detail_of(proto)][byte] & bit)
			return byte;
	return -ENOENT;
}

/* Some interface that a rule accepts. */
static int find_interface(const struct look *look, uint64_t bit)
{
	int fd = look->maps->fd[EB_MAP_INTERFACES];
	struct eb_interface_key key;
	uint64_t rules;
	int err = bpf_map_get_next_key(fd, NULL, &key);

	while (!err) {
		if (key.policy == look->index && !bpf_map_lookup_elem(fd, &key, &rules) && rules & bit)
			return key.ifindex;
		err = bpf_map_get_next_key(fd, &key, &key);
	}
	return -ENOENT;
}

/* Some protocol that a rule accepts, the ones that come to mind first; -1 when any will do. */
static int find_protocol(const struct eb_policy *policy, uint64_t bit, bool has_port)
{
	static const uint8_t usual[] = { IPPROTO_UDP, IPPROTO_TCP };

	if (rules_of_any_protocol(policy, has_port).sure & bit)
		return -1;
	for (size_t i = 0; i < sizeof(usual); i++)
		if (policy->proto[usual[i]] & bit)
			return usual[i];
	for (int proto = 0; proto < 256; proto++)
		if (policy->proto[proto] & bit && (!has_port || eb_protocol_has_port(proto)))
			return proto;
	return -ENOENT;
}

/* The rules that match whatever is open, and those that match for some of it. */
static int match(const struct look *look, struct sets *out)
{
	uint64_t exist = first_rules(look->policy->rule_count);
	struct sets address, l4, others;
	int err;

	err = addresses(look, &address);
	if (err)
		return err;
	err = transport(look, &l4);
	if (err)
		return err;
	err = other_properties(look, &others);
	if (err)
		return err;
	out->sure = address.sure & l4.sure & others.sure & exist;
	out->possible = address.possible & l4.possible & others.possible & exist;
	return 0;
}

/* Whether what a later fragment hides is open at all. */
static bool is_hidden(const struct eb_flow *flow, enum eb_number number)
{
	return flow->is_later && (number == EB_DPORT || number == EB_SPORT);
}

static int complete_numbers(const struct look *look, uint64_t bit, struct eb_flow_candidate *out)
{
	for (int number = 0; number < EB_NUMBERS; number++) {
		if (look->flow->numbers[number] >= 0 || look->policy->number_any[number] & bit ||
		    is_hidden(look->flow, number))
			continue;
		out->numbers[number] = find_value(look, number, bit);
		if (out->numbers[number] < 0)
			return out->numbers[number];
	}
	return 0;
}

static int complete_transport(const struct look *look, uint64_t bit, struct eb_flow_candidate *out)
{
	const struct eb_flow *flow = look->flow;
	bool has_port = out->numbers[EB_DPORT] >= 0 || out->numbers[EB_SPORT] >= 0 || flow->numbers[EB_DPORT] >= 0 ||
			flow->numbers[EB_SPORT] >= 0;

	if (flow->proto < 0 && !(flow->is_later && flow->family == 6)) {
		out->proto = find_protocol(look->policy, bit, has_port);
		if (out->proto == -ENOENT)
			return -ENOENT;
	}
	if (flow->detail >= 0 || look->policy->detail_any & bit || flow->is_later)
		return 0;
	out->detail = find_detail(look, flow->proto >= 0 ? flow->proto : out->proto, bit);
	return out->detail < 0 ? out->detail : 0;
}

static int complete_rest(const struct look *look, uint64_t bit, struct eb_flow_candidate *out)
{
	const __u64 *fragment = look->policy->fragment;

	if (look->flow->fragment < 0 && !(fragment[EB_WHOLE] & fragment[EB_FRAGMENT] & bit))
		out->fragment = fragment[EB_WHOLE] & bit ? EB_WHOLE : EB_FRAGMENT;
	if (look->flow->ifindex || look->policy->interface_any & bit)
		return 0;
	out->ifindex = find_interface(look, bit);
	return out->ifindex < 0 ? out->ifindex : 0;
}

/* Completes a flow so that a rule matches it. Returns -ENOENT when that cannot be. */
static int complete(const struct look *look, int rule, struct eb_flow_candidate *out)
{
	const struct eb_flow *flow = look->flow;
	uint64_t bit = 1ULL << rule;
	int err;

	*out = (struct eb_flow_candidate){ .rule = rule, .proto = -1, .detail = -1, .fragment = -1 };
	for (int number = 0; number < EB_NUMBERS; number++)
		out->numbers[number] = -1;
	if (!flow->has_dst && !(look->policy->dst_any & bit)) {
		err = find_destination(look, bit, out->dst);
		if (err)
			return err;
		out->has_dst = true;
	}
	err = complete_numbers(look, bit, out);
	if (err)
		return err;
	err = complete_transport(look, bit, out);
	return err ? err : complete_rest(look, bit, out);
}

/* Whether the completed flow is decided by the very rule: an earlier one may take it as well. */
static int check_candidate(const struct look *look, const struct eb_flow_candidate *candidate)
{
	struct eb_flow flow = *look->flow;
	struct look completed = *look;
	struct sets sets;
	int err;

	if (candidate->has_dst) {
		memcpy(flow.dst, candidate->dst, sizeof(flow.dst));
		flow.has_dst = true;
	}
	if (candidate->proto >= 0)
		flow.proto = candidate->proto;
	for (int number = 0; number < EB_NUMBERS; number++)
		if (candidate->numbers[number] >= 0)
			flow.numbers[number] = candidate->numbers[number];
	if (candidate->detail >= 0)
		flow.detail = candidate->detail;
	if (candidate->fragment >= 0)
		flow.fragment = candidate->fragment;
	if (candidate->ifindex)
		flow.ifindex = candidate->ifindex;
	completed.flow = &flow;
	err = match(&completed, &sets);
	if (err)
		return err;
	return sets.sure && __builtin_ctzll(sets.sure) == candidate->rule ? 0 : -ENOENT;
}

static int find_candidates(const struct look *look, uint64_t rules, struct eb_flow_rule *out)
{
	out->candidate_count = 0;
	for (; rules; rules &= rules - 1) {
		struct eb_flow_candidate *candidate = &out->candidates[out->candidate_count];
		int err = complete(look, __builtin_ctzll(rules), candidate);

		if (!err)
			err = check_candidate(look, candidate);
		if (!err)
			out->candidate_count++;
		else if (err != -ENOENT)
			return err;
	}
	return 0;
}

static int classify(const struct look *look, void *arg)
{
	struct eb_flow_rule *out = arg;
	uint64_t ahead = UINT64_MAX;
	struct sets sets;
	int err = match(look, &sets);

	if (err)
		return err;
	out->rule = -1;
	out->rules = sets.sure;
	if (sets.sure) {
		out->rule = __builtin_ctzll(sets.sure);
		ahead = (1ULL << out->rule) - 1;
	}
	return find_candidates(look, sets.possible & ahead, out);
}

/* The policy in force and where it is. */
static int read_policy(const struct eb_maps *maps, uint32_t *index, struct eb_policy *out)
{
	int err = eb_maps_active(maps, index);

	return err ? err : bpf_map_lookup_elem(maps->fd[EB_MAP_POLICY], index, out);
}

/* Whether a policy that was read is still the one in force. */
static int is_current(const struct eb_maps *maps, const struct eb_policy *policy, bool *out)
{
	struct eb_policy *now = malloc(sizeof(*now));
	uint32_t index;
	int err;

	if (!now)
		return -ENOMEM;
	err = read_policy(maps, &index, now);
	if (!err)
		*out = now->generation == policy->generation;
	free(now);
	return err;
}

/* Calls `find` with the policy in force, again if another one came into force meanwhile. */
static int look_up(const struct eb_maps *maps, const struct eb_flow *flow, struct eb_policy *policy,
		   int (*find)(const struct look *look, void *arg), void *arg)
{
	struct look look = { .maps = maps, .policy = policy, .flow = flow };

	for (int i = 0; i < READ_TRIES; i++) {
		bool current = false;
		int err = read_policy(maps, &look.index, policy), seen;

		if (err)
			return err;
		err = find(&look, arg);
		seen = is_current(maps, policy, &current);
		if (seen)
			return seen;
		if (current)
			return err;
	}
	return -EAGAIN;
}

int eb_flow_classify(const struct eb_maps *maps, const struct eb_flow *flow, struct eb_flow_rule *out)
{
	return look_up(maps, flow, &out->policy, classify, out);
}

static int find_tunnels(const struct look *look, void *arg)
{
	return rules_of_address(look, EB_TRIE_TUNNEL, look->flow->src, 0, arg);
}

int eb_flow_tunnels(const struct eb_maps *maps, const struct eb_prefix *outer, struct eb_policy *policy,
		    uint64_t *kinds)
{
	struct eb_flow flow;

	eb_flow_init(outer->family, &flow);
	memcpy(flow.src, outer->addr, sizeof(flow.src));
	return look_up(maps, &flow, policy, find_tunnels, kinds);
}
