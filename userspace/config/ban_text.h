/* SPDX-License-Identifier: GPL-2.0-only */
/* What people and programs write about a ban: for how long, and why. */
#ifndef EB_BAN_TEXT_H
#define EB_BAN_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/config.h"
#include "edgebucket.h"

#define EB_BAN_SPAN_MAX_NS (100ULL * 365 * 24 * 3600 * 1000000000ULL) /* of a ban that ends */

/* A duration of more than 0, or at most a hundred years. Returns 0, or -EINVAL with *reason made to follow the quoted
 * text. */
int eb_ban_parse_span(const char *text, uint64_t *out_ns, const char **reason);

/* Copies as many whole characters as fit, NUL-padded; what is not printable becomes a space. */
void eb_ban_copy_reason(const char *text, char out[EB_BAN_REASON_MAX]);

/* A line of the lists that `edgebucket` hands to the agent: "PREFIX NANOSECONDS[ REASON]"; 0 is for good. */
struct eb_ban_line {
	struct eb_prefix prefix;
	uint64_t for_ns;
	char reason[EB_BAN_REASON_MAX]; /* NUL-padded, not terminated when full */
};

#define EB_BAN_LINE_MAX 128

/* Writes a line with its newline. Returns its length. */
size_t eb_ban_print_line(const struct eb_ban_line *line, char out[EB_BAN_LINE_MAX]);

/* Parses a line without its newline, and changes it. False if it is none. */
bool eb_ban_parse_line(char *text, struct eb_ban_line *out);

#endif
