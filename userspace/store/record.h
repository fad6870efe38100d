/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A bucket as the stores hold it: field "<rule>|<source prefix>", with also_per followed by ">192.0.2.1" or ">53";
 * value "<packets full at> <bytes full at>" in wall-clock nanoseconds. The parser is strict, because a store is outside
 * of our control and other programs might have written to it.
 */
#ifndef EB_RECORD_H
#define EB_RECORD_H

#include <stddef.h>
#include <stdint.h>

#include "config/config.h"
#include "config/destination.h"
#include "maps/buckets.h"

struct eb_record {
	char rule[EB_RULE_NAME_MAX + 1];
	struct eb_prefix source;
	struct eb_destination target;
	uint64_t packets_full_at_ns; /* since the Unix epoch; 0 if the rule has no such limit */
	uint64_t bytes_full_at_ns;
};

enum eb_record_fault {
	EB_RECORD_OK,
	EB_RECORD_BAD_RULE,   /* not a valid name of a rule */
	EB_RECORD_BAD_SOURCE, /* not a prefix and a target in our notation, or bits beyond its length are set */
	EB_RECORD_BAD_VALUE,  /* not two numbers */
	EB_RECORD_OVERFLOW,   /* a number that is too large for a time */
	EB_RECORD_FAULTS,
};

/* A few words for messages and labels of metrics; a constant. */
const char *eb_record_fault_name(enum eb_record_fault fault);

/* Names the bucket of `source`, of the rule or level at `place` of the policy. Its times are 0. */
void eb_record_name(const struct eb_source *source, const struct eb_policy *policy, int place, struct eb_record *out);

/* The bucket that a record names, whose rule or level has `rule_id` for the family of its source. */
struct eb_source eb_record_source(const struct eb_record *record, uint32_t rule_id);

/* Write NUL-terminated texts. `field` has EB_STORE_FIELD_MAX bytes, `value` has EB_STORE_VALUE_MAX bytes. */
void eb_record_format_field(const struct eb_record *record, char *field);
void eb_record_format_value(const struct eb_record *record, char *value);

/* Parses a field and its value. *out is only written if the result is EB_RECORD_OK. */
enum eb_record_fault eb_record_parse(const char *field, size_t field_len, const char *value, size_t value_len,
				     struct eb_record *out);

#endif
