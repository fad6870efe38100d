// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/cleaning.h"
#include "agent/held.h"
#include "agent/mirror.h"
#include "agent/timer.h"
#include "base/boot_id.h"
#include "base/clock.h"
#include "policy/rules.h"
#include "store/record.h"

#define SECOND_NS 1000000000ULL
#define DAY_NS (24 * 3600 * SECOND_NS)

/* A slice of a pass: so many buckets are looked at before the loop gets its turn; a millisecond or two. */
#define SLICE_BUCKETS 16384

/* The expiry of a store whose buckets do not change is renewed this often. */
#define RENEW_NS (3600 * SECOND_NS)

/* Another writer is gone when nothing was seen of it for so long. */
#define OTHER_GONE_NS (60 * SECOND_NS)

/* A step of the wall clock larger than this is one; smaller differences are the time between two looks at clocks. */
#define STEP_NS (SECOND_NS / 10)

/*
 * What the store must have, unless it lost some of it. What removes that of another writer's fields is no loss, so the
 * number is a lower bound; where batches failed, it is one of what they may have left.
 */
struct ground {
	uint64_t fields;
	uint64_t mark_ns; /* saved_at of our last meta record; 0: all that is there was written by the pass under way */
	bool unmarked;    /* a batch was acknowledged since: who has that record need not have the batch */
};

/* A batch on its way, to know what to forget when it fails. */
struct flight {
	struct eb_mirror *mirror;
	struct eb_store_batch batch;
	uint32_t *slots[EB_STORE_BATCH_ITEMS]; /* in mirror->held.slots */
	uint64_t sets, deletes;
};

struct eb_mirror {
	sd_event *loop;
	struct eb_dataplane *dataplane;
	struct eb_store *store;
	uint64_t tick_ns;
	void (*pass_done)(const struct eb_pass_result *result, void *arg);
	void *arg;
	sd_event_source *timer, *slice;
	struct eb_cleaning *cleaning;
	char boot_id[EB_BOOT_ID_MAX];
	bool running;
	bool stopped;

	struct eb_held held;
	uint32_t visited_to, visiting_to; /* collections of changes: what the last whole pass saw, and this one sees */
	struct ground ground;
	struct eb_store_meta other; /* the last meta record of another boot */
	uint64_t other_seen_ns;     /* CLOCK_MONOTONIC; of its writer, 0 when it is none or gone */

	/* The pass under way. */
	bool passing;
	bool walked;       /* to the end; what is left is on its way */
	unsigned int closing; /* answers that the end of the pass waits for; 0 before */
	uint64_t found_fields;
	struct eb_store_meta found;
	bool marked; /* found is older than what was written since */
	uint32_t reasons;  /* whose pass it is, as bits */
	struct eb_pass_result result;
	char error_text[256];
	struct eb_bucket_cursor cursor;
	uint64_t next_entry; /* those before it were visited; see entry_number() */
	uint32_t sliced;
	uint64_t first_due; /* in the group under way, in ticks behind `now`; EB_DUE_NEVER for none */
	struct eb_policy *policy;
	__u32 generation; /* of the rules that what is held was written by */
	uint64_t now, wall_ns, started_ns;
	int64_t clock_offset_ns; /* CLOCK_REALTIME less CLOCK_MONOTONIC, when what is held was written */
	struct flight *filling; /* not handed to the store yet */
	unsigned int flying;

	uint32_t again; /* faults that came during the pass */
	struct eb_mirror_stats stats;

	uint64_t pressure_ns; /* CLOCK_MONOTONIC; the last pass that table pressure asked for */
};

static const char *const reason_names[EB_PASS_REASONS] = {
	[EB_PASS_TICK] = "tick",
	[EB_PASS_SHUTDOWN] = "shutdown",
	[EB_PASS_LINK_DOWN] = "link_down",
	[EB_PASS_DETACHED] = "detached",
	[EB_PASS_TABLE_PRESSURE] = "table_pressure",
	[EB_PASS_FLUSH] = "flush",
	[EB_PASS_REDIS_RECOVERED] = "redis_recovered",
	[EB_PASS_STORE_LOST] = "store_lost",
};

