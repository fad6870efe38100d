// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "config/protocol.h"
#include "maps/classify.h"

#define PORTS 65536

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
	static const uint32_t bits[2][2] = {
		{ EB_USES_SRC4, EB_USES_DST4 },
		{ EB_USES_SRC6, EB_USES_DST6 },
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

static int rules_of_port(const struct look *look, uint16_t port, uint64_t *out)
{
	uint32_t key = EB_PORT(look->index, port);

	*out = look->policy->port_any;
	if (!(look->policy->uses & EB_USES_PORT))
		return 0;
	return bpf_map_lookup_elem(look->maps->fd[EB_MAP_PORTS], &key, out);
}

static int transport(const struct look *look, struct sets *sets)
{
	const struct eb_policy *policy = look->policy;
	int proto = look->flow->proto, dport = look->flow->dport, err = 0;
	struct sets ports = { .sure = policy->port_any, .possible = UINT64_MAX };
	struct sets protos = rules_of_any_protocol(policy, dport >= 0);

	if (dport >= 0) {
		err = rules_of_port(look, dport, &ports.sure);
		ports.possible = ports.sure;
	} else if (proto >= 0 && !eb_protocol_has_port(proto)) {
		ports.possible = policy->port_any;
	}
	if (proto >= 0)
		protos.sure = protos.possible = policy->proto[proto];
	sets->sure = protos.sure & ports.sure;
	sets->possible = protos.possible & ports.possible;
	return err;
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

/* Some port that a rule accepts. */
static int find_port(const struct look *look, uint64_t bit)
{
	uint64_t rules;

	for (int port = 0; port < PORTS; port++)
		if (!rules_of_port(look, port, &rules) && rules & bit)
			return port;
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
	struct sets address, l4;
	int err;

	err = addresses(look, &address);
	if (!err)
		err = transport(look, &l4);
	if (err)
		return err;
	out->sure = address.sure & l4.sure & exist;
	out->possible = address.possible & l4.possible & exist;
	return 0;
}

/* Completes a flow so that a rule matches it. Returns -ENOENT when that cannot be. */
static int complete(const struct look *look, int rule, struct eb_flow_candidate *out)
{
	const struct eb_flow *flow = look->flow;
	uint64_t bit = 1ULL << rule;

	*out = (struct eb_flow_candidate){ .rule = rule, .proto = -1, .dport = -1 };
	if (!flow->has_dst && !(look->policy->dst_any & bit)) {
		int err = find_destination(look, bit, out->dst);

		if (err)
			return err;
		out->has_dst = true;
	}
	if (flow->dport < 0 && !(look->policy->port_any & bit)) {
		out->dport = find_port(look, bit);
		if (out->dport < 0)
			return out->dport;
	}
	if (flow->proto < 0) {
		out->proto = find_protocol(look->policy, bit, out->dport >= 0 || flow->dport >= 0);
		if (out->proto == -ENOENT)
			return -ENOENT;
	}
	return 0;
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
	if (candidate->dport >= 0)
		flow.dport = candidate->dport;
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

static int classify(const struct look *look, struct eb_flow_rule *out)
{
	uint64_t ahead = UINT64_MAX;
	struct sets sets;
	int err = match(look, &sets);

	if (err)
		return err;
	out->rule = -1;
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

int eb_flow_classify(const struct eb_maps *maps, const struct eb_flow *flow, struct eb_flow_rule *out)
{
	struct look look = { .maps = maps, .policy = &out->policy, .flow = flow };

	for (int i = 0; i < READ_TRIES; i++) {
		bool current = false;
		int err = read_policy(maps, &look.index, &out->policy), seen;

		if (err)
			return err;
		err = classify(&look, out);
		seen = is_current(maps, &out->policy, &current);
		if (seen)
			return seen;
		if (current)
			return err;
	}
	return -EAGAIN;
}
