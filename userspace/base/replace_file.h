/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Replaces a configuration file atomically: a reader finds either the old or the new text, even after a power cut. The
 * old file stays beside it under another name. A process that is killed might leave the hidden files `.NAME.replacing`
 * and `.NAME.replaced`; the next replacement removes them. Only one process at a time may replace a file.
 */
#ifndef EB_REPLACE_FILE_H
#define EB_REPLACE_FILE_H

#include <stddef.h>

/* The suffix of the name of the old file. */
#define EB_REPLACE_FILE_PREVIOUS ".previous"

/* Checks in advance, as far as possible, whether a file can be replaced. Returns 0, or negative errno with a malloc'ed
 * line in *error. */
int eb_replace_file_check(const char *path, char **error);

/*
 * Replaces the text of the file `path` with `size` bytes of `text`, keeps owner, group and mode, and renames the old
 * file to `path`.previous. If `path` is a symbolic link, replaces its target. Returns 0, or negative errno with a
 * malloc'ed line in *error; on failure the file is unchanged.
 */
int eb_replace_file(const char *path, const char *text, size_t size, char **error);

/* Syncs a directory, so that a new name in it survives a power cut. Reports no error: the file is replaced anyway. */
void eb_replace_file_sync_dir(const char *dir);

#endif
