/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the stores hold for this node, for the commands that show it: opens a store, reads all of it, closes it. Writes
 * nothing, and waits a bounded time.
 */
#ifndef EB_STORES_H
#define EB_STORES_H

#include <stdbool.h>
#include <stdint.h>

#include "cli/cli.h"
#include "cli/session.h"
#include "config/config.h"
#include "store/store.h"

enum store_kind { STORE_REDIS, STORE_EMBEDDED, STORE_KINDS };

/* "redis", "embedded" */
const char *stores_name(enum store_kind kind);

/* Whether the configuration has it. */
bool stores_has(const struct eb_config *config, enum store_kind kind);

/* One store as it was read. */
struct stored {
	enum store_kind kind;
	char error[400]; /* why it could not be read, without the store's name; "" when it was */
	struct eb_store_meta meta;
	/* Both are of the same moment, before the first visit. */
	uint64_t now;          /* ticks, see buckets.h */
	uint64_t wall_ns;
	uint64_t reference_ns; /* what debts count from, see restore.h */
};

/* Reads the configuration, for good where session_open() needs its places alone. On failure it has said why; *out is
 * the caller's to free. */
enum cli_result stores_config(const struct cli *cli, const struct session *session, struct eb_config **out);

/*
 * Makes the policy that records are judged by that of the configuration, where there are no maps and so none in force.
 * On failure it has said why.
 */
enum cli_result stores_policy(const struct eb_config *config, struct session *session);

/* How many records the agent would take from a store: those that the tables have entries for. */
uint64_t stores_records_max(const struct eb_config *config, const struct session *session);

/*
 * Visits all fields of a store that the configuration has; *out is filled before the first visit, but for `error`. A
 * field may come up more than once. Returns 0 or negative errno, with out->error.
 */
int stores_read(const struct eb_config *config, enum store_kind kind, eb_store_visit visit, void *arg,
		struct stored *out);

#endif
