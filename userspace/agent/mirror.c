// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "boot_id.h"
#include "clock.h"
#include "log.h"
#include "mirror.h"
#include "record.h"
#include "table.h"

#define SECOND_NS 1000000000ULL
#define DAY_NS (24 * 3600 * SECOND_NS)

/* A slice of a pass: so many buckets are looked at before the loop gets its turn; a millisecond or two. */
#define SLICE_BUCKETS 16384

/* The expiry of a store whose buckets do not change is renewed this often. */
#define RENEW_NS (3600 * SECOND_NS)

#define CLEAN_NS (600 * SECOND_NS)
#define CLEAN_AGAIN_NS (60 * SECOND_NS) /* when there was more to do, or a pass came between */
#define CLEAN_FIELDS_MAX 65536

/* A step of the wall clock larger than this is one; smaller differences are the time between two looks at clocks. */
#define STEP_NS (SECOND_NS / 10)

/* What was written, or is on its way, for one entry, is a fingerprint, which is odd; or nothing; or it is not known. */
#define NOT_HELD 0u
#define DOUBTFUL 2u

/* A batch on its way, to know what to forget when it fails. */
struct flight {
	struct eb_mirror *mirror;
	struct eb_store_batch batch;
	uint32_t *slots[EB_STORE_BATCH_ITEMS]; /* in mirror->held */
	uint64_t sets, deletes;
};

struct eb_mirror {
	sd_event *loop;
	struct eb_dataplane *dataplane;
	struct eb_store *store;
	uint64_t tick_ns;
	void (*pass_done)(const struct eb_pass_result *result, void *arg);
	void *arg;
	sd_event_source *timer, *clean_timer, *slice;
	bool running;
	bool stopped;

	uint32_t *held[2]; /* by family and entry */
	uint64_t held_count;

	/* The pass under way. */
	bool passing;
	bool walked;       /* to the end; what is left is on its way */
	bool meta_sent;
	uint32_t reasons;  /* whose pass it is, as bits */
	struct eb_pass_result result;
	char error_text[256];
	struct eb_bucket_cursor cursor;
	uint64_t next_entry; /* those before it were visited; see entry_number() */
	uint32_t sliced;
	struct eb_policy *policy;
	__u32 generation; /* of the rules that what is held was written by */
	uint64_t now, wall_ns, started_ns;
	int64_t clock_offset_ns; /* CLOCK_REALTIME less CLOCK_MONOTONIC, when what is held was written */
	struct flight *filling; /* not handed to the store yet */
	unsigned int flying;

	uint32_t again; /* faults that came during the pass */
	struct eb_mirror_stats stats;

	/* Cleaning. */
	bool cleaning;
	bool clean_void; /* a pass came between: what was found may be in debt again */
	char (*stale)[EB_STORE_FIELD_MAX];
	size_t stale_count, stale_sent;
};

static const char *const reason_names[EB_PASS_REASONS] = {
	[EB_PASS_TICK] = "tick",
	[EB_PASS_SHUTDOWN] = "shutdown",
	[EB_PASS_LINK_DOWN] = "link_down",
	[EB_PASS_DETACHED] = "detached",
	[EB_PASS_TABLE_PRESSURE] = "table_pressure",
	[EB_PASS_FLUSH] = "flush",
	[EB_PASS_REDIS_RECOVERED] = "redis_recovered",
};

const char *eb_pass_reason_name(enum eb_pass_reason reason)
{
	return reason_names[reason];
}

static int restart_timer(sd_event_source *timer, uint64_t after_ns)
{
	int err = sd_event_source_set_time_relative(timer, after_ns / 1000);

	return err < 0 ? err : sd_event_source_set_enabled(timer, SD_EVENT_ONESHOT);
}

static uint64_t random_below(uint64_t limit)
{
	uint64_t value = 0;

	(void)!getrandom(&value, sizeof(value), GRND_NONBLOCK);
	return limit ? value % limit : 0;
}

/* ---- what is held ---- */

static uint32_t *held_slot(struct eb_mirror *mirror, int family, uint32_t index)
{
	return &mirror->held[family == 6][index];
}

static void set_held(struct eb_mirror *mirror, uint32_t *slot, uint32_t value)
{
	mirror->held_count += (value != NOT_HELD);
	mirror->held_count -= (*slot != NOT_HELD);
	*slot = value;
}

