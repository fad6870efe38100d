// SPDX-License-Identifier: GPL-2.0-only
/*
 * edgebucket support: one file with what a bug report needs. Whatever cannot be had is noted in it and fails nothing:
 * it is wanted most when things are broken.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/input.h"
#include "base/printable.h"
#include "cli/agent_client.h"
#include "cli/options.h"
#include "config/config_redis.h"
#include "config/password.h"
#include "config/yaml.h"
#include "ipc/lock.h"
#include "support/archive.h"
#include "support/capture.h"
#include "support/facts.h"
#include "support/fetch_metrics.h"
#include "support/redact.h"

#define COMMAND_TIMEOUT_MS 30000
#define SCRAPE_TIMEOUT_MS 5000
#define ENVIRONMENT_MAX (1024 * 1024)

struct entry {
	char name[48];
	char *text;
	size_t size;
};

/* Collected whole before anything is written: a password may turn up in one file, and be known from a later one. */
struct bundle {
	const struct cli *cli;
	const char *config_path; /* of the configuration that is shown */
	struct session session;
	struct eb_config *config; /* NULL when there is none that can be used */
	pid_t agent;              /* 0 while none runs */
	struct redact_secrets secrets;
	struct entry *entries;
	size_t count;
	int error; /* -ENOMEM */
};

/* ---- entries ---- */

/* Takes over `text`, malloc'ed. */
static void add(struct bundle *bundle, const char *name, char *text, size_t size)
{
	struct entry *entries = text ? reallocarray(bundle->entries, bundle->count + 1, sizeof(*entries)) : NULL;

	if (!entries) {
		bundle->error = -ENOMEM;
		free(text);
		return;
	}
	bundle->entries = entries;
	entries[bundle->count] = (struct entry){ .text = text, .size = size };
	snprintf(entries[bundle->count++].name, sizeof(entries->name), "%s", name);
}

__attribute__((format(printf, 3, 4))) static void add_note(struct bundle *bundle, const char *name,
							    const char *format, ...)
{
	char *text = NULL;
	va_list args;
	int size;

	va_start(args, format);
	size = vasprintf(&text, format, args);
	va_end(args);
	add(bundle, name, size < 0 ? NULL : text, size < 0 ? 0 : size);
}

/* Takes over `facts`; NULL is for what is no UTF-8 and cannot be in JSON. */
static void add_facts(struct bundle *bundle, const char *name, json_t *facts)
{
	char *text = facts ? json_dumps(facts, JSON_INDENT(2)) : NULL;

	add_note(bundle, name, "%s\n", text ? text : "{\"error\": \"not UTF-8\"}");
	free(text);
	json_decref(facts);
}

/* ---- what this program says ---- */

static void note_failure(struct bundle *bundle, const char *name, const struct capture *capture)
{
	char errors[64];

	if (capture->status == 0 && !capture->err_size)
		return;
	snprintf(errors, sizeof(errors), "%s.stderr", name);
	if (WIFSIGNALED(capture->status))
		add_note(bundle, errors, "%sended by signal %d (%s)\n", capture->err, WTERMSIG(capture->status),
			 strsignal(WTERMSIG(capture->status)));
	else
		add_note(bundle, errors, "%sexit code %d\n", capture->err, WEXITSTATUS(capture->status));
}

static void add_command(struct bundle *bundle, const char *name, const char *command, const char *argument, bool json)
{
	const char *argv[8] = { NULL };
	struct capture capture;
	size_t count = 0;
	int err;

	if (bundle->cli->config_path) {
		argv[count++] = "-c";
		argv[count++] = bundle->cli->config_path;
	}
	if (bundle->cli->redis_path) {
		argv[count++] = "--redis-config";
		argv[count++] = bundle->cli->redis_path;
	}
	if (json)
		argv[count++] = "--json";
	argv[count++] = command;
	argv[count] = argument;
	err = capture_run(argv, COMMAND_TIMEOUT_MS, &capture);
	if (err) {
		add_note(bundle, name, "edgebucket %s: %s\n", command, strerror(-err));
	} else {
		note_failure(bundle, name, &capture);
		add(bundle, name, capture.out, capture.out_size);
		capture.out = NULL;
	}
	capture_done(&capture);
}

/* ---- configuration and what is secret in it ---- */

static void add_config(struct bundle *bundle, const char *name, const char *path, bool is_redis)
{
	size_t size;
	char *text, *redacted;
	int err = eb_input_read(path, EB_YAML_SIZE_MAX, NULL, &text, &size);

	if (err) {
		add_note(bundle, name, "%s: %s\n", path, strerror(-err));
		return;
	}
	redacted = redact_config(text, size, is_redis, &bundle->secrets);
	add(bundle, name, redacted, redacted ? strlen(redacted) : 0);
	eb_input_free(text, size);
}

