// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/persist.h"
#include "agent/timer.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/printable.h"
#include "config/config_redis.h"
#include "store/restore.h"
#include "store/store.h"

#define SECOND_NS 1000000000ULL

/* Without redis, the embedded store is written this often. */
#define EMBEDDED_TICK_NS SECOND_NS

/* An embedded store is on a local disk, or it is broken. */
#define EMBEDDED_TIMEOUT_NS (2 * SECOND_NS)

/* A wait for the stores that ends later than this was none towards its end: the agent itself was busy. */
#define LATE_US 100000ULL

/* Room for the records of both families, and pages that are being rewritten. */
#define EMBEDDED_BYTES_PER_BUCKET 1024ULL

/* A store that is there but could not be read is read again after this long. */
#define READ_AGAIN_NS SECOND_NS

/* Redis is not written before it was read. Where that does not come to an end, it is written after this many times
 * restore_timeout, and this long at least: with what was read by then. */
#define READ_LIMIT 30
#define READ_LIMIT_MIN_NS (10 * SECOND_NS)

struct backend {
	struct eb_persist *persist;
	const char *name; /* "redis", "embedded" */
	char *address;    /* where it is, for the log */
	char peer[320];   /* whom it was last connected to */
	struct eb_store *store; /* NULL when not configured */
	struct eb_mirror *mirror;
	bool down_logged;
	bool is_up;  /* as far as was told: a connection that ends is made anew before it is called a fault */
	bool is_closed; /* it ended, and is being made anew */
	bool was_up; /* or tried */
	bool failing; /* the last pass was not taken */
	bool newer;   /* of a schema that this agent does not know: neither read nor written */
	/* Restoring. */
	bool wanted;  /* its content was not read yet */
	bool reading;
	bool unread_logged; /* it failed before */
	bool late;    /* wanted after the decision: debts add up */
	struct eb_restore *restore;
	uint64_t reference_ns, saved_at_ns;
	uint64_t reading_since_ns; /* CLOCK_MONOTONIC */
};

enum restore_state { RESTORE_NONE, RESTORE_RUNNING, RESTORE_WAITING, RESTORE_DONE, RESTORE_PARTIAL, RESTORE_ADOPTED };

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
	sd_event_source *timeout, *read_limit, *read_again, *decide;
	bool decided;
	enum restore_state state;
	struct eb_policy *policy;
	struct eb_restore_counts counts; /* of everything restored */
	uint64_t restored_age_ns;
	bool has_age;
	char other_boot_id[sizeof(((struct eb_store_meta *)NULL)->boot_id)]; /* of another writer, or "" */
	struct eb_histogram recovery_reads;
};

/* ---- mirroring ---- */

/* A store may be written once it was read: what it holds would be lost. */
static bool may_write(const struct backend *backend)
{
	return backend->persist->decided && backend->mirror && !backend->wanted && !backend->newer;
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
		eb_info("no other host writes the buckets of this node any more",
			eb_str("store", persist->redis.name), eb_str("node", persist->config->node));
	if (other && strcmp(other->boot_id, persist->other_boot_id) != 0)
		eb_error("another host writes the buckets of this node too", eb_str("store", persist->redis.name),
			 eb_str("node", persist->config->node), eb_str("boot_id", other->boot_id),
			 eb_str("agent", other->agent), eb_str("hint", "give each host a node: of its own"));
	snprintf(persist->other_boot_id, sizeof(persist->other_boot_id), "%s", other ? other->boot_id : "");
}

/* Whether somebody waits for the pass. */
static bool is_fault(enum eb_pass_reason reason)
{
	return reason != EB_PASS_TICK && reason != EB_PASS_STORE_LOST;
}

