// SPDX-License-Identifier: GPL-2.0-only
/* edgebucket ban, unban: through the agent, or in the maps while none runs. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/grow.h"
#include "base/input.h"
#include "base/printable.h"
#include "cli/agent_client.h"
#include "cli/options.h"
#include "cli/session.h"
#include "config/ban_text.h"
#include "config/prefix.h"
#include "ipc/control.h"
#include "ipc/lock.h"
#include "maps/bans.h"
#include "maps/classify.h"

/* Lines of a list that are put into force together. A line is cut at LINE_MAX_BYTES. */
#define ITEMS_MAX (1 << 20)
#define LINE_MAX_BYTES 512

/* Between two looks at all that the agent has to do. */
#define AGENT_BANS_TIMEOUT_MS 600000

/* Lines that are complained of, one each. */
#define COMPLAINTS_MAX 10

/* What a list, or the command line, says. */
struct item {
	struct eb_ban_line ban;
	size_t line;
};

struct work {
	const struct cli *cli;
	struct session *session;
	const char *file;      /* of the list; NULL for the command line */
	bool lifts;            /* unban */
	uint64_t default_for_ns;
	char default_reason[EB_BAN_REASON_MAX];
	int lock;              /* held while no agent runs; -1 */
	struct eb_bans *bans;  /* likewise; NULL: ask the agent */
	struct item *items;
	size_t count, room;
	size_t done, refused, line;
};

/* ---- complaints ---- */

static void complain(struct work *work, size_t line, const char *text)
{
	if (++work->refused > COMPLAINTS_MAX)
		return;
	if (work->file)
		cli_fail("%s:%zu: %s", work->file, line, text);
	else
		cli_fail("%s", text);
}

/* ---- through the agent ---- */

static void take_answer(struct work *work, const json_t *reply)
{
	json_t *refused = json_object_get(reply, "refused"), *one;
	size_t i, told = json_array_size(refused);

	work->done += json_integer_value(json_object_get(reply, "done"));
	json_array_foreach(refused, i, one) {
		size_t index = json_integer_value(json_object_get(one, "index"));
		const char *error = json_string_value(json_object_get(one, "error"));

		complain(work, index < work->count ? work->items[index].line : 0, error ? error : "refused");
	}
	work->refused += json_integer_value(json_object_get(reply, "refused_count")) - told;
}

static enum cli_result ask_agent(struct work *work, const char *request, int list)
{
	enum cli_result result;
	json_t *reply;

	result = agent_ask_with(work->session, request, list, AGENT_BANS_TIMEOUT_MS, &reply);
	if (result)
		return result;
	take_answer(work, reply);
	json_decref(reply);
	return CLI_DONE;
}

static int write_list(const struct work *work, int file)
{
	char line[EB_BAN_LINE_MAX];
	FILE *out = fdopen(dup(file), "w");
	int err = out ? 0 : -errno;

	for (size_t i = 0; !err && i < work->count; i++)
		if (!fwrite(line, eb_ban_print_line(&work->items[i].ban, line), 1, out))
			err = -errno;
	if (out && fclose(out) && !err)
		err = -errno;
	return err;
}

static enum cli_result send_items(struct work *work)
{
	int file = memfd_create("bans", MFD_CLOEXEC), err = file < 0 ? -errno : write_list(work, file);
	enum cli_result result;

	if (err)
		result = cli_fail("cannot make a list for the agent: %s", strerror(-err));
	else
		result = ask_agent(work, work->lifts ? EB_CONTROL_UNBAN : EB_CONTROL_BAN, file);
	if (file >= 0)
		close(file);
	return result;
}

/* ---- in the maps ---- */

