/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Log lines to stderr: one per event, "level text". Under systemd (JOURNAL_STREAM is set) each line begins with the
 * priority that sd-daemon(3) defines, so that the journal knows its level.
 */
#ifndef EB_LOG_H
#define EB_LOG_H

#include <stdarg.h>

enum eb_log_level { EB_LOG_ERROR, EB_LOG_WARNING, EB_LOG_INFO, EB_LOG_DEBUG };

/* Lines above this level are dropped; EB_LOG_INFO at start. */
void eb_log_set_level(enum eb_log_level level);

/* Returns 0 and the level of a name ("error", "warning", "info", "debug"), or -EINVAL. */
int eb_log_parse_level(const char *name, enum eb_log_level *out);

void eb_log(enum eb_log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));
void eb_log_va(enum eb_log_level level, const char *format, va_list args) __attribute__((format(printf, 2, 0)));

#define eb_error(...) eb_log(EB_LOG_ERROR, __VA_ARGS__)
#define eb_warning(...) eb_log(EB_LOG_WARNING, __VA_ARGS__)
#define eb_info(...) eb_log(EB_LOG_INFO, __VA_ARGS__)
#define eb_debug(...) eb_log(EB_LOG_DEBUG, __VA_ARGS__)

#endif
