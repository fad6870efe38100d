// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/ban_mirror.h"
#include "agent/ban_persist.h"
#include "agent/timer.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/printable.h"
#include "config/config_redis.h"
#include "store/ban_record.h"
#include "store/restore.h"
#include "store/store.h"

#define SECOND_NS 1000000000ULL

/* As for the buckets, see recovery.c. */
#define EMBEDDED_TIMEOUT_NS (2 * SECOND_NS)
#define READ_AGAIN_NS SECOND_NS

/* Bans that are put into force before packets pass, some tenths of a second; and in a step between the other work of
 * the agent, some milliseconds. */
#define PUT_FIRST 50000
#define PUT_IN_A_STEP 500

/* Without redis, the embedded store is written this often. */
#define EMBEDDED_TICK_NS SECOND_NS

/* The file grows as it needs; of the address space, room for the most that can be, and pages that are rewritten. */
#define EMBEDDED_BYTES (EB_BANS_MAX * 512ULL)

struct side {
	struct eb_ban_persist *persist;
	const char *name; /* "redis", "embedded" */
	struct eb_store *store; /* NULL when not configured */
	struct eb_ban_mirror *mirror;
	bool wanted;      /* its content was not read yet */
	bool is_reading;
	bool is_logged;   /* that it cannot be read, or written */
	bool is_newer;    /* of a schema that this agent does not know: neither read nor written */
	struct eb_ban_list list;
	size_t next, done; /* of the list: what comes next; what came into force */
	uint64_t saved_at_ns, now_ns, reference_ns;
};

struct eb_ban_persist {
	sd_event *loop;
	const struct eb_config *config;
	struct eb_bans *bans;
	struct eb_ban_watcher watcher;
	struct eb_ban_persist_events events;
	struct side redis, embedded;
	sd_event_source *timeout, *read_again;
	sd_event_source *put_on;
	struct side *putting; /* whose bans come into force step by step; NULL */
	bool decided;
	bool is_ready; /* what is to be in force before packets pass is so */
	uint64_t restored_saved_at_ns; /* of the store whose bans came into force; 0 for none */
	uint64_t restored;
	uint64_t refused[EB_BAN_FAULTS];
};

/* ---- putting into force ---- */

static void log_list(const struct side *side, size_t done)
{
	const struct eb_ban_list *list = &side->list;

	if (list->fields)
		eb_info("bans restored", eb_str("store", side->name), eb_num("restored", done),
			eb_num("fields", list->fields), eb_num("over", list->over));
	for (int i = 0; i < EB_BAN_FAULTS; i++)
		if (list->refused[i])
			eb_warning("bans were not restored", eb_str("store", side->name),
				   eb_num("fields", list->refused[i]), eb_str("reason", eb_ban_fault_name(i)),
				   eb_str("example", list->example[i]),
				   eb_str("hint", i == EB_BAN_TOO_MANY ? "raise bans.max" : "look who writes there"));
}

/* Puts the next bans of a side into force, `most` of them. Returns whether that was the end of it. */
static bool put_some(struct side *side, size_t most)
{
	struct eb_ban_persist *persist = side->persist;
	struct eb_ban_list *list = &side->list;
	size_t left = list->count - side->next, count = left < most ? left : most;
	struct eb_ban_outcome put;
	int err = eb_bans_restore(persist->bans, list->orders + side->next, count, persist->config->bans_max, &put);

	side->next += count;
	side->done += put.done;
	list->refused[EB_BAN_TOO_MANY] += put.refused;
	if (err)
		eb_error("cannot put the stored bans into force", eb_str("store", side->name), eb_err(err));
	return err || side->next == list->count;
}

static void end_putting(struct side *side)
{
	struct eb_ban_persist *persist = side->persist;

	log_list(side, side->done);
	persist->restored += side->done;
	for (int i = 0; i < EB_BAN_FAULTS; i++)
		persist->refused[i] += side->list.refused[i];
	eb_ban_list_clear(&side->list);
	persist->putting = NULL;
	(void)sd_event_source_set_enabled(persist->put_on, SD_EVENT_OFF);
}

