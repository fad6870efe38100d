/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a bucket is by, beside its source, of a rule with `also_per`: a destination, as text and not.
 */
#ifndef EB_DESTINATION_H
#define EB_DESTINATION_H

#include <stddef.h>
#include <stdint.h>

#include "edgebucket.h"

/* The names of enum eb_also in the configuration. */
extern const char *const eb_also_names[EB_ALSOS];

struct eb_destination {
	uint8_t also;   /* enum eb_also */
	uint8_t to[16]; /* EB_ALSO_DST: an address; EB_ALSO_DPORT: a port, in the first two bytes; network byte order */
};

#define EB_DESTINATION_TEXT_MAX 48 /* ">", an IPv6 address and the NUL */

/* Prints ">192.0.2.1", ">2001:db8::1" or ">53"; "" for EB_ALSO_NONE. `family` is that of the addresses. Returns
 * `out`. */
char *eb_destination_print(int family, const struct eb_destination *target, char out[EB_DESTINATION_TEXT_MAX]);

/* Parses what eb_destination_print() prints. Returns 0 or -EINVAL. */
int eb_destination_parse(int family, const char *text, size_t len, struct eb_destination *out);

#endif
