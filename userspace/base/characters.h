/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Characters that look like others, or like nothing, and mean something else: what editors, web pages and templates put
 * in place of spaces, quotes and dashes.
 */
#ifndef EB_CHARACTERS_H
#define EB_CHARACTERS_H

#include <stddef.h>

/* "no-break space" for the UTF-8 character that the `size` bytes of `text` begin with; NULL for any character that is
 * not of this kind. */
const char *eb_character_name(const char *text, size_t size);

#endif