static void log_pass(const struct backend *backend, const struct eb_pass_result *result)
{
	if (result->reason == EB_PASS_STORE_LOST)
		eb_warning("the store had lost buckets, wrote all again", eb_str("store", backend->name),
			   eb_str("address", backend->address), eb_num("set", result->fields_set),
			   eb_str("hint", "see that it evicts nothing, and who else writes there"));
	else if (is_fault(result->reason))
		eb_info("buckets written", eb_str("store", backend->name),
			eb_str("reason", eb_pass_reason_name(result->reason)), eb_num("set", result->fields_set),
			eb_num("deleted", result->fields_deleted));
}

static void leave_before(struct eb_persist *persist);

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
	persist->events.fault_done(result->reason, result->fields_set, result->fields_deleted, result->text,
				   persist->events.arg);
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
	eb_mirror_pass(backend->mirror, reason);
	return true;
}

/* ---- restoring ---- */

static void log_counts(const char *from, const struct eb_restore_counts *counts)
{
	eb_info("buckets restored", eb_str("store", from), eb_num("restored", counts->restored),
		eb_num("fields", counts->fields), eb_num("full", counts->full), eb_num("clamped", counts->clamped));
	for (int i = 0; i < EB_REFUSALS; i++)
		if (counts->refused[i])
			eb_warning("buckets were not restored", eb_str("store", from),
				   eb_num("fields", counts->refused[i]), eb_str("reason", eb_refusal_name(i)),
				   eb_str("hint", "none is needed for rules that were removed"));
}

static void add_counts(struct eb_persist *persist, const char *from, const struct eb_restore *restore)
{
	struct eb_restore_counts counts;

	eb_restore_counts(restore, &counts);
	log_counts(from, &counts);
	persist->counts.fields += counts.fields;
	persist->counts.restored += counts.restored;
	persist->counts.full += counts.full;
	persist->counts.clamped += counts.clamped;
	for (int i = 0; i < EB_REFUSALS; i++)
		persist->counts.refused[i] += counts.refused[i];
}

/* The age of what is restored is that of the store written last. */
static void note_age(struct eb_persist *persist, const struct backend *backend)
{
	uint64_t now = eb_wallclock_ns(), age;
	struct eb_restore_counts counts;

	eb_restore_counts(backend->restore, &counts);
	if (!counts.fields || !backend->saved_at_ns)
		return;
	age = now > backend->saved_at_ns ? now - backend->saved_at_ns : 0;
	if (!persist->has_age || age < persist->restored_age_ns)
		persist->restored_age_ns = age;
	persist->has_age = true;
}

static void apply(struct eb_persist *persist, struct backend *backend, const char *from, struct eb_restore *before)
{
	eb_restore_apply(backend->restore, eb_dataplane_buckets(persist->dataplane), backend->late, before);
	add_counts(persist, from, backend->restore);
}

static void free_restore(struct backend *backend)
{
	eb_restore_free(backend->restore);
	backend->restore = NULL;
}

/* What was read completely by now. Of a bucket that both stores have, the later record. */
static void restore_what_is_read(struct eb_persist *persist)
{
	struct backend *redis = &persist->redis, *embedded = &persist->embedded;
	bool has_redis = redis->restore && !redis->wanted, has_embedded = embedded->restore && !embedded->wanted;

	if (has_redis)
		note_age(persist, redis);
	if (has_embedded)
		note_age(persist, embedded);
	if (has_redis && has_embedded)
		eb_restore_join(redis->restore, embedded->restore);
	if (has_redis)
		apply(persist, redis, has_embedded ? "redis,embedded" : "redis", NULL);
	else if (has_embedded)
		apply(persist, embedded, embedded->name, NULL);
}

/*
 * A file in run_dir, which like the maps does not outlive a reboot, says that Redis still has to be read: the next
 * agent adopts the maps, and would not otherwise. One that is killed between the adding and the removal of the file
 * adds the debts twice, which errs towards less.
 */
static void pending_path(const struct eb_persist *persist, char *path, size_t size)
{
	snprintf(path, size, "%s/restore-pending", persist->config->run_dir);
}

