/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Records in a file in run_dir which maps the agent used last. If the pins of the maps were removed, the next agent can
 * still recognize the program that uses these maps as its own. Nothing else distinguishes it from the program of
 * another owner.
 */
#ifndef EB_LAST_MAPS_H
#define EB_LAST_MAPS_H

#include <stdint.h>

/* Records the id of the map `state` that is pinned in `pin_dir`. Returns 0 or negative errno. */
int eb_last_maps_write(const char *run_dir, const char *pin_dir, uint32_t state_id);

/* The id that was recorded for `pin_dir` since boot; 0 if there is none. */
uint32_t eb_last_maps_read(const char *run_dir, const char *pin_dir);

#endif
