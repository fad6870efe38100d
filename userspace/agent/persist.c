// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/ban_persist.h"
#include "agent/persist.h"
#include "agent/recovery.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/printable.h"
#include "config/config_redis.h"
#include "store/store.h"

#define SECOND_NS 1000000000ULL

/* Without redis, the embedded store is written this often. */
#define EMBEDDED_TICK_NS SECOND_NS

/* Room for the records of both families, and pages that are being rewritten. */
#define EMBEDDED_BYTES_PER_BUCKET 1024ULL

struct backend {
	struct eb_persist *persist;
	const char *name; /* "redis", "embedded" */
	enum eb_recovery_source source;
	char *address;    /* where it is, for the log */
	char peer[320];   /* whom it was last connected to */
	struct eb_store *store; /* NULL when not configured */
	struct eb_mirror *mirror;
	bool down_logged;
	bool is_up;  /* as far as was told: a connection that ends is made anew before it is called a fault */
	bool is_closed; /* it ended, and is being made anew */
	bool was_up; /* or tried */
	bool failing; /* the last pass was not taken */
};

/* A fault whose buckets are written, while the bans are not. */
struct fault {
	bool is_parked;
	uint64_t fields_set, fields_deleted;
	char text[256];
};

struct eb_persist {
	sd_event *loop;
	const struct eb_config *config;
	struct eb_dataplane *dataplane;
	struct eb_persist_events events;
	struct backend redis, embedded;
	struct backend leaving; /* Redis as it was before a reload, written to until the other one has everything */
	struct backend next;    /* Redis as it will be, while a reload is under way */
	bool redis_changes;     /* to `next`, which may be none */
	struct eb_persist_figures left; /* of those that were left: counters do not go back */
	struct eb_recovery *recovery;
	struct eb_ban_persist *bans;
	bool restored; /* the buckets */
	struct fault parked[EB_PASS_REASONS];
	char other_boot_id[sizeof(((struct eb_store_meta *)NULL)->boot_id)]; /* of another writer, or "" */
};

/* ---- mirroring ---- */

/* A store may be written once it was read: what it holds would be lost. */
static bool may_write(const struct backend *backend)
{
	return backend->mirror && eb_recovery_may_write(backend->persist->recovery, backend->source);
}

/* Redis is written while it can be reached; the embedded store while Redis does not take it, or there is none. That one
 * also while it is down: writing is what opens it again. */
static void choose_mirrors(struct eb_persist *persist)
{
	struct backend *redis = &persist->redis, *embedded = &persist->embedded, *leaving = &persist->leaving;
	bool to_redis = may_write(redis) && eb_store_is_up(redis->store);
	bool is_first = may_write(redis) && redis->is_up && !redis->failing;
	bool to_embedded = may_write(embedded) && !is_first;

	if (redis->mirror)
		(to_redis ? eb_mirror_run : eb_mirror_pause)(redis->mirror);
	if (embedded->mirror)
		(to_embedded ? eb_mirror_run : eb_mirror_pause)(embedded->mirror);
	if (leaving->mirror)
		(eb_store_is_up(leaving->store) ? eb_mirror_run : eb_mirror_pause)(leaving->mirror);
}

static void note_other_writer(struct eb_persist *persist, const struct eb_store_meta *other)
{
	if (!other && persist->other_boot_id[0])
		eb_info("the other host no longer writes the buckets of this node",
			eb_str("store", persist->redis.name), eb_str("node", persist->config->node));
	if (other && strcmp(other->boot_id, persist->other_boot_id) != 0)
		eb_error("another host also writes the buckets of this node", eb_str("store", persist->redis.name),
			 eb_str("node", persist->config->node), eb_str("boot_id", other->boot_id),
			 eb_str("agent", other->agent), eb_str("hint", "give each host a unique node:"));
	snprintf(persist->other_boot_id, sizeof(persist->other_boot_id), "%s", other ? other->boot_id : "");
}

/* Whether a fault asked for the pass, rather than the clock. */
static bool is_fault(enum eb_pass_reason reason)
{
	return reason != EB_PASS_TICK && reason != EB_PASS_STORE_LOST;
}

