/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * eb_bucket.dropped of a rule with a penalty: beside the number of refusals, how many there were since a time. From the
 * highest bit: 1; 25 bits of refusals in all, of which the highest means that there were more; 22 bits of time; 16 bits
 * of refusals since that time. In a rule without a penalty the highest bit is 0, and all others are the number.
 */
#ifndef EB_OFFENCE_H
#define EB_OFFENCE_H

#include "edgebucket.h"

#define EB_OFFENCE_PACKED (1ULL << 63)
#define EB_OFFENCE_DROPPED_SHIFT 38
#define EB_OFFENCE_DROPPED_MAX (1ULL << 24)
#define EB_OFFENCE_TIME_SHIFT 16
#define EB_OFFENCE_TIME_MASK ((1ULL << 22) - 1) /* of 67 ms: comes round after 3 days, longer than buckets stay idle */
#define EB_OFFENCE_UNIT_SHIFT 26
#define EB_OFFENCE_AHEAD 15 /* how far, 1 s, a CPU's last reading of the clock may be behind another's */
#define EB_OFFENCE_COUNT_MASK 0xffffULL
#define EB_OFFENCE_COUNTED EB_OFFENCE_COUNT_MASK /* counted as a ban, which was not made: mode monitor */

/* Time in the units of the word, of nanoseconds since boot; and a duration, rounded up. */
static __always_inline __u64 eb_offence_time(__u64 ns)
{
	return (ns >> EB_OFFENCE_UNIT_SHIFT) & EB_OFFENCE_TIME_MASK;
}

static __always_inline __u64 eb_offence_units(__u64 ns)
{
	return (ns + (1ULL << EB_OFFENCE_UNIT_SHIFT) - 1) >> EB_OFFENCE_UNIT_SHIFT;
}

/* Refusals in all. */
static __always_inline __u64 eb_offence_dropped(__u64 word)
{
	return word & EB_OFFENCE_PACKED ? (word & ~EB_OFFENCE_PACKED) >> EB_OFFENCE_DROPPED_SHIFT : word;
}

static __always_inline __u64 eb_offence_count(__u64 word)
{
	return word & EB_OFFENCE_COUNT_MASK;
}

static __always_inline __u64 eb_offence_word(__u64 dropped, __u64 time, __u64 count)
{
	if (dropped > EB_OFFENCE_DROPPED_MAX)
		dropped = EB_OFFENCE_DROPPED_MAX;
	return EB_OFFENCE_PACKED | dropped << EB_OFFENCE_DROPPED_SHIFT | time << EB_OFFENCE_TIME_SHIFT | count;
}

/* Whether a word's count is of a time that is not over: `within` units of it, `banned` after one was counted. A word
 * may be of a later time than `time`: another CPU's clock was read later. */
static __always_inline int eb_offence_is_current(__u64 word, __u64 time, __u64 within, __u64 banned)
{
	__u64 age = (time - (word >> EB_OFFENCE_TIME_SHIFT)) & EB_OFFENCE_TIME_MASK;

	if (!(word & EB_OFFENCE_PACKED))
		return 0;
	if (age > EB_OFFENCE_TIME_MASK - EB_OFFENCE_AHEAD)
		age = 0;
	return age < (eb_offence_count(word) == EB_OFFENCE_COUNTED ? banned : within);
}

#endif
