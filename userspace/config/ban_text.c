// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <string.h>

#include "config/ban_text.h"
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
