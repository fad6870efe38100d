/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Makes texts from outside (file names, replies of servers), which can contain any bytes, safe for JSON and terminals:
 * bytes that are not UTF-8, DEL and the C1 control characters become \xNN. The C0 control characters stay, because JSON
 * escapes them.
 */
#ifndef EB_PRINTABLE_H
#define EB_PRINTABLE_H

#include <jansson.h>
#include <stddef.h>

#define EB_PRINTABLE_MAX 4

/* Copies the next character of *text to `out`, without a NUL, and advances *text. *text must not be at its end. Returns
 * the number of bytes written. */
size_t eb_printable_next(const char **text, char out[EB_PRINTABLE_MAX]);

/* Returns `text` as a JSON string, or a JSON null if `text` is NULL; the caller owns the reference. Returns NULL if out
 * of memory. Use this instead of json_pack() for such texts: json_pack() refuses bytes that are not UTF-8. */
json_t *eb_printable_json(const char *text);

#endif
