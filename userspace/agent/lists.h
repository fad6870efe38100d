/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The lists of prefixes in the configuration in force: how a reload changed them, and putting changed files into force
 * without a reload.
 */
#ifndef EB_LISTS_H
#define EB_LISTS_H

#include <jansson.h>

#include "agent/agent.h"

/* The number of prefixes of each rule. */
struct eb_list_sizes {
	struct {
		char name[EB_RULE_NAME_MAX + 1];
		size_t prefixes;
	} rules[EB_RULES_MAX];
	size_t count;
};

void eb_lists_measure(const struct eb_config *config, struct eb_list_sizes *out);

/* Returns [{"rule", "prefixes", "change"}] for the rules with conditions on addresses; `change` is the difference to
 * `before`. */
json_t *eb_lists_compare(const struct eb_config *config, const struct eb_list_sizes *before);

/*
 * Must be called before `config` replaces `before`. A file that was half-written gets the prefixes that `before` has of
 * it, and is read again as soon as it is complete. If `before` has none, the file stays marked as half-written, and
 * eb_rules_compile() refuses it. Adds warnings for such files, and for rules that lost more than half of their
 * prefixes. Returns 0 or negative errno.
 */
int eb_lists_inherit(struct eb_config *config, const struct eb_config *before);

/* Whether the agent watches the file for changes. */
bool eb_lists_is_watched(const struct eb_match *match, const struct eb_list_file *file);

/* Checks whether watched files changed, and puts valid changes into force. Logs invalid ones; the previous content of
 * such a file stays in force. Returns the number of files that were put into force. */
size_t eb_lists_refresh(struct eb_agent *agent);

/* Returns [{"rule", "list", "source", "prefixes", "skipped", "watched", "problem"}]; `source` is null for prefixes in
 * the configuration itself. The list is cut to fit one packet of the control socket. */
json_t *eb_lists_status(const struct eb_config *config);

#endif
