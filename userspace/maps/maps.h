/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The pinned maps: descriptors by name, and reading what is small. Buckets have a module of their own (buckets.h).
 * Agent and command line both use it; it works whether or not an agent runs.
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
	EB_MAP_STATE,
	EB_MAP_POLICY,
	EB_MAP_PORTS,
	EB_MAP_PREFIXES_V4,
	EB_MAP_PREFIXES_V6,
	EB_MAP_FILTERS,
	EB_MAP_COUNTERS,
	EB_MAP_FRAMES,
	EB_MAP_NOT_IP,
	EB_MAP_CPUS,
	EB_MAP_EVENTS,
	EB_MAP_BANS_V4,
	EB_MAP_BANS_V6,
	EB_MAP_BAN_BITS,
	EB_MAPS,
};

/* The maps of bans, which outlive a change of the other maps' size or layout. */
#define EB_MAP_IS_OF_BANS(map) ((map) >= EB_MAP_BANS_V4 && (map) <= EB_MAP_BAN_BITS)

struct eb_maps {
	int fd[EB_MAPS]; /* -1 when not open */
};

/* Name of a map and of its pin, by enum eb_map. */
const char *eb_map_name(enum eb_map map);

/* All descriptors -1, so that eb_maps_close() is safe. */
void eb_maps_init(struct eb_maps *maps);

/*
 * Opens the maps pinned in `pin_dir`. Returns 0; -ENOENT when there are none or an agent never finished making them;
 * -EPROTO when they have another schema or some are missing; other negative errno. On failure nothing stays open and
 * *error is a malloc'ed line that says what is missing and what to do.
 */
int eb_maps_open(const char *pin_dir, struct eb_maps *out, char **error);

void eb_maps_close(struct eb_maps *maps);

/* Reads the id of the map `state`, by which a program is known for ours. 0 or negative errno. */
int eb_maps_state_id(const struct eb_maps *maps, __u32 *out);

/* Reads the index of the policy in force / the policy itself. 0 or negative errno. */
int eb_maps_active(const struct eb_maps *maps, __u32 *out);
int eb_maps_policy(const struct eb_maps *maps, struct eb_policy *out);

/* Sums over all CPUs. 0 or negative errno. */
int eb_maps_counters(const struct eb_maps *maps, __u32 slot, struct eb_counters *out);
int eb_maps_frames(const struct eb_maps *maps, struct eb_frame_counter out[EB_FRAME_KINDS]);

/* Frames on one interface that were not IP; 0 when there were none. */
int eb_maps_not_ip(const struct eb_maps *maps, __u32 ifindex, __u64 *out);

/* Forgets those of the interfaces that are gone, so that there is room for new ones. */
void eb_maps_forget_interfaces(const struct eb_maps *maps);

/* Makes a map for a place in `filters`, of `count` words. Returns its descriptor, the caller's, or negative errno. */
int eb_maps_make_filter(const uint64_t *words, size_t count);

/* Number of CPUs a per-CPU value has room for. */
int eb_maps_cpus(void);

#endif