static void set_pending(const struct eb_persist *persist, bool pending)
{
	char path[PATH_MAX];
	int fd;

	pending_path(persist, path, sizeof(path));
	if (!pending) {
		(void)unlink(path);
		return;
	}
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		eb_warning("cannot note that Redis is still to be read: if the agent ends before, its buckets are lost",
			   eb_str("file", path), eb_err(-errno), eb_str("hint", "make run_dir writable"));
	else
		close(fd);
}

static bool is_pending(const struct eb_persist *persist)
{
	char path[PATH_MAX];

	pending_path(persist, path, sizeof(path));
	return access(path, F_OK) == 0;
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
	restore_what_is_read(persist);
	set_pending(persist, persist->redis.wanted);
	if (persist->redis.wanted) {
		persist->redis.late = true;
		persist->state = RESTORE_WAITING;
	} else {
		free_restore(&persist->embedded);
		free_restore(&persist->redis);
		if (persist->state == RESTORE_RUNNING)
			persist->state = RESTORE_DONE;
	}
	choose_mirrors(persist);
	(void)sd_event_add_defer(persist->loop, &persist->decide, on_decide, persist);
}

/* With what was read of Redis, after the decision. */
static void finish_late(struct eb_persist *persist, enum restore_state state)
{
	if (persist->redis.restore) {
		note_age(persist, &persist->redis);
		apply(persist, &persist->redis, "redis", persist->embedded.restore);
	}
	set_pending(persist, false);
	free_restore(&persist->redis);
	free_restore(&persist->embedded);
	persist->state = state;
	choose_mirrors(persist);
	(void)eb_persist_fault(persist, EB_PASS_REDIS_RECOVERED);
}

static void finish_reading(struct backend *backend)
{
	struct eb_persist *persist = backend->persist;

	backend->wanted = backend->reading = false;
	if (persist->decided)
		finish_late(persist, RESTORE_DONE);
	else if (!eb_persist_is_restoring(persist))
		decide(persist);
}

/* An embedded store is read at once or never: it is on a local disk. Redis may be better in a moment. */
static void fail_reading(struct backend *backend, const char *text)
{
	struct eb_persist *persist = backend->persist;

	if (!backend->wanted)
		return;
	if (!backend->unread_logged)
		eb_warning("cannot read the buckets to restore", eb_str("store", backend->name),
			   eb_str("address", backend->address), eb_str("error", text));
	backend->unread_logged = true;
	backend->reading = false;
	if (backend == &persist->embedded) {
		free_restore(backend);
		finish_reading(backend);
		return;
	}
	(void)eb_timer_restart(persist->read_again, READ_AGAIN_NS);
}

static void on_scanned(const struct eb_store_result *result, void *arg)
{
	struct backend *backend = arg;

	if (result->error)
		fail_reading(backend, result->text);
	if (result->error || !backend->wanted)
		return;
	eb_histogram_add(&backend->persist->recovery_reads, eb_monotonic_ns() - backend->reading_since_ns);
	finish_reading(backend);
}

static void on_field(const char *field, size_t field_len, const char *value, size_t value_len, void *arg)
{
	struct backend *backend = arg;

	if (backend->wanted)
		eb_restore_add(backend->restore, field, field_len, value, value_len, backend->reference_ns);
}

/* The time to count debts from: now, or when they were saved if the clock was set back since. */
static uint64_t reference_time(const struct backend *backend, uint64_t saved_at_ns)
{
	uint64_t now = eb_wallclock_ns(), reference = eb_restore_reference(now, saved_at_ns);

	if (reference > now)
		eb_warning("the buckets were saved in the future, no time counts as passed since",
			   eb_str("store", backend->name), eb_num("seconds", (reference - now) / SECOND_NS),
			   eb_str("hint", "the clock was set back: look at its synchronization"));
	return reference;
}

