// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "boot_id.h"
#include "config_redis.h"
#include "log.h"
#include "persist.h"
#include "restore.h"
#include "store.h"
#include "text.h"
#include "wallclock.h"

#define SECOND_NS 1000000000ULL

/* Without redis, the embedded store is written this often. */
#define EMBEDDED_TICK_NS SECOND_NS

/* An embedded store is on a local disk, or it is broken. */
#define EMBEDDED_TIMEOUT_NS (2 * SECOND_NS)

/* Room for the records of both families, and pages that are being rewritten. */
#define EMBEDDED_BYTES_PER_BUCKET 1024ULL

/* The meta record is read this often, to notice another writer. */
#define CONFLICT_CHECK_US (10 * 1000000ULL)

struct backend {
	struct eb_persist *persist;
	const char *name; /* "redis", "embedded" */
	struct eb_store *store; /* NULL when not configured */
	struct eb_mirror *mirror;
	bool down_logged;
	bool was_up;
	/* Restoring. */
	bool wanted;  /* its content was not read yet */
	bool reading;
	bool late;    /* wanted after the decision: debts add up */
	struct eb_restore *restore;
	uint64_t reference_ns, saved_at_ns;
};

enum restore_state { RESTORE_NONE, RESTORE_RUNNING, RESTORE_WAITING, RESTORE_DONE, RESTORE_ADOPTED };

struct eb_persist {
	sd_event *loop;
	const struct eb_config *config;
	struct eb_dataplane *dataplane;
	struct eb_persist_events events;
	struct backend redis, embedded;
	sd_event_source *timeout, *conflict_timer, *decide;
	bool decided;
	enum restore_state state;
	struct eb_policy *policy;
	struct eb_restore_counts counts; /* of everything restored */
	uint64_t restored_age_ns;
	bool has_age;
	char boot_id[EB_BOOT_ID_MAX];
	char other_boot_id[EB_BOOT_ID_MAX]; /* of another writer; "" while there is none */
	struct eb_pass_result last_pass;
	uint64_t faults[EB_PASS_REASONS];
};

static uint64_t monotonic_ns(void)
{
	return eb_buckets_now() / EB_TICKS_PER_NS;
}

/* ---- mirroring ---- */

/* Who is written to now: Redis while it can be reached, the embedded store otherwise. */
static struct backend *current(struct eb_persist *persist)
{
	struct backend *redis = &persist->redis, *embedded = &persist->embedded;

	if (redis->store && (eb_store_is_up(redis->store) || !embedded->store))
		return redis;
	return embedded->store ? embedded : NULL;
}

/* A store may be written once it was read, and the embedded one only when Redis does not do. */
static void choose_mirrors(struct eb_persist *persist)
{
	struct backend *backends[] = { &persist->redis, &persist->embedded };

	for (size_t i = 0; i < 2; i++) {
		struct backend *backend = backends[i];

		if (!backend->mirror)
			continue;
		if (persist->decided && !backend->wanted && backend == current(persist))
			eb_mirror_run(backend->mirror);
		else
			eb_mirror_pause(backend->mirror);
	}
}

static void on_pass_done(const struct eb_pass_result *result, void *arg)
{
	struct backend *backend = arg;
	struct eb_persist *persist = backend->persist;

	if (result->error && (result->reason != EB_PASS_TICK || !backend->down_logged))
		eb_warning("%s: mirror write (%s) failed: %s; it will be repeated", backend->name,
			   eb_pass_reason_name(result->reason), result->text);
	backend->down_logged = result->error != 0;
	if (result->reason == EB_PASS_TICK)
		return;
	if (!result->error)
		eb_info("%s: written on %s: %" PRIu64 " buckets set, %" PRIu64 " removed", backend->name,
			eb_pass_reason_name(result->reason), result->fields_set, result->fields_deleted);
	/* A shutdown that Redis does not take goes to the second line. */
	if (result->error && backend == &persist->redis && persist->embedded.mirror) {
		eb_mirror_pass(persist->embedded.mirror, result->reason);
		return;
	}
	persist->events.fault_done(result->reason, result->fields_set, result->fields_deleted, result->text,
				   persist->events.arg);
}

