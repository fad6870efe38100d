/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Converts records of the stores into debts in the maps. It checks each record separately against the rules in force: a
 * bad record is refused or clamped, and counted, and does not affect the others. It does no I/O: persist.c scans the
 * stores and passes the fields.
 */
#ifndef EB_RESTORE_H
#define EB_RESTORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "maps/buckets.h"
#include "store/record.h"

struct eb_restore; /* opaque: the records collected from any number of stores; of each bucket, the later one */

/* Why a field was refused: faults of the record, or a conflict with the rules or tables. */
enum eb_refusal {
	EB_REFUSED_RECORD = 0, /* + enum eb_record_fault */
	EB_REFUSED_UNKNOWN_RULE = EB_RECORD_FAULTS,
	EB_REFUSED_PREFIX_LEN, /* differs from the prefix length of a source of the rule */
	EB_REFUSED_ALSO_PER,   /* has a target that the rule's buckets have not, or none */
	EB_REFUSED_TOO_MANY,   /* more records than the tables have entries */
	EB_REFUSED_NO_ROOM,    /* all entries that the bucket could use are in debt */
	EB_REFUSALS,
};

const char *eb_refusal_name(int refusal);

/* The place in `policy` of the rule or level that a record is of: the rule where no level has the source's prefix
 * length and the kind of target; -1 when no rule with limits has the name. */
int eb_restore_find_rule(const struct eb_policy *policy, const struct eb_record *record);

struct eb_restore_counts {
	uint64_t fields;   /* all fields that were passed */
	uint64_t restored; /* debts that were put into the maps */
	uint64_t full;     /* buckets that are full again */
	uint64_t clamped;  /* debts that were reduced to the burst of their rule */
	uint64_t refused[EB_REFUSALS];
};

/* `policy` contains the rules for which to restore. The caller owns it; it must outlive the object, or be replaced with
 * eb_restore_rebind(). Collects at most `records_max` records. Must be called at the moment to which the reference time
 * of the records corresponds. NULL if out of memory. */
struct eb_restore *eb_restore_new(const struct eb_policy *policy, uint64_t records_max);

/* Accepts NULL. */
void eb_restore_free(struct eb_restore *restore);

/* The wall-clock time from which debts are counted: `now_ns`; or `saved_at_ns`, if the clock was set back after the
 * store was saved. An implausible `saved_at_ns` is treated as damage and ignored. */
uint64_t eb_restore_reference(uint64_t now_ns, uint64_t saved_at_ns);

/* Collects a field of a store, whose value counts from `reference_ns`. A bad field is refused and counted. */
void eb_restore_add(struct eb_restore *restore, const char *field, size_t field_len, const char *value,
		    size_t value_len, uint64_t reference_ns);

/* Other rules are in force: checks the collected records again. Afterwards, the old policy can be freed. */
void eb_restore_rebind(struct eb_restore *restore, const struct eb_policy *policy);

/* Moves the records and counts of `other` into `restore`; both must have the same policy. Of each bucket, the later
 * record is kept. `other` is empty afterwards. */
void eb_restore_join(struct eb_restore *restore, struct eb_restore *other);

/* One debt that a restore would create, for eb_restore_each(). Debts are in nanoseconds, as of the reference time of
 * the field. */
struct eb_restore_debt {
	const char *rule;
	int place; /* of the rule or level in the policy */
	struct eb_prefix source;
	struct eb_destination target;
	uint64_t packets_ns, bytes_ns;
	bool clamped;
};

/* Sorts the collected records, and calls `visit` for each debt. */
void eb_restore_each(struct eb_restore *restore, void (*visit)(const struct eb_restore_debt *debt, void *arg),
		     void *arg);

/*
 * Puts what remains of the debts at this time into the maps. With `late`, adds them to the debts that were made since:
 * a bucket gets both, even if their sum exceeds a burst, minus the debt that `before`, an earlier restore (or NULL),
 * already gave it.
 */
void eb_restore_apply(struct eb_restore *restore, struct eb_buckets *buckets, bool late, struct eb_restore *before);

void eb_restore_counts(const struct eb_restore *restore, struct eb_restore_counts *out);

#endif
