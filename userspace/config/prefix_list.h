/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Lists of prefixes in files, as people publish them: reading the bytes of a file that may be replaced meanwhile, and
 * making prefixes of them.
 */
#ifndef EB_PREFIX_LIST_H
#define EB_PREFIX_LIST_H

#include <stdbool.h>
#include <stddef.h>

#include "config/config.h"
#include "config/findings.h"

/*
 * Reads a regular file whole; *text is malloc'ed and NUL-terminated behind its *size bytes, *mark tells this content
 * from another. Returns 0 or negative errno; -EBUSY says that the file is half-written: it changed while it was read,
 * or somebody has it open for writing and changed it a moment ago. A file that was exchanged for another by rename() is
 * the old one or the new.
 */
int eb_list_read(const char *path, char **text, size_t *size, struct eb_list_mark *mark);

/* Of the file that `path` names now. Returns 0 or negative errno. */
int eb_list_look(const char *path, struct eb_list_mark *mark);
bool eb_list_mark_equal(const struct eb_list_mark *a, const struct eb_list_mark *b);

/*
 * Adds what `text` lists, see edgebucket.yaml(5) for the forms. `path` names it in messages. With `skip_bad` lines that
 * are not understood are left out, counted in *skipped and warned of; without, the first is an error, and so is a text
 * of which no line is understood. Returns 0 or negative errno; the list keeps what was added until then.
 */
int eb_list_parse(struct eb_prefix_list *list, const char *text, size_t size, const char *path, bool skip_bad,
		  size_t *skipped, struct eb_findings *findings);

/* The list of a match that a file adds to. */
struct eb_prefix_list *eb_list_of(struct eb_match *match, enum eb_list_role role);

/*
 * Exchanges what `file`, one of match->files, gave to its list for other prefixes: `slice` is put in, and is then what
 * was there; the caller frees it. Returns 0, -ENOMEM or -E2BIG, with nothing changed.
 */
int eb_list_exchange(struct eb_match *match, struct eb_list_file *file, struct eb_prefix_list *slice);

/* "src", "dst", "src_except", "dst_except". */
const char *eb_list_role_name(enum eb_list_role role);

#endif