static void log_pass(const struct backend *backend, const struct eb_pass_result *result)
{
	if (result->reason == EB_PASS_STORE_LOST)
		eb_warning("the store had lost buckets, wrote all again", eb_str("store", backend->name),
			   eb_str("address", backend->address), eb_num("set", result->fields_set),
			   eb_str("hint", "check that it evicts nothing, and who else writes there"));
	else if (is_fault(result->reason))
		eb_info("buckets written", eb_str("store", backend->name),
			eb_str("reason", eb_pass_reason_name(result->reason)), eb_num("set", result->fields_set),
			eb_num("deleted", result->fields_deleted));
}

static void leave_before(struct eb_persist *persist);

static void end_fault(struct eb_persist *persist, const struct eb_pass_result *result)
{
	struct fault *fault = &persist->parked[result->reason];

	if (!eb_ban_persist_is_busy(persist->bans)) {
		persist->events.fault_done(result->reason, result->fields_set, result->fields_deleted, result->text,
					   persist->events.arg);
		return;
	}
	*fault = (struct fault){
		.is_parked = true, .fields_set = result->fields_set, .fields_deleted = result->fields_deleted,
	};
	snprintf(fault->text, sizeof(fault->text), "%s", result->text);
}

static void on_bans_settled(const char *text, void *arg)
{
	struct eb_persist *persist = arg;

	for (int i = 0; i < EB_PASS_REASONS; i++) {
		struct fault fault = persist->parked[i];

		persist->parked[i].is_parked = false;
		if (fault.is_parked)
			persist->events.fault_done(i, fault.fields_set, fault.fields_deleted,
						   *fault.text ? fault.text : text, persist->events.arg);
	}
}

static void on_pass_done(const struct eb_pass_result *result, void *arg)
{
	struct backend *backend = arg;
	struct eb_persist *persist = backend->persist;

	if (result->error && (is_fault(result->reason) || !backend->down_logged))
		eb_warning("cannot write the buckets, trying again; packets are limited as before",
			   eb_str("store", backend->name), eb_str("address", backend->address),
			   eb_str("reason", eb_pass_reason_name(result->reason)), eb_str("error", result->text));
	backend->down_logged = backend->failing = result->error != 0;
	choose_mirrors(persist);
	if (!result->error)
		log_pass(backend, result);
	if (!result->error && backend == &persist->redis) {
		note_other_writer(persist, result->other);
		leave_before(persist);
	}
	if (!is_fault(result->reason))
		return;
	/* What Redis does not take goes to the second line. */
	if (result->error && backend == &persist->redis && may_write(&persist->embedded)) {
		eb_mirror_pass(persist->embedded.mirror, result->reason);
		return;
	}
	end_fault(persist, result);
}

bool eb_persist_fault(struct eb_persist *persist, enum eb_pass_reason reason)
{
	struct backend *redis = &persist->redis, *embedded = &persist->embedded, *leaving = &persist->leaving;
	struct backend *backend = NULL;

	if (may_write(redis) && eb_store_is_up(redis->store))
		backend = redis;
	else if (may_write(embedded))
		backend = embedded;
	else if (leaving->store && eb_store_is_up(leaving->store))
		backend = leaving;
	else if (may_write(redis))
		backend = redis;
	if (!backend)
		return false;
	eb_ban_persist_flush(persist->bans);
	eb_mirror_pass(backend->mirror, reason);
	return true;
}

/* ---- stores ---- */

static void on_up(void *arg)
{
	struct backend *backend = arg;
	struct eb_persist *persist = backend->persist;
	bool recovers = backend->was_up && (!backend->is_up || backend->failing), was_closed = backend->is_closed;

	if (!backend->is_up || strcmp(backend->peer, eb_store_peer(backend->store)) != 0)
		eb_info("connected", eb_str("store", backend->name), eb_str("address", backend->address),
			eb_str("peer", eb_store_peer(backend->store)));
	snprintf(backend->peer, sizeof(backend->peer), "%s", eb_store_peer(backend->store));
	backend->is_up = backend->was_up = true;
	backend->is_closed = false;
	if (backend != &persist->leaving)
		eb_recovery_store_up(persist->recovery, backend->source);
	choose_mirrors(persist);
	if (recovers && backend == &persist->redis && eb_recovery_is_over(persist->recovery, EB_FROM_REDIS))
		(void)eb_persist_fault(persist, EB_PASS_REDIS_RECOVERED);
	else if (backend == &persist->redis && persist->leaving.store)
		eb_mirror_pass(backend->mirror, EB_PASS_TICK); /* the sooner the other one is left */
	else if (was_closed && may_write(backend))
		eb_mirror_pass(backend->mirror, EB_PASS_TICK); /* it may be a new server, with nothing */
}

