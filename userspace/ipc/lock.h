/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The instance lock: one agent per run directory, and whether one is running.
 *
 * The file RUN_DIR/edgebucketd.lock holds "PID VERSION\n" and stays when the agent is gone; what counts is the lock on
 * it, which ends with the process however that ends. "PID VERSION stopping\n" is of an agent that releases it soon.
 */
#ifndef EB_LOCK_H
#define EB_LOCK_H

#include <stdbool.h>
#include <sys/types.h>

#define EB_LOCK_VERSION_MAX 64

/*
 * For the agent: makes `run_dir` if it is not there, and takes the lock. On success *fd holds the lock for as long as
 * it is open. Returns -EBUSY when another agent has it, -EAGAIN when that is stopping, or other negative errno; then
 * *error is a malloc'ed line (NULL when out of memory).
 */
int eb_lock_acquire(const char *run_dir, const char *version, int *fd, char **error);

/* For the agent that holds it as `fd`: who wants the lock should wait for it. */
int eb_lock_announce_stop(int fd, const char *version);

/* Who holds the lock. One that took it this very moment may still be without a pid (0) and version (""). */
struct eb_lock_holder {
	pid_t pid;
	char version[EB_LOCK_VERSION_MAX];
	bool is_stopping;
};

/* For everybody. Does not take the lock, so it cannot get in the way of an agent that starts. Returns 0; -ENOENT when
 * no agent runs; other negative errno. */
int eb_lock_find_holder(const char *run_dir, struct eb_lock_holder *out);

#endif
