/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What edgebucket is compared with: the least that an XDP program can do, and the rate limiters that one would write
 * first. They limit packets per IPv4 source, know no rules, and count verdicts per CPU as edgebucket does.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "parse.h"

#define SOURCES (1 << 20)

enum { PASSED, DROPPED, VERDICTS };

const volatile __u64 cost_ns = 1000000;
const volatile __u64 burst_ns = 1000000000;

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, VERDICTS);
	__type(key, __u32);
	__type(value, __u64);
} verdicts SEC(".maps");

/* Larger when it is loaded: of a million sources in a circle, an LRU hash that lacks room for one has none of those
 * that come next. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, SOURCES);
	__type(key, __u64);
	__type(value, __u64);
} full_at SEC(".maps");

struct locked_bucket {
	struct bpf_spin_lock lock;
	__u64 debt_ns;
	__u64 seen_ns;
};

/* Kernels refuse spin locks in LRU maps; a full table admits no new source. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, SOURCES);
	__type(key, __u64);
	__type(value, struct locked_bucket);
} locked SEC(".maps");

static __always_inline int parse_ipv4(struct xdp_md *ctx, struct eb_packet *packet)
{
	struct eb_cursor cursor;

	packet->len = ctx->data_end - ctx->data;
	return eb_parse_headers((void *)(long)ctx->data, (void *)(long)ctx->data_end, 1, &cursor, packet) ==
		       EB_PARSED_IP &&
	       packet->family == 4;
}

static __always_inline int finish(int admitted)
{
	__u32 verdict = admitted ? PASSED : DROPPED;
	__u64 *count = bpf_map_lookup_elem(&verdicts, &verdict);

	if (count)
		(*count)++;
	return admitted ? XDP_PASS : XDP_DROP;
}

SEC("xdp.frags")
int drop(struct xdp_md *ctx)
{
	(void)ctx;
	return XDP_DROP;
}

/* Everything that was parsed goes into the verdict, or the compiler would leave it out. */
SEC("xdp.frags")
int parse(struct xdp_md *ctx)
{
	struct eb_packet packet = {};

	if (!parse_ipv4(ctx, &packet))
		return XDP_PASS;
	return (packet.saddr[0] ^ packet.daddr[0] ^ packet.dport ^ packet.proto ^ packet.l4) == ~0ULL ? XDP_PASS
												      : XDP_DROP;
}

static __always_inline int gcra_charge(__u64 *bucket, __u64 now)
{
	for (int i = 0; i < 8; i++) {
		__u64 seen = *(volatile __u64 *)bucket;
		__u64 base = seen > now ? seen : now;

		if (base + cost_ns - now > burst_ns)
			return 0;
		if (__sync_val_compare_and_swap(bucket, seen, base + cost_ns) == seen)
			return 1;
	}
	return 0;
}

/* The bare idea of edgebucket on the kernel's own table. */
SEC("xdp.frags")
int gcra_lru(struct xdp_md *ctx)
{
	struct eb_packet packet = {};
	__u64 now, zero = 0, *bucket;

	if (!parse_ipv4(ctx, &packet))
		return XDP_PASS;
	now = bpf_ktime_get_ns();
	bucket = bpf_map_lookup_elem(&full_at, &packet.saddr[0]);
	if (!bucket) {
		bpf_map_update_elem(&full_at, &packet.saddr[0], &zero, BPF_NOEXIST);
		bucket = bpf_map_lookup_elem(&full_at, &packet.saddr[0]);
	}
	return finish(bucket && gcra_charge(bucket, now));
}

static __always_inline struct locked_bucket *locked_bucket_of(const __u64 *saddr)
{
	struct locked_bucket *bucket = bpf_map_lookup_elem(&locked, saddr);
	struct locked_bucket fresh = {};

	if (bucket)
		return bucket;
	bpf_map_update_elem(&locked, saddr, &fresh, BPF_NOEXIST);
	return bpf_map_lookup_elem(&locked, saddr);
}

static __always_inline int locked_charge(struct locked_bucket *bucket, __u64 now)
{
	__u64 passed = now - bucket->seen_ns;
	__u64 debt = bucket->debt_ns > passed ? bucket->debt_ns - passed : 0;
	int admit = debt + cost_ns <= burst_ns;

	bucket->seen_ns = now;
	bucket->debt_ns = admit ? debt + cost_ns : debt;
	return admit;
}

/* The clock is read before the lock, as it must be where helpers cannot be called under it: with two CPUs, times go
 * backwards under the lock, the difference wraps, and the bucket is full again. */
SEC("xdp.frags")
int spin_hash(struct xdp_md *ctx)
{
	struct eb_packet packet = {};
	struct locked_bucket *bucket;
	int admit;
	__u64 now;

	if (!parse_ipv4(ctx, &packet))
		return XDP_PASS;
	now = bpf_ktime_get_ns();
	bucket = locked_bucket_of(&packet.saddr[0]);
	if (!bucket)
		return finish(0);
	bpf_spin_lock(&bucket->lock);
	admit = locked_charge(bucket, now);
	bpf_spin_unlock(&bucket->lock);
	return finish(admit);
}

char _license[] SEC("license") = "GPL";
