// SPDX-License-Identifier: GPL-2.0-only
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "attach/xdp_link.h"

static int dir_path(const char *pin_dir, char out[PATH_MAX])
{
	return snprintf(out, PATH_MAX, "%s-links", pin_dir) < PATH_MAX ? 0 : -ENAMETOOLONG;
}

static int link_path(const char *pin_dir, int ifindex, char out[PATH_MAX])
{
	return snprintf(out, PATH_MAX, "%s-links/%d", pin_dir, ifindex) < PATH_MAX ? 0 : -ENAMETOOLONG;
}

/* The interface that a pinned link is on; 0 when that is gone or there is no such link. */
static int interface_of(int fd)
{
	struct bpf_link_info info = {};
	__u32 len = sizeof(info);

	if (bpf_obj_get_info_by_fd(fd, &info, &len) || info.type != BPF_LINK_TYPE_XDP)
		return 0;
	return info.xdp.ifindex;
}

int eb_xdp_link_open(const char *pin_dir, int ifindex)
{
	char path[PATH_MAX];
	int err = link_path(pin_dir, ifindex, path), fd;

	if (err)
		return err;
	fd = bpf_obj_get(path);
	if (fd >= 0 && interface_of(fd) != ifindex) {
		close(fd);
		return -ENOENT;
	}
	return fd;
}

static int pin(const char *pin_dir, int ifindex, int fd)
{
	char path[PATH_MAX];
	int err = link_path(pin_dir, ifindex, path);

	if (err)
		return err;
	if (unlink(path) < 0 && errno != ENOENT) /* of an interface that is gone */
		return -errno;
	return bpf_obj_pin(fd, path);
}

static int make_dir(const char *pin_dir)
{
	char path[PATH_MAX];
	int err = dir_path(pin_dir, path);

	return !err && mkdir(path, 0700) < 0 && errno != EEXIST ? -errno : err;
}

/* Removes the directory, if nothing is left in it. */
static void leave_dir(const char *pin_dir)
{
	char path[PATH_MAX];

	if (dir_path(pin_dir, path) == 0)
		(void)rmdir(path);
}

int eb_xdp_link_make(const char *pin_dir, int ifindex, int prog_fd, __u32 flags)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = flags);
	int err = make_dir(pin_dir), fd;

	if (err)
		return err;
	fd = bpf_link_create(prog_fd, ifindex, BPF_XDP, &opts);
	if (fd < 0)
		return fd;
	err = pin(pin_dir, ifindex, fd);
	close(fd); /* takes the program off, where it is not pinned */
	return err;
}

int eb_xdp_link_remove(const char *pin_dir, int ifindex)
{
	char path[PATH_MAX];
	int fd = eb_xdp_link_open(pin_dir, ifindex), err;

	if (fd < 0)
		return fd;
	err = bpf_link_detach(fd);
	close(fd);
	if (!err && link_path(pin_dir, ifindex, path) == 0)
		(void)unlink(path);
	leave_dir(pin_dir);
	return err;
}

void eb_xdp_link_sweep(const char *pin_dir)
{
	char path[PATH_MAX];
	struct dirent *entry;
	DIR *dir;

	dir = dir_path(pin_dir, path) == 0 ? opendir(path) : NULL;
	if (!dir)
		return;
	while ((entry = readdir(dir))) {
		int ifindex = atoi(entry->d_name), fd = ifindex ? eb_xdp_link_open(pin_dir, ifindex) : 0;

		if (fd == -ENOENT && link_path(pin_dir, ifindex, path) == 0)
			(void)unlink(path);
		if (ifindex && fd >= 0)
			close(fd);
	}
	closedir(dir);
	leave_dir(pin_dir);
}