bool eb_persist_fault(struct eb_persist *persist, enum eb_pass_reason reason)
{
	struct backend *backend = current(persist);

	/* A store that was not read yet must not be written: what it holds would be lost. */
	if (backend && backend->wanted)
		backend = backend == &persist->redis && persist->embedded.store ? &persist->embedded : NULL;
	if (!backend || !persist->decided || backend->wanted)
		return false;
	persist->faults[reason]++;
	eb_mirror_pass(backend->mirror, reason);
	return true;
}

/* ---- restoring ---- */

static void log_counts(const struct eb_persist *persist, const struct backend *backend,
		       const struct eb_restore_counts *counts)
{
	char refused[256] = "";
	size_t used = 0;

	for (int i = 0; i < EB_REFUSALS; i++)
		if (counts->refused[i] && used < sizeof(refused))
			used += snprintf(refused + used, sizeof(refused) - used, ", %" PRIu64 " refused (%s)",
					 counts->refused[i], eb_refusal_name(i));
	(void)persist;
	eb_info("%s: restored %" PRIu64 " buckets of %" PRIu64 " fields, %" PRIu64 " full by now, %" PRIu64
		" clamped%s",
		backend->name, counts->restored, counts->fields, counts->full, counts->clamped, refused);
}

static void add_counts(struct eb_persist *persist, const struct backend *backend)
{
	uint64_t now = eb_wallclock_ns(), age;
	struct eb_restore_counts counts;

	eb_restore_counts(backend->restore, &counts);
	log_counts(persist, backend, &counts);
	persist->counts.fields += counts.fields;
	persist->counts.restored += counts.restored;
	persist->counts.full += counts.full;
	persist->counts.clamped += counts.clamped;
	for (int i = 0; i < EB_REFUSALS; i++)
		persist->counts.refused[i] += counts.refused[i];
	if (!counts.fields || !backend->saved_at_ns)
		return;
	age = now > backend->saved_at_ns ? now - backend->saved_at_ns : 0;
	if (!persist->has_age || age < persist->restored_age_ns)
		persist->restored_age_ns = age;
	persist->has_age = true;
}

static void apply(struct eb_persist *persist, struct backend *backend, struct eb_restore *before)
{
	if (!backend->restore)
		return;
	eb_restore_apply(backend->restore, eb_dataplane_buckets(persist->dataplane), backend->late, before);
	add_counts(persist, backend);
}

static void free_restore(struct backend *backend)
{
	eb_restore_free(backend->restore);
	backend->restore = NULL;
}

static int on_decide(sd_event_source *source, void *arg)
{
	struct eb_persist *persist = arg;

	(void)source;
	persist->events.restored(persist->events.arg);
	return 0;
}

/* From here on packets are limited; what Redis still has to say is added to what they owe by then. */
static void decide(struct eb_persist *persist)
{
	if (persist->decided)
		return;
	persist->decided = true;
	sd_event_source_disable_unref(persist->timeout);
	persist->timeout = NULL;
	apply(persist, &persist->embedded, NULL);
	if (!persist->redis.wanted)
		apply(persist, &persist->redis, NULL);
	else
		persist->redis.late = true;
	if (persist->state != RESTORE_ADOPTED)
		persist->state = persist->redis.wanted ? RESTORE_WAITING : RESTORE_DONE;
	if (!persist->redis.wanted) {
		free_restore(&persist->embedded);
		free_restore(&persist->redis);
	}
	choose_mirrors(persist);
	(void)sd_event_add_defer(persist->loop, &persist->decide, on_decide, persist);
}

static void finish_late(struct eb_persist *persist)
{
	apply(persist, &persist->redis, persist->embedded.restore);
	free_restore(&persist->redis);
	free_restore(&persist->embedded);
	persist->state = RESTORE_DONE;
	choose_mirrors(persist);
}

static void finish_reading(struct backend *backend)
{
	struct eb_persist *persist = backend->persist;

	backend->wanted = backend->reading = false;
	if (persist->decided)
		finish_late(persist);
	else if (!persist->redis.wanted && !persist->embedded.wanted)
		decide(persist);
}

static void on_scanned(const struct eb_store_result *result, void *arg)
{
	struct backend *backend = arg;

	if (result->error || !backend->restore) {
		/* Begun again when the store is up again. */
		eb_warning("%s: reading the buckets failed: %s", backend->name, result->text);
		backend->reading = false;
		free_restore(backend);
		return;
	}
	finish_reading(backend);
}

