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

int eb_findings_fail_text(struct eb_findings *findings, char *message)
{
	if (!message)
		return -ENOMEM;
	if (findings->error)
		free(message);
	else
		findings->error = message;
	return -EINVAL;
}

int eb_findings_fail(struct eb_findings *findings, const char *format, ...)
{
	va_list args;
	char *text;

	va_start(args, format);
	text = format_text(format, args);
	va_end(args);
	return eb_findings_fail_text(findings, text);
}

int eb_findings_warn_text(struct eb_findings *findings, char *message)
{
	char **warnings;

	if (!message)
		return -ENOMEM;
	warnings = reallocarray(findings->warnings, findings->warning_count + 1, sizeof(*warnings));
	if (!warnings) {
		free(message);
		return -ENOMEM;
	}
	warnings[findings->warning_count++] = message;
	findings->warnings = warnings;
	return 0;
}

int eb_findings_warn(struct eb_findings *findings, const char *format, ...)
{
	va_list args;
	char *text;

	va_start(args, format);
	text = format_text(format, args);
	va_end(args);
	return eb_findings_warn_text(findings, text);
}

void eb_findings_done(struct eb_findings *findings)
{
	for (size_t i = 0; i < findings->warning_count; i++)
		free(findings->warnings[i]);
	free(findings->warnings);
	free(findings->error);
	*findings = (struct eb_findings){ 0 };
}
