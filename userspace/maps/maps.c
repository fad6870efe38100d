// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/error.h"
#include "maps/maps.h"
#include "maps/pins.h"
#include "table.h"

/* The agent replaces the maps at its start alone. */
#define OPEN_TRIES 10

static const char *const names[EB_MAPS] = {
	[EB_MAP_BUCKETS_V4] = "buckets_v4",   [EB_MAP_BUCKETS_V6] = "buckets_v6",
	[EB_MAP_TAGS_V4] = "tags_v4",         [EB_MAP_TAGS_V6] = "tags_v6",
	[EB_MAP_CHANGED_V4] = "changed_v4",   [EB_MAP_CHANGED_V6] = "changed_v6",
	[EB_MAP_STATE] = "state",             [EB_MAP_POLICY] = "policy",
	[EB_MAP_NUMBERS] = "numbers",         [EB_MAP_INTERFACES] = "interfaces",
	[EB_MAP_PREFIXES_V4] = "prefixes_v4", [EB_MAP_PREFIXES_V6] = "prefixes_v6",
	[EB_MAP_FILTERS] = "filters",         [EB_MAP_SPENT] = "spent",
	[EB_MAP_DEMAND] = "demand",           [EB_MAP_COUNTERS] = "counters",
	[EB_MAP_FRAMES] = "frames",           [EB_MAP_NOT_IP] = "not_ip",
	[EB_MAP_CPUS] = "cpus",               [EB_MAP_EVENTS] = "events",
	[EB_MAP_BANS_V4] = "bans_v4",         [EB_MAP_BANS_V6] = "bans_v6",
	[EB_MAP_BAN_BITS] = "ban_bits",       [EB_MAP_BANS_MADE] = "bans_made",
};

const char *eb_map_name(enum eb_map map)
{
	return names[map];
}

void eb_maps_init(struct eb_maps *maps)
{
	for (int i = 0; i < EB_MAPS; i++)
		maps->fd[i] = -1;
}

void eb_maps_close(struct eb_maps *maps)
{
	for (int i = 0; i < EB_MAPS; i++)
		if (maps->fd[i] >= 0)
			close(maps->fd[i]);
	eb_maps_init(maps);
}

/* Says whether the open maps are of this build's schema. Reads no more than the first word that all schemas share. */
static int check_schema(const struct eb_maps *maps, const char *pin_dir, char **error)
{
	struct bpf_map_info info = {};
	__u32 len = sizeof(info), zero = 0, schema = 0;
	void *value;
	int err;

	err = bpf_obj_get_info_by_fd(maps->fd[EB_MAP_STATE], &info, &len);
	if (err)
		return eb_fail(err, error, "%s/state: %s", pin_dir, strerror(-err));
	value = malloc(info.value_size);
	if (!value)
		return eb_fail(-ENOMEM, error, "out of memory");
	err = bpf_map_lookup_elem(maps->fd[EB_MAP_STATE], &zero, value);
	if (!err)
		memcpy(&schema, value, sizeof(schema));
	free(value);
	if (err)
		return eb_fail(err, error, "%s/state: %s", pin_dir, strerror(-err));
	if (schema == 0)
		return eb_fail(-ENOENT, error, "the maps in %s are incomplete: start edgebucketd", pin_dir);
	if (schema != EB_SCHEMA)
		return eb_fail(-EPROTO, error,
			       "the maps in %s have schema %u, this program has %d: use the version that made them",
			       pin_dir, schema, EB_SCHEMA);
	return 0;
}

static int open_all(const char *pin_dir, struct eb_maps *maps, char **error)
{
	for (int i = 0; i < EB_MAPS; i++) {
		if (maps->fd[i] >= 0)
			continue;
		maps->fd[i] = eb_pins_open(pin_dir, names[i]);
		if (maps->fd[i] == -ENOENT)
			return eb_fail(-EPROTO, error,
				       "%s/%s is missing: a restart of edgebucketd creates the maps again", pin_dir,
				       names[i]);
		if (maps->fd[i] < 0)
			return eb_fail(maps->fd[i], error, "%s/%s: %s", pin_dir, names[i], strerror(-maps->fd[i]));
	}
	return 0;
}

static int open_state(const char *pin_dir, struct eb_maps *maps, char **error)
{
	int fd = maps->fd[EB_MAP_STATE] = eb_pins_open(pin_dir, names[EB_MAP_STATE]);

	if (fd == -ENOENT)
		return eb_fail(fd, error, "no maps in %s: edgebucketd has not run since boot", pin_dir);
	return fd < 0 ? eb_fail(fd, error, "%s/state: %s", pin_dir, strerror(-fd)) : 0;
}

/* Whether another set came into force since *maps began to be opened: some of them may be of that. */
static bool is_replaced(const char *pin_dir, const struct eb_maps *maps)
{
	struct eb_maps now;
	__u32 before, after;
	bool is_same;

	eb_maps_init(&now);
	now.fd[EB_MAP_STATE] = eb_pins_open(pin_dir, names[EB_MAP_STATE]);
	is_same = now.fd[EB_MAP_STATE] >= 0 && eb_maps_state_id(maps, &before) == 0 &&
		  eb_maps_state_id(&now, &after) == 0 && before == after;
	eb_maps_close(&now);
	return !is_same;
}

static int try_open(const char *pin_dir, struct eb_maps *maps, char **error)
{
	int err = open_state(pin_dir, maps, error);

	if (err)
		return err;
	err = check_schema(maps, pin_dir, error);
	return err ? err : open_all(pin_dir, maps, error);
}