const char *eb_pass_reason_name(enum eb_pass_reason reason)
{
	return reason_names[reason];
}

/* What is held is not known any more. A cleaning follows, a tick or two later, so that what is in debt comes first, and
 * at random, as for ticks. */
static void doubt_all(struct eb_mirror *mirror)
{
	eb_held_doubt_all(&mirror->held);
	eb_cleaning_soon(mirror->cleaning, mirror->tick_ns + eb_random_below(mirror->tick_ns));
}

/* ---- a pass ---- */

static void continue_pass(struct eb_mirror *mirror);

static void fail_pass(struct eb_mirror *mirror, int error, const char *text)
{
	if (mirror->result.error)
		return;
	mirror->result.error = error;
	strncpy(mirror->error_text, text, sizeof(mirror->error_text) - 1);
}

/* A source has one field, and a bucket for each limits of a rule's that were in force: with the earlier ones back, its
 * bucket may be as it was, and its field not. */
static void look_at_rules(struct eb_mirror *mirror)
{
	if (eb_maps_policy(eb_dataplane_maps(mirror->dataplane), mirror->policy)) {
		fail_pass(mirror, -EIO, "cannot read the rules");
		return;
	}
	if (mirror->policy->generation != mirror->generation && mirror->held.count)
		doubt_all(mirror);
	else if (mirror->policy->generation != mirror->generation)
		eb_held_look_at_all(&mirror->held);
	mirror->generation = mirror->policy->generation;
}

static void begin_pass(struct eb_mirror *mirror, uint32_t reasons);

/* A callback that asks for another pass gets it after all of them. */
static void tell_reasons(struct eb_mirror *mirror, uint32_t reasons)
{
	struct eb_pass_result result = mirror->result;

	mirror->passing = true;
	for (int i = 0; i < EB_PASS_REASONS; i++) {
		if (!(reasons & (1u << i)))
			continue;
		result.reason = i;
		mirror->stats.passes[i] += !result.error;
		mirror->pass_done(&result, mirror->arg);
	}
	mirror->passing = false;
}

static void end_pass(struct eb_mirror *mirror)
{
	struct eb_pass_result *result = &mirror->result;
	uint32_t reasons = mirror->reasons;

	result->text = mirror->error_text;
	result->duration_ns = eb_monotonic_ns() - mirror->started_ns;
	if (result->error)
		mirror->stats.failures++;
	else
		mirror->stats.last_success_ns = eb_monotonic_ns();
	mirror->stats.fields_set += result->fields_set;
	mirror->stats.fields_deleted += result->fields_deleted;
	tell_reasons(mirror, reasons);
	reasons = mirror->again;
	mirror->again = 0;
	if (reasons)
		begin_pass(mirror, reasons);
	else
		eb_cleaning_go_on(mirror->cleaning, result->other);
}

/* ---- the end of a pass: what the store has ---- */

static bool is_foreign(const struct eb_mirror *mirror, const struct eb_store_meta *meta)
{
	return meta->boot_id[0] && strcmp(meta->boot_id, mirror->boot_id) != 0;
}

/* A meta record that is not our last one: if it is later than ours, or another one each time, as that host's clock is
 * behind, somebody writes too. Anything else is an earlier content that was put back. */
static void look_for_another_writer(struct eb_mirror *mirror)
{
	const struct eb_store_meta *found = &mirror->found;
	struct eb_store_meta *other = &mirror->other;
	bool is_other = is_foreign(mirror, found), is_known = !strcmp(found->boot_id, other->boot_id);
	bool writes = found->saved_at_ns > mirror->ground.mark_ns || (is_known && mirror->other_seen_ns) ||
		      (is_known && found->saved_at_ns != other->saved_at_ns);

	if (!is_other || !mirror->ground.mark_ns)
		return;
	mirror->other_seen_ns = writes ? eb_monotonic_ns() : 0;
	*other = *found;
}

