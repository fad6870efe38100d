/* SPDX-License-Identifier: GPL-2.0-only */
/* Where this process runs, and before whom. */
#ifndef EB_BENCH_CPU_H
#define EB_BENCH_CPU_H

/* Puts the calling process, for good, on one CPU and ahead of ordinary processes there. Returns 0 or negative errno;
 * precedence is given up silently where the kernel refuses it. */
int cpu_take(int cpu);

#endif
