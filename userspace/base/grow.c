// SPDX-License-Identifier: GPL-2.0-only
#include <stdlib.h>

#include "base/grow.h"

#define ROOM_FIRST 64

void *eb_grow(void *items, size_t count, size_t *room, size_t size)
{
	size_t larger = *room ? 2 * *room : ROOM_FIRST;
	void *moved;

	if (count < *room)
		return items;
	moved = reallocarray(items, larger, size);
	if (moved)
		*room = larger;
	return moved;
}