static void on_meta(const struct eb_store_result *result, const struct eb_store_meta *meta, void *arg)
{
	struct backend *backend = arg;
	struct eb_persist *persist = backend->persist;
	struct eb_buckets *buckets = eb_dataplane_buckets(persist->dataplane);
	uint64_t records_max = (uint64_t)eb_buckets_entries(buckets, 4) + eb_buckets_entries(buckets, 6);
	int err;

	if (!backend->wanted)
		return; /* given up */
	if (result->error) {
		fail_reading(backend, result->text);
		return;
	}
	if (meta->schema > EB_STORE_SCHEMA) {
		eb_error("the stored buckets are of a newer schema, they are neither restored nor written over",
			 eb_str("store", backend->name), eb_num("schema", meta->schema),
			 eb_num("own_schema", EB_STORE_SCHEMA),
			 eb_str("hint", "remove them, or use the newer agent"));
		backend->newer = true;
		finish_reading(backend);
		return;
	}
	free_restore(backend); /* of an attempt that failed */
	backend->saved_at_ns = meta->saved_at_ns;
	backend->reference_ns = reference_time(backend, meta->saved_at_ns);
	backend->restore = eb_restore_new(persist->policy, records_max);
	err = backend->restore ? eb_store_scan(backend->store, on_field, on_scanned, backend) : -ENOMEM;
	if (err)
		fail_reading(backend, strerror(-err));
}

static void begin_reading(struct backend *backend)
{
	int err;

	if (!backend->wanted || backend->reading || !eb_store_is_up(backend->store))
		return;
	backend->reading = true;
	backend->reading_since_ns = eb_monotonic_ns();
	err = eb_store_read_meta(backend->store, on_meta, backend);
	if (err)
		fail_reading(backend, strerror(-err));
}

static int on_read_again(sd_event_source *source, uint64_t usec, void *arg)
{
	struct eb_persist *persist = arg;

	(void)source;
	(void)usec;
	begin_reading(&persist->redis);
	return 0;
}

/* What Redis holds and was not read is lost to these sources, which begin with the buckets they have. */
static int on_read_limit(sd_event_source *source, uint64_t usec, void *arg)
{
	struct eb_persist *persist = arg;
	struct backend *redis = &persist->redis;
	struct eb_restore_counts counts = { .fields = 0 };

	(void)source;
	(void)usec;
	if (!redis->wanted || !persist->decided || !redis->is_up)
		return 0; /* begins anew when it is back */
	if (redis->restore)
		eb_restore_counts(redis->restore, &counts);
	eb_error("Redis cannot be read to the end, writing to it from now on; what was read is restored",
		 eb_str("store", redis->name), eb_str("address", redis->address), eb_num("fields", counts.fields),
		 eb_str("error", eb_store_last_error(redis->store)),
		 eb_str("hint", "check the rights of its user and the link to it, or raise restore_timeout"));
	redis->wanted = redis->reading = false;
	finish_late(persist, RESTORE_PARTIAL);
	return 0;
}

static void limit_reading(struct eb_persist *persist)
{
	uint64_t limit_ns;
	int enabled;

	if (!persist->redis.wanted || sd_event_source_get_enabled(persist->read_limit, &enabled) < 0 ||
	    enabled != SD_EVENT_OFF)
		return;
	limit_ns = READ_LIMIT * persist->config->redis->restore_timeout_ns;
	(void)eb_timer_restart(persist->read_limit, limit_ns > READ_LIMIT_MIN_NS ? limit_ns : READ_LIMIT_MIN_NS);
}

static int on_timeout(sd_event_source *source, uint64_t usec, void *arg)
{
	struct eb_persist *persist = arg;
	uint64_t now_us = eb_monotonic_us();

	/* What came during a reload of many prefixes, say, is still to be read. */
	if (now_us > usec + LATE_US) {
		(void)sd_event_source_set_time_relative(source, now_us - usec);
		(void)sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
		return 0;
	}
	if (persist->redis.wanted)
		eb_warning("no answer in time, enforcing without the stored buckets; they are added when it answers",
			   eb_str("store", persist->redis.name), eb_str("address", persist->redis.address),
			   eb_str("error", eb_store_last_error(persist->redis.store)));
	if (persist->embedded.wanted) {
		eb_warning("no answer in time, the buckets are not restored", eb_str("store", persist->embedded.name),
			   eb_str("address", persist->embedded.address),
			   eb_str("error", eb_store_last_error(persist->embedded.store)));
		persist->embedded.wanted = false;
		free_restore(&persist->embedded);
	}
	decide(persist);
	return 0;
}

