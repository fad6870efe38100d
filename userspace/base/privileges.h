/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Giving up privileges. The agent gives up capabilities that it does not need any more. Threads that only read and
 * write files and sockets give up all others for themselves.
 */
#ifndef EB_PRIVILEGES_H
#define EB_PRIVILEGES_H

#include <stdbool.h>

/*
 * Gives up every capability that the packet path does not need, reduces the bounding set as far as permitted, and gives
 * up the ways to regain capabilities (no_new_privs). Must be called before the first thread starts. Returns 0, or
 * negative errno with a malloc'ed line in *error if a needed capability is missing.
 */
int eb_privileges_limit(char **error);

/* Also gives up CAP_SYS_ADMIN, unless `keep_admin` is set or it replaces CAP_BPF or CAP_PERFMON, which older container
 * engines do not know. Logs the remaining capabilities if they changed. */
void eb_privileges_settle(bool keep_admin);

/* Gives up all capabilities for networking and BPF, in the calling thread only. */
void eb_privileges_drop_thread(void);

#endif
