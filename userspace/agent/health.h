/* SPDX-License-Identifier: GPL-2.0-only */
/* The health of the agent, for the pages /healthz and /readyz and for `edgebucket probe`. */
#ifndef EB_HEALTH_H
#define EB_HEALTH_H

#include <stdio.h>

#include "agent/agent.h"

/* Whether the rules are enforced on every interface. Writes a line with the reason to `out` for each interface on which
 * they are not. */
bool eb_health_is_enforced(const struct eb_agent *agent, FILE *out);

/* Whether the agent has decided what to restore, and its configuration is not refused. Writes one or two lines to
 * `out`. */
bool eb_health_is_ready(const struct eb_agent *agent, FILE *out);

#endif
