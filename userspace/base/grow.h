/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Arrays that grow as they are filled.
 */
#ifndef EB_GROW_H
#define EB_GROW_H

#include <stddef.h>

/* Makes room for one more item behind `count` items of `size` bytes. Returns `items` or where they moved, with *room
 * items of space; NULL if out of memory, with all as it was. `items` is NULL as long as *room is 0. */
void *eb_grow(void *items, size_t count, size_t *room, size_t size);

#endif
