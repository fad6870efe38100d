/* SPDX-License-Identifier: GPL-2.0-only */
/* What the pages /healthz and /readyz, and `edgebucket probe`, say of the agent. */
#ifndef EB_HEALTH_H
#define EB_HEALTH_H

#include <stdio.h>

#include "agent/agent.h"

/* Whether every interface is enforced; a line to `out` for each that is not, and why. */
bool eb_health_is_enforced(const struct eb_agent *agent, FILE *out);

/* Whether it is decided what is restored, and the configuration is not refused; one or two lines to `out`. */
bool eb_health_is_ready(const struct eb_agent *agent, FILE *out);

#endif
