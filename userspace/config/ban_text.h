/* SPDX-License-Identifier: GPL-2.0-only */
/* What people and programs write about a ban: for how long, and why. */
#ifndef EB_BAN_TEXT_H
#define EB_BAN_TEXT_H

#include <stdbool.h>
#include <stdint.h>

#include "edgebucket.h"

#define EB_BAN_SPAN_MAX_NS (100ULL * 365 * 24 * 3600 * 1000000000ULL) /* of a ban that ends */

/* A duration of more than 0, or at most a hundred years. Returns 0, or -EINVAL with *reason made to follow the quoted
 * text. */
int eb_ban_parse_span(const char *text, uint64_t *out_ns, const char **reason);

/* Copies as many whole characters as fit, NUL-padded; what is not printable becomes a space. */
void eb_ban_copy_reason(const char *text, char out[EB_BAN_REASON_MAX]);

#endif
