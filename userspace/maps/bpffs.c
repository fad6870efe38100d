// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include "base/error.h"
#include "maps/bpffs.h"

#define INITIAL_PID_NAMESPACE 0xeffffffcU /* PROC_PID_INIT_INO of include/linux/proc_ns.h in the kernel */

static bool is_bpffs(const char *path)
{
	struct statfs fs;

	return statfs(path, &fs) == 0 && (unsigned long)fs.f_type == BPF_FS_MAGIC;
}

int eb_bpffs_prepare(const char *pin_dir, bool *mounted, char **error)
{
	*mounted = strncmp(pin_dir, EB_BPFFS "/", strlen(EB_BPFFS "/")) == 0 && !is_bpffs(EB_BPFFS);
	if (*mounted && mount("bpf", EB_BPFFS, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700") < 0)
		return eb_fail(-errno, error, "cannot mount bpffs at " EB_BPFFS ": %s", strerror(errno));
	if (mkdir(pin_dir, 0700) < 0 && errno != EEXIST)
		return eb_fail(-errno, error, "pin_dir %s: %s", pin_dir, strerror(errno));
	if (!is_bpffs(pin_dir))
		return eb_fail(-EINVAL, error, "pin_dir %s is not on a bpf file system; use a directory below "
			       EB_BPFFS, pin_dir);
	return 0;
}

enum sight { UNSEEN, SEEN, SEEN_SHARED };

/* Looks for the mount of a device in a file of the kind of /proc/PID/mountinfo, see proc(5). Returns an enum sight, or
 * negative errno where the file cannot be read. */
static int find_mount(const char *mountinfo, dev_t device)
{
	FILE *file = fopen(mountinfo, "re");
	int sight = UNSEEN;
	char *line = NULL;
	size_t room = 0;

	if (!file)
		return -errno;
	while (sight == UNSEEN && getline(&line, &room, file) > 0) {
		const char *shared = strstr(line, " shared:"), *optional_end = strstr(line, " - ");
		unsigned int major, minor;

		if (sscanf(line, "%*u %*u %u:%u", &major, &minor) == 2 && makedev(major, minor) == device)
			sight = shared && shared < optional_end ? SEEN_SHARED : SEEN;
	}
	free(line);
	fclose(file);
	return sight;
}

bool eb_bpffs_is_private(void)
{
	struct stat mount, pids;
	int sight = -ENOENT;

	if (stat(EB_BPFFS, &mount))
		return false;
	if (stat("/proc/self/ns/pid", &pids) == 0 && pids.st_ino == INITIAL_PID_NAMESPACE)
		sight = find_mount("/proc/1/mountinfo", mount.st_dev);
	if (sight >= 0)
		return sight == UNSEEN;
	return find_mount("/proc/self/mountinfo", mount.st_dev) == SEEN;
}
