/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The agent's part in bans: owns the bans in the maps, and removes in the background what ran out. Bans end on time
 * without it. What others ask for is done by ban_requests.h.
 */
#ifndef EB_AGENT_BANS_H
#define EB_AGENT_BANS_H

#include <jansson.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "config/config.h"
#include "maps/maps.h"

struct eb_ban_keeper; /* opaque */

/* `maps` must outlive it. Returns 0 or negative errno. */
int eb_ban_keeper_new(sd_event *loop, const struct eb_maps *maps, struct eb_ban_keeper **out);

/* Call this after the start and each reload. */
void eb_ban_keeper_configure(struct eb_ban_keeper *keeper, const struct eb_config *config);

/* Accepts NULL. */
void eb_ban_keeper_free(struct eb_ban_keeper *keeper);

/* {"count", "max", "from": {...}}, the caller's. */
json_t *eb_ban_keeper_status(const struct eb_ban_keeper *keeper, uint32_t max);

/* Owned by the keeper. */
struct eb_bans *eb_ban_keeper_bans(const struct eb_ban_keeper *keeper);

#endif
