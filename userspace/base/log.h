/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The log: one line per event on standard error. A slow reader never blocks the agent, and the rate of lines is
 * limited.
 *
 *	eb_warning("the table is full", eb_num("packets", n), eb_str("hint", "raise table_size"));
 *
 * The message is a constant that says what happened. The fields (eb_str(), eb_num(), eb_err()) say to which object. The
 * field "hint" says what the operator can do, unless the message or the error already does. EB_LOG_ERROR: the operator
 * must act. EB_LOG_WARNING: something works less well than it should. EB_LOG_INFO: something changed. EB_LOG_DEBUG: all
 * other events.
 *
 * Each place that logs has its own limit of lines, see log_limit.h; suppressed lines are counted. Only the thread of
 * the agent's event loop may call these functions.
 */
#ifndef EB_LOG_H
#define EB_LOG_H

#include "base/log_limit.h"
#include "base/log_line.h"

enum eb_log_level { EB_LOG_ERROR, EB_LOG_WARNING, EB_LOG_INFO, EB_LOG_DEBUG };

/* A place that logs. */
struct eb_log_site {
	struct eb_log_limit limit;
	struct eb_log_site *next; /* in the list of places with suppressed lines */
	const char *message;
	enum eb_log_level level; /* of the last suppressed line */
	bool is_listed;
};

/* Call this before the first line. If standard error is closed, opens /dev/null as standard error. Ignores SIGPIPE. */
void eb_log_open(void);

/* Sets the level; the log drops lines of less important levels. The initial level is EB_LOG_INFO. */
void eb_log_set_level(enum eb_log_level level);
bool eb_log_has_level(enum eb_log_level level);

/* The initial format is EB_LOG_LOGFMT. */
void eb_log_set_format(enum eb_log_format format);

/* Limits the rate of lines from now on, except those of EB_LOG_DEBUG. The lines before, at the start, are not
 * limited. */
void eb_log_limit_rates(void);

/* Reports suppressed lines of places whose limit admits lines again, and lines that could not be written. The agent
 * calls this regularly. */
void eb_log_catch_up(void);

/* Reports all lines that were suppressed or lost and are not reported yet. Undoes eb_log_open(). */
void eb_log_close(void);

/* Parse a name ("error", "warning", "info", "debug"; "logfmt", "json"). Return 0, or -EINVAL with *out unchanged. */
int eb_log_parse_level(const char *name, enum eb_log_level *out);
int eb_log_parse_format(const char *name, enum eb_log_format *out);

/* Writes or suppresses one line. The first field is the message; the last has no name. */
void eb_log_write(struct eb_log_site *site, enum eb_log_level level, const struct eb_log_field *fields);

#define eb_log(level, text, ...)                                                                                      \
	do {                                                                                                          \
		static struct eb_log_site eb_log_site_ = { .message = text };                                         \
		const struct eb_log_field eb_log_fields_[] = { eb_str("msg", text), ##__VA_ARGS__, {} };              \
                                                                                                                      \
		_Static_assert(sizeof(eb_log_fields_) / sizeof(eb_log_fields_[0]) <= EB_LOG_FIELDS_MAX, "too many");  \
		eb_log_write(&eb_log_site_, level, eb_log_fields_);                                                   \
	} while (0)

/* Including the message and the end of the list. */
#define EB_LOG_FIELDS_MAX 16

#define eb_error(...) eb_log(EB_LOG_ERROR, __VA_ARGS__)
#define eb_warning(...) eb_log(EB_LOG_WARNING, __VA_ARGS__)
#define eb_info(...) eb_log(EB_LOG_INFO, __VA_ARGS__)
#define eb_debug(...) eb_log(EB_LOG_DEBUG, __VA_ARGS__)

#endif