/* They take turns in the meta record: one of ours does not mean that the other one is gone. */
static bool has_another_writer(struct eb_mirror *mirror)
{
	if (mirror->other_seen_ns && eb_monotonic_ns() - mirror->other_seen_ns > OTHER_GONE_NS)
		mirror->other_seen_ns = 0;
	return mirror->other_seen_ns;
}

static bool is_whole(const struct eb_mirror *mirror)
{
	const struct ground *ground = &mirror->ground;
	bool is_ours = !strcmp(mirror->found.boot_id, mirror->boot_id);
	/* A later one of this boot is of the agent that this one takes over from. */
	bool has_mark = !ground->mark_ns || (is_ours && mirror->found.saved_at_ns >= ground->mark_ns);

	return !mirror->held.count || (has_mark && mirror->found_fields >= ground->fields);
}

static void lose_ground(struct eb_mirror *mirror)
{
	doubt_all(mirror);
	mirror->ground = (struct ground){ .fields = 0 };
}

static void rewind_pass(struct eb_mirror *mirror, uint32_t reasons);

/* The store lost what a pass before had left there: everything is written anew. When it loses what this pass wrote,
 * that would go on and on. */
static void write_anew(struct eb_mirror *mirror)
{
	bool had_mark = mirror->ground.mark_ns;

	lose_ground(mirror);
	if (had_mark) {
		rewind_pass(mirror, mirror->reasons | 1u << EB_PASS_STORE_LOST);
		return;
	}
	fail_pass(mirror, -EIO, "the store loses records right after they were written");
	end_pass(mirror);
}

static void judge_store(struct eb_mirror *mirror)
{
	if (mirror->result.error) {
		end_pass(mirror);
		return;
	}
	look_for_another_writer(mirror);
	if (has_another_writer(mirror)) {
		mirror->result.other = &mirror->other; /* what is missing may be its doing */
	} else if (!is_whole(mirror)) {
		write_anew(mirror);
		return;
	}
	mirror->ground.fields = mirror->found_fields;
	mirror->ground.unmarked = false;
	if (mirror->marked)
		mirror->ground.mark_ns = mirror->wall_ns;
	end_pass(mirror);
}

/* An answer came, or what was asked for could not be. */
static void settle(struct eb_mirror *mirror, int error, const char *text)
{
	if (error)
		fail_pass(mirror, error, text);
	if (--mirror->closing == 0)
		judge_store(mirror);
}

static void on_marked(const struct eb_store_result *result, void *arg)
{
	struct eb_mirror *mirror = arg;

	if (mirror->stopped)
		return;
	if (!result->error)
		mirror->stats.meta_written_ns = eb_monotonic_ns();
	mirror->marked = !result->error;
	settle(mirror, result->error, result->text);
}

static void on_counted(const struct eb_store_result *result, void *arg)
{
	struct eb_mirror *mirror = arg;

	if (mirror->stopped)
		return;
	mirror->found_fields = result->fields;
	settle(mirror, result->error, result->text);
}

static void on_meta_read(const struct eb_store_result *result, const struct eb_store_meta *meta, void *arg)
{
	struct eb_mirror *mirror = arg;

	if (mirror->stopped)
		return;
	mirror->found = *meta;
	settle(mirror, result->error, result->text);
}

static uint64_t longest_refill_ns(const struct eb_policy *policy)
{
	uint64_t longest = 0;

	for (uint32_t i = 0; i < policy->rule_count; i++) {
		const struct eb_rule *rule = &policy->rules[i];

		longest = rule->packets.burst > longest ? rule->packets.burst : longest;
		longest = rule->bytes.burst > longest ? rule->bytes.burst : longest;
	}
	return longest / EB_TICKS_PER_NS;
}

/* Says when the pass was and lets the whole expire: when something was written, or the expiry comes near. */
static bool is_mark_due(const struct eb_mirror *mirror)
{
	bool changed = mirror->result.fields_set || mirror->result.fields_deleted ||
		       mirror->reasons & 1u << EB_PASS_STORE_LOST;
	bool is_old = eb_monotonic_ns() - mirror->stats.meta_written_ns > RENEW_NS;

	/* Another's is replaced, to see whether it comes again. */
	return changed || (is_old && mirror->held.count) || is_foreign(mirror, &mirror->found);
}

