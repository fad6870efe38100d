/* SPDX-License-Identifier: GPL-2.0-only */
/* Opens tunnels in the kernel: inner.h, in parts that the verifier follows one by one. */
#ifndef EB_TUNNEL_H
#define EB_TUNNEL_H

#include "classify.h"
#include "frame.h"
#include "inner.h"
#include "maps.h"

/* The kinds with which the outer source is trusted, as bits. */
static __always_inline __u64 trusted_kinds(const struct eb_policy *policy, __u32 index, const struct eb_packet *packet)
{
	if (packet->family == 4)
		return policy->uses & EB_USES_TUNNEL4 &&
		       may_be_listed(policy, index, EB_FILTER(4, EB_TRIE_TUNNEL), (__u32)packet->saddr[0])
			       ? rules_of_prefix4(EB_TRIE(index, EB_TRIE_TUNNEL), packet->saddr, 0) : 0;
	return policy->uses & EB_USES_TUNNEL6 &&
	       may_be_listed(policy, index, EB_FILTER(6, EB_TRIE_TUNNEL), packet->saddr[0])
		       ? rules_of_prefix6(EB_TRIE(index, EB_TRIE_TUNNEL), packet->saddr, 0) : 0;
}

__noinline int find_payload(struct xdp_md *ctx, struct eb_packet *outer)
{
	if (!outer)
		return -1;
	return eb_find_payload(ctx, (void *)(long)ctx->data, (void *)(long)ctx->data_end, ethernet, outer,
			       parse_extensions);
}

__noinline int parse_inner(struct xdp_md *ctx, struct eb_packet *packet, __u32 at, __u32 kind)
{
	if (!packet || at > MAX_OFFSET || at > packet->len)
		return EB_PARSED_MALFORMED;
	return eb_parse_inner(ctx, (void *)(long)ctx->data, (void *)(long)ctx->data_end, packet, at, kind,
			      parse_extensions);
}

/* As eb_open_tunnel(). */
__noinline int open_tunnel(struct xdp_md *ctx, const struct eb_policy *policy, struct eb_packet *packet, __u32 index)
{
	if (!policy || !packet)
		return EB_PARSED_IP;
	return eb_open_tunnel(ctx, policy, index, packet, trusted_kinds, find_payload, parse_inner);
}

#endif
