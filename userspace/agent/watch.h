/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Detects changes of list files, and puts them into force (lists.h).
 *
 * inotify reports changes in the directories of the files: a file that is closed after writing, and a file or link that
 * is replaced, such as `..data` in the directory of a ConfigMap. Polling the files every few seconds finds the changes
 * that inotify does not report: links further up, network file systems, directories that were replaced.
 */
#ifndef EB_WATCH_H
#define EB_WATCH_H

#include "agent/agent.h"

struct eb_watch; /* opaque */

/* `agent` must outlive it. Returns 0 or negative errno. */
int eb_watch_new(struct eb_agent *agent, struct eb_watch **out);

/* Accepts NULL. */
void eb_watch_free(struct eb_watch *watch);

/* Watches the files of agent->config from now on, which might have changed since they were read. */
void eb_watch_follow(struct eb_watch *watch);

#endif
