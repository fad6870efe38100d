/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Rulesets in the policy maps: two of each, one active, one idle. A ruleset is written into the idle ones; then one
 * write of state.active switches. dataplane.c uses it, nobody else; `state` and `buckets` are the dataplane's.
 */
#ifndef EB_POLICY_MAPS_H
#define EB_POLICY_MAPS_H

#include <stddef.h>

#include "maps/buckets.h"
#include "maps/maps.h"
#include "policy/rules.h"

struct btf;

struct eb_policy_maps {
	const struct eb_maps *maps;
	struct btf *btf; /* of the tries that a policy makes */
	int filter_fd;   /* a filter that nobody asks, to wait for packets */
};

#define EB_POLICY_MAPS_NONE ((struct eb_policy_maps){ .filter_fd = -1 })

/* `maps` must outlive it, and need not be open yet. Returns 0 and an object for eb_policy_maps_close(), or negative
 * errno with a malloc'ed line in *error. */
int eb_policy_maps_open(const struct eb_maps *maps, struct eb_policy_maps *out, char **error);

/* Accepts EB_POLICY_MAPS_NONE. */
void eb_policy_maps_close(struct eb_policy_maps *policies);

/* Returns once every packet that was on its way has been decided: those that come later see all that was written
 * before. Returns 0 or negative errno, with nothing waited for. */
int eb_policy_maps_wait(const struct eb_policy_maps *policies);

/* Goes on with a switch that was announced and did not get further, as its agent was killed. Returns 0 or negative
 * errno; *lost is set if there was one, as by eb_policy_maps_switch(). */
int eb_policy_maps_finish_interrupted(const struct eb_policy_maps *policies, struct eb_state *state,
				      struct eb_buckets *buckets, size_t *lost);

/*
 * Writes a ruleset into the idle maps and switches to it; `old` is the policy in force. Buckets of rules whose limits
 * changed are converted, *lost of them had no room. If the kernel refuses to wait for packets after the announcement,
 * the next eb_policy_maps_finish_interrupted() does the rest. Returns 0 or negative errno, with `old` in force.
 */
int eb_policy_maps_switch(const struct eb_policy_maps *policies, struct eb_state *state, struct eb_buckets *buckets,
			  const struct eb_ruleset *ruleset, const struct eb_policy *old, size_t *lost);

#endif
