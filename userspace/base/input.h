/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Text from outside, for the readers of the configuration: reading it, quoting it in a message, judging it.
 */
#ifndef EB_INPUT_H
#define EB_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct eb_quoted {
	char text[96];
};

/* `text` in double quotes, one line of printable ASCII whatever it holds, cut when long; a no-break space and
 * the like by its name, <no-break space>. By value, so that
 * eb_input_quote(x).text serves as an argument of printf. */
struct eb_quoted eb_input_quote(const char *text);

/* Why a file was not read, from the negative errno of the functions below. */
const char *eb_input_strerror(int err);

/* How many letters to insert, delete or replace to turn one word into the other; large for words of more than 32. */
unsigned int eb_input_distance(const char *a, const char *b);

/* Printable ASCII throughout, without spaces. True for "". */
bool eb_input_is_graphic(const char *text);

/* The environment variable's value; NULL when it is not set or empty. */
const char *eb_input_env(const char *name);

/* Reads a whole file of at most `max` bytes; *out is malloc'ed and NUL-terminated behind its *size bytes. `mode`,
 * which may be NULL, gets the file's. Returns 0 or negative errno, -EFBIG for a file that is larger. */
int eb_input_read(const char *path, size_t max, mode_t *mode, char **out, size_t *size);

/* The same for what is open, from where it stands. */
int eb_input_read_fd(int fd, size_t max, char **out, size_t *size);

/* Frees what these read, wiped, as it may hold passwords. Accepts NULL. */
void eb_input_free(char *text, size_t size);

/* Whether a file that is there has no name any more: a mount of a single file stays on what it was before somebody put
 * another in its place. */
bool eb_input_is_replaced(const char *path);

/* Opens a regular file for reading, without waiting on what is none. Returns a descriptor or negative errno. */
int eb_input_open_regular(const char *path);

#endif
