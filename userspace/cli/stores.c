// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <systemd/sd-event.h>

#include "base/clock.h"
#include "cli/stores.h"
#include "config/config_redis.h"
#include "policy/rules.h"
#include "redis/redis.h"
#include "store/restore.h"

#define SECOND_NS 1000000000ULL

/* An operator waits for the answer, so the command waits less than the agent does for Redis to come up... */
#define UP_TIMEOUT_MAX_NS (5 * SECOND_NS)

/* ... and for a store that stopped answering. The Redis client's timeouts are shorter, and their errors say more. */
#define STALL_TIMEOUT_NS (10 * SECOND_NS)

struct reading {
	struct stored *out;
	struct eb_store *store;
	eb_store_visit visit;
	void *arg;
	bool is_up, ended;
	int error;
	uint64_t progress;
};

const char *stores_name(enum store_kind kind)
{
	return kind == STORE_REDIS ? "redis" : "embedded";
}

bool stores_has(const struct eb_config *config, enum store_kind kind)
{
	return kind == STORE_REDIS ? config->redis != NULL : config->state_dir[0] != '\0';
}

enum cli_result stores_config(const struct cli *cli, const struct session *session, struct eb_config **out)
{
	const char *path = session->config_path ? session->config_path : EB_DEFAULT_CONFIG_PATH;
	char *error = NULL;

	return eb_config_read(path, cli->redis_path, out, &error) ? cli_fail_text(error) : CLI_DONE;
}

enum cli_result stores_policy(const struct eb_config *config, struct session *session)
{
	struct eb_ruleset *ruleset;
	char *error = NULL;

	if (session_has_maps(session))
		return CLI_DONE;
	if (eb_rules_compile(config, NULL, &ruleset, &error))
		return cli_fail_text(error);
	session->policy = ruleset->policy;
	eb_rules_free(ruleset);
	return CLI_DONE;
}

uint64_t stores_records_max(const struct eb_config *config, const struct session *session)
{
	if (!session_has_maps(session))
		return (uint64_t)config->table_size * EB_WAYS;
	return (uint64_t)eb_buckets_entries(session->buckets, 4) + eb_buckets_entries(session->buckets, 6);
}

static int fail(struct reading *reading, int error, const char *text)
{
	snprintf(reading->out->error, sizeof(reading->out->error), "%s", text && *text ? text : strerror(-error));
	reading->error = error;
	reading->ended = true;
	return error;
}

static void on_up(void *arg)
{
	struct reading *reading = arg;

	reading->is_up = true;
}

static void on_field(const char *field, size_t field_len, const char *value, size_t value_len, void *arg)
{
	struct reading *reading = arg;

	reading->progress++;
	reading->visit(field, field_len, value, value_len, reading->arg);
}

static void on_scanned(const struct eb_store_result *result, void *arg)
{
	struct reading *reading = arg;

	if (reading->ended)
		return; /* given up before */
	reading->ended = true;
	if (result->error)
		fail(reading, result->error, result->text);
}

/* As the agent judges it: nothing of a newer schema is restored. */
static void on_meta(const struct eb_store_result *result, const struct eb_store_meta *meta, void *arg)
{
	struct reading *reading = arg;
	struct stored *out = reading->out;
	char text[100];
	int err;

	if (reading->ended)
		return;
	if (result->error) {
		fail(reading, result->error, result->text);
		return;
	}
	if (meta->schema > EB_STORE_SCHEMA) {
		snprintf(text, sizeof(text), "it was written in schema %u, newer than this program's %d",
			 meta->schema, EB_STORE_SCHEMA);
		fail(reading, -EPROTO, text);
		return;
	}
	out->meta = *meta;
	out->now = eb_buckets_now();
	out->wall_ns = eb_wallclock_ns();
	out->reference_ns = eb_restore_reference(out->wall_ns, meta->saved_at_ns);
	reading->progress++;
	err = eb_store_scan(reading->store, on_field, on_scanned, reading);
	if (err)
		fail(reading, err, eb_store_last_error(reading->store));
}

static uint64_t up_timeout(const struct eb_redis_config *redis)
{
	uint64_t wait_ns =
	    redis->restore_timeout_ns < UP_TIMEOUT_MAX_NS ? redis->restore_timeout_ns : UP_TIMEOUT_MAX_NS;

	return wait_ns > redis->connect_timeout_ns ? wait_ns : redis->connect_timeout_ns;
}

/* An embedded store says in its results what is wrong with it; Redis is not asked before it is there. */
static int wait_up(sd_event *loop, const struct eb_config *config, struct reading *reading)
{
	int err;

	if (reading->out->kind == STORE_EMBEDDED)
		return 0;
	err = eb_redis_run_until(loop, &reading->is_up, up_timeout(config->redis));
	return err ? fail(reading, err, eb_store_last_error(reading->store)) : 0;
}

/* Runs the loop until all is read, or nothing comes any more. */
static int wait_end(sd_event *loop, struct reading *reading)
{
	uint64_t before;
	int err;

	do {
		before = reading->progress;
		err = eb_redis_run_until(loop, &reading->ended, STALL_TIMEOUT_NS);
	} while (err == -ETIMEDOUT && reading->progress != before);
	return err ? fail(reading, err, "it stopped answering") : reading->error;
}

static int open_store(sd_event *loop, const struct eb_config *config, struct reading *reading)
{
	const struct eb_store_events events = { .up = on_up, .arg = reading };
	int err;

	/* 0 for its size: the file's own. */
	err = reading->out->kind == STORE_REDIS ?
		      eb_store_redis_new(loop, config->redis, NULL, config->node, reading->out->content, &events,
					 &reading->store) :
		      eb_store_lmdb_new(loop, config->state_dir, 0, true, reading->out->content, &events,
					&reading->store);
	return err ? fail(reading, err, "") : 0;
}

static int read_store(sd_event *loop, const struct eb_config *config, struct reading *reading)
{
	int err = open_store(loop, config, reading);

	if (err)
		return err;
	err = wait_up(loop, config, reading);
	if (!err) {
		err = eb_store_read_meta(reading->store, on_meta, reading);
		err = err ? fail(reading, err, eb_store_last_error(reading->store)) : wait_end(loop, reading);
	}
	eb_store_free(reading->store);
	return err;
}

/* Opening a store that was never written would leave LMDB's lock file. */
static bool is_empty(const struct eb_config *config, enum store_kind kind, enum eb_store_content content)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", config->state_dir,
		 content == EB_STORE_BANS ? "bans.mdb" : "buckets.mdb");
	return kind == STORE_EMBEDDED && access(path, F_OK) < 0 && errno == ENOENT;
}

int stores_read(const struct eb_config *config, enum store_kind kind, enum eb_store_content content,
		eb_store_visit visit, void *arg, struct stored *out)
{
	struct reading reading = { .out = out, .visit = visit, .arg = arg };
	sd_event *loop = NULL;
	int err;

	memset(out, 0, sizeof(*out));
	out->kind = kind;
	out->content = content;
	out->now = eb_buckets_now();
	out->wall_ns = out->reference_ns = eb_wallclock_ns();
	if (is_empty(config, kind, content))
		return 0;
	err = sd_event_new(&loop);
	err = err < 0 ? fail(&reading, err, "") : read_store(loop, config, &reading);
	sd_event_unref(loop);
	return err;
}
