/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel side as an object: makes or adopts the pinned maps, puts policies into force, attaches and detaches the
 * program. Alone sees libxdp and the program's skeleton. What it makes stays when the agent is gone.
 */
#ifndef EB_DATAPLANE_H
#define EB_DATAPLANE_H

#include <stdbool.h>

#include "buckets.h"
#include "config.h"
#include "maps.h"
#include "rules.h"

struct eb_dataplane; /* opaque */

/*
 * Adopts the maps pinned in config->pin_dir, or makes them: mounts bpffs at /sys/fs/bpf when nothing is. Maps of
 * another schema or table_size are replaced, with all buckets carried over. Returns 0 and an object for
 * eb_dataplane_close(), or negative errno with a malloc'ed line in *error.
 */
int eb_dataplane_open(const struct eb_config *config, struct eb_dataplane **out, char **error);

/* Closes descriptors; pinned maps and attached programs stay. Accepts NULL. */
void eb_dataplane_close(struct eb_dataplane *dataplane);

/* Owned by the dataplane. */
const struct eb_maps *eb_dataplane_maps(const struct eb_dataplane *dataplane);
struct eb_buckets *eb_dataplane_buckets(const struct eb_dataplane *dataplane);

/* True when the maps were made by this eb_dataplane_open() with nothing to carry over: their buckets are all full. */
bool eb_dataplane_is_new(const struct eb_dataplane *dataplane);

/* True when they replace pinned maps of another schema or size, whose buckets eb_dataplane_apply() carries over. */
bool eb_dataplane_is_carrying(const struct eb_dataplane *dataplane);

/*
 * Pins new maps, once they have rules and what was restored or carried over, in place of those that were pinned before.
 * An agent that is killed earlier leaves those, or nothing, to the next one. Returns 0 or negative errno with *error.
 */
int eb_dataplane_commit(struct eb_dataplane *dataplane, char **error);

/*
 * Puts a ruleset into force: every packet sees the rules before or these, never a mixture. Buckets of rules whose
 * limits changed keep as many tokens missing as before. On failure the rules before stay in force.
 */
int eb_dataplane_apply(struct eb_dataplane *dataplane, const struct eb_ruleset *ruleset, char **error);

/* What is on an interface. */
struct eb_attachment {
	bool attached;     /* a program that uses our maps is on it */
	const char *mode;  /* "native", "generic", "offload"; "" when nothing is attached */
	uint32_t prog_id;  /* our program's; 0 when not attached */
	bool dispatcher;   /* beside others, behind libxdp's dispatcher */
	bool foreign;      /* a program of another owner is there that does not share the interface */
};

/*
 * Attaches the program to an interface, or replaces an older one of ours without a gap. Other owners' programs stay:
 * where the kernel cannot chain, -EBUSY. *out says what became of it.
 */
int eb_dataplane_attach(struct eb_dataplane *dataplane, const char *ifname, enum eb_attach_mode mode,
			struct eb_attachment *out, char **error);

/* After the program was attached to all interfaces: takes over what the old one charged to the old maps meanwhile. */
void eb_dataplane_settle(struct eb_dataplane *dataplane);

/* Reads what is on an interface; no dataplane needed. -ENODEV when there is no such interface. */
int eb_dataplane_status(const char *ifname, const struct eb_maps *maps, struct eb_attachment *out);

/* Takes our program off an interface; 0 also when it was not there. Needs no agent. */
int eb_dataplane_detach(const char *ifname, const struct eb_maps *maps, char **error);

#endif
