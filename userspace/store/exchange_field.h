/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The name of one limit of a bucket that a fleet shares: "RULE|SOURCE|p|ID", or "b" for bytes, where RULE|SOURCE is the
 * field of the bucket in the stores (record.h), and ID the rule_id in eight hexadecimal digits, which says under which
 * limits. It is a field of the fleet's hashes in Redis, which other programs might have written to.
 */
#ifndef EB_EXCHANGE_FIELD_H
#define EB_EXCHANGE_FIELD_H

#include <stdbool.h>
#include <stdint.h>

#include "maps/buckets.h"
#include "store/record.h"

#define EB_EXCHANGE_FIELD_MAX 160

struct eb_exchange_field {
	struct eb_record record; /* no times */
	uint32_t rule_id;
	bool of_bytes;
};

/* Names a limit of the bucket of `source`, of the rule or level at `place` of the policy. */
void eb_exchange_field_name(const struct eb_source *source, const struct eb_policy *policy, int place, bool of_bytes,
			    struct eb_exchange_field *out);

/* Writes NUL-terminated text. */
void eb_exchange_field_format(const struct eb_exchange_field *field, char text[EB_EXCHANGE_FIELD_MAX]);

/* Parses it, and is strict. False where it is no such name; *out is then undefined. */
bool eb_exchange_field_parse(const char *text, struct eb_exchange_field *out);

#endif
