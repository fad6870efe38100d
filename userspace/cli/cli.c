// SPDX-License-Identifier: GPL-2.0-only
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"

__attribute__((format(printf, 1, 0))) static void say(const char *format, va_list args)
{
	/* What was printed so far comes first, also where both go to one file. */
	fflush(stdout);
	fputs("edgebucket: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
}

enum cli_result cli_fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(format, args);
	va_end(args);
	return CLI_FAILED;
}

enum cli_result cli_misuse_hint(const struct cli *cli)
{
	fprintf(stderr, "See \"edgebucket %s%s--help\".\n", cli->command ? cli->command : "", cli->command ? " " : "");
	return CLI_MISUSED;
}

enum cli_result cli_misuse(const struct cli *cli, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(format, args);
	va_end(args);
	return cli_misuse_hint(cli);
}

enum cli_result cli_fail_text(char *message)
{
	cli_fail("%s", message ? message : "out of memory");
	free(message);
	return CLI_FAILED;
}

void cli_note(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(format, args);
	va_end(args);
}
