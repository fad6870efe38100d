/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How long to wait before the next retry: exponential backoff with jitter, so that agents that lost a server at the
 * same moment do not all reconnect at the same moment.
 */
#ifndef EB_BACKOFF_H
#define EB_BACKOFF_H

#include <stdint.h>

struct eb_backoff {
	uint64_t min_ns, max_ns;
	uint64_t next_ns; /* before jitter; 0: min_ns */
	uint64_t up_at_ns; /* CLOCK_MONOTONIC of the last attempt that succeeded */
};

/* An attempt succeeded. The wait only becomes short again once the connection has lasted for a while: the client must
 * not retry at full speed if a server accepts connections and then fails. */
void eb_backoff_succeeded(struct eb_backoff *backoff);

/* An attempt failed, or the connection was lost. Returns how long to wait, in microseconds. */
uint64_t eb_backoff_next_us(struct eb_backoff *backoff);

#endif