/* A server or a balancer may close a connection that is idle: that it cannot be made anew is a fault. */
static void on_down(const char *text, void *arg)
{
	struct backend *backend = arg;
	bool is_closed = backend->is_up && !backend->is_closed && backend == &backend->persist->redis;

	if (backend->mirror)
		eb_mirror_interrupt(backend->mirror, text);
	backend->is_closed = is_closed;
	if (!is_closed) {
		if (!backend->down_logged)
			eb_warning("the store cannot be reached, trying again; packets are limited as before",
				   eb_str("store", backend->name), eb_str("address", backend->address),
				   eb_str("error", text),
				   eb_str("hint", "check that it runs there and accepts this node"));
		backend->down_logged = true;
		backend->is_up = false;
		backend->was_up |= backend == &backend->persist->redis; /* recovering counts from the first failure */
	}
	choose_mirrors(backend->persist);
	if (!is_closed && backend != &backend->persist->leaving)
		eb_recovery_store_down(backend->persist->recovery, backend->source, text);
}

static void on_writable(void *arg)
{
	struct backend *backend = arg;

	if (backend->mirror)
		eb_mirror_resume(backend->mirror);
}

/* Nothing is called back before the loop runs; then it is persist->redis that something happened to. On failure, what
 * was opened is in *out all the same. */
static int open_redis(struct eb_persist *persist, const struct eb_config *config, struct backend *out, char **error)
{
	struct eb_store_events events = {
		.up = on_up, .down = on_down, .writable = on_writable, .arg = &persist->redis,
	};
	int err;

	out->address = eb_redis_config_address(config->redis);
	if (!out->address)
		return eb_fail(-ENOMEM, error, "out of memory");
	err = eb_store_redis_new(persist->loop, config->redis, NULL, config->node, EB_STORE_BUCKETS, &events,
				 &out->store);
	if (!err)
		err = eb_mirror_new(persist->loop, persist->dataplane, out->store, config->redis->tick_ns, on_pass_done,
				    &persist->redis, &out->mirror);
	return err ? eb_fail(err, error, "cannot mirror to redis: %s", strerror(-err)) : 0;
}

static int open_embedded(struct eb_persist *persist, char **error)
{
	struct backend *backend = &persist->embedded;
	struct eb_store_events events = { .up = on_up, .down = on_down, .writable = on_writable, .arg = backend };
	uint64_t bytes = 2 * (uint64_t)persist->config->table_size * EMBEDDED_BYTES_PER_BUCKET;
	uint64_t tick_ns = persist->config->redis ? persist->config->redis->tick_ns : EMBEDDED_TICK_NS;
	int err;

	backend->address = strdup(persist->config->state_dir);
	err = backend->address ? eb_store_lmdb_new(persist->loop, persist->config->state_dir, bytes, false,
						   EB_STORE_BUCKETS, &events, &backend->store)
			       : -ENOMEM;
	if (!err)
		err = eb_mirror_new(persist->loop, persist->dataplane, backend->store, tick_ns, on_pass_done, backend,
				    &backend->mirror);
	return err ? eb_fail(err, error, "state_dir %s: %s", persist->config->state_dir, strerror(-err)) : 0;
}

static void on_decided(void *arg)
{
	choose_mirrors(arg);
}

static void on_restored(void *arg)
{
	struct eb_persist *persist = arg;

	persist->restored = true;
	if (eb_ban_persist_is_ready(persist->bans))
		persist->events.restored(persist->events.arg);
}

static void on_bans_restored(void *arg)
{
	struct eb_persist *persist = arg;

	if (persist->restored)
		persist->events.restored(persist->events.arg);
}

static int open_bans(struct eb_persist *persist, struct eb_bans *bans, char **error)
{
	const struct eb_ban_persist_events events = {
		.restored = on_bans_restored, .settled = on_bans_settled, .arg = persist,
	};
	int err = eb_ban_persist_new(persist->loop, persist->config, bans, &events, &persist->bans);

	return err ? eb_fail(err, error, "cannot keep the bans: %s", strerror(-err)) : 0;
}

static void on_late(void *arg)
{
	choose_mirrors(arg);
	(void)eb_persist_fault(arg, EB_PASS_REDIS_RECOVERED);
}

