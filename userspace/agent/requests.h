/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Answers what `edgebucket` asks the agent: owns the control socket, and the clients that wait for an attach, a detach
 * or a flush. main.c makes it.
 */
#ifndef EB_REQUESTS_H
#define EB_REQUESTS_H

#include <stdint.h>

#include "agent/agent.h"
#include "agent/apply.h"
#include "agent/metrics.h"

struct eb_requests; /* opaque */

/* Listens in the run_dir of the configuration. All three must outlive it; the agent tells it how an attach or a detach
 * ended. Returns 0 or negative errno. */
int eb_requests_open(struct eb_agent *agent, struct eb_apply *apply, const struct eb_metrics *metrics,
		     struct eb_requests **out);

/* Reads the configuration again, as the request `reload` does, and tells the service manager. Returns 0, or negative
 * errno with a malloc'ed line in *error: what was in force stays. */
int eb_requests_reload(struct eb_requests *requests, char **error);

/* A pass for EB_PASS_FLUSH ended, see eb_persist_events. Answers the clients that wait for it, and begins another pass
 * for those that came meanwhile. */
void eb_requests_flush_done(struct eb_requests *requests, uint64_t fields_set, uint64_t fields_deleted,
			    const char *text);

/* The agent stops: from now on nothing is applied, since nothing would take it back. */
void eb_requests_refuse_trials(struct eb_requests *requests);

/* Clients that wait are disconnected. Accepts NULL. */
void eb_requests_close(struct eb_requests *requests);

#endif