static int write_mark(struct eb_mirror *mirror)
{
	struct eb_store_meta meta = { .schema = EB_STORE_SCHEMA, .saved_at_ns = mirror->wall_ns };

	memcpy(meta.boot_id, mirror->boot_id, sizeof(mirror->boot_id));
	strncpy(meta.agent, EB_VERSION, sizeof(meta.agent) - 1);
	return eb_store_write_meta(mirror->store, &meta, longest_refill_ns(mirror->policy) + DAY_NS, on_marked, mirror);
}

static void ask(struct eb_mirror *mirror, int err)
{
	if (err)
		fail_pass(mirror, err, err == -ENOTCONN ? eb_store_last_error(mirror->store) : strerror(-err));
	else
		mirror->closing++;
}

/* In one round trip: what proves that the store has all, and the mark that will prove it next time. */
static void close_pass(struct eb_mirror *mirror)
{
	mirror->closing = 1; /* until all is asked for */
	mirror->marked = false;
	if (!mirror->result.error) {
		ask(mirror, eb_store_count(mirror->store, on_counted, mirror));
		ask(mirror, eb_store_read_meta(mirror->store, on_meta_read, mirror));
		if (is_mark_due(mirror))
			ask(mirror, write_mark(mirror));
	}
	settle(mirror, 0, NULL);
}

/* ---- writing ---- */

static void add_ground(struct eb_mirror *mirror, int64_t fields)
{
	if (fields < 0 && (uint64_t)-fields > mirror->ground.fields)
		mirror->ground.fields = 0;
	else
		mirror->ground.fields += fields;
}

/* Whether the store took it is unknown, and what it holds with it. */
static void doubt(struct eb_mirror *mirror, const struct flight *flight)
{
	for (size_t i = 0; i < flight->batch.count; i++)
		eb_held_doubt(&mirror->held, flight->slots[i]);
}

static void on_batch_done(const struct eb_store_result *result, void *arg)
{
	struct flight *flight = arg;
	struct eb_mirror *mirror = flight->mirror;

	if (mirror->stopped) {
		free(flight);
		return;
	}
	mirror->flying--;
	if (result->error) {
		fail_pass(mirror, result->error, result->text);
		doubt(mirror, flight);
		add_ground(mirror, -(int64_t)flight->deletes);
	} else {
		add_ground(mirror, result->grown);
		mirror->ground.unmarked = true;
		mirror->result.fields_set += flight->sets;
		mirror->result.fields_deleted += flight->deletes;
	}
	free(flight);
	continue_pass(mirror);
}

/* Hands the batch that was filled to the store. False when the store has enough for now, or is down. */
static bool send_filling(struct eb_mirror *mirror)
{
	struct flight *flight = mirror->filling;
	int err = eb_store_write(mirror->store, &flight->batch, on_batch_done, flight);

	if (err == -EAGAIN)
		return false;
	mirror->filling = NULL;
	if (!err) {
		mirror->flying++;
		return true;
	}
	fail_pass(mirror, err, err == -ENOTCONN ? eb_store_last_error(mirror->store) : strerror(-err));
	doubt(mirror, flight);
	free(flight);
	return false;
}

static uint64_t wall_time(const struct eb_mirror *mirror, const struct eb_limit *limit, uint64_t full_at)
{
	uint64_t debt = eb_gcra_debt(full_at, mirror->now);

	if (!limit->mult)
		return 0;
	return mirror->wall_ns + (debt + EB_TICKS_PER_NS - 1) / EB_TICKS_PER_NS;
}

static void make_record(const struct eb_mirror *mirror, const struct eb_bucket_view *view, int index,
			struct eb_record *out)
{
	const struct eb_rule *rule = &mirror->policy->rules[index];

	eb_record_name(&view->source, mirror->policy, index, out);
	out->packets_full_at_ns = wall_time(mirror, &rule->packets, view->packets_full_at);
	out->bytes_full_at_ns = wall_time(mirror, &rule->bytes, view->bytes_full_at);
}

