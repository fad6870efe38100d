/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What most commands need before they begin: where maps and agent are, the maps, the policy in force, the buckets.
 */
#ifndef EB_SESSION_H
#define EB_SESSION_H

#include "attach/attach.h"
#include "cli/cli.h"
#include "cli/print.h"
#include "config/config.h"
#include "config/paths.h"
#include "maps/buckets.h"

#define SESSION_MAPS (1 << 0)     /* with the policy in force */
#define SESSION_BUCKETS (1 << 1)  /* with the maps, for reading */
#define SESSION_WRITABLE (1 << 2) /* with the buckets, for writing */
#define SESSION_OPTIONAL (1 << 3) /* it is no failure when there are no maps, see session_has_maps() */

struct session {
	const char *config_path; /* NULL when the default one is not there */
	struct eb_paths paths;
	struct eb_maps maps;
	struct eb_programs *programs; /* with the maps */
	struct eb_policy policy;
	struct eb_buckets *buckets;
};

/* Opens what `what` asks for. On failure it has said why. To be ended with session_close() in either case. */
enum cli_result session_open(const struct cli *cli, unsigned int what, struct session *out);
void session_close(struct session *session);

/* The same for a session that was opened without maps. */
enum cli_result session_open_maps(struct session *session, unsigned int what);

bool session_has_maps(const struct session *session);

/* Rules of the policy, which comes from a pinned map: never more than EB_RULES_MAX. */
int session_rule_count(const struct session *session);

struct text session_rule_name(const struct eb_policy *policy, int rule);

/* By name. -1 when there is none. */
int session_find_rule(const struct session *session, const char *name);

/* For an option --rule, which may be NULL: sets *out to the rule, or to -1 for all. Says so when there is none. */
enum cli_result session_option_rule(const struct session *session, const char *name, int *out);

/* The rule that a bucket belongs to; -1 when it is one that is no longer in force. */
int session_bucket_rule(const struct session *session, const struct eb_source *source);

/* The prefix length that makes a source of this rule. */
int session_source_len(const struct eb_rule *rule, int family);

/* The part of an address that makes a source of this rule. */
struct eb_source session_source(const struct eb_rule *rule, int family, const uint8_t *addr);

/* Parses an argument. Return CLI_DONE or CLI_MISUSED. */
enum cli_result session_parse_prefix(const struct cli *cli, const char *text, struct eb_prefix *out);
enum cli_result session_parse_address(const struct cli *cli, const char *text, struct eb_prefix *out);

/* Whether two prefixes share an address. */
bool session_prefixes_overlap(int family, const uint8_t *addr, int len, const struct eb_prefix *with);

#endif