static void learn_password(struct bundle *bundle, const char *text, const char *file)
{
	char *password, *error = NULL;

	if (text)
		redact_add(&bundle->secrets, text);
	if (file && eb_password_read(file, NULL, &password, &error) == 0) {
		redact_add(&bundle->secrets, password);
		eb_password_free(password);
	}
	free(error);
}

/* Passwords that stand in no file that is shown: those of password_file and of the environment, here as the readers
 * of the configuration have them. */
static void learn_from_config(struct bundle *bundle)
{
	const struct eb_redis_config *redis = bundle->config ? bundle->config->redis : NULL;

	if (redis) {
		learn_password(bundle, redis->password, redis->password_file);
		learn_password(bundle, redis->sentinel_password, redis->sentinel_password_file);
	}
	if (eb_input_env("REDIS_PASSWORD"))
		redact_add(&bundle->secrets, getenv("REDIS_PASSWORD"));
}

static void learn_from_agent(struct bundle *bundle)
{
	char path[64], *text;
	size_t size;

	snprintf(path, sizeof(path), "/proc/%d/environ", (int)bundle->agent);
	if (!bundle->agent || eb_input_read(path, ENVIRONMENT_MAX, NULL, &text, &size))
		return;
	for (const char *item = text; item < text + size; item += strlen(item) + 1)
		if (strncmp(item, "REDIS_PASSWORD=", 15) == 0)
			redact_add(&bundle->secrets, item + 15);
	eb_input_free(text, size);
}

/* ---- the rest ---- */

static void add_metrics(struct bundle *bundle)
{
	const char *address = bundle->config ? bundle->config->metrics : NULL;
	size_t size;
	char *text;
	int err;

	if (!address) {
		add_note(bundle, "metrics.txt", "%s\n", bundle->config ? "metrics: off"
								       : "not fetched without a good configuration");
		return;
	}
	err = fetch_metrics(address, SCRAPE_TIMEOUT_MS, &text, &size);
	if (err)
		add_note(bundle, "metrics.txt", "%s: %s\n", address, strerror(-err));
	else
		add(bundle, "metrics.txt", text, size);
}

static void add_interfaces(struct bundle *bundle)
{
	struct interface_list list;
	int err = interfaces_list(&bundle->session, bundle->config, NULL, &list);

	if (err) {
		add_note(bundle, "interfaces.json", "{\"error\": \"%s\"}\n", strerror(-err));
	} else {
		add_facts(bundle, "interfaces.json", facts_interfaces(&list));
		add_facts(bundle, "programs.json", facts_programs(&list));
	}
	interfaces_done(&list);
}

static void add_agent(struct bundle *bundle)
{
	json_t *reply;

	if (!bundle->agent) {
		add_facts(bundle, "agent.json", json_pack("{s:s}", "error", "no agent is running"));
		return;
	}
	add_facts(bundle, "agent.json", facts_process(bundle->agent));
	if (agent_ask(&bundle->session, "status", AGENT_TIMEOUT_MS, &reply) == CLI_DONE)
		add_facts(bundle, "agent-status.json", reply);
	else
		add_facts(bundle, "agent-status.json", json_pack("{s:s}", "error", "the agent did not answer"));
}

/* In any state of things: with the places of the configuration, or those of the defaults. */
static void open_session(struct bundle *bundle)
{
	struct cli without_config = { 0 };
	struct eb_lock_holder holder;
	char *error = NULL;

	if (session_open(bundle->cli, 0, &bundle->session)) {
		session_close(&bundle->session);
		(void)session_open(&without_config, 0, &bundle->session);
	}
	(void)session_open_maps(&bundle->session, SESSION_BUCKETS | SESSION_OPTIONAL);
	bundle->agent = eb_lock_find_holder(bundle->session.paths.run_dir, &holder) ? 0 : holder.pid;
	(void)eb_config_read(bundle->config_path, bundle->cli->redis_path, &bundle->config, &error);
	free(error);
}

static void collect(struct bundle *bundle)
{
	learn_from_config(bundle);
	learn_from_agent(bundle);
	add_config(bundle, "configuration.yaml", bundle->config_path, false);
	if (bundle->cli->redis_path)
		add_config(bundle, "redis-config.yaml", bundle->cli->redis_path, true);
	add_command(bundle, "check.txt", "check", bundle->config_path, false);
	add_command(bundle, "version.json", "version", NULL, true);
	add_command(bundle, "status.json", "status", NULL, true);
	add_command(bundle, "status.txt", "status", NULL, false);
	add_command(bundle, "rules.json", "rules", NULL, true);
	add_facts(bundle, "buckets.json", bundle->session.buckets ? facts_buckets(&bundle->session)
								  : json_pack("{s:s}", "error", "there are no maps"));
	add_facts(bundle, "maps.json", facts_maps(bundle->session.paths.pin_dir));
	add_interfaces(bundle);
	add_facts(bundle, "system.json", facts_system());
	add_agent(bundle);
	add_metrics(bundle);
}

