/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The directory of the pinned maps, pin_dir, where all programs find them by name. One set of maps replaces another
 * atomically: if the agent is killed, the old or the new set is in force, and never a mixture:
 *
 *   NAME                   the maps in force, except those that are still in replacing/
 *   view_v4, view_v6       what `cat` prints the buckets of (attach/views.h), where the kernel can
 * replacing/NAME         a new set, complete as soon as this directory has its name; the maps are moved out one by one
 *   replacing/before/NAME  the set that was in force before, until all its buckets are carried over
 *   scratch/               a set that is not complete yet, or not needed any more
 *
 * Only the process that holds the instance lock (lock.h) may change anything here.
 */
#ifndef EB_PINS_H
#define EB_PINS_H

#include <limits.h>
#include <stdbool.h>

#include "maps/maps.h"

enum eb_view { EB_VIEW_V4, EB_VIEW_V6, EB_VIEWS };

/* The name of its pin. */
const char *eb_view_name(enum eb_view view);

/* Opens the map `name` of the set in force. Returns a descriptor that the caller closes, or negative errno. */
int eb_pins_open(const char *pin_dir, const char *name);

/* Completes what a killed agent had begun. Afterwards the whole set in force is in pin_dir itself. Returns 0 or
 * negative errno. */
int eb_pins_recover(const char *pin_dir);

/*
 * Puts the set *maps into force; creates pin_dir if it does not exist. With `keep_before`, keeps the previous set for
 * eb_pins_before() until eb_pins_settle(). Returns 0, or negative errno with a malloc'ed line in *error; on failure the
 * previous set stays in force.
 */
int eb_pins_replace(const char *pin_dir, const struct eb_maps *maps, bool keep_before, char **error);

/* Whether every map of the set in force has its pin. */
bool eb_pins_are_there(const char *pin_dir);

/* Whether a previous set is kept; if so, `path` gets its directory. */
bool eb_pins_before(const char *pin_dir, char path[PATH_MAX]);

/* Removes the previous set. Returns 0, also if there is none, or negative errno. */
int eb_pins_settle(const char *pin_dir);

/* Removes all sets, and pin_dir unless it contains other files. The kernel frees the maps when no program uses them any
 * more. Returns 0, also if there is nothing to remove, or negative errno. */
int eb_pins_remove(const char *pin_dir);

#endif
