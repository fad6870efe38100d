/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Untrusted text, for the readers of the configuration: reading it, quoting it in messages, checking it.
 */
#ifndef EB_INPUT_H
#define EB_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct eb_quoted {
	char text[96];
};

/* Returns `text` in double quotes, as one line of printable ASCII, whatever bytes it contains. Long texts are cut. A
 * no-break space and similar characters appear by name, as <no-break space>. The result is a value, so that
 * eb_input_quote(x).text can be an argument of printf. */
struct eb_quoted eb_input_quote(const char *text);

/* Explains a negative errno of the functions below. The text is a constant, or strerror()'s. */
const char *eb_input_strerror(int err);

/* The number of letters to insert, delete or replace to turn one word into the other; a large number if a word has more
 * than 32 letters. */
unsigned int eb_input_distance(const char *a, const char *b);

/* Whether all characters are printable ASCII and none is a space. True for "". */
bool eb_input_is_graphic(const char *text);

/* The value of an environment variable; NULL if it is not set or empty. */
const char *eb_input_env(const char *name);

/* Reads a whole file of at most `max` bytes. *out gets a malloc'ed text of *size bytes, followed by a NUL; free it with
 * eb_input_free(). *mode gets the mode of the file; `mode` can be NULL. Returns 0, -EFBIG if the file is larger, or
 * another negative errno. */
int eb_input_read(const char *path, size_t max, mode_t *mode, char **out, size_t *size);

/* The same for an open file, from its current position. The caller keeps `fd`. */
int eb_input_read_fd(int fd, size_t max, char **out, size_t *size);

/* Wipes a text, because it might contain passwords, and frees it. Accepts NULL. */
void eb_input_free(char *text, size_t size);

/* Whether `path` names a file that has been replaced: if a single file is mounted and its original is replaced, the
 * mount keeps the old file, which has no name any more. */
bool eb_input_is_replaced(const char *path);

/* Opens a regular file for reading. Does not block if `path` is a pipe or device. Returns a descriptor, which the
 * caller closes, or negative errno. */
int eb_input_open_regular(const char *path);

#endif