/* Puts an item into the batch being filled; -ENOMEM ends the pass. */
static int add_item(struct eb_mirror *mirror, const struct eb_record *record, bool is_set, uint32_t *slot,
		    uint32_t value)
{
	struct flight *flight = mirror->filling;
	struct eb_store_item *item;

	if (!flight) {
		flight = calloc(1, sizeof(*flight));
		if (!flight)
			return -ENOMEM;
		flight->mirror = mirror;
		mirror->filling = flight;
	}
	item = &flight->batch.items[flight->batch.count];
	eb_record_format_field(record, item->field);
	item->value[0] = '\0';
	if (is_set)
		eb_record_format_value(record, item->value);
	flight->sets += is_set;
	flight->deletes += !is_set;
	flight->slots[flight->batch.count++] = slot;
	eb_held_set(&mirror->held, slot, value);
	return 0;
}

static uint64_t entry_number(int family, uint32_t index)
{
	return ((uint64_t)family << 32) + index;
}

/* Goes on behind this entry; true when that is for the next slice. */
static int leave_entry(struct eb_mirror *mirror, uint64_t entry)
{
	mirror->next_entry = entry + 1;
	return ++mirror->sliced % SLICE_BUCKETS == 0;
}

static bool enter_group(int family, uint32_t group, void *arg)
{
	struct eb_mirror *mirror = arg;
	uint32_t changed_in = eb_buckets_changed_in(eb_dataplane_buckets(mirror->dataplane), family, group);

	mirror->first_due = EB_DUE_NEVER;
	return changed_in > mirror->visited_to || eb_held_is_due(&mirror->held, family, group, mirror->now);
}

/* What changed since the pass began is marked again. */
static void leave_group(int family, uint32_t group, void *arg)
{
	struct eb_mirror *mirror = arg;
	bool is_held = mirror->first_due != EB_DUE_NEVER;

	eb_held_set_due(&mirror->held, family, group,
			is_held ? eb_gcra_full_at(mirror->now, mirror->first_due) : EB_DUE_NEVER);
}

static void note_due(struct eb_mirror *mirror, const struct eb_bucket_view *view)
{
	uint64_t packets = eb_gcra_debt(view->packets_full_at, mirror->now);
	uint64_t bytes = eb_gcra_debt(view->bytes_full_at, mirror->now);
	uint64_t debt = packets > bytes ? packets : bytes;

	if (debt && debt < mirror->first_due)
		mirror->first_due = debt;
}

/* Returns 1 to end the slice, negative errno to end the pass. */
static int visit_bucket(const struct eb_bucket_view *view, uint32_t index, void *arg)
{
	struct eb_mirror *mirror = arg;
	int family = eb_source_table(&view->source);
	uint64_t entry = entry_number(family, index);
	uint32_t *slot = eb_held_slot(&mirror->held, family, index);
	bool in_debt = eb_gcra_debt(view->packets_full_at, mirror->now) ||
		       eb_gcra_debt(view->bytes_full_at, mirror->now);
	uint32_t value = in_debt ? eb_held_fingerprint(view) : EB_HELD_NOTHING;
	struct eb_record record;
	int rule_index, err;

	/* A slice begins with the group that ended the last one. No field may be in a pass twice: see eb_store_write().
	 */
	note_due(mirror, view);
	if (entry < mirror->next_entry)
		return 0;
	if (*slot == value)
		return leave_entry(mirror, entry);
	if (mirror->filling && mirror->filling->batch.count == EB_STORE_BATCH_ITEMS && !send_filling(mirror))
		return mirror->result.error ? mirror->result.error : 1;
	rule_index = eb_rules_find_id(mirror->policy, view->source.family, view->source.rule_id);
	if (rule_index < 0) {
		/* Gone, or with other limits now: nobody would restore it, and cleaning removes it. */
		eb_held_set(&mirror->held, slot, EB_HELD_NOTHING);
		return leave_entry(mirror, entry);
	}
	make_record(mirror, view, rule_index, &record);
	err = add_item(mirror, &record, in_debt, slot, value);
	return err ? err : leave_entry(mirror, entry);
}

