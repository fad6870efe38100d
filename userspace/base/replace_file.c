// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/replace_file.h"

/* Where things are: the file itself, behind symbolic links, and what stands beside it. */
struct place {
	char file[PATH_MAX];
	char dir[PATH_MAX];
	char fresh[PATH_MAX + 16];  /* the new file, until it has the name */
	char second[PATH_MAX + 16]; /* the one before, until it has its name */
	char previous[PATH_MAX + 16];
	struct stat before;
};

/* A rename onto a mount point fails, but only once there is something to lose. Kernels before 5.8 do not tell. */
static bool is_mount(const char *path)
{
	struct statx st;

	return statx(AT_FDCWD, path, 0, STATX_TYPE, &st) == 0 && st.stx_attributes & STATX_ATTR_MOUNT_ROOT;
}

static int find_place(const char *path, struct place *place)
{
	const char *name;

	if (!realpath(path, place->file) || stat(place->file, &place->before))
		return -errno;
	if (!S_ISREG(place->before.st_mode))
		return -EINVAL;
	if (is_mount(place->file))
		return -EBUSY;
	name = strrchr(place->file, '/') + 1;
	snprintf(place->dir, sizeof(place->dir), "%.*s", (int)(name - place->file), place->file);
	snprintf(place->fresh, sizeof(place->fresh), "%s.%s.replacing", place->dir, name);
	snprintf(place->second, sizeof(place->second), "%s.%s.replaced", place->dir, name);
	snprintf(place->previous, sizeof(place->previous), "%s" EB_REPLACE_FILE_PREVIOUS, place->file);
	return 0;
}

static int fail(int err, const char *path, char **error)
{
	if (err == -EROFS)
		return eb_fail(err, error,
			       "%s cannot be replaced: %s to this process; in a unit of systemd, ReadWritePaths= can "
			       "change that",
			       path, strerror(-err));
	if (err == -EPERM)
		return eb_fail(err, error,
			       "%s cannot be replaced: %s; its owner and group must be root, because this process gave "
			       "up CAP_CHOWN",
			       path, strerror(-err));
	if (err == -EBUSY)
		return eb_fail(err, error,
			       "%s cannot be replaced: it is mounted as a single file, as into a container; mount its "
			       "directory instead",
			       path);
	return eb_fail(err, error, "%s cannot be replaced: %s", path,
		       err == -EINVAL ? "not a regular file" : strerror(-err));
}

static int write_all(int fd, const char *text, size_t size)
{
	while (size) {
		ssize_t written = write(fd, text, size);

		if (written < 0 && errno == EINTR)
			continue;
		if (written < 0)
			return -errno;
		text += written;
		size -= written;
	}
	return 0;
}

/* The owner first: fchown() takes bits off the mode. */
static int fill(int fd, const struct stat *like, const char *text, size_t size)
{
	struct stat st;
	int err;

	if (fstat(fd, &st))
		return -errno;
	if ((st.st_uid != like->st_uid || st.st_gid != like->st_gid) && fchown(fd, like->st_uid, like->st_gid))
		return -errno;
	err = fchmod(fd, like->st_mode & 07777) ? -errno : write_all(fd, text, size);
	if (!err && fsync(fd))
		err = -errno;
	return err;
}

static int remove_left(const char *path)
{
	return unlink(path) && errno != ENOENT ? -errno : 0;
}

/* Leaves no file behind on failure, nor what was left by a process that was killed. */
static int make_fresh(struct place *place, const char *text, size_t size)
{
	int err = remove_left(place->fresh), fd;

	if (err)
		return err;
	err = remove_left(place->second);
	if (err)
		return err;
	fd = open(place->fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	err = fill(fd, &place->before, text, size);
	if (close(fd) && !err)
		err = -errno;
	if (err)
		(void)unlink(place->fresh);
	return err;
}

/* Makes what would replace it, but for the text: whether the owner can be given is not to be known otherwise. */
static int check_place(struct place *place)
{
	int err = make_fresh(place, "", 0);

	if (err)
		return err;
	(void)unlink(place->fresh);
	/* A file can be a mount of its own. */
	return faccessat(AT_FDCWD, place->file, W_OK, AT_EACCESS) && errno == EROFS ? -EROFS : 0;
}

int eb_replace_file_check(const char *path, char **error)
{
	struct place place;
	int err = find_place(path, &place);

	if (!err)
		err = check_place(&place);
	return err ? fail(err, path, error) : 0;
}

static int put_in_place(const struct place *place)
{
	int err = 0;

	/* A second name, not a new name: there is a file of each name at any moment. */
	if (link(place->file, place->second))
		return -errno;
	if (rename(place->second, place->previous))
		err = -errno;
	(void)unlink(place->second); /* of one file by both names, rename() leaves both */
	return !err && rename(place->fresh, place->file) ? -errno : err;
}

void eb_replace_file_sync_dir(const char *dir)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return;
	(void)fsync(fd);
	close(fd);
}

int eb_replace_file(const char *path, const char *text, size_t size, char **error)
{
	struct place place;
	int err = find_place(path, &place);

	if (!err)
		err = make_fresh(&place, text, size);
	if (err)
		return fail(err, path, error);
	err = put_in_place(&place);
	if (err) {
		(void)unlink(place.fresh);
		return fail(err, path, error);
	}
	eb_replace_file_sync_dir(place.dir);
	return 0;
}
