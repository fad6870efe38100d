// SPDX-License-Identifier: GPL-2.0-only
/*
 * One source on one CPU and on two at once, each over a veth of its own, whose other end works in softirq on the same
 * CPU: what one CPU's packets cost the other one's. Prints: scale, label, refused or admitted, CPUs, millions of
 * packets a second, ns of a CPU for each (sending included), share of the time that the senders had their CPUs, ns that
 * a cache line takes from CPU to CPU.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "bench.h"
#include "contestant.h"
#include "cpu.h"
#include "distance.h"
#include "paths.h"

#define SETTLE_US 300000

static int read_sum(const struct path path[PATHS], int count, struct receiver_reading *out)
{
	struct receiver_reading sum = {}, one;
	int err = 0;

	for (int i = 0; !err && i < count; i++) {
		err = receiver_read(&path[i].to, &one);
		sum.time_ns = one.time_ns;
		sum.packets += one.packets;
		sum.busy_ns += one.busy_ns;
	}
	if (!err)
		*out = sum;
	return err;
}

static int measure(struct path path[PATHS], int count, double seconds, struct receiver_reading *first,
		   struct receiver_reading *last)
{
	struct pattern pattern;
	int err = traffic_pattern("one", &pattern);

	if (!err)
		err = paths_start(path, count, &pattern);
	usleep(SETTLE_US);
	if (!err)
		err = read_sum(path, count, first);
	do {
		usleep(seconds * 1e6);
		err = err ? err : read_sum(path, count, last);
	} while (!err && receiver_was_idle(first, last));
	paths_stop(path);
	paths_done(path);
	return err;
}

static void report(char **args, int count, double distance, const struct receiver_reading *first,
		   const struct receiver_reading *last)
{
	double packets = last->packets - first->packets;
	double ns = last->time_ns - first->time_ns;
	double busy = last->busy_ns - first->busy_ns;

	printf("scale\t%s\t%s\t%d\t%.3f\t%.1f\t%.2f\t%.0f\n", args[2], args[3], count, packets / ns * 1e3,
	       packets ? busy / packets : 0, busy / ns / count, distance);
}

int bench_scale(const struct bench_cpus *cpus, char **args)
{
	struct receiver_reading first, last;
	struct contestant contestant;
	struct contestant_limit limit;
	struct path path[PATHS];
	int count = atoi(args[4]);
	double distance;
	int err = contestant_limit_of(args[3], &limit);

	if (!err)
		err = cpu_own(0, cpus->send, 1);
	contestant_set_rules(args[1], &limit);
	if (!err)
		err = paths_open(cpus, args + 6, args[0], &limit, path, &contestant);
	if (err)
		return err;
	distance = distance_to(cpus->receive);
	err = measure(path, count, atof(args[5]), &first, &last);
	if (!err)
		report(args, count, distance, &first, &last);
	paths_close(path, &contestant);
	return err;
}
