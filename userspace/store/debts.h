/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Debts that wait to be put into the maps: of IPv4 sources in 22 bytes each, of IPv6 ones in 34, of buckets that have a
 * target in 52. They are numbered from 0 in no particular order, or after eb_debts_sort() by family, rule and address.
 */
#ifndef EB_DEBTS_H
#define EB_DEBTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/destination.h"

/* What one bucket owes. The bucket is named by what is above the debts, of which unused bytes are 0. */
struct eb_debt {
	uint8_t family;  /* 4 or 6 */
	uint8_t rule;    /* place in the policy */
	uint8_t addr[16]; /* masked; network byte order, IPv4 in the first 4 bytes */
	struct eb_destination target;
	bool clamped;
	uint64_t packets, bytes; /* ticks, see gcra.h */
};

/* Debts of one length, packed. The first `sorted` of them are in order, and of different buckets. */
struct eb_debt_shelf {
	uint8_t *items;
	size_t count, room, sorted;
};

enum { EB_DEBT_FORMS = 3 };

/* All zeros is empty. */
struct eb_debts {
	struct eb_debt_shelf shelves[EB_DEBT_FORMS];
};

/* Empties it. */
void eb_debts_free(struct eb_debts *debts);

size_t eb_debts_count(const struct eb_debts *debts);

/* `number` is below the count. */
void eb_debts_get(const struct eb_debts *debts, size_t number, struct eb_debt *out);

/* Says that eb_debts_get() follows soon. */
void eb_debts_prefetch(const struct eb_debts *debts, size_t number);

/* Returns 0 or -ENOMEM. */
int eb_debts_add(struct eb_debts *debts, const struct eb_debt *debt);

/* Of each bucket, one debt remains: the later of each limit. */
void eb_debts_sort(struct eb_debts *debts);

/* Look for the bucket of `like` among what was there when the debts were last sorted. The first one copies its debt to
 * *out; the other one gives it those of `like` that are later. False when there is none. */
bool eb_debts_find(const struct eb_debts *debts, const struct eb_debt *like, struct eb_debt *out);
bool eb_debts_keep_later(struct eb_debts *debts, const struct eb_debt *like);

/* Keeps those for which `keep` returns true, as it has changed them: all but family, address and target. */
void eb_debts_filter(struct eb_debts *debts, bool (*keep)(struct eb_debt *debt, void *arg), void *arg);

#endif
