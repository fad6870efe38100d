// SPDX-License-Identifier: GPL-2.0-only
#include <stdbool.h>
#include <stdint.h>

#include "base/characters.h"

static const struct {
	uint16_t first, last;
	const char *name;
} ranges[] = {
	{ 0x0085, 0x0085, "next line character" },
	{ 0x00a0, 0x00a0, "no-break space" },
	{ 0x00ab, 0x00ab, "typographic quote" },
	{ 0x00ad, 0x00ad, "soft hyphen" },
	{ 0x00bb, 0x00bb, "typographic quote" },
	{ 0x2000, 0x200a, "typographic space" },
	{ 0x200b, 0x200b, "zero width space" },
	{ 0x200c, 0x200c, "zero width non-joiner" },
	{ 0x200d, 0x200d, "zero width joiner" },
	{ 0x200e, 0x200f, "direction mark" },
	{ 0x2010, 0x2015, "typographic dash" },
	{ 0x2018, 0x201f, "typographic quote" },
	{ 0x2026, 0x2026, "typographic ellipsis" },
	{ 0x2028, 0x2028, "line separator" },
	{ 0x2029, 0x2029, "paragraph separator" },
	{ 0x202a, 0x202e, "direction mark" },
	{ 0x202f, 0x202f, "narrow no-break space" },
	{ 0x2039, 0x203a, "typographic quote" },
	{ 0x205f, 0x205f, "typographic space" },
	{ 0x2060, 0x2060, "word joiner" },
	{ 0x2066, 0x2069, "direction mark" },
	{ 0x2212, 0x2212, "minus sign" },
	{ 0x3000, 0x3000, "ideographic space" },
	{ 0xfeff, 0xfeff, "byte order mark" },
};

static bool continues(unsigned char byte)
{
	return (byte & 0xc0) == 0x80;
}

/* 0 for what has not two or three bytes: none of the others is looked for. */
static uint16_t decode(const unsigned char *text, size_t size)
{
	if (size >= 2 && text[0] >= 0xc2 && text[0] < 0xe0 && continues(text[1]))
		return (text[0] & 0x1f) << 6 | (text[1] & 0x3f);
	if (size >= 3 && text[0] >= 0xe0 && text[0] < 0xf0 && continues(text[1]) && continues(text[2]))
		return (text[0] & 0x0f) << 12 | (text[1] & 0x3f) << 6 | (text[2] & 0x3f);
	return 0;
}

const char *eb_character_name(const char *text, size_t size)
{
	uint16_t code = decode((const unsigned char *)text, size);

	for (size_t i = 0; code && i < sizeof(ranges) / sizeof(ranges[0]); i++)
		if (code >= ranges[i].first && code <= ranges[i].last)
			return ranges[i].name;
	return NULL;
}
