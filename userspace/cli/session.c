// SPDX-License-Identifier: GPL-2.0-only
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/input.h"
#include "cli/session.h"
#include "config/prefix.h"
#include "policy/rules.h"

/*
 * Without --config, a configuration that is missing or is no YAML (while an operator edits it) is no error: the maps
 * can be read without it. With --config it is an error.
 */
static enum cli_result read_places(const struct cli *cli, struct session *session)
{
	char *error = NULL;
	int err;

	session->config_path = cli->config_path ? cli->config_path : EB_DEFAULT_CONFIG_PATH;
	err = eb_paths_read(session->config_path, &session->paths, &error);
	if (!err)
		return CLI_DONE;
	if (cli->config_path)
		return cli_fail_text(error);
	if (err != -ENOENT)
		cli_note("%s; using " EB_DEFAULT_PIN_DIR " and " EB_DEFAULT_RUN_DIR,
			 error ? error : session->config_path);
	free(error);
	error = NULL;
	session->config_path = NULL;
	return eb_paths_read(NULL, &session->paths, &error) ? cli_fail_text(error) : CLI_DONE;
}

enum cli_result session_open_maps(struct session *session, unsigned int what)
{
	char *error = NULL;
	int err = eb_maps_open(session->paths.pin_dir, &session->maps, &error);

	if (err == -ENOENT && what & SESSION_OPTIONAL) {
		free(error);
		return CLI_DONE;
	}
	if (err)
		return cli_fail_text(error);
	session->programs = eb_programs_new(&session->maps, session->paths.pin_dir);
	if (!session->programs)
		return cli_fail("out of memory");
	err = eb_maps_policy(&session->maps, &session->policy);
	if (err)
		return cli_fail("%s/policy: %s", session->paths.pin_dir, strerror(-err));
	if (!(what & (SESSION_BUCKETS | SESSION_WRITABLE)))
		return CLI_DONE;
	err = eb_buckets_open(&session->maps, what & SESSION_WRITABLE, &session->buckets);
	return err ? cli_fail("%s: the buckets cannot be mapped: %s", session->paths.pin_dir, strerror(-err))
		   : CLI_DONE;
}

enum cli_result session_open(const struct cli *cli, unsigned int what, struct session *out)
{
	enum cli_result result;

	memset(out, 0, sizeof(*out));
	eb_maps_init(&out->maps);
	result = read_places(cli, out);
	return result || !what ? result : session_open_maps(out, what);
}

bool session_has_maps(const struct session *session)
{
	return session->maps.fd[EB_MAP_STATE] >= 0;
}

void session_close(struct session *session)
{
	eb_buckets_close(session->buckets);
	eb_programs_free(session->programs);
	eb_maps_close(&session->maps);
	eb_paths_done(&session->paths);
}

int session_rule_count(const struct session *session)
{
	return session->policy.rule_count < EB_LIMITS_MAX ? session->policy.rule_count : EB_LIMITS_MAX;
}

int session_own_rule_count(const struct session *session)
{
	int count = session_rule_count(session);

	while (count && session->policy.rules[count - 1].level)
		count--;
	return count;
}

bool session_is_of_rule(const struct session *session, int limit, int rule)
{
	return rule < 0 || !memcmp(session->policy.names[limit], session->policy.names[rule], EB_RULE_NAME_MAX);
}

struct text session_rule_name(const struct eb_policy *policy, int rule)
{
	struct text text;

	snprintf(text.s, sizeof(text.s), "%.*s", EB_RULE_NAME_MAX, policy->names[rule]);
	return text;
}

struct text session_limit_name(const struct eb_policy *policy, int limit)
{
	struct text text = session_rule_name(policy, limit);
	char level[EB_LEVEL_TEXT_MAX];
	size_t used = strlen(text.s);

	if (*eb_rules_level_text(&policy->rules[limit], level))
		snprintf(text.s + used, sizeof(text.s) - used, " %s", level);
	return text;
}

int session_find_rule(const struct session *session, const char *name)
{
	for (int i = 0; i < session_rule_count(session); i++)
		if (!strcmp(session_rule_name(&session->policy, i).s, name))
			return i;
	return -1;
}

enum cli_result session_option_rule(const struct session *session, const char *name, int *out)
{
	*out = name ? session_find_rule(session, name) : -1;
	if (name && *out < 0)
		return cli_fail("no rule %s is in force; see \"edgebucket rules\"", eb_input_quote(name).text);
	return CLI_DONE;
}

int session_bucket_rule(const struct session *session, const struct eb_source *source)
{
	return eb_rules_find_id(&session->policy, source->family, source->rule_id);
}

static void read_target(enum eb_also also, const uint8_t *dst, uint16_t dport, struct eb_destination *out)
{
	uint16_t port = htons(dport);

	out->also = also;
	if (also == EB_ALSO_DST)
		memcpy(out->to, dst, sizeof(out->to));
	else if (also == EB_ALSO_DPORT)
		memcpy(out->to, &port, sizeof(port));
}

struct eb_source session_source(const struct eb_rule *rule, int family, const uint8_t *addr, const uint8_t *dst,
				uint16_t dport)
{
	struct eb_source source = {
		.family = family,
		.rule_id = eb_rules_id_of(rule, family),
	};
	const void *mask = family == 4 ? (const void *)&rule->mask4 : (const void *)rule->mask6;
	int size = family == 4 ? 4 : 16;

	if (rule->together)
		return (struct eb_source){ .family = 4, .rule_id = rule->id4 };
	for (int i = 0; i < size; i++)
		source.addr[i] = addr[i] & ((const uint8_t *)mask)[i];
	read_target(rule->also, dst, dport, &source.target);
	return source;
}

struct text session_source_text(const struct eb_rule *rule, const struct eb_source *source)
{
	struct eb_prefix prefix = { .family = source->family, .len = eb_rules_prefix_of(rule, source->family) };

	memcpy(prefix.addr, source->addr, sizeof(prefix.addr));
	return print_source(&prefix, &source->target);
}

enum cli_result session_parse_prefix(const struct cli *cli, const char *text, struct eb_prefix *out)
{
	struct eb_prefix_error error;

	if (eb_prefix_parse(text, out, &error))
		return cli_misuse(cli, "%s %s", eb_input_quote(text).text, error.text);
	return CLI_DONE;
}

enum cli_result session_parse_address(const struct cli *cli, const char *text, struct eb_prefix *out)
{
	struct eb_prefix_error error;

	if (eb_prefix_parse(text, out, &error) || out->len != (out->family == 4 ? 32 : 128))
		return cli_misuse(cli, "%s is not an address; write it like 192.0.2.1 or 2001:db8::1",
				  eb_input_quote(text).text);
	return CLI_DONE;
}
