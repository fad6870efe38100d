/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Address prefixes: text to struct eb_prefix and back, and lists of them. Files of lists are prefix_list.h.
 */
#ifndef EB_PREFIX_H
#define EB_PREFIX_H

#include <stddef.h>

#include "config/config.h"

#define EB_PREFIX_TEXT_MAX 50  /* an IPv6 address, "/128" and the NUL */
#define EB_PREFIX_LIST_MAX 2000000

struct eb_prefix_error {
	char text[128];
};

/* "192.0.2.0/24", "2001:db8::/32"; without a length the one address. Octets may be padded to three digits, which are
 * decimal; what lies within ::ffff:0:0/96 becomes IPv4. Returns 0, or -EINVAL with an `error` that is made to follow
 * the quoted text. */
int eb_prefix_parse(const char *text, struct eb_prefix *out, struct eb_prefix_error *error);

/* With the length, always. Returns `out`. */
char *eb_prefix_print(const struct eb_prefix *prefix, char out[EB_PREFIX_TEXT_MAX]);

/* Returns 0, -ENOMEM, or -E2BIG when the list is full. */
int eb_prefix_list_add(struct eb_prefix_list *list, const struct eb_prefix *prefix);

/* Adds what `text` says: a prefix, or a range "192.0.2.0-192.0.2.99" as the prefixes that it consists of, with spaces
 * around the dash or none. Returns 0, -EINVAL with an `error` as above, or as eb_prefix_list_add(); of a range that
 * does not fit, a part may have been added. */
int eb_prefix_list_parse(struct eb_prefix_list *list, const char *text, struct eb_prefix_error *error);

/* Frees the items. */
void eb_prefix_list_done(struct eb_prefix_list *list);

#endif
