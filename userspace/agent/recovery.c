// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/recovery.h"
#include "agent/timer.h"
#include "base/clock.h"
#include "base/log.h"
#include "config/config_redis.h"
#include "store/restore.h"

#define SECOND_NS 1000000000ULL

/* An embedded store is on a local disk, or it is broken. */
#define EMBEDDED_TIMEOUT_NS (2 * SECOND_NS)

/* A wait for the stores that ends later than this was none towards its end: the agent itself was busy. */
#define LATE_US 100000ULL

/* A store that is there but could not be read is read again after this long. */
#define READ_AGAIN_NS SECOND_NS

/* Redis is not written before it was read. Where that does not come to an end, it is written after this many times
 * restore_timeout, and this long at least: with what was read by then. */
#define READ_LIMIT 30
#define READ_LIMIT_MIN_NS (10 * SECOND_NS)

struct reading {
	struct eb_recovery *recovery;
	const char *name;    /* "redis", "embedded" */
	const char *address; /* where it is, for the log */
	struct eb_store *store; /* NULL when not configured */
	bool is_up;
	bool newer;   /* of a schema that this agent does not know: neither read nor written */
	bool wanted;  /* its content was not read yet */
	bool is_reading;
	bool unread_logged; /* it failed before */
	bool late;    /* wanted after the decision: debts add up */
	struct eb_restore *restore;
	uint64_t reference_ns, saved_at_ns;
	uint64_t since_ns; /* CLOCK_MONOTONIC */
};

enum restore_state { RESTORE_NONE, RESTORE_RUNNING, RESTORE_WAITING, RESTORE_DONE, RESTORE_PARTIAL, RESTORE_ADOPTED };

struct eb_recovery {
	sd_event *loop;
	const struct eb_config *config;
	struct eb_dataplane *dataplane;
	struct eb_recovery_events events;
	struct reading redis, embedded;
	sd_event_source *timeout, *read_limit, *read_again, *decide;
	bool decided;
	enum restore_state state;
	struct eb_policy *policy;
	struct eb_restore_counts counts; /* of everything restored */
	uint64_t restored_age_ns;
	bool has_age;
	struct eb_histogram reads;
};

static void log_counts(const char *from, const struct eb_restore_counts *counts)
{
	eb_info("buckets restored", eb_str("store", from), eb_num("restored", counts->restored),
		eb_num("fields", counts->fields), eb_num("full", counts->full), eb_num("clamped", counts->clamped));
	for (int i = 0; i < EB_REFUSALS; i++)
		if (counts->refused[i])
			eb_warning("buckets were not restored", eb_str("store", from),
				   eb_num("fields", counts->refused[i]), eb_str("reason", eb_refusal_name(i)),
				   eb_str("hint", "expected for rules that were removed"));
}

static void add_counts(struct eb_recovery *recovery, const char *from, const struct eb_restore *restore)
{
	struct eb_restore_counts counts;

	eb_restore_counts(restore, &counts);
	log_counts(from, &counts);
	recovery->counts.fields += counts.fields;
	recovery->counts.restored += counts.restored;
	recovery->counts.full += counts.full;
	recovery->counts.clamped += counts.clamped;
	for (int i = 0; i < EB_REFUSALS; i++)
		recovery->counts.refused[i] += counts.refused[i];
}

/* The age of what is restored is that of the store written last. */
static void note_age(struct eb_recovery *recovery, const struct reading *reading)
{
	uint64_t now = eb_wallclock_ns(), age;
	struct eb_restore_counts counts;

	eb_restore_counts(reading->restore, &counts);
	if (!counts.fields || !reading->saved_at_ns)
		return;
	age = now > reading->saved_at_ns ? now - reading->saved_at_ns : 0;
	if (!recovery->has_age || age < recovery->restored_age_ns)
		recovery->restored_age_ns = age;
	recovery->has_age = true;
}

static void apply(struct eb_recovery *recovery, struct reading *reading, const char *from, struct eb_restore *before)
{
	eb_restore_apply(reading->restore, eb_dataplane_buckets(recovery->dataplane), reading->late, before);
	add_counts(recovery, from, reading->restore);
}

static void free_restore(struct reading *reading)
{
	eb_restore_free(reading->restore);
	reading->restore = NULL;
}

