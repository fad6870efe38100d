/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The findings of reading a configuration: the first error, and any number of warnings.
 *
 * config.c owns them while it reads one configuration. Every module that takes part reports to them.
 */
#ifndef EB_FINDINGS_H
#define EB_FINDINGS_H

#include <stdarg.h>
#include <stddef.h>

struct eb_inputs;

struct eb_findings {
	struct eb_inputs *inputs; /* remembers the files that are read, see inputs.h; NULL: they are not remembered */
	char *error; /* malloc'ed; NULL if there is none yet, or if out of memory */
	char **warnings;
	size_t warning_count;
};

/* Stores the error, unless there is one already. Returns -EINVAL, for `return eb_findings_fail(...)`. */
int eb_findings_fail(struct eb_findings *findings, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The same for a malloc'ed message, which the function takes over; NULL means "out of memory". Returns -EINVAL or
 * -ENOMEM. */
int eb_findings_fail_text(struct eb_findings *findings, char *message);

/* Add a warning. eb_findings_warn_text() takes over a malloc'ed message. Return 0 or -ENOMEM. */
int eb_findings_warn(struct eb_findings *findings, const char *format, ...) __attribute__((format(printf, 2, 3)));
int eb_findings_warn_text(struct eb_findings *findings, char *message);

/* Frees error and warnings, unless the caller took them out. */
void eb_findings_done(struct eb_findings *findings);

#endif
