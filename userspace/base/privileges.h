/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the process may do, and how it becomes less. The agent's main() and agent.c give up what is not needed any more;
 * threads that only read and write files and sockets give up the rest for themselves.
 */
#ifndef EB_PRIVILEGES_H
#define EB_PRIVILEGES_H

#include <stdbool.h>

/*
 * Gives up every capability but those that the packet path takes, the bounding set as far as that is allowed, and the
 * ways to get anything back. To be called before the first thread. Returns 0, or negative errno with *error when
 * something is missing.
 */
int eb_privileges_limit(char **error);

/* Gives up CAP_SYS_ADMIN too, unless `keep_admin`, or where it stands in for CAP_BPF or CAP_PERFMON, which older
 * container engines do not know. Logs what is left, if that is new. */
void eb_privileges_settle(bool keep_admin);

/* Gives up what reaches the kernel's networking and BPF, for the calling thread. */
void eb_privileges_drop_thread(void);

#endif
