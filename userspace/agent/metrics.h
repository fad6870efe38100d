/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the agent tells a monitoring system: /metrics, /healthz and /readyz of the CONTRACT, at config->metrics. Only
 * reads the agent; main.c makes it.
 */
#ifndef EB_METRICS_H
#define EB_METRICS_H

#include <jansson.h>

#include "agent/agent.h"

struct eb_metrics; /* opaque */

/*
 * Serves until closed; where the address cannot be had, says so once and goes on trying, as limits do not depend on
 * it. `agent` must outlive it, its persistence too. *out is NULL where the configuration says `off`. Returns 0 or
 * negative errno.
 */
int eb_metrics_open(const struct eb_agent *agent, struct eb_metrics **out);

/* For `edgebucket status`: {"address", "served", "problem"}, or null for NULL. */
json_t *eb_metrics_status(const struct eb_metrics *metrics);

/* Accepts NULL. */
void eb_metrics_close(struct eb_metrics *metrics);

#endif