static int on_slice(sd_event_source *source, void *arg)
{
	static const struct eb_group_visitor visitor = { enter_group, visit_bucket, leave_group };
	struct eb_mirror *mirror = arg;
	int ret;

	(void)source;
	if (!mirror->passing || mirror->walked)
		return 0;
	ret = eb_buckets_walk_groups(eb_dataplane_buckets(mirror->dataplane), &mirror->cursor, &visitor, mirror);
	if (ret < 0)
		fail_pass(mirror, ret, strerror(-ret));
	if (ret <= 0)
		mirror->walked = true;
	if (ret == 0)
		mirror->visited_to = mirror->visiting_to;
	continue_pass(mirror);
	return 0;
}

static void schedule_slice(struct eb_mirror *mirror)
{
	(void)sd_event_source_set_enabled(mirror->slice, SD_EVENT_ONESHOT);
}

/* Does what the pass needs next; called whenever something changed. */
static void continue_pass(struct eb_mirror *mirror)
{
	struct flight *filling = mirror->filling;

	if (!mirror->passing || mirror->closing || eb_cleaning_is_removing(mirror->cleaning))
		return;
	if (mirror->result.error) {
		mirror->walked = true;
		if (filling)
			doubt(mirror, filling);
		free(filling);
		mirror->filling = NULL;
	} else if (filling && (mirror->walked || filling->batch.count == EB_STORE_BATCH_ITEMS)) {
		if (!send_filling(mirror) && !mirror->result.error)
			return; /* until the store is writable */
	}
	if (!mirror->walked)
		schedule_slice(mirror);
	else if (!mirror->flying && !mirror->filling)
		close_pass(mirror);
}

void eb_mirror_resume(struct eb_mirror *mirror)
{
	continue_pass(mirror);
}

/* Fields are times of the wall clock: when that was set, all of them are wrong. */
static void look_at_clocks(struct eb_mirror *mirror)
{
	int64_t offset, step;

	mirror->now = eb_buckets_now();
	mirror->wall_ns = eb_wallclock_ns();
	offset = (int64_t)(mirror->wall_ns - mirror->now / EB_TICKS_PER_NS);
	step = offset - mirror->clock_offset_ns;
	if (step > -(int64_t)STEP_NS && step < (int64_t)STEP_NS)
		return;
	mirror->clock_offset_ns = offset;
	doubt_all(mirror);
}

/* From the first bucket, with what was written and removed so far. */
static void rewind_pass(struct eb_mirror *mirror, uint32_t reasons)
{
	mirror->reasons = reasons;
	mirror->walked = false;
	mirror->closing = 0;
	memset(&mirror->cursor, 0, sizeof(mirror->cursor));
	mirror->next_entry = 0;
	look_at_clocks(mirror);
	look_at_rules(mirror);
	mirror->visiting_to = eb_buckets_collect_changes(eb_dataplane_buckets(mirror->dataplane));
	continue_pass(mirror);
}

static void begin_pass(struct eb_mirror *mirror, uint32_t reasons)
{
	mirror->passing = true;
	eb_cleaning_hold(mirror->cleaning);
	mirror->result = (struct eb_pass_result){ .error = 0 };
	memset(mirror->error_text, 0, sizeof(mirror->error_text));
	mirror->started_ns = eb_monotonic_ns();
	rewind_pass(mirror, reasons);
}

/* A table that stays full is written no more often than in ticks, one of which this is: how often new sources find no
 * room is up to those who send. */
static bool is_too_soon(struct eb_mirror *mirror)
{
	uint64_t now = eb_monotonic_ns();

	if (mirror->pressure_ns && now - mirror->pressure_ns < mirror->tick_ns)
		return true;
	mirror->pressure_ns = now;
	(void)eb_timer_restart(mirror->timer, mirror->tick_ns);
	return false;
}

void eb_mirror_pass(struct eb_mirror *mirror, enum eb_pass_reason reason)
{
	if (reason == EB_PASS_TABLE_PRESSURE && is_too_soon(mirror))
		return;
	if (!mirror->passing)
		begin_pass(mirror, 1u << reason);
	else if (reason != EB_PASS_TICK) /* a late tick is not stacked upon the next */
		mirror->again |= 1u << reason;
}

