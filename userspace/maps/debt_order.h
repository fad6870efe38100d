/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The order in which debts are put into a table that may not have room for all: those that are over soonest are left
 * out, not who has been refused for an hour.
 */
#ifndef EB_DEBT_ORDER_H
#define EB_DEBT_ORDER_H

#include <stddef.h>
#include <stdint.h>

/*
 * Numbers below `count`, those first for which `length` is largest, to a factor of two: sorting a million debts exactly
 * would take longer than it is worth. The caller frees them; NULL when out of memory.
 */
uint32_t *eb_debt_order(size_t count, uint64_t (*length)(size_t number, const void *arg), const void *arg);

#endif
