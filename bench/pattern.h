/* SPDX-License-Identifier: GPL-2.0-only */
/* Where the packets of a run come from: shared by the programs that write sources and by the user side. */
#ifndef EB_BENCH_PATTERN_H
#define EB_BENCH_PATTERN_H

/*
 * Packet n comes from base | (x(n) & mask), where x is a linear congruential generator of period 2^32 (and of period
 * 2^k in its lowest k bits): every source once before any comes again, in an order that no prefetcher guesses. With
 * `mix`, packet 0 and every `mix`th after it is marked, and comes from `marked` or one of the `spread` addresses from
 * there on, in turn. With `interval_ns`, a CPU makes a packet so often.
 */
struct pattern {
	__u32 base; /* addresses in host byte order */
	__u32 mask;
	__u32 start; /* x of the first CPU; each begins elsewhere */
	__u32 mix;   /* 0: never */
	__u32 marked;
	__u32 spread;
	__u32 interval_ns; /* 0: as fast as it can */
};

#define PATTERN_NEXT(x) ((x)*1664525U + 1013904223U)
#define PATTERN_CPU_START(start, cpu) ((start) + ((__u32)(cpu) << 30))

/* What one CPU remembers of it. */
struct progress {
	__u32 is_started;
	__u32 x;
	__u32 until_marked;
	__u32 pad;
	__u64 marked; /* packets, and when the first and the last were made */
	__u64 first_ns;
	__u64 last_ns;
	__u64 next_ns; /* with an interval: when the next packet is due */
};

/* The data of every packet. */
struct mark {
	__u64 number; /* among the marked packets of its CPU, from 1; of others 0 */
	__u64 made_ns;
};

#endif
