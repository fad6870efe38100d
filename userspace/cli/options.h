/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Options of one command: a table of names and where their values go.
 */
#ifndef EB_OPTIONS_H
#define EB_OPTIONS_H

#include <stddef.h>
#include <stdint.h>

#include "cli/cli.h"

enum option_type {
	OPTION_FLAG,   /* bool */
	OPTION_TEXT,   /* const char *, which points into argv */
	OPTION_NUMBER, /* int64_t, from 0 to max */
};

struct option_spec {
	const char *name; /* without dashes */
	char letter;      /* 0 for none */
	enum option_type type;
	void *value;      /* unchanged if the option is not given */
	int64_t max;
};

#define OPTIONS_MAX 12

/*
 * Parses the options of a command and those of all commands (--json, --config, --redis-config), in any order with the
 * arguments. There can be at most `arg_max` arguments; they are stored in cli->args. argv[0] is the name of the
 * program, for messages. Returns CLI_DONE or CLI_MISUSED.
 */
enum cli_result options_parse(struct cli *cli, int argc, char **argv, const struct option_spec *specs, size_t count,
			      int arg_max);

#endif