static int write_bans(struct work *work)
{
	struct eb_ban_order *orders = calloc(work->count, sizeof(*orders));
	uint64_t now_ns = eb_monotonic_ns();
	struct eb_ban_outcome added;
	int err;

	if (!orders)
		return -ENOMEM;
	for (size_t i = 0; i < work->count; i++) {
		const struct eb_ban_line *ban = &work->items[i].ban;

		orders[i].prefix = ban->prefix;
		orders[i].until_ns = ban->for_ns ? now_ns + ban->for_ns : EB_BAN_FOREVER;
		orders[i].index = i;
		memcpy(orders[i].reason, ban->reason, EB_BAN_REASON_MAX);
	}
	err = eb_bans_add(work->bans, orders, work->count, EB_BANS_MAX, &added);
	work->done += added.done;
	free(orders);
	return err ? err : added.refused ? -E2BIG : 0;
}

static int lift_bans(struct work *work)
{
	struct eb_prefix *prefixes = calloc(work->count, sizeof(*prefixes));
	size_t lifted = 0;
	int err;

	if (!prefixes)
		return -ENOMEM;
	for (size_t i = 0; i < work->count; i++)
		prefixes[i] = work->items[i].ban.prefix;
	err = eb_bans_lift(work->bans, prefixes, work->count, &lifted);
	work->done += lifted;
	free(prefixes);
	return err;
}

/* By address: so the tries are written several times as fast. */
static int compare_items(const void *a, const void *b)
{
	const struct item *x = a, *y = b;
	int order = eb_prefix_compare(&x->ban.prefix, &y->ban.prefix);

	return order ? order : (x->line > y->line) - (x->line < y->line);
}

static enum cli_result flush_items(struct work *work)
{
	enum cli_result result = CLI_DONE;
	int err;

	if (!work->count)
		return CLI_DONE;
	qsort(work->items, work->count, sizeof(*work->items), compare_items);
	if (!work->bans) {
		result = send_items(work);
	} else {
		err = work->lifts ? lift_bans(work) : write_bans(work);
		if (err)
			result = cli_fail("not all bans were changed: %s", strerror(-err));
	}
	work->count = 0;
	return result;
}

/* ---- what to do it with ---- */

/* Holds an agent off that starts meanwhile. */
static enum cli_result open_maps(struct work *work)
{
	char *error = NULL;
	enum cli_result result = session_open_maps(work->session, SESSION_MAPS);
	int err;

	if (result)
		return result;
	err = eb_lock_acquire(work->session->paths.run_dir, EB_VERSION, &work->lock, &error);
	if (err)
		return cli_fail_text(error);
	err = eb_bans_open(&work->session->maps, true, &work->bans);
	return err ? cli_fail("%s: the bans cannot be opened: %s", work->session->paths.pin_dir, strerror(-err))
		   : CLI_DONE;
}

static enum cli_result begin(struct work *work)
{
	enum cli_result result = session_open(work->cli, 0, work->session);

	work->lock = -1;
	if (!result && !agent_is_running(work->session))
		result = open_maps(work);
	return result;
}

static void end(struct work *work)
{
	if (work->bans)
		cli_note("no agent is running: bans end on time all the same; entries that ran out are removed once "
			 "one runs");
	eb_bans_close(work->bans);
	free(work->items);
	if (work->lock >= 0)
		close(work->lock);
	session_close(work->session);
}

static enum cli_result report(const struct work *work, enum cli_result result)
{
	const char *what = work->lifts ? "lifted" : "banned";

	if (work->refused > COMPLAINTS_MAX)
		cli_fail("%s: %zu lines in all were refused", work->file, work->refused);
	if (result)
		return result;
	if (work->cli->json)
		print_json(json_pack("{s:I, s:I}", what, (json_int_t)work->done, "refused",
				     (json_int_t)work->refused));
	else if (work->lifts && !work->done && !work->refused)
		puts("nothing to lift: none of it was banned");
	else if (work->lifts)
		printf("%zu ban%s lifted\n", work->done, work->done == 1 ? "" : "s");
	else
		printf("%zu prefix%s banned\n", work->done, work->done == 1 ? "" : "es");
	return work->refused ? CLI_FAILED : CLI_DONE;
}