/* What was read completely by now. Of a bucket that both stores have, the later record. */
static void restore_what_is_read(struct eb_recovery *recovery)
{
	struct reading *redis = &recovery->redis, *embedded = &recovery->embedded;
	bool has_redis = redis->restore && !redis->wanted, has_embedded = embedded->restore && !embedded->wanted;

	if (has_redis)
		note_age(recovery, redis);
	if (has_embedded)
		note_age(recovery, embedded);
	if (has_redis && has_embedded)
		eb_restore_join(redis->restore, embedded->restore);
	if (has_redis)
		apply(recovery, redis, has_embedded ? "redis,embedded" : "redis", NULL);
	else if (has_embedded)
		apply(recovery, embedded, embedded->name, NULL);
}

/*
 * A file in run_dir, which like the maps does not outlive a reboot, says that Redis still has to be read: the next
 * agent adopts the maps, and would not otherwise. One that is killed between the adding and the removal of the file
 * adds the debts twice, which errs towards less.
 */
static void pending_path(const struct eb_recovery *recovery, char *path, size_t size)
{
	snprintf(path, size, "%s/restore-pending", recovery->config->run_dir);
}

static void set_pending(const struct eb_recovery *recovery, bool pending)
{
	char path[PATH_MAX];
	int fd;

	pending_path(recovery, path, sizeof(path));
	if (!pending) {
		(void)unlink(path);
		return;
	}
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		eb_warning("cannot record that Redis must still be read: if the agent stops before, its buckets are "
			   "lost",
			   eb_str("file", path), eb_err(-errno), eb_str("hint", "make run_dir writable"));
	else
		close(fd);
}

static bool is_pending(const struct eb_recovery *recovery)
{
	char path[PATH_MAX];

	pending_path(recovery, path, sizeof(path));
	return access(path, F_OK) == 0;
}

static int on_decide(sd_event_source *source, void *arg)
{
	struct eb_recovery *recovery = arg;

	(void)source;
	recovery->events.restored(recovery->events.arg);
	return 0;
}

/* From here on packets are limited; what Redis still has to say is added to what they owe by then. */
static void decide(struct eb_recovery *recovery)
{
	if (recovery->decided)
		return;
	recovery->decided = true;
	sd_event_source_disable_unref(recovery->timeout);
	recovery->timeout = NULL;
	restore_what_is_read(recovery);
	set_pending(recovery, recovery->redis.wanted);
	if (recovery->redis.wanted) {
		recovery->redis.late = true;
		recovery->state = RESTORE_WAITING;
	} else {
		free_restore(&recovery->embedded);
		free_restore(&recovery->redis);
		if (recovery->state == RESTORE_RUNNING)
			recovery->state = RESTORE_DONE;
	}
	recovery->events.decided(recovery->events.arg);
	(void)sd_event_add_defer(recovery->loop, &recovery->decide, on_decide, recovery);
}

/* With what was read of Redis, after the decision. */
static void finish_late(struct eb_recovery *recovery, enum restore_state state)
{
	if (recovery->redis.restore) {
		note_age(recovery, &recovery->redis);
		apply(recovery, &recovery->redis, "redis", recovery->embedded.restore);
	}
	set_pending(recovery, false);
	free_restore(&recovery->redis);
	free_restore(&recovery->embedded);
	recovery->state = state;
	recovery->events.late(recovery->events.arg);
}

static void finish_reading(struct reading *reading)
{
	struct eb_recovery *recovery = reading->recovery;

	reading->wanted = reading->is_reading = false;
	if (recovery->decided)
		finish_late(recovery, RESTORE_DONE);
	else if (!eb_recovery_is_reading(recovery))
		decide(recovery);
}

/* An embedded store is read at once or never: it is on a local disk. Redis may be better in a moment. */
static void fail_reading(struct reading *reading, const char *text)
{
	struct eb_recovery *recovery = reading->recovery;

	if (!reading->wanted)
		return;
	if (!reading->unread_logged)
		eb_warning("cannot read the buckets to restore", eb_str("store", reading->name),
			   eb_str("address", reading->address), eb_str("error", text));
	reading->unread_logged = true;
	reading->is_reading = false;
	if (reading == &recovery->embedded) {
		free_restore(reading);
		finish_reading(reading);
		return;
	}
	(void)eb_timer_restart(recovery->read_again, READ_AGAIN_NS);
}

static void on_scanned(const struct eb_store_result *result, void *arg)
{
	struct reading *reading = arg;

	if (result->error)
		fail_reading(reading, result->text);
	if (result->error || !reading->wanted)
		return;
	eb_histogram_add(&reading->recovery->reads, eb_monotonic_ns() - reading->since_ns);
	finish_reading(reading);
}

