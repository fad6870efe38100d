/* SPDX-License-Identifier: GPL-2.0-only */
/* Who runs on which CPU, ahead of whom. */
#ifndef EB_BENCH_CPU_H
#define EB_BENCH_CPU_H

#include <sys/types.h>

/* All return 0 or negative errno. A process of 0 is the calling one. */
int cpu_bind(pid_t process, int cpu);

/* Keeps the calling process on one CPU, ahead of ordinary processes there; precedence is given up silently where the
 * kernel refuses it. */
int cpu_take(int cpu);

/* Keeps a process on one CPU, in real time: ahead also of those that took it, and of those of lower priority. */
int cpu_own(pid_t process, int cpu, int priority);

#endif
