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

/* Bytes, including the newline. A pipe accepts a write of this size completely or not at all, so the lines of several
 * writers never mix. */
#define EB_LOG_LINE_MAX PIPE_BUF

/* Marks the end of a value that was cut. */
#define EB_LOG_CUT_MARK "\xe2\x80\xa6"

enum eb_log_format { EB_LOG_LOGFMT, EB_LOG_JSON };

/* A text of any bytes (a NULL text omits the field), or a number. A list of fields ends with one whose name is NULL. */
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

/* Writes the line, with a newline and without a NUL. Returns its length, or 0 if out of memory. Cuts the longest texts
 * until the line fits. Bytes that are not UTF-8, and control characters that a terminal could obey, become \xNN. */
size_t eb_log_line(enum eb_log_format format, const struct eb_log_field *fields, char out[EB_LOG_LINE_MAX]);

#endif
