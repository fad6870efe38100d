/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One event as one line: logfmt (name=value …, quoted by the rules of JSON where needed) or one JSON object. Pure;
 * log.c is its only user.
 */
#ifndef EB_LOG_LINE_H
#define EB_LOG_LINE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* With its newline. A pipe takes a write of this size whole or not at all, so lines of several writers never mix. */
#define EB_LOG_LINE_MAX PIPE_BUF

/* What ends a value that was cut. */
#define EB_LOG_CUT_MARK "\xe2\x80\xa6"

enum eb_log_format { EB_LOG_LOGFMT, EB_LOG_JSON };

/* A text, any bytes, left out when NULL; or a number. A list of fields ends with one whose name is NULL. */
struct eb_log_field {
	const char *name;
	const char *text;
	int64_t number;
	bool is_number;
};

static inline struct eb_log_field eb_str(const char *name, const char *text)
{
	return (struct eb_log_field){ .name = name, .text = text };
}

static inline struct eb_log_field eb_num(const char *name, uint64_t number)
{
	return (struct eb_log_field){ .name = name, .number = (int64_t)number, .is_number = true };
}

/* The field "error" of a negative errno. */
static inline struct eb_log_field eb_err(int err)
{
	return eb_str("error", strerror(-err));
}

/* Writes the line, with its newline and without a NUL, and returns its length: 0 when memory is short. The longest
 * texts are cut until the line fits. Bytes that are not UTF-8, or that a terminal may obey, become \xNN. */
size_t eb_log_line(enum eb_log_format format, const struct eb_log_field *fields, char out[EB_LOG_LINE_MAX]);

#endif
