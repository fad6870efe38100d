/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Interfaces that ought to be, or are, enforced: those of the configuration and every one that carries our program.
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
	int ifindex; /* 0 for an interface that is not there */
	struct eb_attachment attachment;
	int error; /* negative errno, -ENODEV for an interface that is not there */
	/* so says the agent */
	bool is_mostly_not_ip;
	const char *problem; /* why it is not attached; NULL when it is, owned by the reply */
};

struct interface_list {
	struct interface *items;
	size_t count;
};

/*
 * Both may be NULL. `agent_names` is what the agent says it serves: a JSON list of names, or of objects with "name".
 * Without maps, nothing is attached. It must outlive the list. Returns 0 or negative errno. To be freed with
 * interfaces_done() in either case.
 */
int interfaces_list(const struct session *session, const struct eb_config *config, const json_t *agent_names,
		    struct interface_list *out);
void interfaces_done(struct interface_list *list);

#endif