/* A million bans take ten seconds, step by step (put_on). */
static void put_into_force(struct side *side)
{
	struct eb_ban_persist *persist = side->persist;

	if (persist->putting) {
		(void)put_some(persist->putting, SIZE_MAX);
		end_putting(persist->putting);
	}
	persist->putting = side;
	persist->restored_saved_at_ns = side->saved_at_ns;
	side->next = side->done = 0;
	if (put_some(side, PUT_IN_A_STEP))
		end_putting(side);
	else
		(void)sd_event_source_set_enabled(persist->put_on, SD_EVENT_ON);
}

/* ---- the decision ---- */

/* As for the buckets: says that Redis still has to be read, as the next agent adopts the maps. */
static void pending_path(const struct eb_ban_persist *persist, char *path, size_t size)
{
	snprintf(path, size, "%s/restore-bans-pending", persist->config->run_dir);
}

static bool is_pending(const struct eb_ban_persist *persist)
{
	char path[PATH_MAX];

	pending_path(persist, path, sizeof(path));
	return access(path, F_OK) == 0;
}

static void set_pending(const struct eb_ban_persist *persist, bool pending)
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
		eb_warning("cannot record that Redis must still be read: if the agent stops before, its bans are lost",
			   eb_str("file", path), eb_err(-errno), eb_str("hint", "make run_dir writable"));
	else
		close(fd);
}

static bool is_read(const struct side *side)
{
	return side->store && !side->wanted && (side->saved_at_ns || side->list.fields);
}

/* A store is written once it was read and that is in force: what it holds would be lost. */
static void run_mirror(struct side *side)
{
	const struct eb_ban_persist *persist = side->persist;

	if (side->mirror && persist->decided && !persist->putting && !side->wanted && !side->is_newer)
		eb_ban_mirror_run(side->mirror);
}

/* Nothing more is to be restored but what Redis may still have. */
static void conclude(struct eb_ban_persist *persist)
{
	set_pending(persist, persist->redis.wanted || persist->putting);
	run_mirror(&persist->redis);
	run_mirror(&persist->embedded);
}

/* Says once that packets may pass. */
static void tell_ready(struct eb_ban_persist *persist)
{
	if (persist->is_ready || (persist->putting && persist->putting->next < PUT_FIRST))
		return;
	persist->is_ready = true;
	persist->events.restored(persist->events.arg);
}

static int on_put_on(sd_event_source *source, void *arg)
{
	struct eb_ban_persist *persist = arg;
	struct side *side = persist->putting;

	(void)source;
	if (put_some(side, PUT_IN_A_STEP)) {
		end_putting(side);
		conclude(persist);
	}
	tell_ready(persist);
	return 0;
}

/* The store that was written later knows which bans were lifted. */
static void decide(struct eb_ban_persist *persist)
{
	struct side *redis = &persist->redis, *embedded = &persist->embedded, *chosen = NULL;

	if (persist->decided)
		return;
	persist->decided = true;
	persist->timeout = sd_event_source_disable_unref(persist->timeout);
	if (is_read(redis))
		chosen = redis;
	if (is_read(embedded) && (!chosen || embedded->saved_at_ns > redis->saved_at_ns))
		chosen = embedded;
	if (chosen)
		put_into_force(chosen);
	conclude(persist);
}

static void finish_reading(struct side *side)
{
	struct eb_ban_persist *persist = side->persist;

	side->wanted = side->is_reading = false;
	if (!persist->decided) {
		if (persist->redis.wanted || persist->embedded.wanted)
			return;
		decide(persist);
		tell_ready(persist);
		return;
	}
	if (is_read(side) && side->saved_at_ns >= persist->restored_saved_at_ns)
		put_into_force(side);
	conclude(persist);
}

/* ---- reading ---- */

