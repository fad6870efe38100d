// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/input.h"
#include "support/capture.h"

#define ARGS_MAX 16
#define OUTPUT_MAX (16 * 1024 * 1024)

/* Memory files rather than pipes: a full pipe would block the command until the parent reads. */
static int spawn(const char *const *argv, const int output[2], pid_t *pid)
{
	char *all[ARGS_MAX + 2] = { "edgebucket" };
	posix_spawn_file_actions_t actions;
	int err;

	for (int i = 0; i < ARGS_MAX && argv[i]; i++)
		all[i + 1] = (char *)argv[i];
	err = posix_spawn_file_actions_init(&actions);
	if (err)
		return -err;
	err = posix_spawn_file_actions_adddup2(&actions, output[0], STDOUT_FILENO);
	if (err)
		goto out;
	err = posix_spawn_file_actions_adddup2(&actions, output[1], STDERR_FILENO);
	if (err)
		goto out;
	err = posix_spawn(pid, "/proc/self/exe", &actions, NULL, all, environ);
out:
	posix_spawn_file_actions_destroy(&actions);
	return -err;
}

/* Not pidfd_open(2) where there is none, before Linux 5.3: then it is waited for without an end. */
static int wait_for(pid_t pid, int timeout_ms, int *status)
{
	struct pollfd ended = { .fd = syscall(SYS_pidfd_open, pid, 0), .events = POLLIN };

	if (ended.fd >= 0) {
		if (poll(&ended, 1, timeout_ms) == 0)
			kill(pid, SIGKILL);
		close(ended.fd);
	}
	return waitpid(pid, status, 0) < 0 ? -errno : 0;
}

static int read_back(int fd, char **out, size_t *size)
{
	return lseek(fd, 0, SEEK_SET) < 0 ? -errno : eb_input_read_fd(fd, OUTPUT_MAX, out, size);
}

int capture_run(const char *const *argv, int timeout_ms, struct capture *out)
{
	int output[2] = { memfd_create("stdout", MFD_CLOEXEC), memfd_create("stderr", MFD_CLOEXEC) }, err;
	pid_t pid;

	*out = (struct capture){ 0 };
	err = output[0] < 0 || output[1] < 0 ? -errno : spawn(argv, output, &pid);
	if (err)
		goto out;
	err = wait_for(pid, timeout_ms, &out->status);
	if (err)
		goto out;
	err = read_back(output[0], &out->out, &out->out_size);
	if (err)
		goto out;
	err = read_back(output[1], &out->err, &out->err_size);
out:
	for (int i = 0; i < 2; i++)
		if (output[i] >= 0)
			close(output[i]);
	return err;
}

void capture_done(struct capture *capture)
{
	free(capture->out);
	free(capture->err);
	*capture = (struct capture){ 0 };
}
