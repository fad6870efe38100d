/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Shares bans with the nodes of a fleet (`bans: { share: fleet }`), through a hash in Redis and its journal
 * (store/ban_share.h). Every tick, a node reads what was written since the last one, and puts what is later than its
 * own word into force. Then it writes its own bans and unbans that came since. Of one prefix, the later word counts, by
 * the clocks of the nodes. At its start, after a lost connection and where the journal does not reach back, a node
 * reads the hash whole, and writes what of its own is not there.
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

/*
 * For `status`, null for NULL; the caller owns the reference: {"rounds", "told", "heard", "read_whole", "fields",
 * "refused": {...}, "last_error"}. Rounds are numbered as they begin; "told" is the last one that wrote, "heard" the
 * last one that brought something new. "fields" were read, and "refused" of them, since the hash was read whole.
 */
json_t *eb_ban_fleet_status(const struct eb_ban_fleet *fleet);

#endif
