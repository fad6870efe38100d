/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The pages for a monitoring system: /metrics, /healthz and /readyz, at the address config->metrics. It only reads the
 * agent. main.c creates it.
 */
#ifndef EB_METRICS_H
#define EB_METRICS_H

#include <jansson.h>

#include "agent/agent.h"

struct eb_metrics; /* opaque */

/*
 * Serves the pages until closed. If the address is not available, logs that once and keeps retrying, because limits do
 * not depend on it. `agent` and its persistence must outlive it. *out is NULL if the configuration says `off`. Returns
 * 0 or negative errno.
 */
int eb_metrics_open(const struct eb_agent *agent, struct eb_metrics **out);

/* For `edgebucket status`: {"address", "served", "problem"}; a JSON null if `metrics` is NULL. */
json_t *eb_metrics_status(const struct eb_metrics *metrics);

/* Accepts NULL. */
void eb_metrics_close(struct eb_metrics *metrics);

#endif
