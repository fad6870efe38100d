// SPDX-License-Identifier: GPL-2.0-only
/* edgebucket reset: gives sources full buckets. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/grow.h"
#include "cli/agent_client.h"
#include "cli/fleet_buckets.h"
#include "cli/options.h"
#include "cli/print.h"
#include "cli/session.h"
#include "cli/stores.h"
#include "config/prefix.h"
#include "policy/rules.h"

struct reset_list {
	const struct session *session;
	const struct eb_prefix *within; /* NULL for all */
	int rule;                       /* -1 for all */
	struct eb_source *sources;
	size_t count, room;
	uint64_t now;
	uint64_t in_debt; /* of these */
};

static int add_source(struct reset_list *list, const struct eb_source *source)
{
	struct eb_source *sources = eb_grow(list->sources, list->count, &list->room, sizeof(*sources));

	if (!sources)
		return -ENOMEM;
	list->sources = sources;
	list->sources[list->count++] = *source;
	return 0;
}

static int visit(const struct eb_bucket_view *view, void *arg)
{
	struct reset_list *list = arg;
	const struct eb_source *source = &view->source;
	int rule = session_bucket_rule(list->session, source), len;

	if (rule < 0 || !session_is_of_rule(list->session, rule, list->rule))
		return 0;
	len = eb_rules_prefix_of(&list->session->policy.rules[rule], source->family);
	if (list->within && !list->session->policy.rules[rule].together &&
	    !eb_prefix_overlaps(source->family, source->addr, len, list->within))
		return 0;
	list->in_debt += eb_gcra_debt(view->packets_full_at, list->now) || eb_gcra_debt(view->bytes_full_at, list->now);
	return add_source(list, source);
}

/* Lists first: a bucket is not to be changed under the walk that shows it. One that is gone by then was full. */
static int reset_some(struct reset_list *list)
{
	int err = eb_buckets_each(list->session->buckets, visit, list);

	if (!err)
		err = eb_buckets_reset(list->session->buckets, list->sources, list->count);
	free(list->sources);
	return err;
}

/* The buckets are full by now, whatever comes of this. */
static void tell_store(const struct session *session)
{
	json_t *reply;

	if (!agent_is_running(session))
		cli_note("no agent is running: a reboot would restore the debts of these buckets from the store");
	else if (agent_ask(session, "reset", AGENT_TIMEOUT_MS, &reply) == CLI_DONE)
		json_decref(reply);
	else
		cli_note("the buckets are full, but the store still has their debts: they would come back after a "
			 "reboot");
}

/* ---- buckets that a fleet shares ---- */

static bool is_meant(const struct fleet_bucket *bucket, void *arg)
{
	const struct reset_list *list = arg;
	const struct eb_prefix *source = &bucket->limit.record.source;
	int rule = fleet_bucket_rule(list->session, bucket);

	if (rule < 0)
		return list->rule < 0 && !list->within; /* of rules that are not in force here */
	if (!session_is_of_rule(list->session, rule, list->rule))
		return false;
	return !list->within || list->session->policy.rules[rule].together ||
	       eb_prefix_overlaps(source->family, source->addr, source->len, list->within);
}

static bool has_shared_rule(const struct session *session)
{
	for (int i = 0; i < session_rule_count(session); i++)
		if (session->policy.rules[i].shared)
			return true;
	return false;
}

/* Before this node's buckets, which would come back. */
static enum cli_result fill_shared(const struct cli *cli, struct reset_list *list)
{
	struct eb_config *config = NULL;
	enum cli_result result;

	if (!has_shared_rule(list->session))
		return CLI_DONE;
	result = stores_config(cli, list->session, &config);
	if (!result && config->fleet.name[0])
		result = fleet_buckets_each(config, is_meant, list);
	eb_config_free(config);
	return result;
}

static enum cli_result reset(const struct cli *cli, const struct session *session, const struct eb_prefix *within,
			     int rule)
{
	struct reset_list list = { .session = session, .within = within, .rule = rule, .now = eb_buckets_now() };
	int err;

	if (fill_shared(cli, &list))
		cli_note("the fleet's debts of these buckets stay, and come back with the next packets");

	if (within || rule >= 0)
		err = reset_some(&list);
	else
		err = eb_buckets_reset_all(session->buckets, &list.in_debt);
	if (err)
		return cli_fail("not all buckets were reset: %s", strerror(-err));
	if (list.in_debt)
		tell_store(session);
	if (cli->json)
		return print_json(json_pack("{s:I}", "reset", (json_int_t)list.in_debt));
	if (list.in_debt)
		printf("%llu bucket%s filled\n", (unsigned long long)list.in_debt, list.in_debt == 1 ? "" : "s");
	else
		puts("nothing to fill: no bucket was in debt");
	return CLI_DONE;
}

enum cli_result cmd_reset(struct cli *cli, int argc, char **argv)
{
	const char *rule_name = NULL;
	bool all = false;
	const struct option_spec specs[] = {
		{ "all", 'a', OPTION_FLAG, &all, 0 },
		{ "rule", 'r', OPTION_TEXT, &rule_name, 0 },
	};
	struct eb_prefix within;
	struct session session;
	enum cli_result result;
	int rule;

	if (options_parse(cli, argc, argv, specs, 2, 1))
		return CLI_MISUSED;
	if (all == (cli->arg_count == 1))
		return cli_misuse(cli, "reset needs either an address or prefix, or --all");
	if (!all && session_parse_prefix(cli, cli->args[0], &within))
		return CLI_MISUSED;
	result = session_open(cli, SESSION_WRITABLE, &session);
	if (!result)
		result = session_option_rule(&session, rule_name, &rule);
	if (!result)
		result = reset(cli, &session, all ? NULL : &within, rule);
	session_close(&session);
	return result;
}