int eb_persist_new(sd_event *loop, const struct eb_config *config, struct eb_dataplane *dataplane, struct eb_bans *bans,
		   const struct eb_persist_events *events, struct eb_persist **out, char **error)
{
	struct eb_persist *persist = calloc(1, sizeof(*persist));
	const struct eb_recovery_events recovery_events = {
		.decided = on_decided, .restored = on_restored, .late = on_late, .arg = persist,
	};
	int err;

	if (!persist)
		return eb_fail(-ENOMEM, error, "out of memory");
	persist->loop = loop;
	persist->config = config;
	persist->dataplane = dataplane;
	persist->events = *events;
	persist->redis = (struct backend){ .persist = persist, .name = "redis", .source = EB_FROM_REDIS };
	persist->embedded = (struct backend){ .persist = persist, .name = "embedded", .source = EB_FROM_EMBEDDED };
	err = eb_recovery_new(loop, config, dataplane, &recovery_events, &persist->recovery);
	if (err) {
		eb_fail(err, error, "out of memory");
		goto out;
	}
	if (config->redis) {
		err = open_redis(persist, config, &persist->redis, error);
		if (err)
			goto out;
	}
	if (config->state_dir[0]) {
		err = open_embedded(persist, error);
		if (err)
			goto out;
	}
	err = open_bans(persist, bans, error);
	if (err)
		goto out;
	eb_recovery_set_store(persist->recovery, EB_FROM_REDIS, persist->redis.store, persist->redis.address);
	eb_recovery_set_store(persist->recovery, EB_FROM_EMBEDDED, persist->embedded.store, persist->embedded.address);
	*out = persist;
	return 0;
out:
	eb_persist_free(persist);
	return err;
}

static void free_backend(struct backend *backend)
{
	eb_mirror_stop(backend->mirror);
	eb_store_free(backend->store);
	eb_mirror_free(backend->mirror);
	free(backend->address);
	*backend = (struct backend){
		.persist = backend->persist, .name = backend->name, .source = backend->source,
	};
}

int eb_persist_start(struct eb_persist *persist, bool restore)
{
	int err = eb_ban_persist_start(persist->bans, restore);

	return err ? err : eb_recovery_start(persist->recovery, restore);
}

void eb_persist_free(struct eb_persist *persist)
{
	if (!persist)
		return;
	eb_recovery_stop(persist->recovery);
	eb_ban_persist_free(persist->bans);
	free_backend(&persist->redis);
	free_backend(&persist->leaving);
	free_backend(&persist->next);
	free_backend(&persist->embedded);
	eb_recovery_free(persist->recovery);
	free(persist);
}

/* ---- another Redis ---- */

static void add_redis_figures(const struct backend *backend, struct eb_persist_figures *out);

/* Leaves a Redis for good. A flush that was asked of it is for the one in its place. */
static void leave_redis(struct eb_persist *persist, struct backend *backend)
{
	bool is_asked = backend->mirror && eb_mirror_is_asked(backend->mirror, EB_PASS_FLUSH);

	if (backend->address)
		eb_info("left", eb_str("store", backend->name), eb_str("address", backend->address));
	add_redis_figures(backend, &persist->left);
	free_backend(backend);
	if (is_asked && !eb_persist_fault(persist, EB_PASS_FLUSH))
		persist->events.fault_done(EB_PASS_FLUSH, 0, 0, "the agent switched to another store in the meantime",
					   persist->events.arg);
}

static void leave_before(struct eb_persist *persist)
{
	if (persist->leaving.store)
		leave_redis(persist, &persist->leaving);
}

int eb_persist_prepare(struct eb_persist *persist, const struct eb_config *config, char **error)
{
	int err;

	persist->redis_changes = !eb_redis_config_equal(persist->config->redis, config->redis);
	persist->next = (struct backend){ .persist = persist, .name = persist->redis.name, .source = EB_FROM_REDIS };
	if (!persist->redis_changes || !config->redis)
		return 0;
	err = open_redis(persist, config, &persist->next, error);
	if (err)
		eb_persist_abandon(persist);
	return err;
}

void eb_persist_abandon(struct eb_persist *persist)
{
	persist->redis_changes = false;
	free_backend(&persist->next);
}

/* The one before has what a restart would restore, until the other one has it. One that was not read yet has nothing
 * from us: the other one is read in its place. */
