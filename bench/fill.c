// SPDX-License-Identifier: GPL-2.0-only
/*
 * Debts for an agent to keep: one more token for every STEPth of COUNT sources, straight into the pinned maps, as if
 * each had sent a packet. Prints how many found room, and changed with it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "maps/buckets.h"
#include "maps/maps.h"

#define FIRST_SOURCE 0x0a100000 /* 10.16.0.0 */

static const struct eb_rule *find_limit(const struct eb_policy *policy)
{
	for (uint32_t i = 0; i < policy->rule_count; i++)
		if (policy->rules[i].action == EB_LIMIT)
			return &policy->rules[i];
	return NULL;
}

static int charge(struct eb_buckets *buckets, const struct eb_rule *rule, uint32_t source)
{
	uint32_t addr = htonl(FIRST_SOURCE + source);
	uint64_t now = eb_buckets_now();
	struct eb_bucket_view view = {
		.source = { .family = 4, .rule_id = rule->id4 },
		.packets_full_at = eb_gcra_full_at(now, eb_gcra_cost(&rule->packets, 1)),
	};
	int ret;

	memcpy(view.source.addr, &addr, sizeof(addr));
	ret = eb_buckets_merge(buckets, &view, EB_MERGE_ADD, now);
	return ret < 0 ? ret : 0;
}

static int charge_all(struct eb_buckets *buckets, const struct eb_rule *rule, uint32_t count, uint32_t step)
{
	uint32_t charged = 0;

	for (uint32_t source = 0; source < count; source += step) {
		int err = charge(buckets, rule, source);

		if (err && err != -ENOSPC)
			return err;
		charged += !err;
	}
	printf("%u\n", charged);
	return 0;
}

int bench_fill(const struct bench_cpus *cpus, char **args)
{
	struct eb_policy *policy = calloc(1, sizeof(*policy));
	struct eb_buckets *buckets = NULL;
	const struct eb_rule *rule = NULL;
	char *error = NULL;
	struct eb_maps maps;
	int err;

	(void)cpus;
	eb_maps_init(&maps);
	err = policy ? eb_maps_open(args[0], &maps, &error) : -ENOMEM;
	if (!err)
		err = eb_maps_policy(&maps, policy);
	if (!err)
		rule = find_limit(policy);
	if (!err)
		err = rule ? eb_buckets_open(&maps, true, &buckets) : -ENOENT;
	if (!err)
		err = charge_all(buckets, rule, atoi(args[1]), atoi(args[2]));
	if (error)
		fprintf(stderr, "bench: %s\n", error);
	free(error);
	eb_buckets_close(buckets);
	eb_maps_close(&maps);
	free(policy);
	return err;
}