/* An embedded store is read at once or never: it is on a local disk. Redis may be better in a moment. */
static void fail_reading(struct side *side, const char *text)
{
	struct eb_ban_persist *persist = side->persist;

	if (!side->wanted)
		return;
	if (!side->is_logged)
		eb_warning("cannot read the bans to restore", eb_str("store", side->name), eb_str("error", text));
	side->is_logged = true;
	side->is_reading = false;
	side->saved_at_ns = 0;
	eb_ban_list_clear(&side->list);
	if (side == &persist->embedded)
		finish_reading(side);
	else
		(void)eb_timer_restart(persist->read_again, READ_AGAIN_NS);
}

static void on_field(const char *field, size_t field_len, const char *value, size_t value_len, void *arg)
{
	struct side *side = arg;

	if (side->wanted && eb_ban_list_add(&side->list, field, field_len, value, value_len, side->now_ns,
					    side->reference_ns))
		side->list.refused[EB_BAN_TOO_MANY]++;
}

/* A scan that does not end gave as many as there can be. */
static void on_scanned(const struct eb_store_result *result, void *arg)
{
	struct side *side = arg;

	if (!side->wanted)
		return;
	if (result->error && result->error != -ELOOP)
		fail_reading(side, result->text);
	else
		finish_reading(side);
}

static void on_meta(const struct eb_store_result *result, const struct eb_store_meta *meta, void *arg)
{
	struct side *side = arg;
	int err;

	if (!side->wanted)
		return;
	if (result->error) {
		fail_reading(side, result->text);
		return;
	}
	if (meta->schema > EB_STORE_SCHEMA) {
		eb_error("the stored bans have a newer schema, they are neither restored nor overwritten",
			 eb_str("store", side->name), eb_num("schema", meta->schema),
			 eb_num("own_schema", EB_STORE_SCHEMA), eb_str("hint", "remove them, or use the newer agent"));
		side->is_newer = true;
		finish_reading(side);
		return;
	}
	eb_ban_list_clear(&side->list);
	side->saved_at_ns = meta->saved_at_ns;
	side->now_ns = eb_monotonic_ns();
	side->reference_ns = eb_restore_reference(eb_wallclock_ns(), meta->saved_at_ns);
	err = eb_store_scan(side->store, on_field, on_scanned, side);
	if (err)
		fail_reading(side, strerror(-err));
}

static void begin_reading(struct side *side)
{
	int err;

	if (!side->wanted || side->is_reading || !eb_store_is_up(side->store))
		return;
	side->is_reading = true;
	side->list.max = side->persist->config->bans_max;
	err = eb_store_read_meta(side->store, on_meta, side);
	if (err)
		fail_reading(side, strerror(-err));
}

static int on_read_again(sd_event_source *source, uint64_t usec, void *arg)
{
	struct eb_ban_persist *persist = arg;

	(void)source;
	(void)usec;
	begin_reading(&persist->redis);
	return 0;
}

static int on_timeout(sd_event_source *source, uint64_t usec, void *arg)
{
	struct eb_ban_persist *persist = arg;

	(void)source;
	(void)usec;
	if (persist->redis.wanted)
		eb_warning("no answer in time, enforcing without the bans in Redis; they follow when it answers",
			   eb_str("error", eb_store_last_error(persist->redis.store)));
	if (persist->embedded.wanted) {
		eb_warning("no answer in time, the bans are not restored", eb_str("store", persist->embedded.name),
			   eb_str("error", eb_store_last_error(persist->embedded.store)));
		persist->embedded.wanted = false;
	}
	decide(persist);
	tell_ready(persist);
	return 0;
}

/* ---- what the stores and mirrors say ---- */

/* That a server comes and goes is said by who keeps the buckets there. */
static void on_up(void *arg)
{
	begin_reading(arg);
}

static void on_down(const char *text, void *arg)
{
	struct side *side = arg;

	if (side->mirror)
		eb_ban_mirror_interrupt(side->mirror);
	if (side == &side->persist->embedded)
		fail_reading(side, text);
}

static void on_writable(void *arg)
{
	struct side *side = arg;

	if (side->mirror)
		eb_ban_mirror_resume(side->mirror);
}