static void change_redis(struct eb_persist *persist)
{
	struct backend *redis = &persist->redis, before = *redis;
	bool keeps = may_write(redis) && persist->next.store, is_given_up;

	*redis = persist->next;
	persist->next = (struct backend){ .persist = persist };
	persist->redis_changes = false;
	is_given_up = eb_recovery_set_store(persist->recovery, EB_FROM_REDIS, redis->store, redis->address);
	persist->other_boot_id[0] = '\0';
	if (redis->address)
		eb_info("switching to another Redis", eb_str("store", redis->name),
			eb_str("address", redis->address));
	leave_before(persist);
	persist->leaving = before;
	if (before.store)
		eb_store_redirect(before.store, &persist->leaving);
	if (before.mirror)
		eb_mirror_redirect(before.mirror, &persist->leaving);
	if (!keeps)
		leave_redis(persist, &persist->leaving);
	if (is_given_up)
		eb_recovery_give_up(persist->recovery);
	choose_mirrors(persist);
}

int eb_persist_reloaded(struct eb_persist *persist, const struct eb_config *config)
{
	int err = eb_recovery_reloaded(persist->recovery, config);

	(void)eb_ban_persist_reloaded(persist->bans, config);
	persist->config = config;
	if (persist->redis_changes)
		change_redis(persist);
	return err;
}

bool eb_persist_is_restoring(const struct eb_persist *persist)
{
	return eb_recovery_is_reading(persist->recovery);
}

/* ---- status ---- */

/* Connected, and taking what is written. */
static bool is_up(const struct backend *backend)
{
	return backend->is_up && !backend->failing;
}

static json_t *store_status(const struct backend *backend)
{
	const char *peer = backend->store ? eb_store_peer(backend->store) : "";
	struct eb_mirror_stats stats = {};
	json_t *age = json_null();

	if (backend->mirror)
		eb_mirror_stats(backend->mirror, &stats);
	if (stats.last_success_ns)
		age = json_real((eb_monotonic_ns() - stats.last_success_ns) / 1e9);
	return json_pack("{s:b, s:b, s:o, s:o, s:o, s:I, s:I, s:I}", "configured", backend->store != NULL, "up",
			 is_up(backend), "address", eb_printable_json(*peer ? peer : NULL),
			 "last_write_age_seconds", age, "last_error",
			 eb_printable_json(backend->store ? eb_store_last_error(backend->store) : ""), "fields",
			 (json_int_t)stats.fields_held, "fields_set", (json_int_t)stats.fields_set, "fields_deleted",
			 (json_int_t)stats.fields_deleted);
}

json_t *eb_persist_status(const struct eb_persist *persist)
{
	return json_pack("{s:o, s:o, s:o, s:o}", "redis", store_status(&persist->redis), "embedded",
			 store_status(&persist->embedded), "restore", eb_recovery_status(persist->recovery),
			 "other_writer",
			 eb_printable_json(persist->other_boot_id[0] ? persist->other_boot_id : NULL));
}

json_t *eb_persist_ban_status(const struct eb_persist *persist)
{
	return eb_ban_persist_status(persist->bans);
}

/* ---- metrics ---- */

static void add_mirror_figures(const struct backend *backend, struct eb_persist_figures *out)
{
	struct eb_mirror_stats stats;

	if (!backend->mirror)
		return;
	eb_mirror_stats(backend->mirror, &stats);
	for (int i = 0; i < EB_PASS_REASONS; i++)
		out->passes[i] += stats.passes[i];
	out->failures += stats.failures;
	out->fields_set += stats.fields_set;
	out->fields_deleted += stats.fields_deleted;
	if (stats.last_success_ns > out->last_success_ns)
		out->last_success_ns = stats.last_success_ns;
}

static void add_redis_figures(const struct backend *backend, struct eb_persist_figures *out)
{
	struct eb_store_counts counts;

	add_mirror_figures(backend, out);
	if (!backend->store)
		return;
	eb_store_counts(backend->store, &counts);
	for (int i = 0; i < EB_STORE_OPS; i++)
		eb_histogram_join(&out->redis_latency[i], &counts.latency[i]);
}

void eb_persist_figures(const struct eb_persist *persist, struct eb_persist_figures *out)
{
	*out = persist->left;
	out->has_store = persist->redis.store || persist->embedded.store;
	out->has_redis = persist->redis.store != NULL;
	out->redis_is_up = is_up(&persist->redis);
	out->has_other_writer = persist->other_boot_id[0];
	eb_recovery_figures(persist->recovery, &out->recovery);
	add_redis_figures(&persist->redis, out);
	add_redis_figures(&persist->leaving, out);
	add_mirror_figures(&persist->embedded, out);
}
