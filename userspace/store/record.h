/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A bucket as stores hold it: field "<rule>|<source prefix>", value "<packets full at> <bytes full at>", wall-clock
 * nanoseconds. What is read is judged strictly: stores are outside, and anybody may have written there.
 */
#ifndef EB_RECORD_H
#define EB_RECORD_H

#include <stddef.h>
#include <stdint.h>

#include "config/config.h"

struct eb_record {
	char rule[EB_RULE_NAME_MAX + 1];
	struct eb_prefix source;
	uint64_t packets_full_at_ns; /* since the Unix epoch; 0 where the rule has no such limit */
	uint64_t bytes_full_at_ns;
};

enum eb_record_fault {
	EB_RECORD_OK,
	EB_RECORD_BAD_RULE,   /* no rule's name */
	EB_RECORD_BAD_SOURCE, /* no prefix as we write it, or bits set behind its length */
	EB_RECORD_BAD_VALUE,  /* not two numbers */
	EB_RECORD_OVERFLOW,   /* a number that no clock reaches */
	EB_RECORD_FAULTS,
};

/* Few words, for a message or a metric's label. */
const char *eb_record_fault_name(enum eb_record_fault fault);

/* NUL-terminated; `field` has EB_STORE_FIELD_MAX bytes, `value` EB_STORE_VALUE_MAX. */
void eb_record_format_field(const struct eb_record *record, char *field);
void eb_record_format_value(const struct eb_record *record, char *value);

/* *out is written only when all is well. */
enum eb_record_fault eb_record_parse(const char *field, size_t field_len, const char *value, size_t value_len,
				     struct eb_record *out);

#endif
