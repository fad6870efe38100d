/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The programs that make the traffic: both write the next source and its mark into the frame. `generate` sends it (test
 * runs with live frames); `vary` hands it to the contestant in `contestant` (ordinary test runs), so that every
 * contestant carries the same extra cost.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "pattern.h"

const volatile struct pattern pattern;

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct progress);
} progress SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} contestant SEC(".maps");

static __always_inline struct mark next_mark(struct progress *at)
{
	__u64 now = bpf_ktime_get_ns();

	at->marked++;
	at->last_ns = now;
	if (!at->first_ns)
		at->first_ns = now;
	return (struct mark){ .number = at->marked, .made_ns = now };
}

static __always_inline __u32 next_source(struct progress *at, struct mark *mark)
{
	if (!at->is_started) {
		at->is_started = 1;
		at->x = PATTERN_CPU_START(pattern.start, bpf_get_smp_processor_id());
	}
	if (pattern.mix && at->until_marked == 0) {
		at->until_marked = pattern.mix - 1;
		*mark = next_mark(at);
		return pattern.marked + mark->number % pattern.spread;
	}
	at->until_marked--;
	at->x = PATTERN_NEXT(at->x);
	return pattern.base | (at->x & pattern.mask);
}

/* The header has 0 as source and a checksum that fits; adding the source to both keeps it so. */
static __always_inline __u16 checksum_with(__u16 checksum_of_zero, __u32 saddr)
{
	__u32 sum = (__u16)~checksum_of_zero + (saddr >> 16) + (saddr & 0xffff);

	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

const volatile __u16 checksum_of_zero;

static __always_inline struct progress *own_progress(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&progress, &zero);
}

/* Packets that were not made in time are made up for, this many at most. */
#define LATE_MAX 64

static __always_inline int is_early(struct progress *at)
{
	__u64 now, earliest;

	if (!pattern.interval_ns)
		return 0;
	now = bpf_ktime_get_ns();
	if (now < at->next_ns)
		return 1;
	earliest = now - LATE_MAX * pattern.interval_ns;
	at->next_ns = (at->next_ns > earliest ? at->next_ns : earliest) + pattern.interval_ns;
	return 0;
}

static __always_inline int write_source(struct xdp_md *ctx, struct progress *at)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct iphdr *ip = data + sizeof(struct ethhdr);
	struct mark *mark = (void *)(ip + 1) + sizeof(struct udphdr), next = {};
	__u32 saddr;

	if ((void *)(mark + 1) > end)
		return -1;
	saddr = next_source(at, &next);
	ip->saddr = bpf_htonl(saddr);
	ip->check = bpf_htons(checksum_with(checksum_of_zero, saddr));
	/* Frames are used again: a mark must not stay. */
	*mark = next;
	return 0;
}

SEC("xdp.frags")
int generate(struct xdp_md *ctx)
{
	struct progress *at = own_progress();

	if (!at)
		return XDP_ABORTED;
	if (is_early(at))
		return XDP_DROP;
	return write_source(ctx, at) ? XDP_ABORTED : XDP_TX;
}

SEC("xdp.frags")
int vary(struct xdp_md *ctx)
{
	struct progress *at = own_progress();

	if (at && write_source(ctx, at) == 0)
		bpf_tail_call(ctx, &contestant, 0);
	return XDP_ABORTED;
}

char _license[] SEC("license") = "GPL";
