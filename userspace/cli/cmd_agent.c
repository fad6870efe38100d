// SPDX-License-Identifier: GPL-2.0-only
/* edgebucket flush, reload, confirm, rollback, attach and detach: what the agent does, or would do if it ran. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/agent_client.h"
#include "cli/interfaces.h"
#include "cli/lockout.h"
#include "cli/options.h"
#include "ipc/control.h"
#include "ipc/detach_note.h"
#include "maps/pins.h"
#include "netlink/layers.h"

static enum cli_result run(struct cli *cli, int argc, char **argv, const char *request, int timeout_ms,
			   const char *done)
{
	struct session session;
	enum cli_result result;

	if (options_parse(cli, argc, argv, NULL, 0, 0))
		return CLI_MISUSED;
	result = session_open(cli, 0, &session);
	if (!result)
		result = agent_command(cli, &session, request, timeout_ms, done);
	session_close(&session);
	return result;
}

enum cli_result cmd_flush(struct cli *cli, int argc, char **argv)
{
	return run(cli, argc, argv, "flush", AGENT_RELOAD_TIMEOUT_MS, "flushed");
}

/* Before it is in force: afterwards the session might not see it. What cannot be read here the agent refuses. */
static void warn_of_lockout(const struct cli *cli)
{
	const char *path = cli->config_path ? cli->config_path : EB_DEFAULT_CONFIG_PATH;
	struct eb_config *config;
	char *error = NULL;

	if (!lockout_is_remote())
		return;
	if (eb_config_read(path, cli->redis_path, &config, &error)) {
		free(error);
		return;
	}
	lockout_warn(config);
	eb_config_free(config);
}

enum cli_result cmd_reload(struct cli *cli, int argc, char **argv)
{
	warn_of_lockout(cli);
	return run(cli, argc, argv, "reload", AGENT_RELOAD_TIMEOUT_MS, "reloaded");
}

enum cli_result cmd_confirm(struct cli *cli, int argc, char **argv)
{
	return run(cli, argc, argv, "confirm", AGENT_TIMEOUT_MS, "confirmed");
}

enum cli_result cmd_rollback(struct cli *cli, int argc, char **argv)
{
	return run(cli, argc, argv, "rollback", AGENT_RELOAD_TIMEOUT_MS, "rolled back");
}

static const struct interface *find_interface(const struct interface_list *list, int ifindex)
{
	for (size_t i = 0; i < list->count; i++)
		if (list->items[i].ifindex == ifindex)
			return &list->items[i];
	return NULL;
}

/* The indexes of what is attached, what lies on others behind them. Returns their number, or -ENOMEM. */
static int list_attached(const struct interface_list *list, int **out)
{
	struct eb_layers *layers = NULL;
	int count = 0;

	*out = calloc(list->count + 1, sizeof(**out));
	if (!*out)
		return -ENOMEM;
	for (size_t i = 0; i < list->count; i++)
		if (list->items[i].attachment.attached)
			(*out)[count++] = list->items[i].ifindex;
	(void)eb_layers_read(&layers);
	eb_layers_sort(layers, *out, count);
	eb_layers_free(layers);
	return count;
}

/* From above, and goes on after a failure: the more is detached, the better. */
static enum cli_result detach_all(const struct session *session, const struct interface_list *list, json_t *detached)
{
	enum cli_result result = CLI_DONE;
	int *order, count = list_attached(list, &order);

	if (count < 0)
		return cli_fail("out of memory");
	for (int i = count - 1; i >= 0; i--) {
		const char *name = find_interface(list, order[i])->name;
		char *error = NULL;

		if (eb_attach_remove(name, session->programs, &error))
			result = cli_fail_text(error);
		else
			json_array_append_new(detached, json_string(name));
	}
	free(order);
	if (session_has_maps(session))
		eb_programs_sweep(session->programs);
	return result;
}

