/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The files that a configuration is made of: its own text, the redis part, lists of prefixes. All are read through
 * here, so that a configuration can be read once more as it was when the files say something else (kept.h). Those that
 * are read at each connection to Redis, as of passwords, are not among them.
 */
#ifndef EB_INPUTS_H
#define EB_INPUTS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "config/prefix_list.h"

struct eb_input_file {
	char *path; /* as it was asked for */
	mode_t mode;
	struct eb_list_mark mark; /* of a list */
	char *text; /* NUL-terminated behind its `size` bytes */
	size_t size;
};

struct eb_inputs {
	struct eb_input_file *items; /* in the order of reading: the configuration itself comes first */
	size_t count;
	bool is_kept;    /* complete: what is not there cannot be read */
	bool is_partial; /* a list was half-written */
	bool is_update;  /* lists that changed; the other files are as before */
};

/* Empty. NULL when out of memory. */
struct eb_inputs *eb_inputs_new(void);

/* Accepts NULL. Wipes the texts: passwords are among them. */
void eb_inputs_free(struct eb_inputs *inputs);

/* Remembers a copy of a text as what the file `path` holds. Returns 0 or -ENOMEM. */
int eb_inputs_add(struct eb_inputs *inputs, const char *path, mode_t mode, const char *text, size_t size);

/* Puts the texts of `update` in place of those that `inputs` has of the same files. One that it does not have comes to
 * it only if it is an update itself. Returns 0 or -ENOMEM, with some of it done. */
int eb_inputs_merge(struct eb_inputs *inputs, const struct eb_inputs *update);

bool eb_inputs_equal(const struct eb_inputs *a, const struct eb_inputs *b);

/* As eb_input_read(); `inputs` may be NULL, then nothing is remembered. */
int eb_inputs_read(struct eb_inputs *inputs, const char *path, size_t max, mode_t *mode, char **out, size_t *size);

/* As eb_list_read(). What is found is the inputs', and there until the next file is read. */
int eb_inputs_list(struct eb_inputs *inputs, const char *path, const struct eb_input_file **out);

#endif
