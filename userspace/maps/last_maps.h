/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which maps an agent used last, in a file in run_dir: when their pins were removed, its next run still knows the
 * program that uses them for its own. Nothing else tells it from the program of another agent.
 */
#ifndef EB_LAST_MAPS_H
#define EB_LAST_MAPS_H

#include <stdint.h>

/* Notes the id of the map `state` that is pinned in `pin_dir`. Returns 0 or negative errno. */
int eb_last_maps_write(const char *run_dir, const char *pin_dir, uint32_t state_id);

/* The id that was noted since boot for the same `pin_dir`; 0 for none. */
uint32_t eb_last_maps_read(const char *run_dir, const char *pin_dir);

#endif
