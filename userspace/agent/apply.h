/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Configurations that are put into force on trial: `edgebucket apply`, `confirm` and `rollback`.
 *
 * What is tried is in the kernel and in this process alone. The agent's own file stays as it is until the confirmation,
 * so that whatever ends the agent before, the next one begins with the rules that were confirmed. What goes back into
 * force is the configuration as it was, with the files it had read, not as files say meanwhile.
 */
#ifndef EB_APPLY_H
#define EB_APPLY_H

#include <jansson.h>

#include "agent/agent.h"

struct eb_apply; /* opaque */

/* `agent` must outlive it. NULL when out of memory. */
struct eb_apply *eb_apply_new(struct eb_agent *agent);

/* Accepts NULL. Takes nothing back, see eb_apply_stop(). */
void eb_apply_free(struct eb_apply *apply);

/* Answer requests: "NANOSECONDS FILE" with that file open, a confirmation, a rollback. */
json_t *eb_apply_request(struct eb_apply *apply, const char *arguments, int file);
json_t *eb_apply_confirm(struct eb_apply *apply);
json_t *eb_apply_rollback(struct eb_apply *apply);

/* What awaits its confirmation: {"file", "rules", "seconds_left", "problem"}; null for nothing. */
json_t *eb_apply_status(const struct eb_apply *apply);

/* A reload would mix up what is tried with what the file says: -EBUSY with a malloc'ed line in *error while something
 * awaits its confirmation. */
int eb_apply_check_reload(const struct eb_apply *apply, char **error);

/* At the agent's stop: takes back what was not confirmed, as nobody will be there to do it. */
void eb_apply_stop(struct eb_apply *apply);

#endif