int eb_persist_start(struct eb_persist *persist, bool restore)
{
	uint64_t wait_ns = persist->redis.store ? persist->config->redis->restore_timeout_ns : EMBEDDED_TIMEOUT_NS;
	bool any = persist->redis.store || persist->embedded.store;
	int err = eb_maps_policy(eb_dataplane_maps(persist->dataplane), persist->policy);

	if (err)
		return err;
	persist->state = !restore ? RESTORE_ADOPTED : any ? RESTORE_RUNNING : RESTORE_NONE;
	persist->redis.wanted = persist->redis.store && (restore || is_pending(persist));
	persist->embedded.wanted = restore && persist->embedded.store;
	if (!restore || !any) {
		decide(persist);
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
	bool recovers = backend->was_up && (!backend->is_up || backend->failing);

	if (!backend->is_up || strcmp(backend->peer, eb_store_peer(backend->store)) != 0)
		eb_info("connected", eb_str("store", backend->name), eb_str("address", backend->address),
			eb_str("peer", eb_store_peer(backend->store)));
	snprintf(backend->peer, sizeof(backend->peer), "%s", eb_store_peer(backend->store));
	backend->is_up = backend->was_up = true;
	backend->is_closed = false;
	limit_reading(persist);
	begin_reading(backend);
	choose_mirrors(persist);
	if (recovers && backend == &persist->redis && persist->decided && !backend->wanted)
		(void)eb_persist_fault(persist, EB_PASS_REDIS_RECOVERED);
	else if (backend == &persist->redis && persist->leaving.store)
		eb_mirror_pass(backend->mirror, EB_PASS_TICK); /* the sooner the other one is left */
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
				   eb_str("hint", "see that it runs there and lets this node in"));
		backend->down_logged = true;
		backend->is_up = false;
		backend->was_up |= backend == &backend->persist->redis; /* recovering counts from the first failure */
	}
	choose_mirrors(backend->persist);
	if (backend == &backend->persist->embedded)
		fail_reading(backend, text);
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
	err = eb_store_redis_new(persist->loop, config->redis, NULL, config->node, &events, &out->store);
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
	err = backend->address ? eb_store_lmdb_new(persist->loop, persist->config->state_dir, bytes, false, &events,
						   &backend->store)
			       : -ENOMEM;
	if (!err)
		err = eb_mirror_new(persist->loop, persist->dataplane, backend->store, tick_ns, on_pass_done, backend,
				    &backend->mirror);
	return err ? eb_fail(err, error, "state_dir %s: %s", persist->config->state_dir, strerror(-err)) : 0;
}

/* That is set later. */
static int add_timer(struct eb_persist *persist, sd_event_time_handler_t fired, sd_event_source **out)
{
	int err = sd_event_add_time(persist->loop, out, CLOCK_MONOTONIC, 0, 0, fired, persist);

	return err < 0 ? err : sd_event_source_set_enabled(*out, SD_EVENT_OFF);
}

int eb_persist_new(sd_event *loop, const struct eb_config *config, struct eb_dataplane *dataplane,
		   const struct eb_persist_events *events, struct eb_persist **out, char **error)
{
	struct eb_persist *persist = calloc(1, sizeof(*persist));
	int err = 0;

	if (!persist)
		return eb_fail(-ENOMEM, error, "out of memory");
	persist->loop = loop;
	persist->config = config;
	persist->dataplane = dataplane;
	persist->events = *events;
	persist->redis = (struct backend){ .persist = persist, .name = "redis" };
	persist->embedded = (struct backend){ .persist = persist, .name = "embedded" };
	persist->policy = calloc(1, sizeof(*persist->policy));
	if (!persist->policy)
		err = eb_fail(-ENOMEM, error, "out of memory");
	if (!err && config->redis)
		err = open_redis(persist, config, &persist->redis, error);
	if (!err && config->state_dir[0])
		err = open_embedded(persist, error);
	if (!err && (add_timer(persist, on_read_again, &persist->read_again) < 0 ||
		     add_timer(persist, on_read_limit, &persist->read_limit) < 0))
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
	backend->wanted = false;
	eb_mirror_stop(backend->mirror);
	eb_store_free(backend->store);
	eb_mirror_free(backend->mirror);
	free_restore(backend);
	free(backend->address);
	*backend = (struct backend){ .persist = backend->persist, .name = backend->name };
}

