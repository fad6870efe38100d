/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How commands talk to the running agent.
 */
#ifndef EB_AGENT_CLIENT_H
#define EB_AGENT_CLIENT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "cli/cli.h"
#include "cli/session.h"

#define AGENT_TIMEOUT_MS 5000
#define AGENT_RELOAD_TIMEOUT_MS 60000 /* a million prefixes take seconds */

/* Whether an agent holds the instance lock. */
bool agent_is_running(const struct session *session);

/*
 * Sends a request to the agent and waits for the reply. Returns CLI_DONE with a reply that says "ok", which the caller
 * json_decref()s; or prints why it failed and returns CLI_FAILED.
 */
enum cli_result agent_ask(const struct session *session, const char *request, int timeout_ms, json_t **reply);

/* The same; also passes the open descriptor `file`, which the caller keeps. -1 passes none. */
enum cli_result agent_ask_with(const struct session *session, const char *request, int file, int timeout_ms,
			       json_t **reply);

/* Asks what a limit of a bucket (store/exchange_field.h) would owe if only this node had charged it. False, without a
 * word, where no agent runs that knows. */
bool agent_own_debt(const struct session *session, const char *limit, uint64_t *debt_ns);

/* Sends a request and prints the reply: its "warnings" to stderr, and its "message", or `done` if it has none, to
 * stdout. */
enum cli_result agent_command(const struct cli *cli, const struct session *session, const char *request,
			      int timeout_ms, const char *done);

/* Prints a reply in the same way, and frees it. */
enum cli_result agent_show(const struct cli *cli, json_t *reply, const char *done);

#endif
