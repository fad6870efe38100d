// SPDX-License-Identifier: GPL-2.0-only
/*
 * edgebucket apply: hands a configuration to the agent, which checks it and puts it into force.
 *
 * The agent gets the content, as a memory file, rather than a name: it may see other files by that name, or none, with
 * a /tmp of its own or in a container. And what it checked is what it puts into force, and what is confirmed.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/input.h"
#include "cli/agent_client.h"
#include "cli/lockout.h"
#include "cli/options.h"
#include "config/quantity.h"
#include "config/yaml.h"
#include "ipc/control.h"

static enum cli_result parse_confirm(const struct cli *cli, const char *text, uint64_t *out_ns)
{
	const char *reason;

	if (eb_quantity_duration(text, out_ns, &reason))
		return cli_misuse(cli, "--confirm: %s %s", eb_input_quote(text).text, reason);
	if (*out_ns < EB_CONFIRM_MIN_NS || *out_ns > EB_CONFIRM_MAX_NS)
		return cli_misuse(cli, "--confirm: %s is out of range; from 1s to 24h", eb_input_quote(text).text);
	return CLI_DONE;
}

/* Returns a descriptor or negative errno. */
static int make_memory_file(const char *text, size_t size)
{
	int fd = memfd_create("edgebucket.yaml", MFD_CLOEXEC), err;

	if (fd < 0)
		return -errno;
	while (size) {
		ssize_t written = write(fd, text, size);

		if (written < 0)
			break;
		text += written;
		size -= written;
	}
	if (!size && lseek(fd, 0, SEEK_SET) == 0)
		return fd;
	err = -errno;
	close(fd);
	return err;
}

/* Before it is in force: afterwards the session might not see it. What cannot be read here the agent refuses. */
static void warn_of_lockout(const struct cli *cli, const struct session *session, const char *text, size_t size)
{
	const char *home = session->config_path ? session->config_path : EB_DEFAULT_CONFIG_PATH;
	struct eb_config *config;
	char *error = NULL;

	if (!lockout_is_remote())
		return;
	if (eb_config_parse_for(home, text, size, cli->args[0], cli->redis_path, NULL, &config, &error)) {
		free(error);
		return;
	}
	lockout_warn(config);
	eb_config_free(config);
}

/* Any file will do, also a pipe. Returns a descriptor, or -1 and has said why. */
static int load(const struct cli *cli, const struct session *session)
{
	const char *path = cli->args[0];
	size_t size;
	char *text;
	int fd, err;

	err = eb_input_read(path, EB_YAML_SIZE_MAX, NULL, &text, &size);
	if (err == -EFBIG)
		cli_fail("%s: larger than 1 MiB; put long lists of prefixes into a src_file", path);
	else if (err)
		cli_fail("%s: cannot be read: %s", path, strerror(-err));
	if (err)
		return -1;
	warn_of_lockout(cli, session, text, size);
	fd = make_memory_file(text, size);
	eb_input_free(text, size);
	if (fd >= 0)
		return fd;
	cli_fail("%s: cannot be copied: %s", path, strerror(-fd));
	return -1;
}

/* The request. The whole path, as the agent's log and `edgebucket status` show it. */
static enum cli_result make_request(const char *path, uint64_t confirm_ns, char out[EB_CONTROL_REQUEST_MAX + 1])
{
	char dir[PATH_MAX] = "";
	int size;

	if (path[0] != '/' && !getcwd(dir, sizeof(dir)))
		return cli_fail("cannot determine the current directory: %s", strerror(errno));
	size = snprintf(out, EB_CONTROL_REQUEST_MAX + 1, EB_CONTROL_APPLY "%llu %s%s%s",
			(unsigned long long)confirm_ns, dir, *dir ? "/" : "", path);
	return size <= EB_CONTROL_REQUEST_MAX ? CLI_DONE : cli_fail("%s: the path is too long", path);
}

static enum cli_result apply(const struct cli *cli, const struct session *session, uint64_t confirm_ns)
{
	char request[EB_CONTROL_REQUEST_MAX + 1];
	enum cli_result result = make_request(cli->args[0], confirm_ns, request);
	json_t *reply;
	int file;

	if (result)
		return result;
	file = load(cli, session);
	if (file < 0)
		return CLI_FAILED;
	result = agent_ask_with(session, request, file, AGENT_RELOAD_TIMEOUT_MS, &reply);
	close(file);
	return result ? result : agent_show(cli, reply, "applied");
}

enum cli_result cmd_apply(struct cli *cli, int argc, char **argv)
{
	const char *confirm = NULL;
	const struct option_spec specs[] = {
		{ "confirm", 0, OPTION_TEXT, &confirm, 0 },
	};
	struct session session;
	enum cli_result result;
	uint64_t confirm_ns = 0;

	if (options_parse(cli, argc, argv, specs, 1, 1))
		return CLI_MISUSED;
	if (!cli->arg_count)
		return cli_misuse(cli, "apply needs a file");
	if (confirm && parse_confirm(cli, confirm, &confirm_ns))
		return CLI_MISUSED;
	result = session_open(cli, 0, &session);
	if (!result)
		result = apply(cli, &session, confirm_ns);
	session_close(&session);
	return result;
}