static uint32_t fingerprint(const struct eb_bucket_view *view)
{
	static const __u64 seed[2];
	__u64 words[] = { view->source.rule_id, view->packets_full_at, view->bytes_full_at, 0, 0 };

	memcpy(&words[3], view->source.addr, sizeof(view->source.addr));
	return (uint32_t)eb_key_hash(words, sizeof(words) / sizeof(words[0]), seed) | 1;
}

/* What the store should not have any more, and we do not know of. A tick or two later, so that what is in debt comes
 * first, and at random, as for ticks. */
static void clean_soon(struct eb_mirror *mirror)
{
	(void)restart_timer(mirror->clean_timer, mirror->tick_ns + random_below(mirror->tick_ns));
}

void eb_mirror_forget(struct eb_mirror *mirror)
{
	struct eb_buckets *buckets = eb_dataplane_buckets(mirror->dataplane);

	for (int i = 0; i < 2; i++)
		for (uint32_t j = 0; j < eb_buckets_entries(buckets, i ? 6 : 4); j++)
			if (mirror->held[i][j] != NOT_HELD)
				mirror->held[i][j] = DOUBTFUL;
	clean_soon(mirror);
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
	if (mirror->policy->generation != mirror->generation && mirror->held_count)
		eb_mirror_forget(mirror);
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
}