int eb_maps_open(const char *pin_dir, struct eb_maps *out, char **error)
{
	struct eb_maps maps;
	bool again = true;
	int err;

	eb_maps_init(&maps);
	for (int tries = 0; again; tries++) {
		err = try_open(pin_dir, &maps, error);
		again = maps.fd[EB_MAP_STATE] >= 0 && tries < OPEN_TRIES && is_replaced(pin_dir, &maps);
		if (!err && !again)
			break;
		eb_maps_close(&maps);
		if (err && again)
			free(*error);
	}
	if (!err)
		*out = maps;
	return err;
}

int eb_maps_state_id(const struct eb_maps *maps, __u32 *out)
{
	struct bpf_map_info info = {};
	__u32 len = sizeof(info);
	int err = bpf_obj_get_info_by_fd(maps->fd[EB_MAP_STATE], &info, &len);

	if (err)
		return err;
	*out = info.id;
	return 0;
}

/* Writes one word of the state, at `offset`. Packets read it meanwhile. */
static int write_state(const struct eb_maps *maps, size_t offset, __u32 value)
{
	char *state = mmap(NULL, sizeof(struct eb_state), PROT_READ | PROT_WRITE, MAP_SHARED, maps->fd[EB_MAP_STATE],
			   0);

	if (state == MAP_FAILED)
		return -errno;
	EB_WRITE(*(__u32 *)(state + offset), value);
	munmap(state, sizeof(struct eb_state));
	return 0;
}

int eb_maps_set_snaplen(const struct eb_maps *maps, __u32 snaplen)
{
	return write_state(maps, offsetof(struct eb_state, snaplen), snaplen);
}

int eb_maps_set_fleet_nodes(const struct eb_maps *maps, __u32 nodes)
{
	return write_state(maps, offsetof(struct eb_state, fleet_nodes), nodes);
}

/* Reads one word of it. */
static int read_state(const struct eb_maps *maps, size_t offset, __u32 *out)
{
	struct eb_state *state = malloc(sizeof(*state));
	__u32 zero = 0;
	int err;

	if (!state)
		return -ENOMEM;
	err = bpf_map_lookup_elem(maps->fd[EB_MAP_STATE], &zero, state);
	if (!err)
		memcpy(out, (char *)state + offset, sizeof(*out));
	free(state);
	return err;
}

int eb_maps_fleet_nodes(const struct eb_maps *maps, __u32 *out)
{
	return read_state(maps, offsetof(struct eb_state, fleet_nodes), out);
}

int eb_maps_active(const struct eb_maps *maps, __u32 *out)
{
	__u32 active;
	int err = read_state(maps, offsetof(struct eb_state, active), &active);

	if (!err)
		*out = active & 1;
	return err;
}

int eb_maps_policy(const struct eb_maps *maps, struct eb_policy *out)
{
	__u32 active;
	int err = eb_maps_active(maps, &active);

	return err ? err : bpf_map_lookup_elem(maps->fd[EB_MAP_POLICY], &active, out);
}

int eb_maps_cpus(void)
{
	return libbpf_num_possible_cpus();
}

/* Adds up a per-CPU value that consists of 64-bit words. */
static int sum_words(int fd, __u32 key, __u64 *out, size_t words)
{
	int cpus = eb_maps_cpus();
	__u64 *values;
	int err;

	if (cpus < 0)
		return cpus;
	values = calloc(cpus, words * sizeof(*values));
	if (!values)
		return -ENOMEM;
	err = bpf_map_lookup_elem(fd, &key, values);
	if (!err)
		memset(out, 0, words * sizeof(*out));
	for (size_t i = 0; !err && i < cpus * words; i++)
		out[i % words] += values[i];
	free(values);
	return err;
}

int eb_maps_counters(const struct eb_maps *maps, __u32 slot, struct eb_counters *out)
{
	return sum_words(maps->fd[EB_MAP_COUNTERS], slot, (__u64 *)out, sizeof(*out) / sizeof(__u64));
}

int eb_maps_frames(const struct eb_maps *maps, struct eb_frame_counter out[EB_FRAME_KINDS])
{
	int err = 0;

	for (__u32 kind = 0; !err && kind < EB_FRAME_KINDS; kind++)
		err = sum_words(maps->fd[EB_MAP_FRAMES], kind, (__u64 *)&out[kind], sizeof(*out) / sizeof(__u64));
	return err;
}

int eb_maps_not_ip(const struct eb_maps *maps, __u32 ifindex, __u64 *out)
{
	int err = sum_words(maps->fd[EB_MAP_NOT_IP], ifindex, out, 1);

	if (err == -ENOENT)
		*out = 0;
	return err == -ENOENT ? 0 : err;
}

void eb_maps_forget_interfaces(const struct eb_maps *maps)
{
	int fd = maps->fd[EB_MAP_NOT_IP];
	__u32 ifindex, gone;
	int err = bpf_map_get_next_key(fd, NULL, &ifindex);
	char name[IF_NAMESIZE];

	while (!err) {
		gone = if_indextoname(ifindex, name) ? 0 : ifindex;
		err = bpf_map_get_next_key(fd, &ifindex, &ifindex);
		if (gone)
			(void)bpf_map_delete_elem(fd, &gone);
	}
}

int eb_maps_make_filter(const uint64_t *words, size_t count)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_MMAPABLE | BPF_F_INNER_MAP);
	size_t size = count * sizeof(*words);
	int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "filter", sizeof(__u32), sizeof(__u64), count, &opts);
	void *memory;
	int err;

	if (fd < 0)
		return fd;
	memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED) {
		err = -errno;
		close(fd);
		return err;
	}
	memcpy(memory, words, size);
	munmap(memory, size);
	return fd;
}
