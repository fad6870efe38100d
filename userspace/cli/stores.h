/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Reads what the stores hold for this node: opens a store, reads all of it, closes it. Writes nothing, and waits only
 * for a limited time.
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

/* Whether the configuration has this store. */
bool stores_has(const struct eb_config *config, enum store_kind kind);

/* The result of reading one store. */
struct stored {
	enum store_kind kind;
	enum eb_store_content content;
	char error[400]; /* why it could not be read, without the name of the store; "" if it was read */
	struct eb_store_meta meta;
	/* `now` and `wall_ns` are the same moment, before the first visit. */
	uint64_t now;          /* ticks, see buckets.h */
	uint64_t wall_ns;
	uint64_t reference_ns; /* the wall-clock time from which debts are counted, see restore.h */
};

/* Reads and checks the whole configuration; session_open() only reads the directories. The caller frees *out. On
 * failure, has printed the reason. */
enum cli_result stores_config(const struct cli *cli, const struct session *session, struct eb_config **out);

/*
 * If there are no maps, and so no policy in force, compiles the configuration into session->policy, so that records can
 * be checked against it. On failure, has printed the reason.
 */
enum cli_result stores_policy(const struct eb_config *config, struct session *session);

/* The maximum number of records that the agent would accept from a store: the number of entries in the tables. */
uint64_t stores_records_max(const struct eb_config *config, const struct session *session);

/*
 * Calls `visit` for all buckets or bans of a store in the configuration. Everything in *out except `error` is set
 * before the first visit. A field might be visited more than once. Returns 0, or negative errno with out->error set.
 */
int stores_read(const struct eb_config *config, enum store_kind kind, enum eb_store_content content,
		eb_store_visit visit, void *arg, struct stored *out);

#endif
