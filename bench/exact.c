// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a contestant admits of one source that two CPUs send at once: each over a veth of its own, whose other end
 * works in softirq on the same CPU. Prints: exact, label, scenario, packets sent by the source, the most that burst and
 * rate allow in the time between its first and its last packet. What was admitted is counted behind the contestant, by
 * the caller.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"
#include "contestant.h"
#include "paths.h"

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

/* Sends on both paths at once. */
static int send_on_both(struct path path[PATHS], const struct pattern *pattern, double seconds, struct progress *out)
{
	struct progress progress[PATHS];
	int err = paths_start(path, PATHS, pattern);

	if (!err)
		usleep(seconds * 1e6);
	paths_stop(path);
	for (int i = 0; !err && i < PATHS; i++)
		err = traffic_progress(&path[i].traffic, &progress[i]);
	paths_done(path);
	if (err)
		return err;
	*out = progress[0];
	out->marked += progress[1].marked;
	if (progress[1].first_ns < out->first_ns)
		out->first_ns = progress[1].first_ns;
	if (progress[1].last_ns > out->last_ns)
		out->last_ns = progress[1].last_ns;
	return 0;
}

static int run(struct path path[PATHS], const char *label, const char *scenario, double seconds)
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
		printf("exact\t%s\t%s\t%llu\t%.0f\n", label, scenario, sent.marked,
		       limit.burst + limit.rate * (sent.last_ns - sent.first_ns) / 1e9);
	return err;
}

int bench_exact(const struct bench_cpus *cpus, char **args)
{
	struct contestant contestant;
	struct path path[PATHS];
	int err = paths_open(cpus, args + 4, args[0], &limit, path, &contestant);

	if (err)
		return err;
	err = run(path, args[1], args[2], atof(args[3]));
	paths_close(path, &contestant);
	return err;
}
