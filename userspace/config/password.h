/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Passwords, as people and their tools write them into files, YAML and the environment: what may stand in one, and
 * those that stand in a file of their own and change while we run. No message holds any part of one.
 */
#ifndef EB_PASSWORD_H
#define EB_PASSWORD_H

#include <stddef.h>
#include <sys/types.h>

#define EB_PASSWORD_MAX 4096 /* bytes */

/* Wipes and frees. Accepts NULL. */
void eb_password_free(char *password);

/* Cuts the one newline off the end of `text`, of `size` bytes and a NUL, that editors and YAML's "|" leave there.
 * Returns 0, or -EINVAL with *error, malloc'ed, saying what is wrong with the rest: "is empty; …". */
int eb_password_trim(char *text, size_t size, char **error);

/* Reads a file that holds nothing else. `mode`, which may be NULL, gets the file's. Returns 0 with *out for
 * eb_password_free(), or negative errno with *error, malloc'ed, naming the file. */
int eb_password_read(const char *path, mode_t *mode, char **out, char **error);

/* A password that may stand in a file. Both strings are malloc'ed; NULL for none. */
struct eb_secret {
	char *file; /* read anew whenever the password is needed */
	char *text; /* what was last read from it, or the password itself where there is no file */
};

/* Reads the file, if there is one. While it cannot be read, what it said before counts. Returns 0, also where there is
 * no password at all (`text` is NULL), or negative errno with *error when the file could never be read. */
int eb_secret_refresh(struct eb_secret *secret, char **error);

void eb_secret_done(struct eb_secret *secret);

#endif
