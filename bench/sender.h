/* SPDX-License-Identifier: GPL-2.0-only */
/* A process that sends over one interface from one CPU for as long as it lives. */
#ifndef EB_BENCH_SENDER_H
#define EB_BENCH_SENDER_H

#include <sys/types.h>

struct traffic;

/* Returns the process, or negative errno. It dies with its parent at the latest. */
pid_t sender_start(struct traffic *traffic, int ifindex, int cpu);

/* Harmless for what sender_start() failed to start. */
void sender_stop(pid_t sender);

#endif