/* ---- lists ---- */

static enum cli_result add_item(struct work *work, const struct item *item)
{
	struct item *items = eb_grow(work->items, work->count, &work->room, sizeof(*items));

	if (!items)
		return cli_fail("out of memory");
	work->items = items;
	work->items[work->count++] = *item;
	return work->count == ITEMS_MAX ? flush_items(work) : CLI_DONE;
}

/* The next word of *rest, or NULL. */
static char *next_word(char **rest)
{
	char *word = *rest + strspn(*rest, " \t\r\n");
	size_t len = strcspn(word, " \t\r\n");

	*rest = word + len;
	if (**rest)
		*(*rest)++ = '\0';
	return len ? word : NULL;
}

static bool parse_line(struct work *work, char *line, struct item *out)
{
	char *word = next_word(&line), text[256];
	struct eb_prefix_error error;
	const char *why;

	*out = (struct item){ .ban.for_ns = work->default_for_ns, .line = work->line };
	memcpy(out->ban.reason, work->default_reason, sizeof(out->ban.reason));
	if (eb_prefix_parse(word, &out->ban.prefix, &error)) {
		snprintf(text, sizeof(text), "%s %s", eb_input_quote(word).text, error.text);
		complain(work, work->line, text);
		return false;
	}
	word = work->lifts ? NULL : next_word(&line);
	if (word && eb_ban_parse_span(word, &out->ban.for_ns, &why)) {
		snprintf(text, sizeof(text), "%s %s", eb_input_quote(word).text, why);
		complain(work, work->line, text);
		return false;
	}
	line += strspn(line, " \t");
	line[strcspn(line, "\r\n")] = '\0';
	if (!work->lifts && *line)
		eb_ban_copy_reason(line, out->ban.reason);
	return true;
}

static bool is_empty(const char *line)
{
	line += strspn(line, " \t\r\n");
	return !*line || *line == '#' || *line == ';';
}

static enum cli_result read_list(struct work *work, FILE *in)
{
	enum cli_result result = CLI_DONE;
	char *line = NULL;
	struct item item;
	size_t room = 0;
	ssize_t len;

	while (!result && (len = getline(&line, &room, in)) >= 0) {
		work->line++;
		if (len > LINE_MAX_BYTES)
			line[LINE_MAX_BYTES] = '\0';
		if (!is_empty(line) && parse_line(work, line, &item))
			result = add_item(work, &item);
	}
	if (!result && ferror(in))
		result = cli_fail("%s: %s", work->file, strerror(errno));
	free(line);
	return result ? result : flush_items(work);
}

static enum cli_result open_list(const char *path, FILE **out)
{
	*out = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
	return *out ? CLI_DONE : cli_fail("%s: %s", path, strerror(errno));
}

static enum cli_result do_list(struct work *work, const char *path)
{
	enum cli_result result;
	FILE *in;

	work->file = strcmp(path, "-") == 0 ? "standard input" : path;
	result = open_list(path, &in);
	if (result)
		return result;
	result = read_list(work, in);
	if (in != stdin)
		fclose(in);
	return result;
}

/* ---- who is never banned ---- */

static bool allows(const struct eb_flow_rule *found, int rule)
{
	return rule >= 0 && found->policy.rules[rule].action == EB_ALLOW;
}

