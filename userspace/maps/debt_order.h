/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The order in which debts are put into a table that might not have room for all: the longest come first, so that the
 * debts that are left out are those that end soonest.
 */
#ifndef EB_DEBT_ORDER_H
#define EB_DEBT_ORDER_H

#include <stddef.h>
#include <stdint.h>

struct eb_debt_rank {
	uint64_t length; /* of the debt, in any unit */
	uint32_t part;   /* of the table, see eb_buckets_part() */
};

/*
 * Returns the numbers 0 to `count` - 1, ordered by decreasing length, but only to a factor of two: an exact sort of a
 * million debts would take too long. Debts of about the same length are ordered by their part, which is below `parts`.
 * The caller frees the array; NULL if out of memory.
 */
uint32_t *eb_debt_order(size_t count, uint32_t parts, struct eb_debt_rank (*rank)(size_t number, const void *arg),
			const void *arg);

#endif
