// SPDX-License-Identifier: GPL-2.0-only
/*
 * Open file description locks rather than flock(): F_OFD_GETLK tells of a lock without taking one. A command that had
 * to take the lock to see whether it is free could make an agent fail that starts at that moment.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "ipc/lock.h"

#define CONTENT_MAX (EB_LOCK_VERSION_MAX + 32)
#define STOPPING "stopping" /* the third word of an agent that is about to release the lock */

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

static int read_content(int fd, struct eb_lock_holder *out)
{
	char text[CONTENT_MAX], word[sizeof(STOPPING)] = "";
	ssize_t size = pread(fd, text, sizeof(text) - 1, 0);

	if (size < 0)
		return -errno;
	text[size] = '\0';
	*out = (struct eb_lock_holder){};
	if (sscanf(text, "%d %63s %8s", &out->pid, out->version, word) < 1 || out->pid < 0)
		out->pid = 0;
	out->is_stopping = strcmp(word, STOPPING) == 0;
	return 0;
}

_Static_assert(EB_LOCK_VERSION_MAX == 64 && sizeof(STOPPING) == 9, "the widths in the format above");

/* Over what is there: a reader finds the old content or the new one, as long as it does not become shorter. */
static int write_content(int fd, const char *version, const char *word)
{
	char content[CONTENT_MAX];
	int size = snprintf(content, sizeof(content), "%d %.*s%s\n", getpid(), EB_LOCK_VERSION_MAX - 1, version, word);

	return pwrite(fd, content, size, 0) == size ? 0 : -EIO;
}

bool eb_lock_is_left(const struct eb_lock_holder *holder)
{
	return holder->pid && kill(holder->pid, 0) < 0 && errno == ESRCH;
}

static int refuse_busy(int fd, const char *path, char **error)
{
	struct eb_lock_holder content;

	if (read_content(fd, &content) || !content.pid)
		return eb_fail(-EBUSY, error, "%s: another agent is running", path);
	if (content.is_stopping)
		return eb_fail(-EAGAIN, error, "%s: another agent, with pid %d, is stopping", path, content.pid);
	if (eb_lock_is_left(&content))
		return eb_fail(-EAGAIN, error,
			       "%s: another agent, with pid %d, was killed and has not ended yet, or runs in another "
			       "PID namespace",
			       path, content.pid);
	return eb_fail(-EBUSY, error, "%s: another agent is running, with pid %d", path, content.pid);
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
	err = ftruncate(file, 0) ? -errno : write_content(file, version, "");
	if (err) {
		close(file);
		return eb_fail(err, error, "%s: %s", path, strerror(-err));
	}
	*fd = file;
	return 0;
}

int eb_lock_announce_stop(int fd, const char *version)
{
	return write_content(fd, version, " " STOPPING);
}

int eb_lock_find_holder(const char *run_dir, struct eb_lock_holder *out)
{
	struct flock lock = whole_file();
	struct eb_lock_holder holder;
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
		err = read_content(fd, &holder);
	close(fd);
	if (!err)
		*out = holder;
	return err;
}
