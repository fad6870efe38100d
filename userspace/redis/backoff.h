/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How long to wait before the next attempt: exponential, with jitter, so that a fleet that lost its server at one
 * moment does not come back at one moment.
 */
#ifndef EB_BACKOFF_H
#define EB_BACKOFF_H

#include <stdint.h>

struct eb_backoff {
	uint64_t min_ns, max_ns;
	uint64_t next_ns; /* before jitter; 0 for min_ns */
	uint64_t up_at_ns; /* when an attempt last succeeded */
};

/* An attempt succeeded. What follows starts small again only once that has lasted: a server that accepts everybody and
 * then fails must not be tried at full speed. */
void eb_backoff_succeeded(struct eb_backoff *backoff);

/* An attempt failed, or what it reached was lost: how long to wait, in microseconds. */
uint64_t eb_backoff_next_us(struct eb_backoff *backoff);

#endif
