/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The instance lock: it permits one agent per run directory, and tells whether an agent is running.
 *
 * The file RUN_DIR/edgebucketd.lock contains "PID VERSION\n" and stays when the agent ends. Only the lock on the file
 * counts; the kernel releases it when the process ends, even if it is killed. "PID VERSION stopping\n" means that the
 * agent will release the lock soon.
 */
#ifndef EB_LOCK_H
#define EB_LOCK_H

#include <stdbool.h>
#include <sys/types.h>

#define EB_LOCK_VERSION_MAX 64

/*
 * For the agent: creates `run_dir` if it does not exist, and takes the lock. Returns 0, and *fd holds the lock while it
 * is open; the caller owns it. Returns -EBUSY if another agent has the lock, -EAGAIN if that agent is stopping or was
 * killed, or another negative errno; then *error is a malloc'ed line (NULL if out of memory).
 */
int eb_lock_acquire(const char *run_dir, const char *version, int *fd, char **error);

/* For the agent that holds the lock as `fd`: tells other agents that it is stopping, so that they wait for the lock.
 * Returns 0 or negative errno. */
int eb_lock_announce_stop(int fd, const char *version);

/* The agent that holds the lock. If it has only just taken the lock, pid can still be 0 and version "". */
struct eb_lock_holder {
	pid_t pid;
	char version[EB_LOCK_VERSION_MAX];
	bool is_stopping;
};

/* For any process. Does not take the lock, so it cannot interfere with an agent that starts. Returns 0, -ENOENT if no
 * agent runs, or another negative errno. */
int eb_lock_find_holder(const char *run_dir, struct eb_lock_holder *out);

/* Whether the agent itself has ended: its child that attaches holds the lock until it has ended, too, which is a matter
 * of milliseconds. Also true for an agent in another PID namespace whose pid nobody has here. */
bool eb_lock_is_left(const struct eb_lock_holder *holder);

#endif
