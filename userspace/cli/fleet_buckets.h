/* SPDX-License-Identifier: GPL-2.0-only */
/* The buckets that a fleet shares, read from Redis by a command, which waits only for a limited time. */
#ifndef EB_FLEET_BUCKETS_H
#define EB_FLEET_BUCKETS_H

#include <stdbool.h>
#include <stdint.h>

#include "cli/cli.h"
#include "cli/session.h"
#include "config/config.h"
#include "store/exchange_field.h"

struct fleet_bucket {
	struct eb_exchange_field limit;
	uint64_t debt_us;
};

/* The place in the policy in force of its rule or level; -1 when there is none such. */
int fleet_bucket_rule(const struct session *session, const struct fleet_bucket *bucket);

/* Called for each limit of a bucket that is in debt. Returns true to make it full. */
typedef bool (*fleet_bucket_visit)(const struct fleet_bucket *bucket, void *arg);

/* Visits all. `config` has a fleet and redis. On failure, has printed the reason; some may have been visited. */
enum cli_result fleet_buckets_each(const struct eb_config *config, fleet_bucket_visit visit, void *arg);

#endif
