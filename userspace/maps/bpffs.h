/* SPDX-License-Identifier: GPL-2.0-only */
/* The file system that pins are in, and how long it lasts. */
#ifndef EB_BPFFS_H
#define EB_BPFFS_H

#include <stdbool.h>

#define EB_BPFFS "/sys/fs/bpf"

/* Mounts bpffs at EB_BPFFS where `pin_dir` is below it and nothing is mounted, and makes pin_dir. Returns 0 and whether
 * it mounted, or negative errno with a malloc'ed line in *error. */
int eb_bpffs_prepare(const char *pin_dir, bool *mounted, char **error);

/*
 * Whether what this process mounted at EB_BPFFS ends with a mount namespace of its own, as in a container, `unshare
 * -m`, `ip netns exec` or a service with private mounts: the first process of the machine does not see it, or, where
 * that one cannot be looked at for being inside a container, the mount was not passed on to others.
 */
bool eb_bpffs_is_private(void);

#endif
