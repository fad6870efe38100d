/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel side: creates or adopts the pinned maps, and puts policies into force. attach.h attaches the program to
 * the interfaces. Maps and programs stay when the agent ends.
 */
#ifndef EB_DATAPLANE_H
#define EB_DATAPLANE_H

#include <stdbool.h>

#include "attach/attach.h"
#include "config/config.h"
#include "config/targets.h"
#include "maps/buckets.h"
#include "maps/maps.h"
#include "policy/rules.h"

struct eb_dataplane; /* opaque */

/*
 * Adopts the maps pinned in config->pin_dir, or creates them. Mounts bpffs at /sys/fs/bpf if nothing is mounted there.
 * Replaces maps of another schema or table_size, and maps that were not created together; their buckets are carried
 * over. Returns 0 and an object for eb_dataplane_close(), or negative errno with a malloc'ed line in *error.
 */
int eb_dataplane_open(const struct eb_config *config, struct eb_dataplane **out, char **error);

/* Closes descriptors; pinned maps and attached programs stay. Accepts NULL. */
void eb_dataplane_close(struct eb_dataplane *dataplane);

/* Owned by the dataplane. */
const struct eb_maps *eb_dataplane_maps(const struct eb_dataplane *dataplane);
struct eb_buckets *eb_dataplane_buckets(const struct eb_dataplane *dataplane);
struct eb_programs *eb_dataplane_programs(const struct eb_dataplane *dataplane);

/* Whether this eb_dataplane_open() created the maps and has nothing to carry over, so that all buckets are full. */
bool eb_dataplane_is_new(const struct eb_dataplane *dataplane);

/* Whether the maps replace pinned maps of another schema or size, whose buckets eb_dataplane_apply() carries over. */
bool eb_dataplane_is_carrying(const struct eb_dataplane *dataplane);

/*
 * Pins new maps in place of the previous ones, once they contain the rules and the buckets that were restored or
 * carried over. If the agent is killed before, the next one finds the previous maps, or none. If it is killed
 * afterwards, the next one finds both, until eb_dataplane_settle(). Also records in run_dir which maps are in use.
 * Returns 0, or negative errno with a malloc'ed line in *error.
 */
int eb_dataplane_commit(struct eb_dataplane *dataplane, char **error);

/* Pins the maps again if a pin was removed; must be called about every second. Returns whether it pinned them again. */
bool eb_dataplane_keep_pins(struct eb_dataplane *dataplane);

/* Why the pins are missing, or will vanish before the next reboot, as one line, which belongs to the dataplane; NULL if
 * there is no problem. */
const char *eb_dataplane_pins_problem(const struct eb_dataplane *dataplane);

/*
 * Puts a ruleset into force: every packet is judged by the previous or the new rules, never by a mixture. Buckets of
 * rules whose limits changed lack the same number of tokens as before, at every moment (convert.h). Returns 0, or
 * negative errno with a malloc'ed line in *error; on failure the previous rules stay in force. `targets` are the
 * interfaces that the configuration stands for now.
 */
int eb_dataplane_apply(struct eb_dataplane *dataplane, const struct eb_ruleset *ruleset,
		       const struct eb_targets *targets, char **error);

/*
 * Tells the program which interfaces those are that the rules in force ask for: to be called before it comes to an
 * interface, and when one came, went or was renamed. Returns 0 or negative errno.
 */
int eb_dataplane_set_interfaces(struct eb_dataplane *dataplane, const struct eb_targets *targets);

/*
 * Carries over what the previous program charged to the previous maps since eb_dataplane_apply(), and then removes
 * those maps. Returns 0; -EBUSY while an interface still has the previous program, which is logged once; or another
 * negative errno. Must be called again until it returns 0.
 */
int eb_dataplane_settle(struct eb_dataplane *dataplane);

#endif