static void on_pass_done(int error, const char *text, void *arg)
{
	struct side *side = arg;
	struct eb_ban_persist *persist = side->persist;

	if (error && !side->is_logged && eb_store_is_up(side->store))
		eb_warning("cannot write the bans, trying again; they are in force as before",
			   eb_str("store", side->name), eb_str("error", text));
	side->is_logged = error != 0;
	if (!eb_ban_persist_is_busy(persist))
		persist->events.settled(text, persist->events.arg);
}

static void on_lost(void *arg)
{
	struct side *side = arg;

	eb_warning("the store had lost bans, writing all again", eb_str("store", side->name),
		   eb_str("hint", "check that it evicts nothing, and who else writes there"));
}

static int open_mirror(struct side *side, uint64_t tick_ns)
{
	const struct eb_ban_mirror_events events = { .done = on_pass_done, .lost = on_lost, .arg = side };

	return eb_ban_mirror_new(side->persist->loop, side->persist->bans, side->store, tick_ns, &events,
				 &side->mirror);
}

static int open_redis(struct eb_ban_persist *persist, const struct eb_config *config)
{
	struct side *side = &persist->redis;
	const struct eb_store_events events = { .up = on_up, .down = on_down, .writable = on_writable, .arg = side };
	int err;

	if (!config->redis)
		return 0;
	err = eb_store_redis_new(persist->loop, config->redis, NULL, config->node, EB_STORE_BANS, &events,
				 &side->store);
	return err ? err : open_mirror(side, config->redis->tick_ns);
}

static int open_embedded(struct eb_ban_persist *persist, const struct eb_config *config)
{
	struct side *side = &persist->embedded;
	const struct eb_store_events events = { .up = on_up, .down = on_down, .writable = on_writable, .arg = side };
	int err;

	if (!config->state_dir[0])
		return 0;
	err = eb_store_lmdb_new(persist->loop, config->state_dir, EMBEDDED_BYTES, false, EB_STORE_BANS, &events,
				&side->store);
	return err ? err : open_mirror(side, config->redis ? config->redis->tick_ns : EMBEDDED_TICK_NS);
}

static void close_side(struct side *side)
{
	if (side->persist->putting == side) {
		side->persist->putting = NULL;
		(void)sd_event_source_set_enabled(side->persist->put_on, SD_EVENT_OFF);
	}
	eb_ban_mirror_stop(side->mirror);
	side->wanted = false;
	eb_store_free(side->store);
	eb_ban_mirror_free(side->mirror);
	eb_ban_list_clear(&side->list);
	side->store = NULL;
	side->mirror = NULL;
}

/* ---- in use ---- */

static void on_change(const struct eb_prefix *prefix, const struct eb_ban *removed, void *arg)
{
	struct eb_ban_persist *persist = arg;

	(void)removed;
	if (persist->redis.mirror)
		eb_ban_mirror_note(persist->redis.mirror, prefix);
	if (persist->embedded.mirror)
		eb_ban_mirror_note(persist->embedded.mirror, prefix);
}

int eb_ban_persist_new(sd_event *loop, const struct eb_config *config, struct eb_bans *bans,
		       const struct eb_ban_persist_events *events, struct eb_ban_persist **out)
{
	struct eb_ban_persist *persist = calloc(1, sizeof(*persist));
	int err;

	if (!persist)
		return -ENOMEM;
	persist->loop = loop;
	persist->config = config;
	persist->bans = bans;
	persist->events = *events;
	persist->redis = (struct side){ .persist = persist, .name = "redis" };
	persist->embedded = (struct side){ .persist = persist, .name = "embedded" };
	err = sd_event_add_time(loop, &persist->read_again, CLOCK_MONOTONIC, 0, 0, on_read_again, persist);
	if (err >= 0)
		err = sd_event_source_set_enabled(persist->read_again, SD_EVENT_OFF);
	if (err >= 0)
		err = sd_event_add_defer(loop, &persist->put_on, on_put_on, persist);
	if (err >= 0)
		err = sd_event_source_set_enabled(persist->put_on, SD_EVENT_OFF);
	if (err >= 0)
		err = open_redis(persist, config);
	if (err >= 0)
		err = open_embedded(persist, config);
	if (err < 0) {
		eb_ban_persist_free(persist);
		return err;
	}
	persist->watcher = (struct eb_ban_watcher){ .changed = on_change, .arg = persist };
	eb_bans_watch(bans, &persist->watcher);
	*out = persist;
	return 0;
}

