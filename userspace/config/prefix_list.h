/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Published lists of prefixes: reading a file that another process might be replacing, and parsing its prefixes.
 */
#ifndef EB_PREFIX_LIST_H
#define EB_PREFIX_LIST_H

#include <stdbool.h>
#include <stddef.h>

#include "config/config.h"
#include "config/findings.h"

/*
 * Reads a whole regular file. *text gets a malloc'ed text of *size bytes, followed by a NUL; *mark identifies the
 * content. Returns 0 or negative errno. -EBUSY means that the file is half-written: it changed during the read, or
 * another process has it open for writing and changed it a moment ago. If rename() replaces the file during the read,
 * the result is the old or the new content, never a mixture.
 */
int eb_list_read(const char *path, char **text, size_t *size, struct eb_list_mark *mark);

/* Gets the mark of the file that `path` names now. Returns 0 or negative errno. */
int eb_list_look(const char *path, struct eb_list_mark *mark);
bool eb_list_mark_equal(const struct eb_list_mark *a, const struct eb_list_mark *b);

/*
 * Parses `text` and adds its prefixes; edgebucket.yaml(5) describes the forms. `path` is its name in messages. With
 * `skip_bad`, invalid lines are skipped, counted in *skipped and reported in a warning; a text without a valid line is
 * an error. Without `skip_bad`, the first invalid line is an error. Returns 0, or negative errno with an error in
 * `report`; prefixes that were added before the error stay in the list.
 */
int eb_list_parse(struct eb_prefix_list *list, const char *text, size_t size, const char *path, bool skip_bad,
		  size_t *skipped, struct eb_findings *findings);

/* The list of `match` that has this role. */
struct eb_prefix_list *eb_list_of(struct eb_match *match, enum eb_list_role role);

/*
 * Replaces the prefixes that came from `file`, one of match->files, with those of `slice`. `slice` then contains the
 * previous prefixes; the caller frees it. Returns 0; or -ENOMEM or -E2BIG with nothing changed.
 */
int eb_list_exchange(struct eb_match *match, struct eb_list_file *file, struct eb_prefix_list *slice);

/* "src", "dst", "src_except", "dst_except". */
const char *eb_list_role_name(enum eb_list_role role);

#endif
