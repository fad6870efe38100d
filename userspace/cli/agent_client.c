// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/agent_client.h"
#include "ipc/control.h"
#include "ipc/lock.h"
#include "store/exchange_field.h"

#define PAUSE_MS 50
#define LEFT_MS 2000

/* What is left of one that was killed is waited for, but not for ever. */
bool agent_is_running(const struct session *session)
{
	const struct timespec pause = { .tv_nsec = PAUSE_MS * 1000000L };
	struct eb_lock_holder holder;

	for (int waited_ms = 0; !eb_lock_find_holder(session->paths.run_dir, &holder); waited_ms += PAUSE_MS) {
		if (!eb_lock_is_left(&holder) || waited_ms >= LEFT_MS)
			return true;
		(void)nanosleep(&pause, NULL);
	}
	return false;
}

static bool is_deaf(int err)
{
	return err == -ENOENT || err == -ECONNREFUSED;
}

static enum cli_result fail_to_reach(const struct session *session, int err)
{
	struct eb_lock_holder holder;

	if (is_deaf(err) && !eb_lock_find_holder(session->paths.run_dir, &holder))
		return cli_fail("the agent, pid %d, is %s and does not answer yet", holder.pid,
				holder.is_stopping ? "stopping" : "still starting");
	if (is_deaf(err))
		return cli_fail("no agent is running (%s/control.sock: %s)", session->paths.run_dir, strerror(-err));
	if (err == -ETIMEDOUT)
		return cli_fail("the agent did not answer in time");
	return cli_fail("%s/control.sock: %s", session->paths.run_dir, strerror(-err));
}

/* Text of a member of a reply; NULL when there is none. */
static const char *member(const json_t *reply, const char *name)
{
	return json_string_value(json_object_get(reply, name));
}

/* An agent holds its lock for a moment before it listens, and another one that stops may be followed by the next: it is
 * waited for, as long as one holds the lock. */
static int ask_patiently(const struct session *session, const char *request, int file, int timeout_ms, char **text)
{
	const struct timespec pause = { .tv_nsec = PAUSE_MS * 1000000L };
	struct eb_lock_holder holder;
	int err;

	for (int waited_ms = 0;; waited_ms += PAUSE_MS) {
		err = eb_control_ask_with(session->paths.run_dir, request, file, timeout_ms, text);
		if (!is_deaf(err) || waited_ms >= timeout_ms ||
		    eb_lock_find_holder(session->paths.run_dir, &holder) || eb_lock_is_left(&holder))
			return err;
		(void)nanosleep(&pause, NULL);
	}
}

enum cli_result agent_ask_with(const struct session *session, const char *request, int file, int timeout_ms,
			       json_t **reply)
{
	enum cli_result result = CLI_DONE;
	json_t *document;
	char *text;
	int err;

	err = ask_patiently(session, request, file, timeout_ms, &text);
	if (err)
		return fail_to_reach(session, err);
	document = json_loads(text, 0, NULL);
	free(text);
	if (!json_is_object(document)) {
		result = cli_fail("cannot parse the answer of the agent; does it have another version?");
	} else if (!json_is_true(json_object_get(document, "ok"))) {
		const char *error = member(document, "error");

		result = cli_fail("%s", error ? error : "the agent refused without giving a reason");
	}
	if (result)
		json_decref(document);
	else
		*reply = document;
	return result;
}

enum cli_result agent_ask(const struct session *session, const char *request, int timeout_ms, json_t **reply)
{
	return agent_ask_with(session, request, -1, timeout_ms, reply);
}

static void print_warnings(const json_t *reply)
{
	json_t *warnings = json_object_get(reply, "warnings"), *warning;
	size_t i;

	json_array_foreach(warnings, i, warning)
		if (json_is_string(warning))
			cli_note("warning: %s", json_string_value(warning));
}

static const char *plural(json_int_t count)
{
	return count == 1 ? "" : "es";
}

/* A line for each rule that asks for addresses. */
static void print_prefixes(const json_t *reply)
{
	json_t *list = json_object_get(reply, "prefixes"), *rule;
	size_t i;

	json_array_foreach(list, i, rule) {
		json_int_t count = json_integer_value(json_object_get(rule, "prefixes"));
		json_int_t change = json_integer_value(json_object_get(rule, "change"));
		const char *name = member(rule, "rule");

		printf("  %s: %" JSON_INTEGER_FORMAT " prefix%s", name ? name : "?", count, plural(count));
		if (change)
			printf(", %" JSON_INTEGER_FORMAT " %s than before", change < 0 ? -change : change,
			       change < 0 ? "fewer" : "more");
		putchar('\n');
	}
}

enum cli_result agent_show(const struct cli *cli, json_t *reply, const char *done)
{
	const char *message = member(reply, "message");

	print_warnings(reply);
	if (cli->json)
		return print_json(reply);
	if (message)
		puts(message);
	else if (json_is_integer(json_object_get(reply, "set")))
		printf("%s: %" JSON_INTEGER_FORMAT " buckets written, %" JSON_INTEGER_FORMAT " removed\n", done,
		       json_integer_value(json_object_get(reply, "set")),
		       json_integer_value(json_object_get(reply, "deleted")));
	else if (json_is_integer(json_object_get(reply, "rules")))
		printf("%s: %d rules in force\n", done, (int)json_integer_value(json_object_get(reply, "rules")));
	else
		puts(done);
	print_prefixes(reply);
	json_decref(reply);
	return CLI_DONE;
}

bool agent_own_debt(const struct session *session, const char *limit, uint64_t *debt_ns)
{
	char request[sizeof(EB_CONTROL_OWED) + EB_EXCHANGE_FIELD_MAX], *text;
	json_t *reply, *own;
	bool is_known;

	snprintf(request, sizeof(request), EB_CONTROL_OWED "%s", limit);
	if (!agent_is_running(session) || ask_patiently(session, request, -1, AGENT_TIMEOUT_MS, &text))
		return false;
	reply = json_loads(text, 0, NULL);
	free(text);
	own = json_object_get(reply, "own_ns");
	is_known = json_is_integer(own) && json_integer_value(own) >= 0;
	*debt_ns = is_known ? json_integer_value(own) : 0;
	json_decref(reply);
	return is_known;
}

enum cli_result agent_command(const struct cli *cli, const struct session *session, const char *request,
			      int timeout_ms, const char *done)
{
	enum cli_result result;
	json_t *reply;

	result = agent_ask(session, request, timeout_ms, &reply);
	return result ? result : agent_show(cli, reply, done);
}