static void on_field(const char *field, size_t field_len, const char *value, size_t value_len, void *arg)
{
	struct reading *reading = arg;

	if (reading->wanted)
		eb_restore_add(reading->restore, field, field_len, value, value_len, reading->reference_ns);
}

/* The time to count debts from: now, or when they were saved if the clock was set back since. */
static uint64_t reference_time(const struct reading *reading, uint64_t saved_at_ns)
{
	uint64_t now = eb_wallclock_ns(), reference = eb_restore_reference(now, saved_at_ns);

	if (reference > now)
		eb_warning("the buckets were saved in the future, so no time counts as passed since then",
			   eb_str("store", reading->name), eb_num("seconds", (reference - now) / SECOND_NS),
			   eb_str("hint", "the clock was set back: check its synchronization"));
	return reference;
}

static void on_meta(const struct eb_store_result *result, const struct eb_store_meta *meta, void *arg)
{
	struct reading *reading = arg;
	struct eb_recovery *recovery = reading->recovery;
	struct eb_buckets *buckets = eb_dataplane_buckets(recovery->dataplane);
	uint64_t records_max = (uint64_t)eb_buckets_entries(buckets, 4) + eb_buckets_entries(buckets, 6);
	int err;

	if (!reading->wanted)
		return; /* given up */
	if (result->error) {
		fail_reading(reading, result->text);
		return;
	}
	if (meta->schema > EB_STORE_SCHEMA) {
		eb_error("the stored buckets have a newer schema, they are neither restored nor overwritten",
			 eb_str("store", reading->name), eb_num("schema", meta->schema),
			 eb_num("own_schema", EB_STORE_SCHEMA),
			 eb_str("hint", "remove them, or use the newer agent"));
		reading->newer = true;
		finish_reading(reading);
		return;
	}
	free_restore(reading); /* of an attempt that failed */
	reading->saved_at_ns = meta->saved_at_ns;
	reading->reference_ns = reference_time(reading, meta->saved_at_ns);
	reading->restore = eb_restore_new(recovery->policy, records_max);
	err = reading->restore ? eb_store_scan(reading->store, on_field, on_scanned, reading) : -ENOMEM;
	if (err)
		fail_reading(reading, strerror(-err));
}

static void begin_reading(struct reading *reading)
{
	int err;

	if (!reading->wanted || reading->is_reading || !eb_store_is_up(reading->store))
		return;
	reading->is_reading = true;
	reading->since_ns = eb_monotonic_ns();
	err = eb_store_read_meta(reading->store, on_meta, reading);
	if (err)
		fail_reading(reading, strerror(-err));
}

static int on_read_again(sd_event_source *source, uint64_t usec, void *arg)
{
	struct eb_recovery *recovery = arg;

	(void)source;
	(void)usec;
	begin_reading(&recovery->redis);
	return 0;
}

/* What Redis holds and was not read is lost to these sources, which begin with the buckets they have. */
static int on_read_limit(sd_event_source *source, uint64_t usec, void *arg)
{
	struct eb_recovery *recovery = arg;
	struct reading *redis = &recovery->redis;
	struct eb_restore_counts counts = { .fields = 0 };

	(void)source;
	(void)usec;
	if (!redis->wanted || !recovery->decided || !redis->is_up)
		return 0; /* begins anew when it is back */
	if (redis->restore)
		eb_restore_counts(redis->restore, &counts);
	eb_error("Redis cannot be read completely, writing to it from now on; what was read is restored",
		 eb_str("store", redis->name), eb_str("address", redis->address), eb_num("fields", counts.fields),
		 eb_str("error", eb_store_last_error(redis->store)),
		 eb_str("hint", "check the rights of its user and the connection to it, or raise restore_timeout"));
	redis->wanted = redis->is_reading = false;
	finish_late(recovery, RESTORE_PARTIAL);
	return 0;
}

static void limit_reading(struct eb_recovery *recovery)
{
	uint64_t limit_ns;
	int enabled;

	if (!recovery->redis.wanted || sd_event_source_get_enabled(recovery->read_limit, &enabled) < 0 ||
	    enabled != SD_EVENT_OFF)
		return;
	limit_ns = READ_LIMIT * recovery->config->redis->restore_timeout_ns;
	(void)eb_timer_restart(recovery->read_limit, limit_ns > READ_LIMIT_MIN_NS ? limit_ns : READ_LIMIT_MIN_NS);
}

