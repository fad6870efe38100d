// SPDX-License-Identifier: GPL-2.0-only
#include <stdlib.h>

#include "maps/debt_order.h"

static int magnitude(uint64_t length)
{
	return 64 - __builtin_clzll(length | 1);
}

uint32_t *eb_debt_order(size_t count, uint64_t (*length)(size_t number, const void *arg), const void *arg)
{
	uint32_t *order = calloc(count + 1, sizeof(*order));
	size_t starts[65] = {}, next = 0;

	if (!order)
		return NULL;
	for (size_t i = 0; i < count; i++)
		starts[magnitude(length(i, arg))]++;
	for (int i = 64; i >= 0; i--) {
		size_t here = starts[i];

		starts[i] = next;
		next += here;
	}
	for (size_t i = 0; i < count; i++)
		order[starts[magnitude(length(i, arg))]++] = i;
	return order;
}
