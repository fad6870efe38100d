/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel side as an object: makes or adopts the pinned maps, and puts policies into force. attach.h brings the
 * program to the interfaces. What it makes stays when the agent is gone.
 */
#ifndef EB_DATAPLANE_H
#define EB_DATAPLANE_H

#include <stdbool.h>

#include "attach/attach.h"
#include "config/config.h"
#include "maps/buckets.h"
#include "maps/maps.h"
#include "policy/rules.h"

struct eb_dataplane; /* opaque */

/*
 * Adopts the maps pinned in config->pin_dir, or makes them: mounts bpffs at /sys/fs/bpf when nothing is. Maps of
 * another schema or table_size, or some that do not belong together, are replaced, with all buckets carried over.
 * Returns 0 and an object for eb_dataplane_close(), or negative errno with a malloc'ed line in *error.
 */
int eb_dataplane_open(const struct eb_config *config, struct eb_dataplane **out, char **error);

/* Closes descriptors; pinned maps and attached programs stay. Accepts NULL. */
void eb_dataplane_close(struct eb_dataplane *dataplane);

/* Owned by the dataplane. */
const struct eb_maps *eb_dataplane_maps(const struct eb_dataplane *dataplane);
struct eb_buckets *eb_dataplane_buckets(const struct eb_dataplane *dataplane);
struct eb_programs *eb_dataplane_programs(const struct eb_dataplane *dataplane);

/* True when the maps were made by this eb_dataplane_open() with nothing to carry over: their buckets are all full. */
bool eb_dataplane_is_new(const struct eb_dataplane *dataplane);

/* True when they replace pinned maps of another schema or size, whose buckets eb_dataplane_apply() carries over. */
bool eb_dataplane_is_carrying(const struct eb_dataplane *dataplane);

/*
 * Pins new maps, once they have rules and what was restored or carried over, in place of those that were pinned before.
 * An agent that is killed earlier leaves those, or nothing, to the next one; one that is killed later leaves both,
 * until eb_dataplane_settle().
 * Notes in run_dir which maps they are. Returns 0 or negative errno with *error.
 */
int eb_dataplane_commit(struct eb_dataplane *dataplane, char **error);

/* Pins the maps again if somebody removed a pin; to be called about every second. Returns true when it did. */
bool eb_dataplane_keep_pins(struct eb_dataplane *dataplane);

/* Why the pins are gone, or will be before the next reboot, as one line of the dataplane's; NULL while all is well. */
const char *eb_dataplane_pins_problem(const struct eb_dataplane *dataplane);

/*
 * Puts a ruleset into force: every packet sees the rules before or these, never a mixture. Buckets of rules whose
 * limits changed keep as many tokens missing as before, at every moment (convert.h). On failure the rules before stay
 * in force.
 */
int eb_dataplane_apply(struct eb_dataplane *dataplane, const struct eb_ruleset *ruleset, char **error);

/*
 * Takes over what the program before charged to the maps before since eb_dataplane_apply(), and lets those go. Returns
 * 0;
 * -EBUSY while an interface still has that program, logged once; or other negative errno. To be called again until it
 * is 0.
 */
int eb_dataplane_settle(struct eb_dataplane *dataplane);

#endif