void eb_persist_free(struct eb_persist *persist)
{
	if (!persist)
		return;
	sd_event_source_disable_unref(persist->timeout);
	sd_event_source_disable_unref(persist->read_limit);
	sd_event_source_disable_unref(persist->read_again);
	sd_event_source_disable_unref(persist->decide);
	free_backend(&persist->redis);
	free_backend(&persist->leaving);
	free_backend(&persist->next);
	free_backend(&persist->embedded);
	free(persist->policy);
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
		persist->events.fault_done(EB_PASS_FLUSH, 0, 0, "the store was changed meanwhile",
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
	persist->next = (struct backend){ .persist = persist, .name = persist->redis.name };
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
	bool keeps = may_write(redis) && persist->next.store;

	*redis = persist->next;
	persist->next = (struct backend){ .persist = persist };
	persist->redis_changes = false;
	redis->wanted = before.wanted && redis->store;
	redis->late = before.late;
	persist->other_boot_id[0] = '\0';
	if (redis->address)
		eb_info("going over to another Redis", eb_str("store", redis->name),
			eb_str("address", redis->address));
	leave_before(persist);
	persist->leaving = before;
	persist->leaving.wanted = false;
	if (before.store)
		eb_store_redirect(before.store, &persist->leaving);
	if (before.mirror)
		eb_mirror_redirect(before.mirror, &persist->leaving);
	if (!keeps)
		leave_redis(persist, &persist->leaving);
	if (before.wanted && !redis->wanted)
		finish_reading(redis);
	choose_mirrors(persist);
}

int eb_persist_reloaded(struct eb_persist *persist, const struct eb_config *config)
{
	struct eb_policy *policy = calloc(1, sizeof(*policy));
	int err = policy ? eb_maps_policy(eb_dataplane_maps(persist->dataplane), policy) : -ENOMEM;

	persist->config = config;
	if (persist->redis_changes)
		change_redis(persist);
	if (err) {
		free(policy);
		return err;
	}
	if (persist->redis.restore)
		eb_restore_rebind(persist->redis.restore, policy);
	if (persist->embedded.restore)
		eb_restore_rebind(persist->embedded.restore, policy);
	free(persist->policy);
	persist->policy = policy;
	return 0;
}

bool eb_persist_is_restoring(const struct eb_persist *persist)
{
	return persist->redis.wanted || persist->embedded.wanted;
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

static const char *state_name(enum restore_state state)
{
	static const char *const names[] = {
		[RESTORE_NONE] = "none",       [RESTORE_RUNNING] = "running", [RESTORE_WAITING] = "waiting",
		[RESTORE_DONE] = "done",       [RESTORE_PARTIAL] = "partial", [RESTORE_ADOPTED] = "adopted",
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
	return json_pack("{s:o, s:o, s:o, s:o}", "redis", store_status(&persist->redis), "embedded",
			 store_status(&persist->embedded), "restore", restore, "other_writer",
			 eb_printable_json(persist->other_boot_id[0] ? persist->other_boot_id : NULL));
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
	out->recovery_reads = persist->recovery_reads;
	out->restored = persist->counts.restored;
	out->has_restore_age = persist->has_age;
	out->restore_age_ns = persist->restored_age_ns;
	add_redis_figures(&persist->redis, out);
	add_redis_figures(&persist->leaving, out);
	add_mirror_figures(&persist->embedded, out);
}
