/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What main.c and the commands share.
 */
#ifndef EB_CLI_H
#define EB_CLI_H

#include <stdbool.h>

/* Also the exit codes. A command that does not return CLI_DONE has printed the reason to stderr. */
enum cli_result { CLI_DONE = 0, CLI_FAILED = 1, CLI_MISUSED = 2 };

/* One run of the program. */
struct cli {
	const char *config_path; /* NULL: the default one, which might not exist */
	const char *redis_path;  /* NULL: the section `redis` of the configuration is used */
	bool json;
	const char *command;     /* for messages */
	char **args;             /* after options_parse(): the arguments that are not options */
	int arg_count;
};

/* Write "edgebucket: text" to stderr. Return CLI_FAILED and CLI_MISUSED, for `return cli_fail(...)`. */
enum cli_result cli_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
enum cli_result cli_misuse(const struct cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Only prints where to find help. Returns CLI_MISUSED. */
enum cli_result cli_misuse_hint(const struct cli *cli);

/* As cli_fail(), for a malloc'ed message, which this function frees; NULL means "out of memory". */
enum cli_result cli_fail_text(char *message);

/* Prints a note to stderr; the command does not fail because of it. */
void cli_note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The commands. argv[0] is the program's name. */
enum cli_result cmd_status(struct cli *cli, int argc, char **argv);
enum cli_result cmd_rules(struct cli *cli, int argc, char **argv);
enum cli_result cmd_buckets(struct cli *cli, int argc, char **argv);
enum cli_result cmd_top(struct cli *cli, int argc, char **argv);
enum cli_result cmd_explain(struct cli *cli, int argc, char **argv);
enum cli_result cmd_watch(struct cli *cli, int argc, char **argv);
enum cli_result cmd_suggest(struct cli *cli, int argc, char **argv);
enum cli_result cmd_reset(struct cli *cli, int argc, char **argv);
enum cli_result cmd_restore(struct cli *cli, int argc, char **argv);
enum cli_result cmd_flush(struct cli *cli, int argc, char **argv);
enum cli_result cmd_reload(struct cli *cli, int argc, char **argv);
enum cli_result cmd_apply(struct cli *cli, int argc, char **argv);
enum cli_result cmd_confirm(struct cli *cli, int argc, char **argv);
enum cli_result cmd_rollback(struct cli *cli, int argc, char **argv);
enum cli_result cmd_attach(struct cli *cli, int argc, char **argv);
enum cli_result cmd_detach(struct cli *cli, int argc, char **argv);
enum cli_result cmd_probe(struct cli *cli, int argc, char **argv);
enum cli_result cmd_ban(struct cli *cli, int argc, char **argv);
enum cli_result cmd_unban(struct cli *cli, int argc, char **argv);
enum cli_result cmd_bans(struct cli *cli, int argc, char **argv);
enum cli_result cmd_fleet(struct cli *cli, int argc, char **argv);
enum cli_result cmd_support(struct cli *cli, int argc, char **argv);
enum cli_result cmd_check(struct cli *cli, int argc, char **argv);

#endif
