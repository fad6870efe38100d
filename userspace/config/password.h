/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Passwords in files, YAML and the environment: which characters they can contain, and passwords in files that change
 * while the agent runs. No message contains any part of a password.
 */
#ifndef EB_PASSWORD_H
#define EB_PASSWORD_H

#include <stddef.h>
#include <sys/types.h>

#define EB_PASSWORD_MAX 4096 /* bytes */

/* Wipes and frees. Accepts NULL. */
void eb_password_free(char *password);

/* Removes one newline from the end of `text`, which editors and the "|" of YAML leave there. `text` has `size` bytes
 * and a NUL. Returns 0, or -EINVAL with a malloc'ed *error that says what is wrong with the password: "is empty;
 * ...". */
int eb_password_trim(char *text, size_t size, char **error);

/* Reads a file that contains only a password. *mode gets the mode of the file; `mode` can be NULL. Returns 0 and *out
 * for eb_password_free(), or negative errno with a malloc'ed *error that names the file. */
int eb_password_read(const char *path, mode_t *mode, char **out, char **error);

/* A password, which can come from a file. Both strings are malloc'ed or NULL. */
struct eb_secret {
	char *file; /* read again each time the password is needed; NULL: there is no file */
	char *text; /* the text that was read last; or the password itself if there is no file */
};

/* Reads the file, if there is one. While the file cannot be read, the previous text stays. Returns 0, even if there is
 * no password at all (`text` is NULL); or negative errno with a malloc'ed *error if the file could never be read. */
int eb_secret_refresh(struct eb_secret *secret, char **error);

void eb_secret_done(struct eb_secret *secret);

#endif