static void on_field(const char *field, size_t field_len, const char *value, size_t value_len, void *arg)
{
	struct backend *backend = arg;

	if (backend->restore)
		eb_restore_add(backend->restore, field, field_len, value, value_len, backend->reference_ns);
}

/* The time to count debts from: now, or when they were saved if the clock was set back since. */
static uint64_t reference_time(const struct backend *backend, uint64_t saved_at_ns)
{
	uint64_t now = eb_wallclock_ns(), reference = eb_restore_reference(now, saved_at_ns);

	if (reference > now)
		eb_warning("%s: the buckets were saved %" PRIu64 " s in the future: the clock was set back; no time "
			   "counts as passed since",
			   backend->name, (uint64_t)((reference - now) / SECOND_NS));
	return reference;
}

static void on_meta(const struct eb_store_result *result, const struct eb_store_meta *meta, void *arg)
{
	struct backend *backend = arg;
	struct eb_persist *persist = backend->persist;
	struct eb_buckets *buckets = eb_dataplane_buckets(persist->dataplane);
	uint64_t records_max = (uint64_t)eb_buckets_entries(buckets, 4) + eb_buckets_entries(buckets, 6);
	int err;

	if (result->error) {
		eb_warning("%s: reading the buckets failed: %s", backend->name, result->text);
		backend->reading = false;
		return;
	}
	if (meta->schema > EB_STORE_SCHEMA) {
		eb_error("%s: the buckets were written in schema %u, newer than this agent's %d: not restored",
			 backend->name, meta->schema, EB_STORE_SCHEMA);
		finish_reading(backend);
		return;
	}
	backend->saved_at_ns = meta->saved_at_ns;
	backend->reference_ns = reference_time(backend, meta->saved_at_ns);
	backend->restore = eb_restore_new(persist->policy, records_max);
	err = backend->restore ? eb_store_scan(backend->store, on_field, on_scanned, backend) : -ENOMEM;
	if (err) {
		eb_warning("%s: cannot read the buckets: %s", backend->name, strerror(-err));
		backend->reading = false;
		free_restore(backend);
	}
}

static void begin_reading(struct backend *backend)
{
	int err;

	if (!backend->wanted || backend->reading || !eb_store_is_up(backend->store))
		return;
	backend->reading = true;
	err = eb_store_read_meta(backend->store, on_meta, backend);
	if (err)
		backend->reading = false;
}

static int on_timeout(sd_event_source *source, uint64_t usec, void *arg)
{
	struct eb_persist *persist = arg;

	(void)source;
	(void)usec;
	if (persist->redis.wanted)
		eb_warning("redis: no answer in time, enforcing without; its buckets are added when it comes: %s",
			   eb_store_last_error(persist->redis.store));
	if (persist->embedded.wanted) {
		eb_warning("embedded store: no answer in time, its buckets are not restored: %s",
			   eb_store_last_error(persist->embedded.store));
		persist->embedded.wanted = false;
		free_restore(&persist->embedded);
	}
	decide(persist);
	return 0;
}

int eb_persist_start(struct eb_persist *persist, bool restore)
{
	uint64_t wait_ns = persist->redis.store ? persist->config->redis->restore_timeout_ns : EMBEDDED_TIMEOUT_NS;
	int err = eb_maps_policy(eb_dataplane_maps(persist->dataplane), persist->policy);

	if (err)
		return err;
	persist->state = restore ? RESTORE_RUNNING : RESTORE_ADOPTED;
	persist->redis.wanted = restore && persist->redis.store;
	persist->embedded.wanted = restore && persist->embedded.store;
	if (!persist->redis.wanted && !persist->embedded.wanted) {
		decide(persist);
		if (restore)
			persist->state = RESTORE_NONE;
		return 0;
	}
	begin_reading(&persist->redis);
	begin_reading(&persist->embedded);
	err = sd_event_add_time_relative(persist->loop, &persist->timeout, CLOCK_MONOTONIC, wait_ns / 1000, 1000,
					 on_timeout, persist);
	return err < 0 ? err : 0;
}

/* ---- stores ---- */

