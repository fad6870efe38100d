/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The interfaces on which rules should be, or are, enforced: those of the configuration, and all that have our program.
 */
#ifndef EB_INTERFACES_H
#define EB_INTERFACES_H

#include <jansson.h>
#include <net/if.h>
#include <stddef.h>

#include "attach/attach.h"
#include "cli/session.h"

struct interface {
	char name[IF_NAMESIZE];
	int ifindex; /* 0 if the interface does not exist */
	struct eb_attachment attachment;
	int error; /* 0 or negative errno; -ENODEV if the interface does not exist */
	/* Reported by the agent. */
	bool is_mostly_not_ip;
	const char *problem; /* why the program is not attached, or NULL; belongs to the reply of the agent */
};

struct interface_list {
	struct interface *items;
	size_t count;
};

/*
 * Lists the interfaces of `config`, of `agent_names`, and those with our program. `config` and `agent_names` can be
 * NULL. `agent_names` is the list in the agent's reply: a JSON list of names, or of objects with "name"; it must
 * outlive *out. If there are no maps, no interface is attached. Returns 0 or negative errno; in both cases free *out
 * with interfaces_done().
 */
int interfaces_list(const struct session *session, const struct eb_config *config, const json_t *agent_names,
		    struct interface_list *out);
void interfaces_done(struct interface_list *list);

#endif
