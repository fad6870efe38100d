/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What main.c and the commands know of each other.
 */
#ifndef EB_CLI_H
#define EB_CLI_H

#include <stdbool.h>

/* Also the exit codes. A command that does not return CLI_DONE has said why on stderr. */
enum cli_result { CLI_DONE = 0, CLI_FAILED = 1, CLI_MISUSED = 2 };

/* One run of the program. */
struct cli {
	const char *config_path; /* NULL: the default one, which may be missing */
	const char *redis_path;  /* NULL: the configuration's own section `redis` */
	bool json;
	const char *command;     /* for messages */
	char **args;             /* what is left after options_parse(): arguments that are no options */
	int arg_count;
};

/* Writes "edgebucket: text" to stderr. Return CLI_FAILED and CLI_MISUSED, for `return cli_fail(...)`. */
enum cli_result cli_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
enum cli_result cli_misuse(const struct cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Only says where help is. Returns CLI_MISUSED. */
enum cli_result cli_misuse_hint(const struct cli *cli);

/* As cli_fail(), for a message that a module malloc'ed, which this frees; NULL stands for "out of memory". */
enum cli_result cli_fail_text(char *message);

/* Text that is worth knowing but fails nothing. */
void cli_note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The commands. argv[0] is the program's name. */
enum cli_result cmd_status(struct cli *cli, int argc, char **argv);
enum cli_result cmd_rules(struct cli *cli, int argc, char **argv);
enum cli_result cmd_buckets(struct cli *cli, int argc, char **argv);
enum cli_result cmd_top(struct cli *cli, int argc, char **argv);
enum cli_result cmd_explain(struct cli *cli, int argc, char **argv);
enum cli_result cmd_watch(struct cli *cli, int argc, char **argv);
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
enum cli_result cmd_support(struct cli *cli, int argc, char **argv);
enum cli_result cmd_check(struct cli *cli, int argc, char **argv);

#endif
