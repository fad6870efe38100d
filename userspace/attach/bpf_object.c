// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <xdp/libxdp.h>

#include "attach/bpf_object.h"
#include "base/log.h"
#include "edgebucket.skel.h"

static struct bpf_map *skeleton_map(const struct edgebucket_bpf *skeleton, enum eb_map map)
{
	return bpf_object__find_map_by_name(skeleton->obj, eb_map_name(map));
}

int eb_bpf_object_open(const struct eb_maps *maps, __u32 sets, struct edgebucket_bpf **out)
{
	struct edgebucket_bpf *skeleton = edgebucket_bpf__open();
	int err = skeleton ? 0 : -errno;

	for (int i = 0; i < EB_MAPS && !err; i++)
		if (maps->fd[i] >= 0)
			err = bpf_map__reuse_fd(skeleton_map(skeleton, i), maps->fd[i]);
	if (!err && maps->fd[EB_MAP_BUCKETS_V4] < 0)
		err = bpf_map__set_max_entries(skeleton->maps.buckets_v4, sets);
	if (!err && maps->fd[EB_MAP_BUCKETS_V6] < 0)
		err = bpf_map__set_max_entries(skeleton->maps.buckets_v6, sets);
	if (!err && maps->fd[EB_MAP_TAGS_V4] < 0)
		err = bpf_map__set_max_entries(skeleton->maps.tags_v4, sets);
	if (!err && maps->fd[EB_MAP_TAGS_V6] < 0)
		err = bpf_map__set_max_entries(skeleton->maps.tags_v6, sets);
	if (!err && maps->fd[EB_MAP_CHANGED_V4] < 0)
		err = bpf_map__set_max_entries(skeleton->maps.changed_v4, EB_CHANGES(sets));
	if (!err && maps->fd[EB_MAP_CHANGED_V6] < 0)
		err = bpf_map__set_max_entries(skeleton->maps.changed_v6, EB_CHANGES(sets));
	if (err) {
		edgebucket_bpf__destroy(skeleton);
		return err;
	}
	skeleton->rodata->sets_v4 = sets;
	skeleton->rodata->sets_v6 = sets;
	*out = skeleton;
	return 0;
}

int eb_bpf_object_make_maps(struct eb_maps *maps, __u32 sets)
{
	struct edgebucket_bpf *skeleton;
	int err = eb_bpf_object_open(maps, sets, &skeleton);

	if (err)
		return err;
	bpf_program__set_autoload(skeleton->progs.edgebucket, false);
	err = edgebucket_bpf__load(skeleton);
	for (int i = 0; i < EB_MAPS && !err; i++) {
		if (maps->fd[i] >= 0)
			continue;
		maps->fd[i] = dup(bpf_map__fd(skeleton_map(skeleton, i)));
		if (maps->fd[i] < 0)
			err = -errno;
	}
	edgebucket_bpf__destroy(skeleton);
	return err;
}

/* Maps that are made together share the object's types, those that have any. */
static bool fits(const struct bpf_map *map, int fd, __u32 *btf_id)
{
	struct bpf_map_info info = {};
	__u32 len = sizeof(info);

	if (bpf_obj_get_info_by_fd(fd, &info, &len))
		return false;
	if (info.btf_id && !*btf_id)
		*btf_id = info.btf_id;
	return info.type == bpf_map__type(map) && info.key_size == bpf_map__key_size(map) &&
	       info.value_size == bpf_map__value_size(map) && info.max_entries == bpf_map__max_entries(map) &&
	       (!info.btf_id || info.btf_id == *btf_id);
}

/* Either those of bans or all others. */
static bool part_fits(const struct eb_maps *maps, __u32 sets, bool of_bans)
{
	struct edgebucket_bpf *skeleton = NULL;
	struct eb_maps none;
	__u32 btf_id = 0;
	bool does_fit;

	eb_maps_init(&none);
	does_fit = eb_bpf_object_open(&none, sets, &skeleton) == 0;
	for (int i = 0; i < EB_MAPS && does_fit; i++)
		does_fit = EB_MAP_IS_OF_BANS(i) != of_bans || fits(skeleton_map(skeleton, i), maps->fd[i], &btf_id);
	edgebucket_bpf__destroy(skeleton);
	return does_fit;
}

bool eb_bpf_object_fits(const struct eb_maps *maps, __u32 sets)
{
	return part_fits(maps, sets, false) && eb_bpf_object_fits_bans(maps);
}

bool eb_bpf_object_fits_bans(const struct eb_maps *maps)
{
	return part_fits(maps, 1, true);
}

int eb_bpf_object_types(struct btf **out)
{
	struct edgebucket_bpf *skeleton = edgebucket_bpf__open();
	const void *raw;
	struct btf *btf;
	__u32 size;
	int err;

	if (!skeleton)
		return -errno;
	raw = btf__raw_data(bpf_object__btf(skeleton->obj), &size);
	btf = raw ? btf__new(raw, size) : NULL;
	edgebucket_bpf__destroy(skeleton);
	if (!btf)
		return -errno;
	err = btf__load_into_kernel(btf);
	if (err)
		eb_debug("no BTF for tries, bpftool shows them as bytes", eb_err(err));
	*out = btf;
	return 0;
}

/* What the libraries say is detail behind the one line that we log ourselves. They may say much at once: the verifier's
 * log is one text of many lines. */
static void log_library(const char *library, const char *format, va_list args)
{
	char *text, *rest;

	if (!eb_log_has_level(EB_LOG_DEBUG) || vasprintf(&text, format, args) < 0)
		return;
	rest = text;
	for (char *line; (line = strsep(&rest, "\n"));)
		if (*line)
			eb_debug("message of a library", eb_str("library", library), eb_str("text", line));
	free(text);
}

static int quiet_libbpf(enum libbpf_print_level level, const char *format, va_list args)
{
	(void)level;
	log_library("libbpf", format, args);
	return 0;
}

static int quiet_libxdp(enum libxdp_print_level level, const char *format, va_list args)
{
	(void)level;
	log_library("libxdp", format, args);
	return 0;
}

void eb_bpf_object_quiet(void)
{
	libbpf_set_print(quiet_libbpf);
	libxdp_set_print(quiet_libxdp);
}
