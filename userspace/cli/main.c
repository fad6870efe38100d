// SPDX-License-Identifier: GPL-2.0-only
/* The command line: one table of commands drives dispatch, usage and completion. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/libbpf.h>

#include "base/input.h"
#include "cli/cli.h"
#include "cli/options.h"
#include "cli/print.h"
#include "edgebucket.h"

static enum cli_result cmd_version(struct cli *cli, int argc, char **argv);
static enum cli_result cmd_help(struct cli *cli, int argc, char **argv);
static enum cli_result cmd_completion(struct cli *cli, int argc, char **argv);

struct command {
	const char *name;
	enum cli_result (*run)(struct cli *cli, int argc, char **argv);
	const char *args;
	const char *help; /* NULL: not shown */
};

static const struct command commands[] = {
	{ "status", cmd_status, "", "show what is enforced where, whether an agent runs, how full the tables are" },
	{ "rules", cmd_rules, "", "show the rules in force, their limits and counters" },
	{ "buckets", cmd_buckets, "[--redis] [--rule RULE] [-n|--limit N] [ADDRESS|PREFIX]",
	  "list the sources that have a bucket, by rule and address" },
	{ "top", cmd_top, "[--fleet] [--rule RULE] [-n|--limit N]", "list the sources with the most refused packets" },
	{ "explain", cmd_explain,
	  "ADDRESS [--dst ADDRESS] [--proto PROTOCOL] [--sport PORT] [--dport PORT] [--tcp-flags FLAGS] "
	  "[--icmp-type TYPE] [--length BYTES] [--fragment PART] [--vlan ID|none] [--interface NAME] "
	  "[--outer ADDRESS] [--tunnel TYPE]",
	  "explain what would happen to a packet now" },
	{ "watch", cmd_watch, "[--rule RULE] [--src PREFIX] [-n|--count N] [-w|--write FILE [--snaplen BYTES]]",
	  "print refused packets as they arrive (a sample), or write them to a capture file" },
	{ "suggest", cmd_suggest, "RULE [--level LEVEL] [--for TIME] [-n|--limit N]",
	  "measure the sources of a rule and suggest limits for it" },
	{ "reset", cmd_reset, "ADDRESS|PREFIX|--all [--rule RULE]", "refill the buckets of sources" },
	{ "ban", cmd_ban, "[PREFIX] [--for TIME] [--reason TEXT] [--from FILE]",
	  "drop all packets of a source, or of a list of them, for a time or until unban" },
	{ "unban", cmd_unban, "[PREFIX] [--all] [--from FILE]", "lift the bans of a source and within it" },
	{ "bans", cmd_bans, "[PREFIX]", "who is banned, until when and why" },
	{ "fleet", cmd_fleet, "", "show the nodes with which this one shares the budgets of sources" },
	{ "restore", cmd_restore, "--dry-run [-n|--limit N]", "show what a restore would bring back now" },
	{ "flush", cmd_flush, "", "make the agent write all buckets to its store now" },
	{ "reload", cmd_reload, "", "make the agent read its configuration again" },
	{ "apply", cmd_apply, "[--confirm TIME] FILE", "put a configuration into force, permanently or on trial" },
	{ "confirm", cmd_confirm, "", "keep the configuration on trial" },
	{ "rollback", cmd_rollback, "", "roll back the configuration on trial" },
	{ "detach", cmd_detach, "[--stay] [--maps]",
	  "detach the program from every interface; --stay: over restarts too; --maps: remove the maps" },
	{ "attach", cmd_attach, "", "make the agent attach the program again after a detach" },
	{ "probe", cmd_probe, "[healthz|readyz]", "check that the agent enforces on every interface, or has restored" },
	{ "check", cmd_check, "FILE", "check a configuration file" },
	{ "support", cmd_support, "[-o|--output FILE]", "write a bundle for a bug report, without passwords" },
	{ "version", cmd_version, "", "print the version of this program" },
	{ "help", cmd_help, "[COMMAND]", "print this text, or the usage of one command" },
	{ "completion", cmd_completion, "", NULL },
};

#define COMMAND_COUNT (sizeof(commands) / sizeof(commands[0]))

/* Further apart than this, a word is no slip of the finger for another. */
#define SUGGEST_DISTANCE 3

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < COMMAND_COUNT; i++)
		if (!strcmp(commands[i].name, name))
			return &commands[i];
	return NULL;
}

static const char *nearest_command(const char *name)
{
	unsigned int least = SUGGEST_DISTANCE;
	const char *nearest = NULL;

	for (size_t i = 0; i < COMMAND_COUNT; i++) {
		unsigned int distance = eb_input_distance(name, commands[i].name);

		if (!commands[i].help || distance >= least || distance >= strlen(name))
			continue;
		least = distance;
		nearest = commands[i].name;
	}
	return nearest;
}

static enum cli_result unknown_command(const struct cli *cli, const char *name)
{
	const char *nearest = nearest_command(name);

	if (nearest)
		return cli_misuse(cli, "%s is not a command; did you mean \"%s\"?", eb_input_quote(name).text, nearest);
	return cli_misuse(cli, "%s is not a command", eb_input_quote(name).text);
}