static const char readme[] =
	"This bundle describes edgebucket on this machine. Read it before you send it.\n"
	"\n"
	"configuration.yaml  " "the configuration without comments; " REDACT_MARK " replaces passwords and, in the\n"
	"                    " "redis section, user names and all values that are not known to be harmless;\n"
	"                    " "the same applies to redis-config.yaml\n"
	"check.txt           " "output of edgebucket check for this configuration\n"
	"status, rules       " "output of these commands\n"
	"buckets.json        " "the number of sources with a bucket, by rule; no addresses\n"
	"maps.json           " "the pinned maps\n"
	"programs.json       " "the XDP programs on the interfaces, ours and others\n"
	"interfaces.json     " "drivers, queues, features\n"
	"system.json         " "kernel, distribution, libraries, limits\n"
	"agent.json          " "capabilities, limits and memory of edgebucketd; names of its environment variables\n"
	"                    " "without their values\n"
	"agent-status.json   " "the agent's answer to edgebucket status\n"
	"metrics.txt         " "the agent's answer to a scrape of its metrics, with the HTTP header\n"
	"*.stderr            " "standard error and exit code of a command\n"
	"\n"
	"The bundle contains the addresses in the configuration, but no address of a source that sent packets.\n"
	"Passwords of four or more characters were also removed from all other files.\n";

/* ---- writing ---- */

/* Whether the archive is whole. */
static int write_entries(const struct bundle *bundle, int fd, const char *folder)
{
	struct archive *archive = archive_open(fd, folder, time(NULL));
	int err = 0, closed;

	if (!archive)
		return -ENOMEM;
	archive_add(archive, "README", readme, sizeof(readme) - 1);
	for (size_t i = 0; i < bundle->count && !err; i++) {
		const struct entry *entry = &bundle->entries[i];
		size_t size;
		char *text = redact_text(&bundle->secrets, entry->text, entry->size, &size);

		if (text)
			archive_add(archive, entry->name, text, size);
		else
			err = -ENOMEM;
		free(text);
	}
	closed = archive_close(archive);
	return err ? err : closed;
}

/* New, and for its owner alone. */
static int write_file(const struct bundle *bundle, const char *path, const char *folder)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600), err;

	if (fd < 0)
		return -errno;
	err = write_entries(bundle, fd, folder);
	if (close(fd) && !err)
		err = -errno;
	if (err)
		(void)unlink(path);
	return err;
}

static enum cli_result write_bundle(const struct bundle *bundle, const char *output)
{
	char folder[96], path[128], stamp[32];
	time_t now = time(NULL);
	struct tm tm;
	int err;

	strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%SZ", gmtime_r(&now, &tm));
	snprintf(folder, sizeof(folder), "edgebucket-support-%s", stamp);
	snprintf(path, sizeof(path), "%s.tar.gz", folder);
	if (output && strcmp(output, "-") == 0) {
		err = isatty(STDOUT_FILENO) ? -ENOTTY : write_entries(bundle, STDOUT_FILENO, folder);
		return err ? cli_fail("standard output: %s", err == -ENOTTY ? "is a terminal; redirect it to a file"
									    : strerror(-err)) : CLI_DONE;
	}
	if (!output)
		output = path;
	err = write_file(bundle, output, folder);
	if (err)
		return cli_fail("%s: %s", output, strerror(-err));
	if (bundle->cli->json)
		return print_json(json_pack("{s:o, s:I}", "file", eb_printable_json(output), "files",
					    (json_int_t)bundle->count + 1));
	printf("%s: %zu files, passwords removed; read them before you send it\n", output, bundle->count + 1);
	return CLI_DONE;
}

static void free_bundle(struct bundle *bundle)
{
	for (size_t i = 0; i < bundle->count; i++)
		free(bundle->entries[i].text);
	free(bundle->entries);
	redact_done(&bundle->secrets);
	eb_config_free(bundle->config);
	session_close(&bundle->session);
}

enum cli_result cmd_support(struct cli *cli, int argc, char **argv)
{
	const char *output = NULL;
	const struct option_spec specs[] = {
		{ "output", 'o', OPTION_TEXT, &output, 0 },
	};
	struct bundle bundle = { .cli = cli };
	enum cli_result result;

	if (options_parse(cli, argc, argv, specs, 1, 0))
		return CLI_MISUSED;
	bundle.config_path = cli->config_path ? cli->config_path : EB_DEFAULT_CONFIG_PATH;
	open_session(&bundle);
	collect(&bundle);
	if (bundle.error || bundle.secrets.error)
		result = cli_fail("out of memory");
	else
		result = write_bundle(&bundle, output);
	free_bundle(&bundle);
	return result;
}
