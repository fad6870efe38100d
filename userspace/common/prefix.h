/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Address prefixes: text to struct eb_prefix and back, lists of them, files of lists.
 */
#ifndef EB_PREFIX_H
#define EB_PREFIX_H

#include <stddef.h>
#include <stdio.h>

#include "config.h"
#include "report.h"

#define EB_PREFIX_TEXT_MAX 50  /* an IPv6 address, "/128" and the NUL */
#define EB_PREFIX_LIST_MAX 2000000

struct eb_prefix_error {
	char text[128];
};

/* "192.0.2.0/24", "2001:db8::/32"; without a length the one address. Returns 0, or -EINVAL with an `error` that is
 * made to follow the quoted text. */
int eb_prefix_parse(const char *text, struct eb_prefix *out, struct eb_prefix_error *error);

/* With the length, always. Returns `out`. */
char *eb_prefix_print(const struct eb_prefix *prefix, char out[EB_PREFIX_TEXT_MAX]);

/* Returns 0, -ENOMEM, or -E2BIG when the list is full. */
int eb_prefix_list_add(struct eb_prefix_list *list, const struct eb_prefix *prefix);

/* Adds what `file` holds: one prefix a line, "#" starts a comment, empty lines are nothing. Returns 0 or negative
 * errno; `report` gets what is wrong in which line of `path`. The list keeps what was added until then. */
int eb_prefix_list_load(struct eb_prefix_list *list, FILE *file, const char *path, struct eb_report *report);
void eb_prefix_list_done(struct eb_prefix_list *list);

#endif
