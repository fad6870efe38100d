/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Facts for bug reports, as JSON: about this machine, the process of the agent, interfaces and drivers, maps and
 * programs. A fact that cannot be determined is {"error": text}. All functions return NULL only if out of memory.
 */
#ifndef EB_FACTS_H
#define EB_FACTS_H

#include <jansson.h>
#include <sys/types.h>

#include "cli/interfaces.h"
#include "cli/session.h"

/* Kernel, distribution, libraries, limits, bpf file systems. */
json_t *facts_system(void);

/* Capabilities, limits, memory and libraries of a process, and the names of its environment variables that edgebucket
 * uses. */
json_t *facts_process(pid_t pid);

/* Driver, MTU, queues, features and XDP programs of each interface. */
json_t *facts_interfaces(const struct interface_list *list);

/* The maps pinned in `pin_dir`. */
json_t *facts_maps(const char *pin_dir);

/* The programs on these interfaces, ours and others. */
json_t *facts_programs(const struct interface_list *list);

/* The number of buckets of each rule, without their sources. */
json_t *facts_buckets(const struct session *session);

#endif