static void on_up(void *arg)
{
	struct backend *backend = arg;
	struct eb_persist *persist = backend->persist;

	eb_info("%s: connected", backend->name);
	begin_reading(backend);
	choose_mirrors(persist);
	if (backend == &persist->redis && backend->was_up && persist->decided && !backend->wanted) {
		/* It may have lost what it had. */
		eb_mirror_forget(backend->mirror);
		(void)eb_persist_fault(persist, EB_PASS_REDIS_RECOVERED);
	}
	backend->was_up = true;
}

static void on_down(const char *text, void *arg)
{
	struct backend *backend = arg;

	if (!backend->down_logged)
		eb_warning("%s: %s; packets are limited as before, trying again", backend->name, text);
	backend->down_logged = true;
	backend->was_up |= backend == &backend->persist->redis; /* recovering counts from the first failure */
	backend->reading = false;
	if (!backend->persist->decided || backend->wanted)
		free_restore(backend);
	choose_mirrors(backend->persist);
}

static void on_writable(void *arg)
{
	struct backend *backend = arg;

	if (backend->mirror)
		eb_mirror_resume(backend->mirror);
}

static int open_redis(struct eb_persist *persist, const struct eb_store_events *events, char **error)
{
	struct backend *backend = &persist->redis;
	int err = eb_store_redis_new(persist->loop, persist->config->redis, NULL, persist->config->node, events,
				     &backend->store, error);

	if (err)
		return err;
	err = eb_mirror_new(persist->loop, persist->dataplane, backend->store, persist->config->redis->tick_ns,
			    on_pass_done, backend, &backend->mirror);
	return err ? eb_fail(err, error, "cannot mirror to redis: %s", strerror(-err)) : 0;
}

static int open_embedded(struct eb_persist *persist, const struct eb_store_events *events, char **error)
{
	struct backend *backend = &persist->embedded;
	uint64_t bytes = 2 * (uint64_t)persist->config->table_size * EMBEDDED_BYTES_PER_BUCKET;
	uint64_t tick_ns = persist->config->redis ? persist->config->redis->tick_ns : EMBEDDED_TICK_NS;
	int err = eb_store_lmdb_new(persist->loop, persist->config->state_dir, bytes, false, events, &backend->store);

	if (!err)
		err = eb_mirror_new(persist->loop, persist->dataplane, backend->store, tick_ns, on_pass_done, backend,
				    &backend->mirror);
	return err ? eb_fail(err, error, "state_dir %s: %s", persist->config->state_dir, strerror(-err)) : 0;
}

static void on_conflict_meta(const struct eb_store_result *result, const struct eb_store_meta *meta, void *arg)
{
	struct eb_persist *persist = arg;
	struct eb_mirror_stats stats;
	bool is_other;

	eb_mirror_stats(persist->redis.mirror, &stats);
	if (result->error || !stats.fields_set)
		return; /* what we have not written yet may well be of another boot */
	is_other = meta->boot_id[0] && strcmp(meta->boot_id, persist->boot_id) != 0;
	if (is_other && strcmp(meta->boot_id, persist->other_boot_id) != 0)
		eb_error("redis: another host (boot %s, agent %s) writes the buckets of node \"%s\" too; give each its "
			 "own `node`",
			 meta->boot_id, meta->agent, persist->config->node);
	if (!is_other && persist->other_boot_id[0])
		eb_info("redis: nobody else writes the buckets of node \"%s\" any more", persist->config->node);
	memcpy(persist->other_boot_id, is_other ? meta->boot_id : "", is_other ? sizeof(persist->other_boot_id) : 1);
}

