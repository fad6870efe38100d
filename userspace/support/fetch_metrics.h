/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Fetches the agent's metrics, as a monitoring system would.
 */
#ifndef EB_FETCH_METRICS_H
#define EB_FETCH_METRICS_H

#include <stddef.h>

/* `address` is written as in the configuration: host:port, [IPv6]:port or unix:/path. Waits at most `timeout_ms`
 * milliseconds. Returns 0 with the whole response, including its header, malloc'ed; or negative errno. */
int fetch_metrics(const char *address, int timeout_ms, char **out, size_t *size);

#endif
