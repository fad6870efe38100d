/* SPDX-License-Identifier: GPL-2.0-only */
/* The file system that contains the pins, and how long it lasts. */
#ifndef EB_BPFFS_H
#define EB_BPFFS_H

#include <stdbool.h>

#define EB_BPFFS "/sys/fs/bpf"

/* Mounts bpffs at EB_BPFFS if `pin_dir` is below it and nothing is mounted there, and creates pin_dir. Returns 0, with
 * *mounted saying whether it mounted bpffs; or negative errno with a malloc'ed line in *error. */
int eb_bpffs_prepare(const char *pin_dir, bool *mounted, char **error);

/*
 * Whether the bpffs that this process mounted at EB_BPFFS vanishes with its mount namespace, as in a container, with
 * `unshare -m`, `ip netns exec` or in a service with private mounts. This is so if process 1 does not see the mount;
 * or, if process 1 cannot be inspected because this process is in a container, if the mount is not shared with others.
 */
bool eb_bpffs_is_private(void);

#endif
