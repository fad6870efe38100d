/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One budget for a source on all nodes of a fleet: every tick, tells Redis what packets were charged here to buckets of
 * shared rules, and adds to these buckets what came from others. docs/fleet.md says what that is worth, and why.
 *
 * It owns the counters of what was charged (maps/spent.h), the exchange (store/exchange.h) and what is known of the
 * other nodes. It never blocks; a walk over the table is divided into slices.
 */
#ifndef EB_AGENT_FLEET_H
#define EB_AGENT_FLEET_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "attach/dataplane.h"
#include "config/config.h"

struct eb_fleet; /* opaque */

/* Call this once the buckets are restored. `config` has a fleet and redis; of it, nothing is kept. `dataplane` must
 * outlive the fleet. Returns 0 or negative errno. */
int eb_fleet_new(sd_event *loop, const struct eb_config *config, struct eb_dataplane *dataplane,
		 struct eb_fleet **out);

/* Accepts NULL. */
void eb_fleet_free(struct eb_fleet *fleet);

/* Whether both configurations have the same fleet, reached in the same way. */
bool eb_fleet_is_same(const struct eb_config *a, const struct eb_config *b);

/* Tells now what the next tick would: the agent is about to stop. Accepts NULL. */
void eb_fleet_tell(struct eb_fleet *fleet);

struct eb_fleet_figures {
	unsigned int nodes;        /* seen lately, this one included */
	bool is_up, is_lost;
	bool has_namesake;         /* another agent has this node's name */
	uint64_t lag_ns;           /* since what was told last was charged */
	uint64_t told, heard;      /* limits of buckets, in all */
	uint64_t views;            /* of those told, whole debts */
	uint64_t refused;          /* batches */
	uint64_t sources;          /* limits of buckets that changed in the last whole walk */
	int64_t clock_offset_ns;   /* of the wall clock, to that of Redis */
};

void eb_fleet_figures(const struct eb_fleet *fleet, struct eb_fleet_figures *out);

/* What a limit of a bucket (store/exchange_field.h) would owe if only this node had charged it since the agent's start;
 * while Redis is away, more than that. Accepts NULL. Returns 0; -EINVAL for text that names none, -ENOENT where it has
 * no bucket or there is no fleet, or another negative errno. */
int eb_fleet_own_debt(const struct eb_fleet *fleet, const char *limit, uint64_t *debt_ns);

/* For `status` and `edgebucket fleet`; the caller owns the reference. Accepts NULL: then it is null. */
json_t *eb_fleet_status(const struct eb_fleet *fleet);

#endif
