/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The directory of the pinned maps, pin_dir, where everybody finds them by name. One whole set takes the place of
 * another in one step, so that whoever is killed in between leaves one or the other, and never some maps of both:
 *
 *   NAME                   the maps in force, but for those that are still in
 *   replacing/NAME         a set that is complete as soon as the directory has this name; they are moved out one by one
 *   replacing/before/NAME  the set that was in force before, until all its buckets were carried over
 *   scratch/               not complete yet, or done with
 *
 * Only who holds the instance lock (lock.h) changes anything here.
 */
#ifndef EB_PINS_H
#define EB_PINS_H

#include <limits.h>
#include <stdbool.h>

#include "maps/maps.h"

/* Opens what is pinned as `name`, of the set in force. Returns a descriptor or negative errno. */
int eb_pins_open(const char *pin_dir, const char *name);

/* Goes on with what an agent was killed at: afterwards the set in force is in pin_dir itself. Returns 0 or negative
 * errno. */
int eb_pins_recover(const char *pin_dir);

/*
 * Puts a set into force, all of *maps; makes pin_dir where there is none. With `keep_before` the set that was in force
 * is kept for eb_pins_before(), until eb_pins_settle(). Returns 0, or negative errno with a malloc'ed line in *error;
 * what was in force stays so then.
 */
int eb_pins_replace(const char *pin_dir, const struct eb_maps *maps, bool keep_before, char **error);

/* Whether every map of the set in force has its pin. */
bool eb_pins_are_there(const char *pin_dir);

/* Whether a set before is kept, and the directory that it is in. */
bool eb_pins_before(const char *pin_dir, char path[PATH_MAX]);

/* Lets the set before go. Returns 0, also when there is none, or negative errno. */
int eb_pins_settle(const char *pin_dir);

/* Removes all of it, and pin_dir if nothing else is in it: memory and buckets go with the last program that uses them.
 * Returns 0, also when there is nothing, or negative errno. */
int eb_pins_remove(const char *pin_dir);

#endif
