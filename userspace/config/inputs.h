/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The files that a configuration consists of: its own text, the redis section, lists of prefixes. All of them are read
 * through these functions, which remember the texts, so that the configuration can be read again after the files have
 * changed (kept.h). Files that are read at each connection to Redis, such as passwords, are not remembered.
 */
#ifndef EB_INPUTS_H
#define EB_INPUTS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "config/prefix_list.h"

struct eb_input_file {
	char *path; /* as the caller named it */
	mode_t mode;
	struct eb_list_mark mark; /* only of a list */
	char *text; /* `size` bytes and a NUL */
	size_t size;
};

struct eb_inputs {
	struct eb_input_file *items; /* in the order of reading: the configuration itself comes first */
	size_t count;
	bool is_kept;    /* complete: files are only looked up here, and not read from disk */
	bool is_partial; /* a list was half-written when it was read */
	bool is_update;  /* contains only lists that changed; the other files are as before */
};

/* Returns an empty set for eb_inputs_free(); NULL if out of memory. */
struct eb_inputs *eb_inputs_new(void);

/* Wipes the texts, because they can contain passwords, and frees all. Accepts NULL. */
void eb_inputs_free(struct eb_inputs *inputs);

/* Remembers a copy of `text` as the content of the file `path`. Returns 0 or -ENOMEM. */
int eb_inputs_add(struct eb_inputs *inputs, const char *path, mode_t mode, const char *text, size_t size);

/* Replaces the texts in `inputs` with those that `update` has of the same files. A file that `inputs` does not contain
 * is only added if `inputs` is itself an update. Returns 0, or -ENOMEM with a part of the texts replaced. */
int eb_inputs_merge(struct eb_inputs *inputs, const struct eb_inputs *update);

bool eb_inputs_equal(const struct eb_inputs *a, const struct eb_inputs *b);

/* As eb_input_read(). If `inputs` is NULL, nothing is remembered. */
int eb_inputs_read(struct eb_inputs *inputs, const char *path, size_t max, mode_t *mode, char **out, size_t *size);

/* As eb_list_read(). *out belongs to `inputs` and is valid until the next file is read. */
int eb_inputs_list(struct eb_inputs *inputs, const char *path, const struct eb_input_file **out);

#endif