static void print_usage(FILE *out)
{
	fprintf(out, "Usage: edgebucket [-c FILE] [--redis-config FILE] [--json] COMMAND [ARGUMENTS]\n\nCommands:\n");
	for (size_t i = 0; i < COMMAND_COUNT; i++)
		if (commands[i].help)
			fprintf(out, "  %-9s %s\n", commands[i].name, commands[i].help);
	fprintf(out,
		"\nOptions:\n"
		"  -c, --config FILE        configuration of the agent (default /etc/edgebucket/edgebucket.yaml)\n"
		"      --redis-config FILE  the redis section, if the agent reads it from a separate file\n"
		"      --json               print JSON instead of text; watch prints one document per line\n"
		"  -h, --help               print this text; after a command, its usage\n"
		"  -V, --version            print the version\n"
		"\nExit codes: 0 done, 1 failed, 2 misused. See edgebucket(8).\n");
}

static void print_command_usage(const struct command *command)
{
	printf("Usage: edgebucket [-c FILE] [--json] %s%s%s\n\n%c%s.\n", command->name, *command->args ? " " : "",
	       command->args, command->help ? command->help[0] - 'a' + 'A' : ' ',
	       command->help ? command->help + 1 : "");
}

static enum cli_result cmd_version(struct cli *cli, int argc, char **argv)
{
	if (options_parse(cli, argc, argv, NULL, 0, 0))
		return CLI_MISUSED;
	if (cli->json)
		return print_json(json_pack("{s:s, s:i, s:s}", "version", EB_VERSION, "schema", EB_SCHEMA, "libbpf",
					    libbpf_version_string()));
	printf("edgebucket %s\nmap schema %d, libbpf %s\n", EB_VERSION, EB_SCHEMA, libbpf_version_string());
	return CLI_DONE;
}

static enum cli_result cmd_help(struct cli *cli, int argc, char **argv)
{
	const struct command *command;

	if (options_parse(cli, argc, argv, NULL, 0, 1))
		return CLI_MISUSED;
	if (!cli->arg_count) {
		print_usage(stdout);
		return CLI_DONE;
	}
	command = find_command(cli->args[0]);
	if (!command)
		return unknown_command(cli, cli->args[0]);
	print_command_usage(command);
	return CLI_DONE;
}

/* For the shell: a command a line, with its options; "=" behind those that take a value. */
static enum cli_result cmd_completion(struct cli *cli, int argc, char **argv)
{
	if (options_parse(cli, argc, argv, NULL, 0, 0))
		return CLI_MISUSED;
	for (size_t i = 0; i < COMMAND_COUNT; i++) {
		if (!commands[i].help)
			continue;
		fputs(commands[i].name, stdout);
		for (const char *option = strstr(commands[i].args, "--"); option; option = strstr(option + 2, "--")) {
			int len = 2 + strspn(option + 2, "abcdefghijklmnopqrstuvwxyz-");
			bool has_value = option[len] == ' ' && option[len + 1] >= 'A' && option[len + 1] <= 'Z';

			printf(" %.*s%s", len, option, has_value ? "=" : "");
		}
		putchar('\n');
	}
	return CLI_DONE;
}

/* The options before the command. Returns its place in argv; 0 when all is done; *result is set
 * when that was not well. */
static int parse_global(struct cli *cli, int argc, char **argv, enum cli_result *result)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "redis-config", required_argument, NULL, 'r' },
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ 0 },
	};
	int option;

	while ((option = getopt_long(argc, argv, "+c:hV", options, NULL)) != -1) {
		switch (option) {
		case 'c':
			cli->config_path = optarg;
			break;
		case 'r':
			cli->redis_path = optarg;
			break;
		case 'j':
			cli->json = true;
			break;
		case 'h':
			print_usage(stdout);
			return 0;
		case 'V':
			printf("edgebucket %s\n", EB_VERSION);
			return 0;
		default:
			*result = cli_misuse_hint(cli);
			return 0;
		}
	}
	if (optind < argc)
		return optind;
	print_usage(stderr);
	*result = CLI_MISUSED;
	return 0;
}

static bool asks_for_help(int argc, char **argv)
{
	for (int i = 0; i < argc && strcmp(argv[i], "--"); i++)
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
			return true;
	return false;
}

static enum cli_result dispatch(struct cli *cli, int argc, char **argv, char *program)
{
	const struct command *command = find_command(argv[0]);

	if (!command)
		return unknown_command(cli, argv[0]);
	cli->command = command->name;
	if (asks_for_help(argc, argv)) {
		print_command_usage(command);
		return CLI_DONE;
	}
	argv[0] = program; /* getopt_long() begins its messages with it */
	return command->run(cli, argc, argv);
}

/* Output that did not get where it should is a failure too: a full disk, say. EPIPE can only come up where SIGPIPE is
 * ignored, and then is none. */
static enum cli_result finish(enum cli_result result)
{
	bool failed = ferror(stdout);

	errno = 0;
	failed |= fflush(stdout) && errno != EPIPE;
	if (failed && !result)
		return cli_fail("standard output: %s", errno ? strerror(errno) : "not all was written");
	return result;
}

static int print_libbpf(enum libbpf_print_level level, const char *format, va_list args)
{
	(void)level;
	(void)format;
	(void)args;
	return 0;
}

int main(int argc, char **argv)
{
	static char program[] = "edgebucket";
	enum cli_result result = CLI_DONE;
	struct cli cli = { 0 };
	int first;

	libbpf_set_print(print_libbpf); /* errors come back as codes, and are told once */
	first = parse_global(&cli, argc, argv, &result);
	if (first)
		result = dispatch(&cli, argc - first, argv + first, program);
	return finish(result);
}
