/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Address prefixes: parsing and printing struct eb_prefix, and lists of prefixes. prefix_list.h reads lists from files.
 */
#ifndef EB_PREFIX_H
#define EB_PREFIX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/config.h"

#define EB_PREFIX_TEXT_MAX 50  /* an IPv6 address, "/128" and the NUL */
#define EB_PREFIX_LIST_MAX 2000000

struct eb_prefix_error {
	char text[128];
};

/* Parses "192.0.2.0/24" or "2001:db8::/32"; without a length, a single address. Octets can be padded to three digits
 * and are always decimal. Prefixes within ::ffff:0:0/96 become IPv4. Returns 0, or -EINVAL with an `error` that is
 * worded to follow the quoted text. */
int eb_prefix_parse(const char *text, struct eb_prefix *out, struct eb_prefix_error *error);

/* Prints a prefix, always with its length. Returns `out`. */
char *eb_prefix_print(const struct eb_prefix *prefix, char out[EB_PREFIX_TEXT_MAX]);

/* By family, address and length: a prefix comes before those within it. Less than 0, 0 or more, as memcmp(). */
int eb_prefix_compare(const struct eb_prefix *a, const struct eb_prefix *b);

/* Whether two prefixes have an address in common. `addr` is in network byte order. */
bool eb_prefix_overlaps(int family, const uint8_t *addr, int len, const struct eb_prefix *with);

/* Returns 0, -ENOMEM, or -E2BIG when the list is full. */
int eb_prefix_list_add(struct eb_prefix_list *list, const struct eb_prefix *prefix);

/* Parses and adds a prefix, or a range "192.0.2.0-192.0.2.99" as the prefixes that it consists of; the dash can have
 * spaces around it. Returns 0, -EINVAL with an `error` as above, or the errors of eb_prefix_list_add(); in the last
 * case, a part of a range might have been added. */
int eb_prefix_list_parse(struct eb_prefix_list *list, const char *text, struct eb_prefix_error *error);

/* Frees the items. */
void eb_prefix_list_done(struct eb_prefix_list *list);

#endif
