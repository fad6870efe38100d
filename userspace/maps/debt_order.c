// SPDX-License-Identifier: GPL-2.0-only
#include <stdlib.h>

#include "maps/debt_order.h"

#define MAGNITUDES 64

/* Longer debts have smaller slots. */
static uint32_t slot_of(const struct eb_debt_rank *rank, uint32_t parts)
{
	return __builtin_clzll(rank->length | 1) * parts + rank->part;
}

/* Where the debts of each slot begin in the order, by how many there are. */
static void count_up(size_t *starts, size_t slots)
{
	size_t next = 0;

	for (size_t i = 0; i < slots; i++) {
		size_t here = starts[i];

		starts[i] = next;
		next += here;
	}
}

uint32_t *eb_debt_order(size_t count, uint32_t parts, struct eb_debt_rank (*rank)(size_t number, const void *arg),
			const void *arg)
{
	uint32_t *order = calloc(count + 1, sizeof(*order)), *slots = calloc(count + 1, sizeof(*slots));
	size_t *starts = calloc((size_t)MAGNITUDES * parts, sizeof(*starts));

	if (order && slots && starts) {
		for (size_t i = 0; i < count; i++) {
			struct eb_debt_rank ranked = rank(i, arg);

			slots[i] = slot_of(&ranked, parts);
			starts[slots[i]]++;
		}
		count_up(starts, (size_t)MAGNITUDES * parts);
		for (size_t i = 0; i < count; i++)
			order[starts[slots[i]]++] = i;
	} else {
		free(order);
		order = NULL;
	}
	free(slots);
	free(starts);
	return order;
}
