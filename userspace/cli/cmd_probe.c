// SPDX-License-Identifier: GPL-2.0-only
/* edgebucket probe: the pages /healthz and /readyz from the agent itself, whoever listens at the port of its
 * metrics. */
#include <stdio.h>
#include <string.h>

#include "cli/agent_client.h"
#include "cli/options.h"
#include "cli/print.h"

static enum cli_result show(const struct cli *cli, json_t *reply)
{
	enum cli_result result = json_is_true(json_object_get(reply, "well")) ? CLI_DONE : CLI_FAILED;
	json_t *reason;
	size_t i;

	if (cli->json) {
		enum cli_result printed = print_json(reply);

		return printed ? printed : result;
	}
	json_array_foreach(json_object_get(reply, "reasons"), i, reason)
		puts(json_string_value(reason));
	json_decref(reply);
	return result;
}

enum cli_result cmd_probe(struct cli *cli, int argc, char **argv)
{
	struct session session;
	enum cli_result result;
	const char *page;
	json_t *reply;

	if (options_parse(cli, argc, argv, NULL, 0, 1))
		return CLI_MISUSED;
	page = cli->arg_count ? cli->args[0] : "healthz";
	if (strcmp(page, "healthz") != 0 && strcmp(page, "readyz") != 0)
		return cli_misuse(cli, "%s is not a probe; use healthz or readyz", page);
	result = session_open(cli, 0, &session);
	if (!result)
		result = agent_ask(&session, page, AGENT_TIMEOUT_MS, &reply);
	session_close(&session);
	return result ? result : show(cli, reply);
}