static void print_detached(const json_t *detached)
{
	json_t *name;
	size_t i;

	if (!json_array_size(detached))
		puts("nothing was attached");
	json_array_foreach(detached, i, name)
		printf("detached from %s\n", json_string_value(name));
}

static enum cli_result detach_directly(const struct cli *cli, const struct session *session)
{
	json_t *detached = json_array();
	struct interface_list list;
	enum cli_result result;
	int err = interfaces_list(session, NULL, NULL, &list);

	result = err ? cli_fail("the interfaces cannot be read: %s", strerror(-err)) :
		       detach_all(session, &list, detached);
	interfaces_done(&list);
	if (cli->json && !err)
		print_json(json_pack("{s:b, s:O}", "ok", result == CLI_DONE, "detached", detached));
	else if (!err)
		print_detached(detached);
	json_decref(detached);
	return result;
}

static enum cli_result remove_maps(const struct session *session)
{
	int err = eb_pins_remove(session->paths.pin_dir);

	return err ? cli_fail("%s: the maps cannot be removed: %s", session->paths.pin_dir, strerror(-err)) : CLI_DONE;
}

/* What the next agent is told. It goes on after a failure. */
static enum cli_result note_stay(const struct session *session)
{
	char *error = NULL;

	return eb_detach_note_set(session->paths.state_dir, session->paths.run_dir, &error) ? cli_fail_text(error)
										       : CLI_DONE;
}

/* An agent that runs must be asked: it would put the program back on. */
static enum cli_result detach(const struct cli *cli, struct session *session, bool maps, bool stay)
{
	enum cli_result result, noted = CLI_DONE;

	if (agent_is_running(session))
		return maps ? cli_fail("an agent is running: stop it before you remove its maps")
			    : agent_command(cli, session, stay ? EB_CONTROL_STAY : "detach", AGENT_TIMEOUT_MS,
					    "detached");
	if (stay)
		noted = note_stay(session);
	result = session_open_maps(session, maps || stay ? SESSION_MAPS | SESSION_OPTIONAL : SESSION_MAPS);
	if (!result)
		result = detach_directly(cli, session);
	if (maps && !result)
		result = remove_maps(session);
	return result ? result : noted;
}

/* Only an agent attaches. Without one, clears the note of `detach --stay`, so that the next agent does. */
static enum cli_result attach(const struct cli *cli, const struct session *session)
{
	const struct eb_paths *paths = &session->paths;
	char *error = NULL;

	if (agent_is_running(session) || !eb_detach_note_is_set(paths->state_dir, paths->run_dir))
		return agent_command(cli, session, "attach", AGENT_RELOAD_TIMEOUT_MS, "attached");
	if (eb_detach_note_clear(paths->state_dir, paths->run_dir, &error))
		return cli_fail_text(error);
	if (cli->json)
		return print_json(json_pack("{s:b}", "ok", 1));
	puts("no agent is running: the next one will attach");
	return CLI_DONE;
}

enum cli_result cmd_attach(struct cli *cli, int argc, char **argv)
{
	struct session session;
	enum cli_result result;

	if (options_parse(cli, argc, argv, NULL, 0, 0))
		return CLI_MISUSED;
	result = session_open(cli, 0, &session);
	if (!result)
		result = attach(cli, &session);
	session_close(&session);
	return result;
}

enum cli_result cmd_detach(struct cli *cli, int argc, char **argv)
{
	bool maps = false, stay = false;
	const struct option_spec specs[] = {
		{ "maps", 0, OPTION_FLAG, &maps, 0 },
		{ "stay", 0, OPTION_FLAG, &stay, 0 },
	};
	struct session session;
	enum cli_result result;

	if (options_parse(cli, argc, argv, specs, 2, 0))
		return CLI_MISUSED;
	result = session_open(cli, 0, &session);
	if (!result)
		result = detach(cli, &session, maps, stay);
	session_close(&session);
	return result;
}
