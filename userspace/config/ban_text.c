// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/ban_text.h"
#include "config/prefix.h"
#include "config/quantity.h"

int eb_ban_parse_span(const char *text, uint64_t *out_ns, const char **reason)
{
	uint64_t span;
	int err = eb_quantity_duration(text, &span, reason);

	if (err)
		return err;
	if (!span || span > EB_BAN_SPAN_MAX_NS) {
		*reason = "is no time to ban for; from 1ms to 100 years, or leave it out for a ban without end";
		return -EINVAL;
	}
	*out_ns = span;
	return 0;
}

static bool is_continuation(char c)
{
	return ((unsigned char)c & 0xc0) == 0x80;
}

void eb_ban_copy_reason(const char *text, char out[EB_BAN_REASON_MAX])
{
	size_t len = strnlen(text, EB_BAN_REASON_MAX + 1);

	if (len > EB_BAN_REASON_MAX)
		for (len = EB_BAN_REASON_MAX; len && is_continuation(text[len]); len--)
			;
	memset(out, 0, EB_BAN_REASON_MAX);
	for (size_t i = 0; i < len; i++)
		out[i] = (unsigned char)text[i] < ' ' || text[i] == 0x7f ? ' ' : text[i];
}

size_t eb_ban_print_line(const struct eb_ban_line *line, char out[EB_BAN_LINE_MAX])
{
	char prefix[EB_PREFIX_TEXT_MAX];

	return snprintf(out, EB_BAN_LINE_MAX, "%s %" PRIu64 "%s%.*s\n", eb_prefix_print(&line->prefix, prefix),
			line->for_ns, *line->reason ? " " : "", EB_BAN_REASON_MAX, line->reason);
}

bool eb_ban_parse_line(char *text, struct eb_ban_line *out)
{
	char *space = strchr(text, ' '), *end;
	struct eb_prefix_error error;

	if (!space)
		return false;
	*space = '\0';
	if (eb_prefix_parse(text, &out->prefix, &error) || space[1] < '0' || space[1] > '9')
		return false;
	errno = 0;
	out->for_ns = strtoull(space + 1, &end, 10);
	if (errno || (*end && *end != ' ') || out->for_ns > EB_BAN_SPAN_MAX_NS)
		return false;
	eb_ban_copy_reason(*end ? end + 1 : "", out->reason);
	return true;
}
