/* SPDX-License-Identifier: GPL-2.0-only */
/* The measurements that bench.c offers, one each. They print tab-separated lines and return 0 or negative errno. */
#ifndef EB_BENCH_H
#define EB_BENCH_H

/* Every contestant's table has room for as many sources. */
#define BENCH_TABLE_SIZE 1048576

struct bench_cpus {
	int send;
	int receive;
};

/* CONTESTANT is a program that is loaded for the measurement, or "none" for what the caller has set up; LABEL stands
 * in the output. RULES is for edgebucket. */

/* CONTESTANT RULES LABEL refused|admitted SOURCES */
int bench_cost(const struct bench_cpus *cpus, char **args);

/* CONTESTANT RULES LABEL refused|admitted SOURCES SECONDS SENDING-INTERFACE RECEIVING-INTERFACE */
int bench_flood(const struct bench_cpus *cpus, char **args);

/* CONTESTANT RULES LABEL refused|admitted CPUS */
int bench_wide(const struct bench_cpus *cpus, char **args);

/* CONTESTANT RULES LABEL refused|admitted 1|2 SECONDS, and interfaces as for exact */
int bench_scale(const struct bench_cpus *cpus, char **args);

/* CONTESTANT LABEL two-cpus|spoofed SECONDS SENDING-INTERFACE RECEIVING-INTERFACE SENDING-INTERFACE RECEIVING-INTERFACE
 */
int bench_exact(const struct bench_cpus *cpus, char **args);

/* CONTESTANT RULES LABEL SOURCES SECONDS RATE SENDING-INTERFACE RECEIVING-INTERFACE NETWORK-NAMESPACE, the last one
 * that of the sending interface; SOURCES may be "nobody" */
int bench_survive(const struct bench_cpus *cpus, char **args);

/* SECONDS SENDING-INTERFACE RECEIVING-INTERFACE */
int bench_windows(const struct bench_cpus *cpus, char **args);

/* PIN-DIRECTORY COUNT STEP */
int bench_fill(const struct bench_cpus *cpus, char **args);

/* REDIS-SOCKET KEY */
int bench_bare(const struct bench_cpus *cpus, char **args);

#endif
