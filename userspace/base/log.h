/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The log: one line per event on standard error, never waiting for who reads it, and never a flood.
 *
 *	eb_warning("the table is full", eb_num("packets", n), eb_str("hint", "raise table_size"));
 *
 * The message is a constant that says what happened; fields (eb_str(), eb_num(), eb_err()) say to what; "hint" what the
 * operator can do where neither message nor error say so. EB_LOG_ERROR: somebody must act. EB_LOG_WARNING: something
 * works less well than it should. EB_LOG_INFO: something changed. EB_LOG_DEBUG: the rest.
 *
 * Every place that logs has a bucket of lines, see log_limit.h; what it may not write is counted. For the one thread
 * of the agent's loop.
 */
#ifndef EB_LOG_H
#define EB_LOG_H

#include "base/log_limit.h"
#include "base/log_line.h"

enum eb_log_level { EB_LOG_ERROR, EB_LOG_WARNING, EB_LOG_INFO, EB_LOG_DEBUG };

/* A place that logs. */
struct eb_log_site {
	struct eb_log_limit limit;
	struct eb_log_site *next; /* of those that have suppressed lines */
	const char *message;
	enum eb_log_level level; /* of the line suppressed last */
	bool is_listed;
};

/* Before the first line. Makes standard error /dev/null if it is closed, and ignores SIGPIPE. */
void eb_log_open(void);

/* Lines above this level are dropped; EB_LOG_INFO at start. */
void eb_log_set_level(enum eb_log_level level);
bool eb_log_has_level(enum eb_log_level level);

/* EB_LOG_LOGFMT at start. */
void eb_log_set_format(enum eb_log_format format);

/* From here on, lines above EB_LOG_DEBUG are limited. What is said before, at start, is written in full. */
void eb_log_limit_rates(void);

/* Says what was suppressed, where the limit has room again, and what could not be written. To be called regularly. */
void eb_log_catch_up(void);

/* Says what was suppressed and lost in the end, and undoes eb_log_open(). */
void eb_log_close(void);

/* Return 0 and the value of a name ("error", "warning", "info", "debug"; "logfmt", "json"), or -EINVAL. */
int eb_log_parse_level(const char *name, enum eb_log_level *out);
int eb_log_parse_format(const char *name, enum eb_log_format *out);

/* `fields` begin with the message. */
void eb_log_write(struct eb_log_site *site, enum eb_log_level level, const struct eb_log_field *fields);

#define eb_log(level, text, ...)                                                                                      \
	do {                                                                                                          \
		static struct eb_log_site eb_log_site_ = { .message = text };                                         \
		const struct eb_log_field eb_log_fields_[] = { eb_str("msg", text), ##__VA_ARGS__, {} };              \
                                                                                                                      \
		_Static_assert(sizeof(eb_log_fields_) / sizeof(eb_log_fields_[0]) <= EB_LOG_FIELDS_MAX, "too many");  \
		eb_log_write(&eb_log_site_, level, eb_log_fields_);                                                   \
	} while (0)

/* The message and the end of the list included. */
#define EB_LOG_FIELDS_MAX 16

#define eb_error(...) eb_log(EB_LOG_ERROR, __VA_ARGS__)
#define eb_warning(...) eb_log(EB_LOG_WARNING, __VA_ARGS__)
#define eb_info(...) eb_log(EB_LOG_INFO, __VA_ARGS__)
#define eb_debug(...) eb_log(EB_LOG_DEBUG, __VA_ARGS__)

#endif
