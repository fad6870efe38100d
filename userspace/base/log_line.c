// SPDX-License-Identifier: GPL-2.0-only
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include <jansson.h>

#include "base/log_line.h"
#include "base/printable.h"

/* Longest value, in bytes before quoting. */
#define VALUE_MAX 2048

struct value {
	char text[VALUE_MAX + sizeof(EB_LOG_CUT_MARK)];
};

/* At most `max` bytes of `text`, and the mark if that is not all of it. */
static void make_printable(const char *text, size_t max, struct value *out)
{
	char next[EB_PRINTABLE_MAX];
	size_t used = 0;

	while (*text) {
		size_t len = eb_printable_next(&text, next);

		if (used + len > max) {
			used += (size_t)sprintf(out->text + used, EB_LOG_CUT_MARK);
			break;
		}
		memcpy(out->text + used, next, len);
		used += len;
	}
	out->text[used] = '\0';
}

/* ---- JSON ---- */

/* Returns its length even where that is more than `size`. */
static size_t write_json(const struct eb_log_field *fields, size_t value_max, char *out, size_t size)
{
	json_t *object = json_object();
	struct value value;
	size_t len;

	for (; fields->name; fields++) {
		if (fields->is_number) {
			json_object_set_new(object, fields->name, json_integer(fields->number));
		} else if (fields->text) {
			make_printable(fields->text, value_max, &value);
			json_object_set_new(object, fields->name, json_string(value.text));
		}
	}
	len = json_dumpb(object, out, size, JSON_COMPACT);
	json_decref(object);
	return len;
}

/* ---- logfmt ---- */

static bool needs_quotes(const char *text)
{
	for (const char *c = text; *c; c++)
		if ((unsigned char)*c <= ' ' || *c == '"' || *c == '=')
			return true;
	return !*text;
}

/* The same of one value, in quotes. */
static size_t quote(const char *text, char *out, size_t size)
{
	json_t *string = json_string(text);
	size_t len = json_dumpb(string, out, size, JSON_ENCODE_ANY);

	json_decref(string);
	return len;
}

__attribute__((format(printf, 4, 5))) static size_t append(char *out, size_t used, size_t size, const char *format, ...)
{
	va_list args;
	int len;

	va_start(args, format);
	len = vsnprintf(used < size ? out + used : NULL, used < size ? size - used : 0, format, args);
	va_end(args);
	return used + (size_t)len;
}

static size_t write_logfmt(const struct eb_log_field *fields, size_t value_max, char *out, size_t size)
{
	struct value value;
	size_t used = 0;

	for (; fields->name; fields++) {
		const char *space = used ? " " : "";

		if (fields->is_number) {
			used = append(out, used, size, "%s%s=%" PRId64, space, fields->name, fields->number);
			continue;
		}
		if (!fields->text)
			continue;
		make_printable(fields->text, value_max, &value);
		if (needs_quotes(value.text)) {
			used = append(out, used, size, "%s%s=", space, fields->name);
			used += quote(value.text, used < size ? out + used : NULL, used < size ? size - used : 0);
		} else {
			used = append(out, used, size, "%s%s=%s", space, fields->name, value.text);
		}
	}
	return used;
}

/* ---- both ---- */

size_t eb_log_line(enum eb_log_format format, const struct eb_log_field *fields, char out[EB_LOG_LINE_MAX])
{
	size_t len = 0;

	for (size_t value_max = VALUE_MAX; value_max; value_max /= 2) {
		len = (format == EB_LOG_JSON ? write_json : write_logfmt)(fields, value_max, out, EB_LOG_LINE_MAX);
		if (len < EB_LOG_LINE_MAX)
			break;
	}
	if (!len || len >= EB_LOG_LINE_MAX)
		return 0;
	out[len] = '\n';
	return len + 1;
}