int eb_ban_persist_start(struct eb_ban_persist *persist, bool restore)
{
	uint64_t wait_ns = persist->redis.store ? persist->config->redis->restore_timeout_ns : EMBEDDED_TIMEOUT_NS;
	bool any = persist->redis.store || persist->embedded.store;
	int err;

	persist->redis.wanted = persist->redis.store && (restore || is_pending(persist));
	persist->embedded.wanted = persist->embedded.store && restore;
	if (!restore || !any) {
		decide(persist);
		persist->is_ready = true; /* there was nothing to read */
		return 0;
	}
	begin_reading(&persist->redis);
	begin_reading(&persist->embedded);
	err = sd_event_add_time_relative(persist->loop, &persist->timeout, CLOCK_MONOTONIC, wait_ns / 1000, 1000,
					 on_timeout, persist);
	return err < 0 ? err : 0;
}

bool eb_ban_persist_is_ready(const struct eb_ban_persist *persist)
{
	return persist->is_ready;
}

/* The Redis that was left keeps what it has; the other one gets everything. */
int eb_ban_persist_reloaded(struct eb_ban_persist *persist, const struct eb_config *config)
{
	bool changes = !eb_redis_config_equal(persist->config->redis, config->redis);
	struct side *redis = &persist->redis;
	bool was_wanted = redis->wanted;
	int err;

	persist->config = config;
	if (!changes)
		return 0;
	close_side(redis);
	*redis = (struct side){ .persist = persist, .name = redis->name };
	err = open_redis(persist, config);
	if (err) {
		close_side(redis);
		eb_error("cannot keep the bans in Redis", eb_err(err));
	}
	redis->wanted = was_wanted && redis->store;
	if (was_wanted && !redis->wanted)
		finish_reading(redis);
	run_mirror(redis);
	return err;
}

void eb_ban_persist_flush(struct eb_ban_persist *persist)
{
	if (persist->redis.mirror)
		eb_ban_mirror_pass(persist->redis.mirror);
	if (persist->embedded.mirror)
		eb_ban_mirror_pass(persist->embedded.mirror);
}

static bool is_busy(const struct side *side)
{
	return side->mirror && eb_ban_mirror_is_busy(side->mirror);
}

bool eb_ban_persist_is_busy(const struct eb_ban_persist *persist)
{
	return is_busy(&persist->redis) || is_busy(&persist->embedded);
}

static json_t *side_status(const struct side *side)
{
	if (!side->store)
		return json_null();
	return json_pack("{s:I, s:o}", "fields", (json_int_t)eb_ban_mirror_stored(side->mirror), "last_error",
			 eb_printable_json(eb_store_last_error(side->store)));
}

json_t *eb_ban_persist_status(const struct eb_ban_persist *persist)
{
	json_t *refused = json_object();

	for (int i = 0; i < EB_BAN_FAULTS; i++)
		if (persist->refused[i])
			json_object_set_new(refused, eb_ban_fault_name(i),
					    json_integer((json_int_t)persist->refused[i]));
	return json_pack("{s:o, s:o, s:I, s:o}", "redis", side_status(&persist->redis), "embedded",
			 side_status(&persist->embedded), "restored", (json_int_t)persist->restored, "refused",
			 refused);
}

void eb_ban_persist_free(struct eb_ban_persist *persist)
{
	if (!persist)
		return;
	eb_bans_unwatch(persist->bans, &persist->watcher);
	sd_event_source_disable_unref(persist->timeout);
	sd_event_source_disable_unref(persist->read_again);
	close_side(&persist->redis);
	close_side(&persist->embedded);
	sd_event_source_disable_unref(persist->put_on);
	free(persist);
}
