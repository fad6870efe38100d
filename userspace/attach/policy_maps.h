/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Rulesets in the policy maps. There are two sets of maps, one active and one idle. A ruleset is written into the idle
 * set; then one write of state.active switches. Only dataplane.c uses it, and owns `state` and `buckets`.
 */
#ifndef EB_POLICY_MAPS_H
#define EB_POLICY_MAPS_H

#include <stddef.h>

#include "config/targets.h"
#include "maps/buckets.h"
#include "maps/maps.h"
#include "policy/rules.h"

struct btf;

struct eb_policy_maps {
	const struct eb_maps *maps;
	struct btf *btf; /* for the tries of a policy */
	int filter_fd;   /* an unused filter, whose update waits for packets */
};

#define EB_POLICY_MAPS_NONE ((struct eb_policy_maps){ .filter_fd = -1 })

/* `maps` must outlive *out, and need not be open yet. Returns 0 and an object for eb_policy_maps_close(), or negative
 * errno with a malloc'ed line in *error. */
int eb_policy_maps_open(const struct eb_maps *maps, struct eb_policy_maps *out, char **error);

/* Accepts EB_POLICY_MAPS_NONE. */
void eb_policy_maps_close(struct eb_policy_maps *policies);

/* Waits until all packets that are being processed have their verdict. Later packets see everything that was written
 * before. Returns 0; or negative errno, without having waited. */
int eb_policy_maps_wait(const struct eb_policy_maps *policies);

/* The rules of each of these interfaces, for the policy of this index; the others of that policy are forgotten. Returns
 * 0 or negative errno. */
int eb_policy_maps_write_interfaces(const struct eb_policy_maps *policies, const struct eb_interface_rules *interfaces,
				    const struct eb_targets *targets, __u32 policy);

/* Completes a switch that was announced but not completed, because the agent was killed. Returns 0 or negative errno.
 * Sets *lost as eb_policy_maps_switch() does, if there was such a switch. */
int eb_policy_maps_finish_interrupted(const struct eb_policy_maps *policies, struct eb_state *state,
				      struct eb_buckets *buckets, size_t *lost);

/*
 * Writes a ruleset into the idle maps and switches to it; `old` is the policy in force, `targets` the interfaces of its
 * configuration that are there. Converts the buckets of rules
 * whose limits changed; *lost gets the number of buckets for which the table had no room. If the kernel refuses to wait
 * for packets after the announcement, the next eb_policy_maps_finish_interrupted() completes the switch. Returns 0; or
 * negative errno, and `old` stays in force.
 */
int eb_policy_maps_switch(const struct eb_policy_maps *policies, struct eb_state *state, struct eb_buckets *buckets,
			  const struct eb_ruleset *ruleset, const struct eb_targets *targets,
			  const struct eb_policy *old, size_t *lost);

#endif
