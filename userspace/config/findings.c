// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "config/findings.h"

static char *format_text(const char *format, va_list args)
{
	char *text;

	return vasprintf(&text, format, args) < 0 ? NULL : text;
}

int eb_findings_fail_text(struct eb_findings *report, char *message)
{
	if (!message)
		return -ENOMEM;
	if (report->error)
		free(message);
	else
		report->error = message;
	return -EINVAL;
}

int eb_findings_fail(struct eb_findings *report, const char *format, ...)
{
	va_list args;
	char *text;

	va_start(args, format);
	text = format_text(format, args);
	va_end(args);
	return eb_findings_fail_text(report, text);
}

int eb_findings_warn_text(struct eb_findings *report, char *message)
{
	char **warnings;

	if (!message)
		return -ENOMEM;
	warnings = reallocarray(report->warnings, report->warning_count + 1, sizeof(*warnings));
	if (!warnings) {
		free(message);
		return -ENOMEM;
	}
	warnings[report->warning_count++] = message;
	report->warnings = warnings;
	return 0;
}

int eb_findings_warn(struct eb_findings *report, const char *format, ...)
{
	va_list args;
	char *text;

	va_start(args, format);
	text = format_text(format, args);
	va_end(args);
	return eb_findings_warn_text(report, text);
}

void eb_findings_done(struct eb_findings *report)
{
	for (size_t i = 0; i < report->warning_count; i++)
		free(report->warnings[i]);
	free(report->warnings);
	free(report->error);
	*report = (struct eb_findings){ 0 };
}