void eb_mirror_interrupt(struct eb_mirror *mirror, const char *text)
{
	if (!mirror->ground.unmarked)
		return;
	lose_ground(mirror);
	if (!mirror->passing)
		return;
	fail_pass(mirror, -ENOTCONN, text);
	continue_pass(mirror);
}

static void on_cleaned(const struct eb_store_result *result, size_t fields, void *arg)
{
	struct eb_mirror *mirror = arg;

	add_ground(mirror, result->error ? -(int64_t)fields : result->grown);
	continue_pass(mirror);
}

/* ---- timers ---- */

static int on_tick(sd_event_source *source, uint64_t usec, void *arg)
{
	struct eb_mirror *mirror = arg;

	(void)usec;
	if (mirror->running)
		eb_mirror_pass(mirror, EB_PASS_TICK);
	return eb_timer_restart(source, mirror->tick_ns);
}

static int add_timers(struct eb_mirror *mirror)
{
	int err = sd_event_add_time_relative(mirror->loop, &mirror->timer, CLOCK_MONOTONIC,
					     eb_random_below(mirror->tick_ns) / 1000, 1000, on_tick, mirror);

	if (err < 0)
		return err;
	err = sd_event_add_defer(mirror->loop, &mirror->slice, on_slice, mirror);
	if (err < 0)
		return err;
	err = sd_event_source_set_enabled(mirror->slice, SD_EVENT_OFF);
	return err < 0 ? err : 0;
}

/* ---- life ---- */

int eb_mirror_new(sd_event *loop, struct eb_dataplane *dataplane, struct eb_store *store, uint64_t tick_ns,
		  void (*pass_done)(const struct eb_pass_result *result, void *arg), void *arg, struct eb_mirror **out)
{
	struct eb_mirror *mirror = calloc(1, sizeof(*mirror));
	int err;

	if (!mirror)
		return -ENOMEM;
	mirror->loop = loop;
	mirror->dataplane = dataplane;
	mirror->store = store;
	mirror->tick_ns = tick_ns;
	mirror->pass_done = pass_done;
	mirror->arg = arg;
	eb_boot_id(mirror->boot_id);
	mirror->policy = calloc(1, sizeof(*mirror->policy));
	err = mirror->policy ? eb_held_init(&mirror->held, eb_dataplane_buckets(dataplane)) : -ENOMEM;
	if (err)
		goto out;
	err = eb_cleaning_new(loop, dataplane, mirror->policy, store, on_cleaned, mirror, &mirror->cleaning);
	if (err)
		goto out;
	err = add_timers(mirror);
out:
	if (err) {
		eb_mirror_free(mirror);
		return err;
	}
	*out = mirror;
	return 0;
}

void eb_mirror_stop(struct eb_mirror *mirror)
{
	if (!mirror)
		return;
	mirror->stopped = true;
	eb_cleaning_stop(mirror->cleaning);
}

void eb_mirror_free(struct eb_mirror *mirror)
{
	if (!mirror)
		return;
	sd_event_source_disable_unref(mirror->timer);
	sd_event_source_disable_unref(mirror->slice);
	free(mirror->filling);
	eb_cleaning_free(mirror->cleaning);
	eb_held_done(&mirror->held);
	free(mirror->policy);
	free(mirror);
}

void eb_mirror_redirect(struct eb_mirror *mirror, void *arg)
{
	mirror->arg = arg;
}

bool eb_mirror_is_asked(const struct eb_mirror *mirror, enum eb_pass_reason reason)
{
	return ((mirror->passing ? mirror->reasons : 0) | mirror->again) & (1u << reason);
}

void eb_mirror_run(struct eb_mirror *mirror)
{
	mirror->running = true;
}

void eb_mirror_pause(struct eb_mirror *mirror)
{
	mirror->running = false;
}

void eb_mirror_stats(const struct eb_mirror *mirror, struct eb_mirror_stats *out)
{
	*out = mirror->stats;
	out->fields_held = mirror->held.count;
}
