/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The pinned maps: their descriptors, and functions that read the small ones. buckets.h reads the buckets. The agent
 * and the command line use this module; it also works when no agent runs.
 */
#ifndef EB_MAPS_USER_H
#define EB_MAPS_USER_H

#include <stddef.h>
#include <stdint.h>

#include "edgebucket.h"

enum eb_map {
	EB_MAP_BUCKETS_V4,
	EB_MAP_BUCKETS_V6,
	EB_MAP_TAGS_V4,
	EB_MAP_TAGS_V6,
	EB_MAP_CHANGED_V4,
	EB_MAP_CHANGED_V6,
	EB_MAP_STATE,
	EB_MAP_POLICY,
	EB_MAP_NUMBERS,
	EB_MAP_INTERFACES,
	EB_MAP_PREFIXES_V4,
	EB_MAP_PREFIXES_V6,
	EB_MAP_FILTERS,
	EB_MAP_SPENT,
	EB_MAP_DEMAND,
	EB_MAP_COUNTERS,
	EB_MAP_FRAMES,
	EB_MAP_NOT_IP,
	EB_MAP_CPUS,
	EB_MAP_EVENTS,
	EB_MAP_BANS_V4,
	EB_MAP_BANS_V6,
	EB_MAP_BAN_BITS,
	EB_MAP_BANS_MADE,
	EB_MAPS,
};

/* The maps of bans, which outlive a change of the other maps' size or layout. */
#define EB_MAP_IS_OF_BANS(map) ((map) >= EB_MAP_BANS_V4 && (map) <= EB_MAP_BANS_MADE)

struct eb_maps {
	int fd[EB_MAPS]; /* -1: not open */
};

/* The name of a map, which is also the name of its pin. */
const char *eb_map_name(enum eb_map map);

/* Sets all descriptors to -1, so that eb_maps_close() is safe. */
void eb_maps_init(struct eb_maps *maps);

/*
 * Opens the maps pinned in `pin_dir`, for eb_maps_close(). Returns 0; -ENOENT if there are none, or if an agent did not
 * finish creating them; -EPROTO if they have another schema or some are missing; or another negative errno. On failure
 * nothing stays open, and *error is a malloc'ed line that says what is missing and what to do.
 */
int eb_maps_open(const char *pin_dir, struct eb_maps *out, char **error);

void eb_maps_close(struct eb_maps *maps);

/* Reads the id of the map `state`. A program that uses this map is ours. Returns 0 or negative errno. */
int eb_maps_state_id(const struct eb_maps *maps, __u32 *out);

/* Read the index of the policy in force, and the policy itself. Return 0 or negative errno. */
int eb_maps_active(const struct eb_maps *maps, __u32 *out);
int eb_maps_policy(const struct eb_maps *maps, struct eb_policy *out);

/* Sets how many bytes of each sampled frame the program copies into `events`, at most EB_SNAPLEN_MAX; 0 for none.
 * Returns 0 or negative errno. */
int eb_maps_set_snaplen(const struct eb_maps *maps, __u32 snaplen);

/* Among how many nodes the bursts of careful rules are divided: 0 as long as the agent has seen none. Outlives the
 * agent. Return 0 or negative errno. */
int eb_maps_set_fleet_nodes(const struct eb_maps *maps, __u32 nodes);
int eb_maps_fleet_nodes(const struct eb_maps *maps, __u32 *out);

/* Read the counters of a rule's slot, and the frame counters, summed over all CPUs. Return 0 or negative errno. */
int eb_maps_counters(const struct eb_maps *maps, __u32 slot, struct eb_counters *out);
int eb_maps_frames(const struct eb_maps *maps, struct eb_frame_counter out[EB_FRAME_KINDS]);

/* Reads the number of frames on one interface that were not IP. Returns 0 or negative errno. */
int eb_maps_not_ip(const struct eb_maps *maps, __u32 ifindex, __u64 *out);

/* Deletes these counters for interfaces that no longer exist, so that there is room for new ones. */
void eb_maps_forget_interfaces(const struct eb_maps *maps);

/* Creates an inner map for `filters` with `count` words. Returns a descriptor that the caller closes, or negative
 * errno. */
int eb_maps_make_filter(const uint64_t *words, size_t count);

/* The number of CPUs for which a per-CPU value has room. */
int eb_maps_cpus(void);

#endif