static int on_timeout(sd_event_source *source, uint64_t usec, void *arg)
{
	struct eb_recovery *recovery = arg;
	uint64_t now_us = eb_monotonic_us();

	/* What came during a reload of many prefixes, say, is still to be read. */
	if (now_us > usec + LATE_US) {
		(void)sd_event_source_set_time_relative(source, now_us - usec);
		(void)sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
		return 0;
	}
	if (recovery->redis.wanted)
		eb_warning("no answer in time, enforcing without the stored buckets; the agent adds them when it "
			   "answers",
			   eb_str("store", recovery->redis.name), eb_str("address", recovery->redis.address),
			   eb_str("error", eb_store_last_error(recovery->redis.store)));
	if (recovery->embedded.wanted) {
		eb_warning("no answer in time, the buckets are not restored", eb_str("store", recovery->embedded.name),
			   eb_str("address", recovery->embedded.address),
			   eb_str("error", eb_store_last_error(recovery->embedded.store)));
		recovery->embedded.wanted = false;
		free_restore(&recovery->embedded);
	}
	decide(recovery);
	return 0;
}

int eb_recovery_start(struct eb_recovery *recovery, bool restore)
{
	uint64_t wait_ns = recovery->redis.store ? recovery->config->redis->restore_timeout_ns : EMBEDDED_TIMEOUT_NS;
	bool any = recovery->redis.store || recovery->embedded.store;
	int err = eb_maps_policy(eb_dataplane_maps(recovery->dataplane), recovery->policy);

	if (err)
		return err;
	recovery->state = !restore ? RESTORE_ADOPTED : any ? RESTORE_RUNNING : RESTORE_NONE;
	recovery->redis.wanted = recovery->redis.store && (restore || is_pending(recovery));
	recovery->embedded.wanted = restore && recovery->embedded.store;
	if (!restore || !any) {
		decide(recovery);
		return 0;
	}
	begin_reading(&recovery->redis);
	begin_reading(&recovery->embedded);
	err = sd_event_add_time_relative(recovery->loop, &recovery->timeout, CLOCK_MONOTONIC, wait_ns / 1000, 1000,
					 on_timeout, recovery);
	return err < 0 ? err : 0;
}

/* ---- what the stores say ---- */

static struct reading *reading_of(struct eb_recovery *recovery, enum eb_recovery_source source)
{
	return source == EB_FROM_REDIS ? &recovery->redis : &recovery->embedded;
}

void eb_recovery_store_up(struct eb_recovery *recovery, enum eb_recovery_source source)
{
	struct reading *reading = reading_of(recovery, source);

	reading->is_up = true;
	limit_reading(recovery);
	begin_reading(reading);
}

void eb_recovery_store_down(struct eb_recovery *recovery, enum eb_recovery_source source, const char *text)
{
	struct reading *reading = reading_of(recovery, source);

	reading->is_up = false;
	if (source == EB_FROM_EMBEDDED)
		fail_reading(reading, text);
}

bool eb_recovery_is_over(const struct eb_recovery *recovery, enum eb_recovery_source source)
{
	const struct reading *reading = source == EB_FROM_REDIS ? &recovery->redis : &recovery->embedded;

	return recovery->decided && !reading->wanted;
}

bool eb_recovery_may_write(const struct eb_recovery *recovery, enum eb_recovery_source source)
{
	const struct reading *reading = source == EB_FROM_REDIS ? &recovery->redis : &recovery->embedded;

	return eb_recovery_is_over(recovery, source) && !reading->newer;
}

bool eb_recovery_is_reading(const struct eb_recovery *recovery)
{
	return recovery->redis.wanted || recovery->embedded.wanted;
}

/* ---- status ---- */

static const char *state_name(enum restore_state state)
{
	static const char *const names[] = {
		[RESTORE_NONE] = "none",       [RESTORE_RUNNING] = "running", [RESTORE_WAITING] = "waiting",
		[RESTORE_DONE] = "done",       [RESTORE_PARTIAL] = "partial", [RESTORE_ADOPTED] = "adopted",
	};

	return names[state];
}

