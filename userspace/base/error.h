/* SPDX-License-Identifier: GPL-2.0-only */
/* Error texts for callers: one malloc'ed line. */
#ifndef EB_ERROR_H
#define EB_ERROR_H

#include <stdarg.h>

/* Puts a malloc'ed text into *out (NULL when memory is short) and returns `err`, so that a failing function can end
 * with it. */
int eb_fail(int err, char **out, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
