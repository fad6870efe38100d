/* SPDX-License-Identifier: GPL-2.0-only */
/* The command line of edgebucketd. Only main.c calls it. */
#ifndef EB_AGENT_OPTIONS_H
#define EB_AGENT_OPTIONS_H

#include <stdbool.h>

struct eb_options {
	const char *config_path; /* of `argv`, or the default */
	const char *redis_path;  /* of `argv`, or NULL for none */
	bool check;
	bool monitor;
};

/* Parses the options, and sets level and format of the log. Returns -1 if the agent should run; or prints the version,
 * the help or an error, and returns the exit code. */
int eb_options_parse(int argc, char **argv, struct eb_options *out);

#endif
