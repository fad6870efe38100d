// SPDX-License-Identifier: GPL-2.0-only
/*
 * Open file description locks rather than flock(): F_OFD_GETLK tells of a lock without taking one. A command that had
 * to take the lock to see whether it is free could make an agent fail that starts at that moment.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lock.h"
#include "text.h"

#define CONTENT_MAX (EB_LOCK_VERSION_MAX + 32)

static int lock_path(const char *run_dir, char path[PATH_MAX])
{
	return snprintf(path, PATH_MAX, "%s/edgebucketd.lock", run_dir) < PATH_MAX ? 0 : -ENAMETOOLONG;
}

/* mkdir -p, as far as the path is not there. */
static int make_dir(const char *dir)
{
	char path[PATH_MAX];

	if (snprintf(path, sizeof(path), "%s", dir) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdir(path, 0755) && errno != EEXIST)
			return -errno;
		*slash = '/';
	}
	return mkdir(path, 0755) && errno != EEXIST ? -errno : 0;
}

/* The whole file, by open file description. */
static struct flock whole_file(void)
{
	return (struct flock){ .l_type = F_WRLCK, .l_whence = SEEK_SET };
}

static int read_content(int fd, pid_t *pid, char version[EB_LOCK_VERSION_MAX])
{
	char content[CONTENT_MAX];
	ssize_t size = pread(fd, content, sizeof(content) - 1, 0);
	int number = 0;

	if (size < 0)
		return -errno;
	content[size] = '\0';
	version[0] = '\0';
	if (sscanf(content, "%d %63s", &number, version) < 1 || number < 0)
		number = 0;
	*pid = number;
	return 0;
}

_Static_assert(EB_LOCK_VERSION_MAX == 64, "the width in the format above");

static int write_content(int fd, const char *version)
{
	char content[CONTENT_MAX];
	int size = snprintf(content, sizeof(content), "%d %.*s\n", getpid(), EB_LOCK_VERSION_MAX - 1, version);

	if (ftruncate(fd, 0))
		return -errno;
	return pwrite(fd, content, size, 0) == size ? 0 : -EIO;
}

static int refuse_busy(int fd, const char *path, char **error)
{
	char version[EB_LOCK_VERSION_MAX];
	pid_t pid;

	if (read_content(fd, &pid, version) || !pid)
		return eb_fail(-EBUSY, error, "%s: another agent is running", path);
	return eb_fail(-EBUSY, error, "%s: another agent is running, with pid %d", path, pid);
}

int eb_lock_acquire(const char *run_dir, const char *version, int *fd, char **error)
{
	struct flock lock = whole_file();
	char path[PATH_MAX];
	int file, err;

	err = lock_path(run_dir, path);
	if (!err)
		err = make_dir(run_dir);
	if (err)
		return eb_fail(err, error, "%s: %s", run_dir, strerror(-err));
	file = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (file < 0) {
		err = -errno;
		return eb_fail(err, error, "%s: %s", path, strerror(-err));
	}
	if (fcntl(file, F_OFD_SETLK, &lock)) {
		err = errno == EAGAIN || errno == EACCES ? -EBUSY : -errno;
		err = err == -EBUSY ? refuse_busy(file, path, error)
				    : eb_fail(err, error, "%s: %s", path, strerror(-err));
		close(file);
		return err;
	}
	err = write_content(file, version);
	if (err) {
		close(file);
		return eb_fail(err, error, "%s: %s", path, strerror(-err));
	}
	*fd = file;
	return 0;
}

int eb_lock_holder(const char *run_dir, pid_t *pid, char version[EB_LOCK_VERSION_MAX])
{
	struct flock lock = whole_file();
	char path[PATH_MAX];
	int fd, err;

	err = lock_path(run_dir, path);
	if (err)
		return err;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return -errno;
	if (fcntl(fd, F_OFD_GETLK, &lock))
		err = -errno;
	else if (lock.l_type == F_UNLCK)
		err = -ENOENT;
	else
		err = read_content(fd, pid, version);
	close(fd);
	return err;
}
