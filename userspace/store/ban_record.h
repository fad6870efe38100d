/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A ban as the stores hold it: field "<prefix>", value "<until> <from>[ <reason>]". <until> is in wall-clock
 * nanoseconds, or "forever"; <from> is "operator", "rule", "feed" or "fleet", or "unban" for a prefix that is spared
 * within a wider ban. The parser is strict, because a store is outside of our control and other programs might have
 * written to it.
 */
#ifndef EB_BAN_RECORD_H
#define EB_BAN_RECORD_H

#include <stddef.h>
#include <stdint.h>

#include "maps/bans.h"

enum eb_ban_fault {
	EB_BAN_OK,
	EB_BAN_BAD_PREFIX, /* not a prefix in our notation, or bits beyond its length are set */
	EB_BAN_BAD_TIME,   /* neither a number nor "forever" */
	EB_BAN_BAD_ORIGIN,
	EB_BAN_BAD_REASON, /* longer than ours, or not printable */
	EB_BAN_BAD_SINCE,  /* shared: no number, or later than now */
	EB_BAN_TOO_WIDE,   /* shared: more than a fleet may ban */
	EB_BAN_TOO_FAR,    /* ends later than any ban that can be made */
	EB_BAN_TOO_MANY,   /* more than `bans.max` */
	EB_BAN_FAULTS,
};

/* A few words for messages; a constant. */
const char *eb_ban_fault_name(enum eb_ban_fault fault);

/* Write NUL-terminated texts. `field` has EB_STORE_FIELD_MAX bytes, `value` has EB_STORE_VALUE_MAX bytes. `offset_ns`
 * is CLOCK_REALTIME less CLOCK_MONOTONIC. */
void eb_ban_format_field(const struct eb_prefix *prefix, char *field);
void eb_ban_format_value(const struct eb_ban *ban, int64_t offset_ns, char *value);

/* Parses the prefix of a field. False if it is not in our notation. */
bool eb_ban_parse_field(const char *field, size_t field_len, struct eb_prefix *out);

/* The bans of one store: what was read of it so far. Zeroed, with `max` set, it is empty. */
struct eb_ban_list {
	struct eb_ban_order *orders; /* ends are CLOCK_MONOTONIC */
	size_t count, room;
	size_t max;
	uint64_t fields; /* that were passed */
	uint64_t over;   /* ran out meanwhile */
	uint64_t refused[EB_BAN_FAULTS];
	char example[EB_BAN_FAULTS][64]; /* the first field that was refused for each reason, cut short */
};

/* Takes a field of the store. `now_ns` is CLOCK_MONOTONIC, `reference_ns` the wall-clock time that bans count from,
 * see eb_restore_reference(). What is wrong with it is counted. Returns 0 or -ENOMEM. */
int eb_ban_list_add(struct eb_ban_list *list, const char *field, size_t field_len, const char *value,
		    size_t value_len, uint64_t now_ns, uint64_t reference_ns);

/* The same for a value that a fleet shares: "<until> <from> <since>[ <reason>]". Its bans are of the origin
 * EB_BAN_FLEET, and lifts are orders for holes. `wall_ns` is the same moment as `now_ns`. */
int eb_ban_list_add_shared(struct eb_ban_list *list, const char *field, size_t field_len, const char *value,
			   size_t value_len, uint64_t now_ns, uint64_t wall_ns);

/* Formats it. */
void eb_ban_format_shared(const struct eb_ban *ban, int64_t offset_ns, char *value);

/* Frees what it holds; it is empty afterwards, with the same `max`. */
void eb_ban_list_clear(struct eb_ban_list *list);

#endif
