// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a contestant admits of one source that two CPUs send at once: each over a veth of its own, whose other end
 * works in softirq on the same CPU. Prints: exact, label, scenario, packets sent by the source, the most that burst and
 * rate allow in the time between its first and its last packet. What was admitted is counted behind the contestant, by
 * the caller.
 */
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"
#include "contestant.h"
#include "receiver.h"
#include "sender.h"
#include "traffic.h"

/* Time to fill every contestant's table with invented sources. */
#define FILL_SECONDS 3

/* The source is every so many-th packet of the flood. */
#define SPOOFED_MIX 16

static const struct contestant_limit limit = {
	.rules = 1,
	.table_size = BENCH_TABLE_SIZE,
	.rate = 1000,
	.burst = 1000,
	.new_sources = BENCH_TABLE_SIZE / 10,
};

struct path {
	int cpu;
	int from; /* interface */
	struct receiver to;
};

static int find_paths(const struct bench_cpus *cpus, char **names, struct path path[2])
{
	int err = 0;

	for (int i = 0; !err && i < 2; i++) {
		path[i].cpu = i ? cpus->receive : cpus->send;
		path[i].from = if_nametoindex(names[2 * i]);
		err = path[i].from ? receiver_find(names[2 * i + 1], &path[i].to) : -errno;
	}
	return err;
}

/* Sends on both paths at once. */
static int send_on_both(struct path path[2], const struct pattern *pattern, double seconds, struct progress *out)
{
	struct traffic traffic[2] = {};
	struct progress progress[2];
	pid_t sender[2] = { -1, -1 };
	int err = 0;

	for (int i = 0; !err && i < 2; i++)
		err = traffic_init(pattern, path[i].to.mac, &traffic[i]);
	for (int i = 0; !err && i < 2; i++) {
		sender[i] = sender_start(&traffic[i], path[i].from, path[i].cpu);
		err = sender[i] < 0 ? sender[i] : 0;
	}
	if (!err)
		usleep(seconds * 1e6);
	for (int i = 0; i < 2; i++)
		sender_stop(sender[i]);
	for (int i = 0; !err && i < 2; i++)
		err = traffic_progress(&traffic[i], &progress[i]);
	for (int i = 0; i < 2; i++)
		traffic_done(&traffic[i]);
	if (err)
		return err;
	*out = progress[0];
	out->of_one += progress[1].of_one;
	if (progress[1].first_ns < out->first_ns)
		out->first_ns = progress[1].first_ns;
	if (progress[1].last_ns > out->last_ns)
		out->last_ns = progress[1].last_ns;
	return 0;
}

static int run(struct path path[2], const char *label, const char *scenario, double seconds)
{
	struct pattern pattern;
	struct progress sent;
	int err;

	if (strcmp(scenario, "spoofed") == 0) {
		(void)traffic_pattern("new", &pattern);
		err = send_on_both(path, &pattern, FILL_SECONDS, &sent);
		if (err)
			return err;
		traffic_pattern_mix(&pattern, SPOOFED_MIX);
	} else {
		(void)traffic_pattern("one", &pattern);
		traffic_pattern_mix(&pattern, 1);
	}
	err = send_on_both(path, &pattern, seconds, &sent);
	if (!err)
		printf("exact\t%s\t%s\t%llu\t%.0f\n", label, scenario, sent.of_one,
		       limit.burst + limit.rate * (sent.last_ns - sent.first_ns) / 1e9);
	return err;
}

int bench_exact(const struct bench_cpus *cpus, char **args)
{
	struct contestant contestant;
	struct path path[2];
	int err = find_paths(cpus, args + 4, path);

	if (!err)
		err = contestant_load(args[0], &limit, &contestant);
	if (err)
		return err;
	for (int i = 0; !err && i < 2; i++)
		err = contestant_attach(&contestant, path[i].to.ifindex);
	if (!err)
		err = run(path, args[1], args[2], atof(args[3]));
	for (int i = 0; i < 2; i++)
		contestant_detach(&contestant, path[i].to.ifindex);
	contestant_unload(&contestant);
	return err;
}
