// SPDX-License-Identifier: GPL-2.0-only
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "base/input.h"
#include "cli/options.h"
#include "config/quantity.h"

/* Options of every command. */
#define OPTIONS_COMMON 3

/* What getopt_long() returns for an option without a letter: this plus its place in the table. */
#define LONG_ONLY 256

/* The tables that getopt_long() wants. */
struct getopt_tables {
	char letters[2 * (OPTIONS_MAX + OPTIONS_COMMON) + 2];
	struct option names[OPTIONS_MAX + OPTIONS_COMMON + 1];
};

static void add_option(struct getopt_tables *tables, size_t index, const struct option_spec *spec)
{
	bool has_value = spec->type != OPTION_FLAG;
	size_t used = strlen(tables->letters);

	tables->names[index] = (struct option){
		.name = spec->name,
		.has_arg = has_value ? required_argument : no_argument,
		.val = LONG_ONLY + index,
	};
	if (!spec->letter)
		return;
	tables->letters[used++] = spec->letter;
	if (has_value)
		tables->letters[used++] = ':';
}

static enum cli_result set_number(const struct cli *cli, const struct option_spec *spec, const char *text)
{
	uint64_t number;

	if (eb_quantity_integer(text, &number))
		return cli_misuse(cli, "--%s: %s is not a number", spec->name, eb_input_quote(text).text);
	if (number > (uint64_t)spec->max)
		return cli_misuse(cli, "--%s: %s is more than %lld", spec->name, eb_input_quote(text).text,
				  (long long)spec->max);
	*(int64_t *)spec->value = number;
	return CLI_DONE;
}

static enum cli_result set_value(const struct cli *cli, const struct option_spec *spec, const char *text)
{
	switch (spec->type) {
	case OPTION_FLAG:
		*(bool *)spec->value = true;
		return CLI_DONE;
	case OPTION_TEXT:
		*(const char **)spec->value = text;
		return CLI_DONE;
	default:
		return set_number(cli, spec, text);
	}
}

/* The option that getopt_long() found, or NULL. */
static const struct option_spec *find_option(const struct option_spec *specs, size_t count, int found)
{
	for (size_t i = 0; i < count; i++)
		if (found == LONG_ONLY + (int)i || (specs[i].letter && found == specs[i].letter))
			return &specs[i];
	return NULL;
}

static enum cli_result parse(struct cli *cli, int argc, char **argv, const struct option_spec *specs, size_t count)
{
	struct getopt_tables tables = {};
	int found;

	for (size_t i = 0; i < count; i++)
		add_option(&tables, i, &specs[i]);
	optind = 0; /* start anew, see getopt_long(3) */
	while ((found = getopt_long(argc, argv, tables.letters, tables.names, NULL)) != -1) {
		const struct option_spec *spec = find_option(specs, count, found);
		enum cli_result result;

		if (!spec)
			return cli_misuse_hint(cli); /* getopt_long() has said what is wrong */
		result = set_value(cli, spec, optarg);
		if (result)
			return result;
	}
	return CLI_DONE;
}

enum cli_result options_parse(struct cli *cli, int argc, char **argv, const struct option_spec *specs, size_t count,
			      int arg_max)
{
	struct option_spec all[OPTIONS_MAX + OPTIONS_COMMON] = {
		{ "json", 0, OPTION_FLAG, &cli->json, 0 },
		{ "config", 'c', OPTION_TEXT, &cli->config_path, 0 },
		{ "redis-config", 0, OPTION_TEXT, &cli->redis_path, 0 },
	};
	enum cli_result result;

	if (count > OPTIONS_MAX)
		count = OPTIONS_MAX;
	if (count)
		memcpy(all + OPTIONS_COMMON, specs, count * sizeof(*specs));
	result = parse(cli, argc, argv, all, count + OPTIONS_COMMON);
	if (result)
		return result;
	cli->args = argv + optind;
	cli->arg_count = argc - optind;
	if (cli->arg_count > arg_max)
		return cli_misuse(cli, "%s: one argument too many", eb_input_quote(cli->args[arg_max]).text);
	return CLI_DONE;
}
