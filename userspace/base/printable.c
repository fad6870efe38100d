// SPDX-License-Identifier: GPL-2.0-only
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/printable.h"

/* Bytes of the UTF-8 character at `c`; 0 for what is none, and for DEL and the controls of C1. */
static size_t character(const char *c)
{
	static const uint32_t least[] = { 0, 0, 0xa0, 0x800, 0x10000 };
	unsigned char lead = (unsigned char)c[0];
	size_t len = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
	uint32_t code = lead & (0xff >> len);

	if (lead < 0x80)
		return lead != 0x7f;
	if (lead < 0xc0)
		return 0;
	for (size_t i = 1; i < len; i++) {
		if (((unsigned char)c[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (c[i] & 0x3f);
	}
	return code < least[len] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000) ? 0 : len;
}

size_t eb_printable_next(const char **text, char out[EB_PRINTABLE_MAX])
{
	static const char digits[] = "0123456789abcdef";
	unsigned char byte = (unsigned char)**text;
	size_t len = character(*text);

	if (len) {
		memcpy(out, *text, len);
		*text += len;
		return len;
	}
	out[0] = '\\';
	out[1] = 'x';
	out[2] = digits[byte >> 4];
	out[3] = digits[byte & 0xf];
	(*text)++;
	return 4;
}

json_t *eb_printable_json(const char *text)
{
	char *printable;
	json_t *string;
	size_t len = 0;

	if (!text)
		return json_null();
	printable = malloc(EB_PRINTABLE_MAX * strlen(text) + 1);
	if (!printable)
		return NULL;
	while (*text)
		len += eb_printable_next(&text, printable + len);
	string = json_stringn(printable, len);
	free(printable);
	return string;
}
