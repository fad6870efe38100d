/* SPDX-License-Identifier: GPL-2.0-only */
/* Error texts for callers: one malloc'ed line without a newline, which the caller frees. */
#ifndef EB_ERROR_H
#define EB_ERROR_H

#include <stdarg.h>

/* Formats a malloc'ed text into *out (NULL if out of memory) and returns `err`, for `return eb_fail(...)`. */
int eb_fail(int err, char **out, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