json_t *eb_recovery_status(const struct eb_recovery *recovery)
{
	const struct eb_restore_counts *counts = &recovery->counts;
	json_t *refused = json_object();

	for (int i = 0; i < EB_REFUSALS; i++)
		if (counts->refused[i])
			json_object_set_new(refused, eb_refusal_name(i), json_integer((json_int_t)counts->refused[i]));
	return json_pack("{s:s, s:I, s:o, s:I, s:I, s:I, s:o}", "state", state_name(recovery->state), "buckets",
			 (json_int_t)counts->restored, "age_seconds",
			 recovery->has_age ? json_real(recovery->restored_age_ns / 1e9) : json_null(), "fields",
			 (json_int_t)counts->fields, "full", (json_int_t)counts->full, "clamped",
			 (json_int_t)counts->clamped, "refused", refused);
}

void eb_recovery_figures(const struct eb_recovery *recovery, struct eb_recovery_figures *out)
{
	*out = (struct eb_recovery_figures){
		.reads = recovery->reads,
		.restored = recovery->counts.restored,
		.has_age = recovery->has_age,
		.age_ns = recovery->restored_age_ns,
	};
}

/* ---- life ---- */

bool eb_recovery_set_store(struct eb_recovery *recovery, enum eb_recovery_source source, struct eb_store *store,
			   const char *address)
{
	struct reading *reading = reading_of(recovery, source);
	struct reading before = *reading;

	free_restore(reading);
	*reading = (struct reading){
		.recovery = recovery,
		.name = before.name,
		.store = store,
		.address = address,
		.wanted = before.wanted && store,
		.late = before.late,
	};
	return before.wanted && !store;
}

void eb_recovery_give_up(struct eb_recovery *recovery)
{
	finish_reading(&recovery->redis);
}

int eb_recovery_reloaded(struct eb_recovery *recovery, const struct eb_config *config)
{
	struct eb_policy *policy = calloc(1, sizeof(*policy));
	int err = policy ? eb_maps_policy(eb_dataplane_maps(recovery->dataplane), policy) : -ENOMEM;

	recovery->config = config;
	if (err) {
		free(policy);
		return err;
	}
	if (recovery->redis.restore)
		eb_restore_rebind(recovery->redis.restore, policy);
	if (recovery->embedded.restore)
		eb_restore_rebind(recovery->embedded.restore, policy);
	free(recovery->policy);
	recovery->policy = policy;
	return 0;
}

/* That is set later. */
static int add_timer(struct eb_recovery *recovery, sd_event_time_handler_t fired, sd_event_source **out)
{
	int err = sd_event_add_time(recovery->loop, out, CLOCK_MONOTONIC, 0, 0, fired, recovery);

	return err < 0 ? err : sd_event_source_set_enabled(*out, SD_EVENT_OFF);
}

int eb_recovery_new(sd_event *loop, const struct eb_config *config, struct eb_dataplane *dataplane,
		    const struct eb_recovery_events *events, struct eb_recovery **out)
{
	struct eb_recovery *recovery = calloc(1, sizeof(*recovery));

	if (!recovery)
		return -ENOMEM;
	recovery->loop = loop;
	recovery->config = config;
	recovery->dataplane = dataplane;
	recovery->events = *events;
	recovery->redis = (struct reading){ .recovery = recovery, .name = "redis" };
	recovery->embedded = (struct reading){ .recovery = recovery, .name = "embedded" };
	recovery->policy = calloc(1, sizeof(*recovery->policy));
	if (!recovery->policy || add_timer(recovery, on_read_again, &recovery->read_again) < 0 ||
	    add_timer(recovery, on_read_limit, &recovery->read_limit) < 0) {
		eb_recovery_free(recovery);
		return -ENOMEM;
	}
	*out = recovery;
	return 0;
}

void eb_recovery_stop(struct eb_recovery *recovery)
{
	if (!recovery)
		return;
	recovery->redis.wanted = recovery->embedded.wanted = false;
	recovery->timeout = sd_event_source_disable_unref(recovery->timeout);
	recovery->read_limit = sd_event_source_disable_unref(recovery->read_limit);
	recovery->read_again = sd_event_source_disable_unref(recovery->read_again);
	recovery->decide = sd_event_source_disable_unref(recovery->decide);
}

void eb_recovery_free(struct eb_recovery *recovery)
{
	if (!recovery)
		return;
	eb_recovery_stop(recovery);
	free_restore(&recovery->redis);
	free_restore(&recovery->embedded);
	free(recovery->policy);
	free(recovery);
}
