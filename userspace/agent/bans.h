/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The agent's part in bans: puts into force what the control socket asks for, and removes in the background what ran
 * out. Bans end on time without it.
 *
 * A request is one JSON object:
 *
 *   {"request": "ban", "bans": [{"prefix": "192.0.2.0/24", "for": "10min", "reason": "text"}, ...]}
 *   {"request": "unban", "prefixes": ["192.0.2.0/24", ...]}
 *   {"request": "unban", "all": true}
 *
 * "for" and "reason" can be left out. Each request can have "from": "feed" for what a program decided: its bans do not
 * shorten those of the operator, the default, and its unbans end bans of feeds alone, of exactly these prefixes. The
 * answer is
 * {"ok": true, "done": N, "refused": [{"index": 0, "error": "text"}, ...], "refused_count": N}; `refused` names the
 * first EB_BAN_ERRORS_MAX. "all" lifts some thousands at a time, and has "more" in its answer: true until none is left.
 */
#ifndef EB_AGENT_BANS_H
#define EB_AGENT_BANS_H

#include <jansson.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "config/config.h"
#include "maps/maps.h"

#define EB_BAN_ERRORS_MAX 100

struct eb_ban_keeper; /* opaque */

/* `maps` must outlive it. Returns 0 or negative errno. */
int eb_ban_keeper_new(sd_event *loop, const struct eb_maps *maps, struct eb_ban_keeper **out);

/* Call this after the start and each reload. */
void eb_ban_keeper_configure(struct eb_ban_keeper *keeper, const struct eb_config *config);

/* Accepts NULL. */
void eb_ban_keeper_free(struct eb_ban_keeper *keeper);

/* Does what a request asks for, with at most `max` bans in all. Returns the answer, the caller's. */
json_t *eb_ban_keeper_request(struct eb_ban_keeper *keeper, uint32_t max, const char *text);

/* {"count", "max", "from": {...}}, the caller's. */
json_t *eb_ban_keeper_status(const struct eb_ban_keeper *keeper, uint32_t max);

/* Owned by the keeper. */
struct eb_bans *eb_ban_keeper_bans(const struct eb_ban_keeper *keeper);

#endif
