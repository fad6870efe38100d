// SPDX-License-Identifier: GPL-2.0-only
#include <sys/random.h>

#include "base/clock.h"
#include "redis/backoff.h"

#define NS_PER_US 1000

void eb_backoff_succeeded(struct eb_backoff *backoff)
{
	backoff->up_at_ns = eb_monotonic_ns();
}

uint64_t eb_backoff_next_us(struct eb_backoff *backoff)
{
	uint64_t delay_ns, random = 0;

	if (!backoff->next_ns || (backoff->up_at_ns && eb_monotonic_ns() - backoff->up_at_ns > backoff->max_ns))
		backoff->next_ns = backoff->min_ns;
	backoff->up_at_ns = 0;
	delay_ns = backoff->next_ns;
	backoff->next_ns = delay_ns * 2 > backoff->max_ns ? backoff->max_ns : delay_ns * 2;
	/* Without randomness, early in boot, the jitter is what suffers. */
	(void)!getrandom(&random, sizeof(random), GRND_NONBLOCK);
	return (delay_ns / 2 + random % (delay_ns / 2 + 1)) / NS_PER_US;
}
