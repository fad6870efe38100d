/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What most commands need: the directories of the agent, the maps, the policy in force, the buckets.
 */
#ifndef EB_SESSION_H
#define EB_SESSION_H

#include "attach/attach.h"
#include "cli/cli.h"
#include "cli/print.h"
#include "config/config.h"
#include "config/paths.h"
#include "maps/buckets.h"

#define SESSION_MAPS (1 << 0)     /* the maps and the policy in force */
#define SESSION_BUCKETS (1 << 1)  /* the maps and the buckets, for reading */
#define SESSION_WRITABLE (1 << 2) /* the maps and the buckets, for writing */
#define SESSION_OPTIONAL (1 << 3) /* missing maps are no failure, see session_has_maps() */

struct session {
	const char *config_path; /* NULL if the default one does not exist */
	struct eb_paths paths;
	struct eb_maps maps;
	struct eb_programs *programs; /* NULL without maps */
	struct eb_policy policy;
	struct eb_buckets *buckets;
};

/* Opens what the SESSION_ flags in `what` ask for. On failure, has printed the reason. In both cases, call
 * session_close() afterwards. */
enum cli_result session_open(const struct cli *cli, unsigned int what, struct session *out);
void session_close(struct session *session);

/* Opens the maps of a session that was opened without them. Otherwise as session_open(). */
enum cli_result session_open_maps(struct session *session, unsigned int what);

bool session_has_maps(const struct session *session);

/* Rules of the policy and their levels behind them. It comes from a pinned map: never more than EB_LIMITS_MAX. */
int session_rule_count(const struct session *session);

/* Of these, the rules alone. */
int session_own_rule_count(const struct session *session);

/* Whether place `limit` of the policy is the rule `rule` or a level of it; -1 for any rule. */
bool session_is_of_rule(const struct session *session, int limit, int rule);

/* A level has its rule's name. */
struct text session_rule_name(const struct eb_policy *policy, int rule);

/* "everyone", or of a level "everyone /24,/48". */
struct text session_limit_name(const struct eb_policy *policy, int limit);

/* By name. -1 when there is none. */
int session_find_rule(const struct session *session, const char *name);

/* For the value of an option --rule, which can be NULL: sets *out to the index of the rule, or to -1 (all rules) for
 * NULL. If there is no such rule, prints that and fails. */
enum cli_result session_option_rule(const struct session *session, const char *name, int *out);

/* The place of the rule or level that a bucket belongs to; -1 when it is one that is no longer in force. */
int session_bucket_rule(const struct session *session, const struct eb_source *source);

/* The parts of a packet's addresses and its port that make a source, and its target, of this rule. Where both families
 * share one, it is IPv4's. Addresses are in network byte order, the port in that of the host. */
struct eb_source session_source(const struct eb_rule *rule, int family, const uint8_t *addr, const uint8_t *dst,
				uint16_t dport);

/* A source of this rule as text, "192.0.2.0/24", with its target behind that. */
struct text session_source_text(const struct eb_rule *rule, const struct eb_source *source);

/* Parse an argument. Return CLI_DONE; or print what is wrong and return CLI_MISUSED. */
enum cli_result session_parse_prefix(const struct cli *cli, const char *text, struct eb_prefix *out);
enum cli_result session_parse_address(const struct cli *cli, const char *text, struct eb_prefix *out);

#endif
