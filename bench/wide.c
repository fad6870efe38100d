// SPDX-License-Identifier: GPL-2.0-only
/*
 * Nanoseconds of one packet on each of several CPUs that work at the same time, over BPF_PROG_TEST_RUN: what a bucket
 * costs that all of them charge. Prints: wide, label, refused or admitted, CPUs, ns.
 */
#include <errno.h>
#include <linux/bpf.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "contestant.h"
#include "cpu.h"
#include "traffic.h"

#define CPUS_MAX 64

/* What is not measured: all sources get their buckets. */
#define LAP (1 << 17)

/* A second at 500 ns, so that a late start of a thread counts little. */
#define PACKETS (1 << 21)

struct worker {
	pthread_t thread;
	pthread_barrier_t *start;
	struct traffic traffic;
	int cpu, program, error;
	uint32_t ns, verdict;
};

static void *work(void *arg)
{
	struct worker *worker = arg;
	uint32_t ns;

	worker->error = cpu_take(worker->cpu);
	if (!worker->error)
		worker->error = traffic_test(&worker->traffic, worker->program, LAP, &ns, &worker->verdict);
	pthread_barrier_wait(worker->start);
	if (!worker->error)
		worker->error = traffic_test(&worker->traffic, worker->program, PACKETS, &worker->ns, &worker->verdict);
	return NULL;
}

static int make_traffic(struct worker *workers, int cpus, int program, pthread_barrier_t *start)
{
	static const uint8_t nobody[ETH_ALEN];
	struct pattern pattern;
	int err = traffic_pattern("65536", &pattern);

	for (int i = 0; !err && i < cpus; i++) {
		workers[i].cpu = i;
		workers[i].program = program;
		workers[i].start = start;
		err = traffic_init(&pattern, nobody, &workers[i].traffic);
	}
	return err;
}

static int run_workers(struct worker *workers, int cpus)
{
	int started = 0, err = 0;

	while (started < cpus && !err) {
		err = -pthread_create(&workers[started].thread, NULL, work, &workers[started]);
		started += !err;
	}
	if (err) /* those that were started wait for the rest */
		exit(1);
	for (int i = 0; i < cpus; i++) {
		pthread_join(workers[i].thread, NULL);
		err = err ? err : workers[i].error;
	}
	return err;
}

static int run(const struct contestant *contestant, char **args)
{
	static struct worker workers[CPUS_MAX];
	int cpus = atoi(args[4]), err;
	pthread_barrier_t start;

	if (cpus < 1 || cpus > CPUS_MAX)
		return -EINVAL;
	pthread_barrier_init(&start, NULL, cpus);
	err = make_traffic(workers, cpus, contestant->fd, &start);
	if (!err)
		err = run_workers(workers, cpus);
	for (int i = 0; i < cpus; i++) {
		if (!err)
			printf("wide\t%s\t%s\t%d\t%u\n", args[2], args[3], cpus, workers[i].ns);
		if (workers[i].traffic.skeleton)
			traffic_done(&workers[i].traffic);
	}
	pthread_barrier_destroy(&start);
	return err;
}

int bench_wide(const struct bench_cpus *cpus, char **args)
{
	struct contestant_limit limit;
	struct contestant contestant;
	int err = contestant_limit_of(args[3], &limit);

	(void)cpus;
	if (err)
		return err;
	contestant_set_rules(args[1], &limit);
	err = contestant_load(args[0], &limit, &contestant);
	if (!err)
		err = run(&contestant, args);
	contestant_unload(&contestant);
	return err;
}
