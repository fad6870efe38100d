/* SPDX-License-Identifier: GPL-2.0-only */
/* How far two CPUs are from each other. */
#ifndef EB_BENCH_DISTANCE_H
#define EB_BENCH_DISTANCE_H

/* Nanoseconds that a cache line takes from the CPU of the calling thread, which must be bound to it, to `other`;
 * 0 when no thread can be had. A virtual machine's CPUs can move while it runs: 40 ns now, 180 ns a
 * second later were seen. Every frame of a flood makes the journey that this measures. */
double distance_to(int other);

#endif
