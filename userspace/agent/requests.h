/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Answers the requests of `edgebucket`: owns both sockets of the agent, and the clients that wait for an attach, a
 * detach or a flush. main.c creates it.
 */
#ifndef EB_REQUESTS_H
#define EB_REQUESTS_H

#include <stdint.h>

#include "agent/agent.h"
#include "agent/apply.h"
#include "agent/metrics.h"

struct eb_requests; /* opaque */

/* Listens in the run_dir of the configuration. All three arguments must outlive it; the agent reports to it how an
 * attach or a detach ended. Returns 0 or negative errno. */
int eb_requests_open(struct eb_agent *agent, struct eb_apply *apply, const struct eb_metrics *metrics,
		     struct eb_requests **out);

/* Reloads the configuration, as the request `reload` does, and notifies the service manager. Returns 0, or negative
 * errno with a malloc'ed line in *error; on failure the old configuration stays in force. */
int eb_requests_reload(struct eb_requests *requests, char **error);

/* Call this when a pass for EB_PASS_FLUSH ended, see eb_persist_events. Answers the clients that wait for it, and
 * starts another pass for those that arrived during the pass. */
void eb_requests_flush_done(struct eb_requests *requests, uint64_t fields_set, uint64_t fields_deleted,
			    const char *text);

/* Call this when the agent stops: refuses trials from now on, because the agent could not roll them back. */
void eb_requests_refuse_trials(struct eb_requests *requests);

/* Disconnects waiting clients. Accepts NULL. */
void eb_requests_close(struct eb_requests *requests);

#endif
