/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Notices that files of lists change, and has them put into force (lists.h).
 *
 * The kernel tells of changes in the directories of the files: of a file that is closed after writing, one that takes
 * another's place, and a link that does, as `..data` in the directory of a ConfigMap. Looking at the files every few
 * seconds finds what it does not tell of: links further up, network file systems, directories that were replaced.
 */
#ifndef EB_WATCH_H
#define EB_WATCH_H

#include "agent/agent.h"

struct eb_watch; /* opaque */

/* `agent` must outlive it. Returns 0 or negative errno. */
int eb_watch_new(struct eb_agent *agent, struct eb_watch **out);

/* Accepts NULL. */
void eb_watch_free(struct eb_watch *watch);

/* From here on, the files of agent->config, which may have changed since they were read. */
void eb_watch_follow(struct eb_watch *watch);

#endif
