/* SPDX-License-Identifier: GPL-2.0-only */
/* Two ways through one contestant: each a veth pair whose sender and receiver work on one CPU, another one for each. */
#ifndef EB_BENCH_PATHS_H
#define EB_BENCH_PATHS_H

#include <sys/types.h>

#include "bench.h"
#include "contestant.h"
#include "receiver.h"
#include "traffic.h"

#define PATHS 2

struct path {
	int cpu;
	int from;	    /* interface */
	struct receiver to; /* its thread is the sender, in whose softirq it works */
	struct traffic traffic;
	pid_t sender;
};

/* Loads a contestant, finds the interfaces (FROM TO FROM TO) and attaches it to both that receive. Returns 0 or
 * negative errno with nothing to close. */
int paths_open(const struct bench_cpus *cpus, char **names, const char *contestant,
	       const struct contestant_limit *limit, struct path path[PATHS], struct contestant *out);
void paths_close(const struct path path[PATHS], struct contestant *contestant);

/* Sends on the first `count` of them. What it started is the caller's to stop and to free, also after a failure. */
int paths_start(struct path path[PATHS], int count, const struct pattern *pattern);
void paths_stop(struct path path[PATHS]);

/* Frees what paths_start() made, when it was stopped and its progress read. */
void paths_done(struct path path[PATHS]);

#endif
