/* SPDX-License-Identifier: GPL-2.0-only */
/* One-shot timers of the event loop, and random delays, with which nodes avoid acting at the same moment. */
#ifndef EB_TIMER_H
#define EB_TIMER_H

#include <stdint.h>
#include <sys/random.h>
#include <systemd/sd-event.h>

/* Fires once, after `after_ns` nanoseconds. Returns 0 or negative errno. */
static inline int eb_timer_restart(sd_event_source *timer, uint64_t after_ns)
{
	int err = sd_event_source_set_time_relative(timer, after_ns / 1000);

	return err < 0 ? err : sd_event_source_set_enabled(timer, SD_EVENT_ONESHOT);
}

/* A random number below `limit`; 0 if `limit` is 0. */
static inline uint64_t eb_random_below(uint64_t limit)
{
	uint64_t value = 0;

	(void)!getrandom(&value, sizeof(value), GRND_NONBLOCK);
	return limit ? value % limit : 0;
}

#endif
