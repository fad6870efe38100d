/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Shares bans with the nodes of a fleet (`bans: { share: fleet }`), through one hash in Redis. Every tick, a node looks
 * whether another one has written; if so, it reads the hash and puts what is later than its own word into force. Then
 * it writes its own bans and unbans that came since. Of one prefix, the later word counts, by the clocks of the nodes.
 *
 * A field is a prefix; its value is "<until> <from> <since>[ <reason>]", as in store/ban_record.h; <from> is "unban"
 * for one that was lifted. An unban stays there for a day, for nodes that are away.
 */
#ifndef EB_BAN_FLEET_H
#define EB_BAN_FLEET_H

#include <jansson.h>
#include <systemd/sd-event.h>

#include "config/config.h"
#include "maps/bans.h"

struct eb_ban_fleet; /* opaque */

/* `config` has a fleet and Redis. `bans` must outlive it. Returns 0 or negative errno. */
int eb_ban_fleet_new(sd_event *loop, const struct eb_config *config, struct eb_bans *bans, struct eb_ban_fleet **out);

/* Accepts NULL. */
void eb_ban_fleet_free(struct eb_ban_fleet *fleet);

/* For `status`: {"fields", "refused": {...}, "last_error"}, null for NULL; the caller owns the reference. */
json_t *eb_ban_fleet_status(const struct eb_ban_fleet *fleet);

#endif
