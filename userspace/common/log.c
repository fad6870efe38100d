// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"

static const struct {
	const char *name;
	int priority; /* syslog(3) */
} levels[] = {
	[EB_LOG_ERROR] = { "error", 3 },
	[EB_LOG_WARNING] = { "warning", 4 },
	[EB_LOG_INFO] = { "info", 6 },
	[EB_LOG_DEBUG] = { "debug", 7 },
};

static enum eb_log_level threshold = EB_LOG_INFO;

void eb_log_set_level(enum eb_log_level level)
{
	threshold = level;
}

int eb_log_parse_level(const char *name, enum eb_log_level *out)
{
	for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
		if (strcmp(levels[i].name, name) == 0) {
			*out = i;
			return 0;
		}
	}
	return -EINVAL;
}

void eb_log_va(enum eb_log_level level, const char *format, va_list args)
{
	char text[1024];

	if (level > threshold)
		return;
	(void)vsnprintf(text, sizeof(text), format, args);
	for (char *c = text; *c; c++)
		if (*c == '\n')
			*c = ' ';
	if (getenv("JOURNAL_STREAM"))
		fprintf(stderr, "<%d>%s\n", levels[level].priority, text);
	else
		fprintf(stderr, "edgebucketd: %s: %s\n", levels[level].name, text);
}

void eb_log(enum eb_log_level level, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	eb_log_va(level, format, args);
	va_end(args);
}
