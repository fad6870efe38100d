/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Bucket arithmetic: the Generic Cell Rate Algorithm (ITU-T I.371, virtual scheduling form), which is equal to the
 * token bucket. Pure: the time is passed in. The XDP program, the agent and the host tests compile this same text.
 *
 * A bucket is one 64-bit number, the time at which it is full again (`full_at`, I.371's theoretical arrival time).
 * Times count ticks of 1/1024 ns. That is fine enough to keep the long-run rate within 0.1 % for every cost of a
 * nanosecond and more: a 60-byte frame at 400 Gbit/s takes 1229 ticks, and costs are rounded up, so the rate is never
 * exceeded. 64 bits of ticks wrap every 208 days, so times compare by difference, as jiffies do: what lies up to
 * EB_DEBT_MAX (52 days) ahead of now is debt, everything else is past; the agent clears what has been past for a day.
 */
#ifndef EB_GCRA_H
#define EB_GCRA_H

#include <linux/types.h>

#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif

#define EB_TICKS_PER_NS 1024ULL
#define EB_DEBT_MAX (1ULL << 62)

/* Three values of full_at are no times. Times that would fall on them are moved on by a few ticks. */
#define EB_FULL 0ULL   /* never charged, or without a limit: full at any time */
#define EB_LOCKED 1ULL /* being handed to another source by a CPU, see table.h */
#define EB_HELD 2ULL   /* the same, by the agent */
#define EB_FIRST_TIME 3ULL

/* The longest refill that can be configured. The minute below EB_DEBT_MAX is for a CPU whose clock reading is old by
 * the time it is used: what another CPU charged meanwhile must still count as debt. */
#define EB_BURST_MAX (EB_DEBT_MAX - 60ULL * 1000000000 * EB_TICKS_PER_NS)

/* No frame is longer, generic XDP's aggregates included; with mult below 2^43, n * mult cannot overflow. */
#define EB_TOKENS_MAX (1ULL << 20)
#define EB_MULT_MAX (1ULL << 43)

/* One limit: n tokens take ceil(n * mult / 2^shift) ticks to refill. mult is 0 where there is no limit. */
struct eb_limit {
	__u64 mult;
	__u64 burst; /* ticks that an empty bucket takes to fill; at most EB_BURST_MAX */
	__u32 shift; /* 0 for limits that are charged one token at a time; then mult may exceed EB_MULT_MAX */
	__u32 pad;
};

static __always_inline __u64 eb_gcra_now(__u64 ns)
{
	return ns * EB_TICKS_PER_NS;
}

static __always_inline __u64 eb_gcra_cost(const struct eb_limit *limit, __u64 tokens)
{
	return (tokens * limit->mult + ((1ULL << (limit->shift & 63)) - 1)) >> (limit->shift & 63);
}

/* True for EB_LOCKED and EB_HELD: nothing can be charged. */
static __always_inline int eb_gcra_is_locked(__u64 full_at)
{
	return full_at - EB_LOCKED < EB_FIRST_TIME - EB_LOCKED;
}

/* Ticks until the bucket is full; 0 when it is. */
static __always_inline __u64 eb_gcra_debt(__u64 full_at, __u64 now)
{
	__u64 ahead = full_at - now;

	return full_at == EB_FULL || ahead > EB_DEBT_MAX ? 0 : ahead;
}

/* What is left of a debt after `ticks`. */
static __always_inline __u64 eb_gcra_debt_after(__u64 debt, __u64 ticks)
{
	return debt > ticks ? debt - ticks : 0;
}

/* The full_at of a bucket that has `debt` (at most EB_DEBT_MAX) at `now`. */
static __always_inline __u64 eb_gcra_full_at(__u64 now, __u64 debt)
{
	__u64 full_at = now + debt;

	return full_at < EB_FIRST_TIME ? EB_FIRST_TIME : full_at;
}

/* True when a bucket with `debt` can pay `cost`. Neither sum nor comparison can wrap: debt is at most 2^62 and cost
 * at most 2^63. */
static __always_inline int eb_gcra_conforms(const struct eb_limit *limit, __u64 debt, __u64 cost)
{
	return debt + cost <= limit->burst;
}

/* The debt that a bucket may have with a packet of `cost`, when `nodes` share it with care: of the debt, `known` (at
 * most EB_DEBT_MAX) was heard of from the others. Beyond that, a node spends at most its part of the burst, or one
 * packet. */
static __always_inline __u64 eb_gcra_ceiling(const struct eb_limit *limit, __u64 cost, __u64 known, __u32 nodes)
{
	__u64 part = limit->burst / (nodes ? nodes : 1), ceiling = known + (part > cost ? part : cost);

	return ceiling < limit->burst ? ceiling : limit->burst;
}

#endif