static void on_meta_done(const struct eb_store_result *result, void *arg)
{
	struct eb_mirror *mirror = arg;

	if (mirror->stopped)
		return;
	if (result->error)
		fail_pass(mirror, result->error, result->text);
	else
		mirror->stats.meta_written_ns = eb_monotonic_ns();
	end_pass(mirror);
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
static void write_meta(struct eb_mirror *mirror)
{
	struct eb_store_meta meta = { .schema = EB_STORE_SCHEMA, .saved_at_ns = mirror->wall_ns };
	uint64_t expire_at = mirror->wall_ns + longest_refill_ns(mirror->policy) + DAY_NS;
	bool changed = mirror->result.fields_set || mirror->result.fields_deleted;
	bool is_old = eb_monotonic_ns() - mirror->stats.meta_written_ns > RENEW_NS;
	int err;

	mirror->meta_sent = true;
	if (mirror->result.error || (!changed && !(is_old && mirror->held_count))) {
		end_pass(mirror);
		return;
	}
	eb_boot_id(meta.boot_id);
	strncpy(meta.agent, EB_VERSION, sizeof(meta.agent) - 1);
	err = eb_store_write_meta(mirror->store, &meta, expire_at, on_meta_done, mirror);
	if (err) {
		fail_pass(mirror, err, strerror(-err));
		end_pass(mirror);
	}
}

/* Whether the store took it is unknown, and what it holds with it. */
static void doubt(struct eb_mirror *mirror, const struct flight *flight)
{
	for (size_t i = 0; i < flight->batch.count; i++)
		set_held(mirror, flight->slots[i], DOUBTFUL);
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
	} else {
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

static const struct eb_rule *find_rule(const struct eb_policy *policy, const struct eb_source *source, int *index)
{
	for (uint32_t i = 0; i < policy->rule_count; i++) {
		const struct eb_rule *rule = &policy->rules[i];

		*index = i;
		if (rule->action == EB_LIMIT && (source->family == 4 ? rule->id4 : rule->id6) == source->rule_id)
			return rule;
	}
	return NULL;
}

static uint64_t wall_time(const struct eb_mirror *mirror, const struct eb_limit *limit, uint64_t full_at)
{
	uint64_t debt = eb_gcra_debt(full_at, mirror->now);

	if (!limit->mult)
		return 0;
	return mirror->wall_ns + (debt + EB_TICKS_PER_NS - 1) / EB_TICKS_PER_NS;
}

static void make_record(const struct eb_mirror *mirror, const struct eb_bucket_view *view, const struct eb_rule *rule,
			int index, struct eb_record *out)
{
	memset(out, 0, sizeof(*out));
	memcpy(out->rule, mirror->policy->names[index], EB_RULE_NAME_MAX);
	out->source.family = view->source.family;
	out->source.len = view->source.family == 4 ? rule->prefix4 : rule->prefix6;
	memcpy(out->source.addr, view->source.addr, sizeof(out->source.addr));
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
	set_held(mirror, slot, value);
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

/* Returns 1 to end the slice, negative errno to end the pass. */
static int visit_bucket(const struct eb_bucket_view *view, uint32_t index, void *arg)
{
	struct eb_mirror *mirror = arg;
	uint64_t entry = entry_number(view->source.family, index);
	uint32_t *slot = held_slot(mirror, view->source.family, index);
	bool in_debt = eb_gcra_debt(view->packets_full_at, mirror->now) ||
		       eb_gcra_debt(view->bytes_full_at, mirror->now);
	uint32_t value = in_debt ? fingerprint(view) : NOT_HELD;
	const struct eb_rule *rule;
	struct eb_record record;
	int rule_index, err;

	/* A slice begins with the set that ended the last one. No field may be in a pass twice: see eb_store_write().
	 */
	if (entry < mirror->next_entry)
		return 0;
	if (*slot == value)
		return leave_entry(mirror, entry);
	if (mirror->filling && mirror->filling->batch.count == EB_STORE_BATCH_ITEMS && !send_filling(mirror))
		return mirror->result.error ? mirror->result.error : 1;
	rule = find_rule(mirror->policy, &view->source, &rule_index);
	if (!rule) {
		/* Gone, or with other limits now: nobody would restore it, and cleaning removes it. */
		set_held(mirror, slot, NOT_HELD);
		return leave_entry(mirror, entry);
	}
	make_record(mirror, view, rule, rule_index, &record);
	err = add_item(mirror, &record, in_debt, slot, value);
	return err ? err : leave_entry(mirror, entry);
}

static int on_slice(sd_event_source *source, void *arg)
{
	struct eb_mirror *mirror = arg;
	int ret;

	(void)source;
	if (!mirror->passing || mirror->walked)
		return 0;
	ret = eb_buckets_walk(eb_dataplane_buckets(mirror->dataplane), &mirror->cursor, visit_bucket, mirror);
	if (ret < 0)
		fail_pass(mirror, ret, strerror(-ret));
	if (ret <= 0)
		mirror->walked = true;
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

	if (!mirror->passing || mirror->meta_sent)
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
		write_meta(mirror);
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
	eb_mirror_forget(mirror);
}

static void begin_pass(struct eb_mirror *mirror, uint32_t reasons)
{
	mirror->passing = true;
	mirror->clean_void = true;
	mirror->reasons = reasons;
	mirror->walked = mirror->meta_sent = false;
	mirror->result = (struct eb_pass_result){ .error = 0 };
	memset(mirror->error_text, 0, sizeof(mirror->error_text));
	memset(&mirror->cursor, 0, sizeof(mirror->cursor));
	mirror->next_entry = 0;
	look_at_clocks(mirror);
	mirror->started_ns = eb_monotonic_ns();
	look_at_rules(mirror);
	continue_pass(mirror);
}

void eb_mirror_pass(struct eb_mirror *mirror, enum eb_pass_reason reason)
{
	if (!mirror->passing)
		begin_pass(mirror, 1u << reason);
	else if (reason != EB_PASS_TICK) /* a late tick is not stacked upon the next */
		mirror->again |= 1u << reason;
}

/* ---- cleaning ---- */

static void send_stale(struct eb_mirror *mirror);

static void on_stale_done(const struct eb_store_result *result, void *arg)
{
	struct eb_mirror *mirror = arg;

	if (result->error)
		mirror->stale_sent = mirror->stale_count;
	if (!mirror->stopped)
		send_stale(mirror);
}

static bool may_send_stale(const struct eb_mirror *mirror)
{
	return mirror->stale_sent < mirror->stale_count && !mirror->clean_void;
}

/* One batch after the other, none once a pass began: what was found may have been written anew. */
static void send_stale(struct eb_mirror *mirror)
{
	struct eb_store_batch *batch;
	int err = -ENOMEM;

	if (may_send_stale(mirror)) {
		batch = calloc(1, sizeof(*batch));
		while (batch && batch->count < EB_STORE_BATCH_ITEMS && mirror->stale_sent < mirror->stale_count)
			memcpy(batch->items[batch->count++].field, mirror->stale[mirror->stale_sent++],
			       EB_STORE_FIELD_MAX);
		if (batch)
			err = eb_store_write(mirror->store, batch, on_stale_done, mirror);
		free(batch);
		if (!err)
			return;
	}
	if (mirror->stale_count == CLEAN_FIELDS_MAX || mirror->clean_void)
		(void)restart_timer(mirror->clean_timer, CLEAN_AGAIN_NS);
	free(mirror->stale);
	mirror->stale = NULL;
	mirror->stale_count = mirror->stale_sent = 0;
	mirror->cleaning = false;
}

static void visit_stale(const char *field, size_t field_len, const char *value, size_t value_len, void *arg)
{
	struct eb_mirror *mirror = arg;
	struct eb_record record;
	uint64_t now = eb_wallclock_ns();

	if (mirror->stale_count == CLEAN_FIELDS_MAX || field_len >= EB_STORE_FIELD_MAX ||
	    eb_record_parse(field, field_len, value, value_len, &record) != EB_RECORD_OK)
		return;
	if (record.packets_full_at_ns < now && record.bytes_full_at_ns < now)
		memcpy(mirror->stale[mirror->stale_count++], field, field_len + 1);
}

static void on_scan_done(const struct eb_store_result *result, void *arg)
{
	struct eb_mirror *mirror = arg;

	if (result->error)
		mirror->stale_sent = mirror->stale_count;
	if (!mirror->stopped)
		send_stale(mirror);
}

static void clean(struct eb_mirror *mirror)
{
	if (mirror->cleaning || mirror->passing || !mirror->running)
		return;
	mirror->stale = calloc(CLEAN_FIELDS_MAX, sizeof(*mirror->stale));
	if (!mirror->stale)
		return;
	mirror->cleaning = true;
	mirror->clean_void = false;
	if (eb_store_scan(mirror->store, visit_stale, on_scan_done, mirror))
		send_stale(mirror); /* nothing found: ends the cleaning */
}

/* ---- timers ---- */

static int on_tick(sd_event_source *source, uint64_t usec, void *arg)
{
	struct eb_mirror *mirror = arg;

	(void)usec;
	if (mirror->running && !mirror->cleaning)
		eb_mirror_pass(mirror, EB_PASS_TICK);
	return restart_timer(source, mirror->tick_ns);
}

static int on_clean(sd_event_source *source, uint64_t usec, void *arg)
{
	struct eb_mirror *mirror = arg;

	(void)usec;
	(void)restart_timer(source, mirror->passing ? SECOND_NS : CLEAN_NS);
	clean(mirror);
	return 0;
}

static int add_timers(struct eb_mirror *mirror)
{
	int err = sd_event_add_time_relative(mirror->loop, &mirror->timer, CLOCK_MONOTONIC,
					     random_below(mirror->tick_ns) / 1000, 1000, on_tick, mirror);

	if (err >= 0)
		err = sd_event_add_time_relative(mirror->loop, &mirror->clean_timer, CLOCK_MONOTONIC,
						 (CLEAN_NS + random_below(CLEAN_NS)) / 1000, 0, on_clean, mirror);
	if (err >= 0)
		err = sd_event_add_defer(mirror->loop, &mirror->slice, on_slice, mirror);
	if (err >= 0)
		err = sd_event_source_set_enabled(mirror->slice, SD_EVENT_OFF);
	return err < 0 ? err : 0;
}

/* ---- life ---- */

int eb_mirror_new(sd_event *loop, struct eb_dataplane *dataplane, struct eb_store *store, uint64_t tick_ns,
		  void (*pass_done)(const struct eb_pass_result *result, void *arg), void *arg, struct eb_mirror **out)
{
	struct eb_mirror *mirror = calloc(1, sizeof(*mirror));
	struct eb_buckets *buckets = eb_dataplane_buckets(dataplane);
	int err = -ENOMEM;

	if (!mirror)
		return -ENOMEM;
	mirror->loop = loop;
	mirror->dataplane = dataplane;
	mirror->store = store;
	mirror->tick_ns = tick_ns;
	mirror->pass_done = pass_done;
	mirror->arg = arg;
	mirror->held[0] = calloc(eb_buckets_entries(buckets, 4), sizeof(uint32_t));
	mirror->held[1] = calloc(eb_buckets_entries(buckets, 6), sizeof(uint32_t));
	mirror->policy = calloc(1, sizeof(*mirror->policy));
	if (mirror->held[0] && mirror->held[1] && mirror->policy)
		err = add_timers(mirror);
	if (err) {
		eb_mirror_free(mirror);
		return err;
	}
	*out = mirror;
	return 0;
}

void eb_mirror_stop(struct eb_mirror *mirror)
{
	if (mirror)
		mirror->stopped = true;
}

void eb_mirror_free(struct eb_mirror *mirror)
{
	if (!mirror)
		return;
	sd_event_source_disable_unref(mirror->timer);
	sd_event_source_disable_unref(mirror->clean_timer);
	sd_event_source_disable_unref(mirror->slice);
	free(mirror->filling);
	free(mirror->held[0]);
	free(mirror->held[1]);
	free(mirror->policy);
	free(mirror->stale);
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
	out->fields_held = mirror->held_count;
}
