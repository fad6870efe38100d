/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Texts from elsewhere (names of files, answers of servers), any bytes, made fit for JSON and for a terminal: what is
 * not UTF-8, DEL and the controls of C1 become \xNN. The controls of C0 stay: JSON quotes them.
 */
#ifndef EB_PRINTABLE_H
#define EB_PRINTABLE_H

#include <jansson.h>
#include <stddef.h>

#define EB_PRINTABLE_MAX 4

/* Puts the next character of *text, which is not at its end, into `out`, without a NUL, moves *text behind it and
 * returns the length. */
size_t eb_printable_next(const char **text, char out[EB_PRINTABLE_MAX]);

/* The whole as a JSON string, a JSON null for NULL; NULL when memory is short. json_pack() takes no text of other
 * bytes than UTF-8. */
json_t *eb_printable_json(const char *text);

#endif
