// SPDX-License-Identifier: GPL-2.0-only
/*
 * Nanoseconds of one packet over BPF_PROG_TEST_RUN, behind a prologue that writes the source and is the same for every
 * contestant. Prints: cost, label, refused or admitted, sources, ns.
 */
#include <errno.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "contestant.h"
#include "cpu.h"
#include "traffic.h"

/* As many sources as edgebucket's table is made for: after one lap each has a bucket. */
#define LAP (1 << 20)

/* Measurements that share a lap. */
#define REPEATS 4

/* New sources are refused by a gate of their own, if at all. */
#define GATE_CLOSED (1.0 / 3600)

static int is_new(const struct pattern *pattern)
{
	return pattern->mask == ~0U;
}

/* Runs one lap before it measures, after which every source that comes again has a bucket. */
static int measure(const struct contestant *contestant, const struct pattern *pattern, uint32_t ns[REPEATS],
		   uint32_t *verdict)
{
	static const uint8_t nobody[ETH_ALEN];
	struct traffic traffic;
	int err = traffic_init(pattern, nobody, &traffic);

	if (err)
		return err;
	if (!is_new(pattern))
		err = traffic_test(&traffic, contestant->fd, LAP, &ns[0], verdict);
	for (int i = 0; !err && i < REPEATS; i++)
		err = traffic_test(&traffic, contestant->fd, LAP / REPEATS, &ns[i], verdict);
	traffic_done(&traffic);
	return err;
}

static int run(const struct contestant *contestant, struct contestant_limit *limit, char **args)
{
	const char *label = args[2], *wanted = args[3], *sources = args[4];
	int refused = strcmp(wanted, "refused") == 0;
	uint32_t ns[REPEATS], verdict;
	struct pattern pattern;
	int err = traffic_pattern(sources, &pattern);

	if (!err && refused && is_new(&pattern)) {
		limit->new_sources = GATE_CLOSED;
		err = contestant_set_limit(contestant, limit);
	}
	if (!err)
		err = measure(contestant, &pattern, ns, &verdict);
	if (!err && contestant_is_limiter(contestant) && verdict != (refused ? XDP_DROP : XDP_PASS))
		err = -EPROTO;
	for (int i = 0; !err && i < REPEATS; i++)
		printf("cost\t%s\t%s\t%s\t%u\n", label, wanted, sources, ns[i]);
	return err;
}

int bench_cost(const struct bench_cpus *cpus, char **args)
{
	struct contestant_limit limit;
	struct contestant contestant;
	int err = contestant_limit_of(args[3], &limit);

	if (err)
		return err;
	contestant_set_rules(args[1], &limit);
	err = contestant_load(args[0], &limit, &contestant);
	if (!err)
		err = cpu_take(cpus->receive);
	if (!err)
		err = run(&contestant, &limit, args);
	contestant_unload(&contestant);
	return err;
}
