/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Characters that look like others or are invisible, but have another meaning. Editors, web pages and templates use
 * them instead of plain spaces, quotes and dashes.
 */
#ifndef EB_CHARACTERS_H
#define EB_CHARACTERS_H

#include <stddef.h>

/* Returns the name, such as "no-break space", of the UTF-8 character at the beginning of `text`, of `size` bytes; NULL
 * if it is not such a character. The name is a constant. */
const char *eb_character_name(const char *text, size_t size);

#endif
