/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Configurations on trial: `edgebucket apply`, `confirm` and `rollback`.
 *
 * A configuration on trial is only in the kernel and in this process. The agent does not change its own file before the
 * confirmation. So if the agent ends for any reason, the next one starts with the last confirmed rules. A rollback puts
 * the previous configuration into force as it was, with the content that its files had when they were read.
 */
#ifndef EB_APPLY_H
#define EB_APPLY_H

#include <jansson.h>

#include "agent/agent.h"

struct eb_apply; /* opaque */

/* `agent` must outlive it. NULL if out of memory. */
struct eb_apply *eb_apply_new(struct eb_agent *agent);

/* Accepts NULL. Does not roll back, see eb_apply_stop(). */
void eb_apply_free(struct eb_apply *apply);

/* Answer the requests: "NANOSECONDS FILE" with the open file, a confirmation, a rollback. The caller owns the reply. */
json_t *eb_apply_request(struct eb_apply *apply, const char *arguments, int file);
json_t *eb_apply_confirm(struct eb_apply *apply);
json_t *eb_apply_rollback(struct eb_apply *apply);

/* The configuration on trial: {"file", "rules", "seconds_left", "problem"}; a JSON null if there is none. */
json_t *eb_apply_status(const struct eb_apply *apply);

/* Returns 0 if a reload is permitted; -EBUSY with a malloc'ed line in *error while a configuration is on trial, because
 * the reload would replace it with the content of the file. */
int eb_apply_check_reload(const struct eb_apply *apply, char **error);

/* Call this when the agent stops: rolls back a configuration that was not confirmed, because no agent could do it
 * later. */
void eb_apply_stop(struct eb_apply *apply);

#endif
