/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What reading a configuration has to say: the first error, and any number of warnings.
 *
 * Owned by config.c for the length of one reading; every module that takes part in it reports here.
 */
#ifndef EB_FINDINGS_H
#define EB_FINDINGS_H

#include <stdarg.h>
#include <stddef.h>

struct eb_inputs;

struct eb_findings {
	struct eb_inputs *inputs; /* what files are read through in this reading, see inputs.h; NULL for just reading */
	char *error; /* NULL so far, or when memory ran out */
	char **warnings;
	size_t warning_count;
};

/* Keeps the message unless there is one already. Returns -EINVAL, for `return eb_findings_fail(...)`. */
int eb_findings_fail(struct eb_findings *findings, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Takes over `message`, malloc'ed; NULL stands for "out of memory". Returns -EINVAL or -ENOMEM. */
int eb_findings_fail_text(struct eb_findings *findings, char *message);

/* Returns 0, or -ENOMEM. */
int eb_findings_warn(struct eb_findings *findings, const char *format, ...) __attribute__((format(printf, 2, 3)));
int eb_findings_warn_text(struct eb_findings *findings, char *message);

/* Frees what nobody took out of it. */
void eb_findings_done(struct eb_findings *findings);

#endif
