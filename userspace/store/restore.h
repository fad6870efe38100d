/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Records from a store -> debts in the maps. Judges every record by itself against the rules in force: what is wrong is
 * refused or clamped and counted, and stops nothing. Does no I/O: persist.c scans the stores and hands the fields in.
 */
#ifndef EB_RESTORE_H
#define EB_RESTORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "maps/buckets.h"
#include "store/record.h"

struct eb_restore; /* opaque: the records collected from any number of stores, the later one of each bucket */

/* Why a field was refused: the record's own faults, and what the rules say to it. */
enum eb_refusal {
	EB_REFUSED_RECORD = 0, /* + enum eb_record_fault */
	EB_REFUSED_UNKNOWN_RULE = EB_RECORD_FAULTS,
	EB_REFUSED_PREFIX_LEN, /* not the one that makes a source of the rule */
	EB_REFUSED_TOO_MANY,   /* more than the tables have entries */
	EB_REFUSED_NO_ROOM,    /* every place it could have is in debt */
	EB_REFUSALS,
};

const char *eb_refusal_name(int refusal);

/* The place in `policy` of the rule that a record's name is of, -1 when no rule with limits has it. */
int eb_restore_find_rule(const struct eb_policy *policy, const char *name);

struct eb_restore_counts {
	uint64_t fields;   /* seen */
	uint64_t restored; /* debts put into the maps */
	uint64_t full;     /* refilled while they were away */
	uint64_t clamped;  /* further ahead than the rule's burst allows */
	uint64_t refused[EB_REFUSALS];
};

/* `policy` is the one to restore for: the caller's, and must outlive this or be replaced by eb_restore_rebind(). At
 * most `records_max` are collected. To be made at the moment that the reference time of its records stands for. NULL
 * when out of memory. */
struct eb_restore *eb_restore_new(const struct eb_policy *policy, uint64_t records_max);

/* Accepts NULL. */
void eb_restore_free(struct eb_restore *restore);

/* The wall-clock time to count debts from: `now_ns`, or when the store was saved if the clock has been set back since.
 * A time that no clock was set back from is damage, and does not count. */
uint64_t eb_restore_reference(uint64_t now_ns, uint64_t saved_at_ns);

/* Takes a field of a store in. */
void eb_restore_add(struct eb_restore *restore, const char *field, size_t field_len, const char *value,
		    size_t value_len, uint64_t reference_ns);

/* Other rules are in force: what was collected is judged again. The old policy may be freed then. */
void eb_restore_rebind(struct eb_restore *restore, const struct eb_policy *policy);

/* Takes over what `other`, for the same policy, collected from another store, and its counts; of each bucket the later
 * record stays. `other` is empty then. */
void eb_restore_join(struct eb_restore *restore, struct eb_restore *other);

/* One debt that a restore would make, for eb_restore_each(). Debts in ns as of the field's reference time. */
struct eb_restore_debt {
	const char *rule;
	struct eb_prefix source;
	uint64_t packets_ns, bytes_ns;
	bool clamped;
};

/* Sorts what was collected, and visits it. */
void eb_restore_each(struct eb_restore *restore, void (*visit)(const struct eb_restore_debt *debt, void *arg),
		     void *arg);

/*
 * Puts what is left of the debts by now into the maps. With `late`, onto those that were made since: a bucket gets both
 * debts, more than a burst if it comes to that, less what `before` (NULL for none), a restore done earlier, gave it
 * already.
 */
void eb_restore_apply(struct eb_restore *restore, struct eb_buckets *buckets, bool late, struct eb_restore *before);

void eb_restore_counts(const struct eb_restore *restore, struct eb_restore_counts *out);

#endif
