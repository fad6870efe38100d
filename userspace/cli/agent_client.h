/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The commands' way to the running agent.
 */
#ifndef EB_AGENT_CLIENT_H
#define EB_AGENT_CLIENT_H

#include <jansson.h>

#include "cli/cli.h"
#include "cli/session.h"

#define AGENT_TIMEOUT_MS 5000
#define AGENT_RELOAD_TIMEOUT_MS 60000 /* a million prefixes take seconds */

/* Whether an agent holds the instance lock. */
bool agent_is_running(const struct session *session);

/*
 * Asks the agent. Returns CLI_DONE with a reply that says "ok", to be json_decref'ed; otherwise CLI_FAILED, and
 * has said why.
 */
enum cli_result agent_ask(const struct session *session, const char *request, int timeout_ms, json_t **reply);

/* The same, with a file that stays open; -1 for none. */
enum cli_result agent_ask_with(const struct session *session, const char *request, int file, int timeout_ms,
			       json_t **reply);

/* Asks and shows the answer: its "warnings" on stderr; its "message" on stdout, or `done` where it has none. */
enum cli_result agent_command(const struct cli *cli, const struct session *session, const char *request,
			      int timeout_ms, const char *done);

/* Shows an answer likewise, and frees it. */
enum cli_result agent_show(const struct cli *cli, json_t *reply, const char *done);

#endif
