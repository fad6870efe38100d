// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "attach/views.h"
#include "base/error.h"
#include "maps/pins.h"
#include "view.skel.h"

static struct bpf_program *view_program(const struct view_bpf *skeleton, enum eb_view view)
{
	return view == EB_VIEW_V4 ? skeleton->progs.view_v4 : skeleton->progs.view_v6;
}

static int pin_view(const struct view_bpf *skeleton, const struct eb_maps *maps, enum eb_view view,
		    const char *pin_dir)
{
	union bpf_iter_link_info info = {
		.map.map_fd = maps->fd[view == EB_VIEW_V4 ? EB_MAP_BUCKETS_V4 : EB_MAP_BUCKETS_V6],
	};
	LIBBPF_OPTS(bpf_iter_attach_opts, opts, .link_info = &info, .link_info_len = sizeof(info));
	struct bpf_link *link;
	char path[PATH_MAX];
	int err;

	if (snprintf(path, sizeof(path), "%s/%s", pin_dir, eb_view_name(view)) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	if (unlink(path) && errno != ENOENT)
		return -errno;
	link = bpf_program__attach_iter(view_program(skeleton, view), &opts);
	if (!link)
		return -errno;
	err = bpf_link__pin(link, path);
	bpf_link__destroy(link);
	return err;
}

static int load(const struct eb_maps *maps, struct view_bpf **out)
{
	struct view_bpf *skeleton = view_bpf__open();
	int err;

	if (!skeleton)
		return -errno;
	err = bpf_map__reuse_fd(skeleton->maps.state, maps->fd[EB_MAP_STATE]);
	if (err)
		goto out;
	err = bpf_map__reuse_fd(skeleton->maps.policy, maps->fd[EB_MAP_POLICY]);
	if (err)
		goto out;
	err = view_bpf__load(skeleton);
out:
	if (err) {
		view_bpf__destroy(skeleton);
		return err;
	}
	*out = skeleton;
	return 0;
}

int eb_views_pin(const struct eb_maps *maps, const char *pin_dir, char **error)
{
	struct view_bpf *skeleton;
	int err = load(maps, &skeleton);

	if (err)
		return eb_fail(-ENOTSUP, error, "the kernel does not load iterators: %s", strerror(-err));
	for (int view = 0; view < EB_VIEWS && !err; view++)
		err = pin_view(skeleton, maps, view, pin_dir);
	view_bpf__destroy(skeleton);
	return err ? eb_fail(err, error, "%s: %s", pin_dir, strerror(-err)) : 0;
}