/* What an allow rule matches first passes all the same. */
static void warn_of_allowed(struct session *session, const struct eb_prefix *prefix)
{
	struct eb_flow_rule *found = malloc(sizeof(*found));
	char text[EB_PREFIX_TEXT_MAX];
	struct eb_flow flow;

	eb_flow_init(prefix->family, &flow);
	memcpy(flow.src, prefix->addr, sizeof(flow.src));
	eb_prefix_print(prefix, text);
	if (!found || (!session_has_maps(session) && session_open_maps(session, SESSION_MAPS)) ||
	    eb_flow_classify(&session->maps, &flow, found)) {
		free(found);
		return;
	}
	if (allows(found, found->rule))
		cli_note("%s: rule \"%s\" allows it, and whom a rule allows is not banned: its packets still pass",
			 text, session_rule_name(&found->policy, found->rule).s);
	for (int i = 0; i < found->candidate_count; i++)
		if (allows(found, found->candidates[i].rule))
			cli_note("%s: what rule \"%s\" allows of it still passes", text,
				 session_rule_name(&found->policy, found->candidates[i].rule).s);
	free(found);
}

/* ---- commands ---- */

static enum cli_result lift_all(struct work *work)
{
	struct eb_prefix all[] = { { .family = 4 }, { .family = 6 } };
	int err;

	if (!work->bans)
		return ask_agent(work, EB_CONTROL_UNBAN_ALL, -1);
	err = eb_bans_lift(work->bans, all, 2, &work->done);
	return err ? cli_fail("not all bans were lifted: %s", strerror(-err)) : CLI_DONE;
}

static enum cli_result run(struct work *work, const struct item *item, const char *path, bool all)
{
	enum cli_result result = begin(work);

	if (!result && path)
		result = do_list(work, path);
	if (!result && item)
		result = add_item(work, item);
	if (!result && item)
		result = flush_items(work);
	if (!result && all)
		result = lift_all(work);
	result = report(work, result);
	if (!result && item && !work->lifts)
		warn_of_allowed(work->session, &item->ban.prefix);
	end(work);
	return result;
}

enum cli_result cmd_ban(struct cli *cli, int argc, char **argv)
{
	const char *span = NULL, *reason = NULL, *from = NULL, *why;
	const struct option_spec specs[] = {
		{ "for", 0, OPTION_TEXT, &span, 0 },
		{ "reason", 0, OPTION_TEXT, &reason, 0 },
		{ "from", 0, OPTION_TEXT, &from, 0 },
	};
	struct session session = {};
	struct work work = { .cli = cli, .session = &session };
	struct item item = {};

	if (options_parse(cli, argc, argv, specs, 3, 1))
		return CLI_MISUSED;
	if ((from != NULL) == (cli->arg_count == 1))
		return cli_misuse(cli, "ban needs an address or a prefix, or --from with a list, and not both");
	if (span && eb_ban_parse_span(span, &work.default_for_ns, &why))
		return cli_misuse(cli, "--for: %s %s", eb_input_quote(span).text, why);
	eb_ban_copy_reason(reason ? reason : "", work.default_reason);
	if (from)
		return run(&work, NULL, from, false);
	if (session_parse_prefix(cli, cli->args[0], &item.ban.prefix))
		return CLI_MISUSED;
	item.ban.for_ns = work.default_for_ns;
	memcpy(item.ban.reason, work.default_reason, sizeof(item.ban.reason));
	return run(&work, &item, NULL, false);
}

enum cli_result cmd_unban(struct cli *cli, int argc, char **argv)
{
	const char *from = NULL;
	bool all = false;
	const struct option_spec specs[] = {
		{ "all", 'a', OPTION_FLAG, &all, 0 },
		{ "from", 0, OPTION_TEXT, &from, 0 },
	};
	struct session session = {};
	struct work work = { .cli = cli, .session = &session, .lifts = true };
	struct item item = {};

	if (options_parse(cli, argc, argv, specs, 2, 1))
		return CLI_MISUSED;
	if (all + (from != NULL) + cli->arg_count != 1)
		return cli_misuse(cli, "unban needs an address or a prefix, or --all, or --from with a list, and "
				       "one of them alone");
	if (all || from)
		return run(&work, NULL, from, all);
	if (session_parse_prefix(cli, cli->args[0], &item.ban.prefix))
		return CLI_MISUSED;
	return run(&work, &item, NULL, false);
}