static int on_conflict_timer(sd_event_source *source, uint64_t usec, void *arg)
{
	struct eb_persist *persist = arg;

	(void)usec;
	if (eb_store_is_up(persist->redis.store))
		(void)eb_store_read_meta(persist->redis.store, on_conflict_meta, persist);
	(void)sd_event_source_set_time_relative(source, CONFLICT_CHECK_US);
	return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

int eb_persist_new(sd_event *loop, const struct eb_config *config, struct eb_dataplane *dataplane,
		   const struct eb_persist_events *events, struct eb_persist **out, char **error)
{
	struct eb_persist *persist = calloc(1, sizeof(*persist));
	struct eb_store_events store_events = { .up = on_up, .down = on_down, .writable = on_writable };
	int err = 0;

	if (!persist)
		return eb_fail(-ENOMEM, error, "out of memory");
	persist->loop = loop;
	persist->config = config;
	persist->dataplane = dataplane;
	persist->events = *events;
	persist->redis = (struct backend){ .persist = persist, .name = "redis" };
	persist->embedded = (struct backend){ .persist = persist, .name = "embedded store" };
	persist->policy = calloc(1, sizeof(*persist->policy));
	eb_boot_id(persist->boot_id);
	if (!persist->policy)
		err = eb_fail(-ENOMEM, error, "out of memory");
	store_events.arg = &persist->redis;
	if (!err && config->redis)
		err = open_redis(persist, &store_events, error);
	store_events.arg = &persist->embedded;
	if (!err && config->state_dir[0])
		err = open_embedded(persist, &store_events, error);
	if (!err && config->redis &&
	    sd_event_add_time_relative(loop, &persist->conflict_timer, CLOCK_MONOTONIC, CONFLICT_CHECK_US, 0,
				       on_conflict_timer, persist) < 0)
		err = eb_fail(-ENOMEM, error, "out of memory");
	if (err) {
		eb_persist_free(persist);
		return err;
	}
	*out = persist;
	return 0;
}

static void free_backend(struct backend *backend)
{
	eb_mirror_free(backend->mirror);
	eb_store_free(backend->store);
	free_restore(backend);
}

void eb_persist_free(struct eb_persist *persist)
{
	if (!persist)
		return;
	sd_event_source_disable_unref(persist->timeout);
	sd_event_source_disable_unref(persist->conflict_timer);
	sd_event_source_disable_unref(persist->decide);
	free_backend(&persist->redis);
	free_backend(&persist->embedded);
	free(persist->policy);
	free(persist);
}

int eb_persist_reloaded(struct eb_persist *persist, const struct eb_config *config)
{
	int err = eb_maps_policy(eb_dataplane_maps(persist->dataplane), persist->policy);

	persist->config = config;
	/* What was collected names rules by their place in the old policy. */
	free_restore(&persist->redis);
	free_restore(&persist->embedded);
	persist->redis.reading = false;
	begin_reading(&persist->redis);
	return err;
}

/* ---- status ---- */

static json_t *store_status(const struct backend *backend)
{
	struct eb_mirror_stats stats = {};
	json_t *age = json_null();
	bool is_up = backend->store && eb_store_is_up(backend->store);

	if (backend->mirror)
		eb_mirror_stats(backend->mirror, &stats);
	if (stats.last_success_ns)
		age = json_real((monotonic_ns() - stats.last_success_ns) / 1e9);
	return json_pack("{s:b, s:b, s:o, s:s, s:I, s:I, s:I}", "configured", backend->store != NULL, "up", is_up,
			 "last_write_age_seconds", age, "last_error",
			 backend->store ? eb_store_last_error(backend->store) : "", "fields", (json_int_t)stats.fields_held,
			 "fields_set", (json_int_t)stats.fields_set, "fields_deleted",
			 (json_int_t)stats.fields_deleted);
}

static const char *state_name(enum restore_state state)
{
	static const char *const names[] = {
		[RESTORE_NONE] = "none",       [RESTORE_RUNNING] = "running", [RESTORE_WAITING] = "waiting",
		[RESTORE_DONE] = "done",       [RESTORE_ADOPTED] = "adopted",
	};

	return names[state];
}

json_t *eb_persist_status(const struct eb_persist *persist)
{
	json_t *refused = json_object();
	json_t *restore;

	for (int i = 0; i < EB_REFUSALS; i++)
		if (persist->counts.refused[i])
			json_object_set_new(refused, eb_refusal_name(i),
					    json_integer((json_int_t)persist->counts.refused[i]));
	restore = json_pack("{s:s, s:I, s:o, s:I, s:I, s:I, s:o}", "state", state_name(persist->state), "buckets",
			    (json_int_t)persist->counts.restored, "age_seconds",
			    persist->has_age ? json_real(persist->restored_age_ns / 1e9) : json_null(), "fields",
			    (json_int_t)persist->counts.fields, "full", (json_int_t)persist->counts.full, "clamped",
			    (json_int_t)persist->counts.clamped, "refused", refused);
	return json_pack("{s:o, s:o, s:o, s:s?}", "redis", store_status(&persist->redis), "embedded",
			 store_status(&persist->embedded), "restore", restore, "other_writer",
			 persist->other_boot_id[0] ? persist->other_boot_id : NULL);
}
