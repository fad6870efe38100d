/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The order in which debts are put into a table that might not have room for all: the longest come first, so that the
 * debts that are left out are those that end soonest.
 */
#ifndef EB_DEBT_ORDER_H
#define EB_DEBT_ORDER_H

#include <stddef.h>
#include <stdint.h>

/*
 * Returns the numbers 0 to `count` - 1, ordered by decreasing `length`, but only to a factor of two: an exact sort of a
 * million debts would take too long. The caller frees the array; NULL if out of memory.
 */
uint32_t *eb_debt_order(size_t count, uint64_t (*length)(size_t number, const void *arg), const void *arg);

#endif
