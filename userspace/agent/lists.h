/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The lists of prefixes of the configuration in force: what became of them by a reload, and putting files that changed
 * into force without one.
 */
#ifndef EB_LISTS_H
#define EB_LISTS_H

#include <jansson.h>

#include "agent/agent.h"

/* How many prefixes the rules have. */
struct eb_list_sizes {
	struct {
		char name[EB_RULE_NAME_MAX + 1];
		size_t prefixes;
	} rules[EB_RULES_MAX];
	size_t count;
};

void eb_lists_measure(const struct eb_config *config, struct eb_list_sizes *out);

/* [{"rule", "prefixes", "change"}]: of the rules that ask for addresses, `change` since `before`. */
json_t *eb_lists_compare(const struct eb_config *config, const struct eb_list_sizes *before);

/*
 * To be called before `config` takes the place of `before`. Files that were half-written get what `before` has of them,
 * and are read again as soon as they are whole; one of which it has nothing stays half-written, which
 * eb_rules_compile() refuses. Warns of that, and of rules that lost more than half of their prefixes. Returns 0 or
 * negative errno.
 */
int eb_lists_inherit(struct eb_config *config, const struct eb_config *before);

/* Whether a change of the file is to be noticed. */
bool eb_lists_is_watched(const struct eb_match *match, const struct eb_list_file *file);

/* Looks whether watched files changed, and puts what is good into force; what is not is logged, and what was in force
 * of it stays. Returns how many files were put into force. */
size_t eb_lists_refresh(struct eb_agent *agent);

/* [{"rule", "list", "source", "prefixes", "skipped", "watched", "problem"}], `source` null for what the configuration
 * itself lists. Cut at what one packet of the control socket takes. */
json_t *eb_lists_status(const struct eb_config *config);

#endif
