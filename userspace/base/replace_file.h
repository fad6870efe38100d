/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Replaces a file of configuration: whoever reads it, whenever power fails, finds the text before or the new one. The
 * one before stays beside it. Hidden files `.NAME.replacing` and `.NAME.replaced`, which a process that is killed
 * leaves there, are removed by the next replacement: one process at a time replaces a file.
 */
#ifndef EB_REPLACE_FILE_H
#define EB_REPLACE_FILE_H

#include <stddef.h>

/* What the name of the file before ends with. */
#define EB_REPLACE_FILE_PREVIOUS ".previous"

/* Whether a file can be replaced, as far as that is known beforehand. Returns 0, or negative errno with a malloc'ed
 * line in *error. */
int eb_replace_file_check(const char *path, char **error);

/*
 * Gives the file `path` another text, with owner, group and mode as they were, and the file before the name
 * `path`.previous. Where `path` is a symbolic link, what it points to is replaced. Returns likewise; on failure the
 * file is as it was.
 */
int eb_replace_file(const char *path, const char *text, size_t size, char **error);

/* So that a new name in a directory, too, survives a power cut. What it cannot change is that the file is replaced. */
void eb_replace_file_sync_dir(const char *dir);

#endif
