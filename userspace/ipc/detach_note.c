// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "ipc/detach_note.h"

static const char *note_dir(const char *state_dir, const char *run_dir)
{
	return *state_dir ? state_dir : run_dir;
}

static void note_path(const char *state_dir, const char *run_dir, char out[PATH_MAX])
{
	snprintf(out, PATH_MAX, "%s/detached", note_dir(state_dir, run_dir));
}

/* A power cut is not to bring the limits back. */
static int sync_dir(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), err;

	if (fd < 0)
		return -errno;
	err = fsync(fd) < 0 ? -errno : 0;
	close(fd);
	return err;
}

static int make_note(const char *dir, const char *path)
{
	int fd;

	if (mkdir(dir, 0700) < 0 && errno != EEXIST)
		return -errno;
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	close(fd);
	return sync_dir(dir);
}

int eb_detach_note_set(const char *state_dir, const char *run_dir, char **error)
{
	char path[PATH_MAX];
	int err;

	note_path(state_dir, run_dir, path);
	err = make_note(note_dir(state_dir, run_dir), path);
	return err ? eb_fail(err, error, "%s: cannot note that the limits stay off, a restart would restore them: %s",
			     path, strerror(-err))
		   : 0;
}

int eb_detach_note_clear(const char *state_dir, const char *run_dir, char **error)
{
	char path[PATH_MAX];

	note_path(state_dir, run_dir, path);
	if (unlink(path) < 0 && errno != ENOENT)
		return eb_fail(-errno, error, "%s: cannot be removed, a restart takes the limits off again: %s", path,
			       strerror(errno));
	return 0;
}

bool eb_detach_note_is_set(const char *state_dir, const char *run_dir)
{
	char path[PATH_MAX];

	note_path(state_dir, run_dir, path);
	return access(path, F_OK) == 0;
}
