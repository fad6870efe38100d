// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/ban_mirror.h"
#include "agent/timer.h"
#include "base/boot_id.h"
#include "base/clock.h"
#include "base/grow.h"
#include "store/ban_record.h"

#define SECOND_NS 1000000000ULL
#define DAY_NS (24 * 3600 * SECOND_NS)

/* The keys of a node that is gone for good go with its last ban; those of a ban without an end, never. */
#define EXPIRE_EMPTY_NS DAY_NS
#define EXPIRE_NS (100 * 365 * DAY_NS)

/* A step of the wall clock larger than this is one; smaller differences are the time between two looks at clocks. */
#define STEP_NS (SECOND_NS / 10)

/* Fields of the store that are no bans of ours, removed with one comparison; more with the next. */
#define STALE_MAX 8192

/* Bans that are on their way at the same time: some milliseconds of work. */
#define PART 1024

enum phase { PHASE_IDLE, PHASE_SCANNING, PHASE_WALKING, PHASE_WRITING, PHASE_CLOSING };

struct prefixes {
	struct eb_prefix *items;
	size_t count, room;
};

struct eb_ban_mirror {
	sd_event *loop;
	const struct eb_bans *bans;
	struct eb_store *store;
	uint64_t tick_ns;
	struct eb_ban_mirror_events events;
	sd_event_source *timer, *slice;
	char boot_id[EB_BOOT_ID_MAX];
	bool running, stopped;

	struct prefixes changed; /* since the pass began */
	bool doubtful;           /* what the store has is not known */
	int64_t offset_ns;       /* CLOCK_REALTIME less CLOCK_MONOTONIC, when what is stored was written */
	uint64_t expected;       /* fields that the store must have at least */
	uint64_t mark_ns;        /* saved_at of our last meta record; 0 for none */

	/* The pass under way. */
	enum phase phase;
	struct prefixes writing;
	size_t next, stop; /* of `writing`: what is to be sent of a part; and where its next one begins */
	size_t part_end;
	char (*stale)[EB_STORE_FIELD_MAX];
	size_t stale_count, stale_next;
	bool has_more; /* stale fields than were taken */
	struct eb_ban_walk *walk;
	unsigned int flying, closing;
	bool wrote;
	uint64_t wall_ns, found_fields;
	struct eb_store_meta found;
	int error;
	char text[256];
};

/* ---- lists of prefixes ---- */

static int append(struct prefixes *prefixes, const struct eb_prefix *prefix)
{
	struct eb_prefix *items = eb_grow(prefixes->items, prefixes->count, &prefixes->room, sizeof(*items));

	if (!items)
		return -ENOMEM;
	prefixes->items = items;
	prefixes->items[prefixes->count++] = *prefix;
	return 0;
}

static void clear(struct prefixes *prefixes)
{
	free(prefixes->items);
	*prefixes = (struct prefixes){};
}

static int compare(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct eb_prefix));
}

_Static_assert(sizeof(struct eb_prefix) == 18, "compared as bytes: without padding");

/* Returns how many there are, each once. */
static size_t sort_once(struct eb_prefix *items, size_t count)
{
	size_t kept = 0;

	qsort(items, count, sizeof(*items), compare);
	for (size_t i = 1; i < count; i++)
		if (compare(&items[kept], &items[i]) != 0)
			items[++kept] = items[i];
	return kept + 1;
}

/* ---- the end of a pass ---- */

static void free_pass(struct eb_ban_mirror *mirror)
{
	clear(&mirror->writing);
	free(mirror->stale);
	eb_ban_walk_free(mirror->walk);
	mirror->stale = NULL;
	mirror->walk = NULL;
	mirror->stale_count = mirror->stale_next = 0;
	mirror->next = mirror->stop = mirror->part_end = 0;
}

static void end_pass(struct eb_ban_mirror *mirror)
{
	free_pass(mirror);
	mirror->phase = PHASE_IDLE;
	mirror->doubtful |= mirror->error || mirror->has_more;
	mirror->events.done(mirror->error, mirror->text, mirror->events.arg);
}

static void fail_pass(struct eb_ban_mirror *mirror, int error, const char *text)
{
	if (mirror->error)
		return;
	mirror->error = error;
	snprintf(mirror->text, sizeof(mirror->text), "%s", *text ? text : strerror(-error));
}

static void refuse_pass(struct eb_ban_mirror *mirror, int error)
{
	fail_pass(mirror, error, error == -ENOTCONN ? eb_store_last_error(mirror->store) : "");
}

/* A later record of another boot is of a host with the same name, about which the mirror of the buckets complains. */
static bool is_lost(const struct eb_ban_mirror *mirror)
{
	const struct eb_store_meta *found = &mirror->found;

	if (!mirror->expected)
		return false;
	if (mirror->mark_ns && found->saved_at_ns < mirror->mark_ns)
		return true;
	return strcmp(found->boot_id, mirror->boot_id) == 0 && mirror->found_fields < mirror->expected;
}

static void judge(struct eb_ban_mirror *mirror)
{
	if (!mirror->error && !mirror->doubtful && is_lost(mirror)) {
		mirror->doubtful = true;
		mirror->events.lost(mirror->events.arg);
	}
	if (!mirror->error)
		mirror->expected = mirror->found_fields;
	end_pass(mirror);
}

static void settle(struct eb_ban_mirror *mirror, const struct eb_store_result *result)
{
	if (result && result->error)
		fail_pass(mirror, result->error, result->text);
	if (--mirror->closing == 0)
		judge(mirror);
}

static void on_marked(const struct eb_store_result *result, void *arg)
{
	struct eb_ban_mirror *mirror = arg;

	if (mirror->stopped)
		return;
	if (!result->error)
		mirror->mark_ns = mirror->wall_ns;
	settle(mirror, result);
}

static void on_counted(const struct eb_store_result *result, void *arg)
{
	struct eb_ban_mirror *mirror = arg;

	if (mirror->stopped)
		return;
	mirror->found_fields = result->fields;
	settle(mirror, result);
}

static void on_meta_read(const struct eb_store_result *result, const struct eb_store_meta *meta, void *arg)
{
	struct eb_ban_mirror *mirror = arg;

	if (mirror->stopped)
		return;
	mirror->found = *meta;
	settle(mirror, result);
}

static void ask(struct eb_ban_mirror *mirror, int err)
{
	if (err)
		refuse_pass(mirror, err);
	else
		mirror->closing++;
}

static int write_mark(struct eb_ban_mirror *mirror)
{
	struct eb_store_meta meta = { .schema = EB_STORE_SCHEMA, .saved_at_ns = mirror->wall_ns };
	uint64_t expire_in_ns = eb_bans_count(mirror->bans) ? EXPIRE_NS : EXPIRE_EMPTY_NS;

	memcpy(meta.boot_id, mirror->boot_id, sizeof(mirror->boot_id));
	strncpy(meta.agent, EB_VERSION, sizeof(meta.agent) - 1);
	return eb_store_write_meta(mirror->store, &meta, expire_in_ns, on_marked, mirror);
}

/* What proves that the store has all, and before that the mark that proves it, when something was written. */
static void close_pass(struct eb_ban_mirror *mirror)
{
	mirror->phase = PHASE_CLOSING;
	mirror->closing = 1; /* until all is asked for */
	if (!mirror->error && (mirror->wrote || mirror->expected)) {
		if (mirror->wrote)
			ask(mirror, write_mark(mirror));
		ask(mirror, eb_store_count(mirror->store, on_counted, mirror));
		ask(mirror, eb_store_read_meta(mirror->store, on_meta_read, mirror));
	}
	settle(mirror, NULL);
}

/* ---- writing ---- */

static void continue_pass(struct eb_ban_mirror *mirror);

static void expect_more(struct eb_ban_mirror *mirror, int64_t grown)
{
	if (grown < 0 && mirror->expected < (uint64_t)-grown)
		mirror->expected = 0;
	else
		mirror->expected += grown;
}

static void on_written(const struct eb_store_result *result, void *arg)
{
	struct eb_ban_mirror *mirror = arg;

	mirror->flying--;
	if (mirror->stopped)
		return;
	if (result->error)
		fail_pass(mirror, result->error, result->text);
	else
		expect_more(mirror, result->grown);
	mirror->wrote = true;
	continue_pass(mirror);
}

/* What ran out is not worth keeping. */
static void fill_item(const struct eb_ban_mirror *mirror, const struct eb_prefix *prefix, uint64_t now_ns,
		      struct eb_store_item *item)
{
	struct eb_ban_view view;

	eb_ban_format_field(prefix, item->field);
	item->value[0] = '\0';
	if (eb_bans_get(mirror->bans, prefix, &view) && view.ban.until_ns > now_ns)
		eb_ban_format_value(&view.ban, mirror->offset_ns, item->value);
}

/* Returns 0 when there is no more to send, 1 when a batch is on its way, or negative errno. */
static int send_batch(struct eb_ban_mirror *mirror, struct eb_store_batch *batch)
{
	size_t next = mirror->next, stale = mirror->stale_next;
	uint64_t now_ns = eb_monotonic_ns();
	int err;

	batch->count = 0;
	while (stale < mirror->stale_count && batch->count < EB_STORE_BATCH_ITEMS) {
		struct eb_store_item *item = &batch->items[batch->count++];

		memcpy(item->field, mirror->stale[stale++], sizeof(item->field));
		item->value[0] = '\0';
	}
	while (next < mirror->stop && batch->count < EB_STORE_BATCH_ITEMS)
		fill_item(mirror, &mirror->writing.items[next++], now_ns, &batch->items[batch->count++]);
	if (!batch->count)
		return 0;
	err = eb_store_write(mirror->store, batch, on_written, mirror);
	if (err)
		return err;
	mirror->flying++;
	mirror->next = next;
	mirror->stale_next = stale;
	return 1;
}

/* Whether there is another part to be written. No field may be under way twice, see eb_store_write(). */
static bool begin_part(struct eb_ban_mirror *mirror)
{
	size_t left = mirror->writing.count - mirror->part_end, count = left < PART ? left : PART;

	if (!left)
		return false;
	mirror->next = mirror->part_end;
	mirror->part_end += count;
	mirror->stop = mirror->next + sort_once(mirror->writing.items + mirror->next, count);
	return true;
}

static void write_some(struct eb_ban_mirror *mirror)
{
	struct eb_store_batch *batch = malloc(sizeof(*batch));
	int ret = -ENOMEM;

	do {
		while (batch && !mirror->error && (ret = send_batch(mirror, batch)) > 0)
			;
	} while (!ret && !mirror->flying && !mirror->error && begin_part(mirror));
	free(batch);
	if (ret == -EAGAIN)
		return; /* until the store is writable */
	if (ret < 0)
		refuse_pass(mirror, ret);
	if (!mirror->flying)
		close_pass(mirror);
}

static int compare_fields(const void *a, const void *b)
{
	return strcmp(a, b);
}

static void sort_stale_once(struct eb_ban_mirror *mirror)
{
	size_t kept = 0;

	if (!mirror->stale_count)
		return;
	qsort(mirror->stale, mirror->stale_count, sizeof(*mirror->stale), compare_fields);
	for (size_t i = 1; i < mirror->stale_count; i++)
		if (strcmp(mirror->stale[kept], mirror->stale[i]) != 0)
			memmove(mirror->stale[++kept], mirror->stale[i], sizeof(*mirror->stale));
	mirror->stale_count = kept + 1;
}

static void begin_writing(struct eb_ban_mirror *mirror)
{
	mirror->phase = PHASE_WRITING;
	mirror->writing = mirror->changed;
	mirror->changed = (struct prefixes){};
	sort_stale_once(mirror);
	write_some(mirror);
}

/* ---- comparing ---- */

static void take_entry(const struct eb_ban_view *view, void *arg)
{
	struct eb_ban_mirror *mirror = arg;

	if (append(&mirror->changed, &view->prefix))
		fail_pass(mirror, -ENOMEM, "");
}

/* A part of the walk; a millisecond or two. */
static int on_slice(sd_event_source *source, void *arg)
{
	struct eb_ban_mirror *mirror = arg;
	int ret;

	if (mirror->phase != PHASE_WALKING)
		return 0;
	ret = eb_ban_walk_next(mirror->walk, take_entry, mirror);
	if (ret < 0)
		fail_pass(mirror, ret, "");
	if (mirror->error) {
		end_pass(mirror);
		return 0;
	}
	if (ret)
		return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
	begin_writing(mirror);
	return 0;
}

static void begin_walking(struct eb_ban_mirror *mirror)
{
	int err = eb_ban_walk_new(mirror->bans, &mirror->walk);

	if (err) {
		fail_pass(mirror, err, "");
		end_pass(mirror);
		return;
	}
	mirror->phase = PHASE_WALKING;
	(void)sd_event_source_set_enabled(mirror->slice, SD_EVENT_ONESHOT);
}

/* What the store has and the maps do not is removed. Longer fields than any of ours are not ours. */
static void on_field(const char *field, size_t field_len, const char *value, size_t value_len, void *arg)
{
	struct eb_ban_mirror *mirror = arg;
	struct eb_ban_view view;
	struct eb_prefix prefix;

	(void)value;
	(void)value_len;
	if (mirror->stopped || field_len >= EB_STORE_FIELD_MAX || strlen(field) != field_len)
		return;
	if (eb_ban_parse_field(field, field_len, &prefix) && eb_bans_get(mirror->bans, &prefix, &view))
		return;
	if (mirror->stale_count == STALE_MAX)
		mirror->has_more = true;
	else
		memcpy(mirror->stale[mirror->stale_count++], field, field_len + 1);
}

static void on_scanned(const struct eb_store_result *result, void *arg)
{
	struct eb_ban_mirror *mirror = arg;

	if (mirror->stopped)
		return;
	if (!result->error || result->error == -ELOOP) { /* what goes round in circles is overwritten all the same */
		begin_walking(mirror);
		return;
	}
	fail_pass(mirror, result->error, result->text);
	end_pass(mirror);
}

static void begin_comparing(struct eb_ban_mirror *mirror)
{
	int err;

	mirror->phase = PHASE_SCANNING;
	mirror->doubtful = false;
	mirror->mark_ns = mirror->expected = 0;
	clear(&mirror->changed);
	mirror->stale = calloc(STALE_MAX, sizeof(*mirror->stale));
	err = mirror->stale ? eb_store_scan(mirror->store, on_field, on_scanned, mirror) : -ENOMEM;
	if (!err)
		return;
	refuse_pass(mirror, err);
	end_pass(mirror);
}

/* ---- passes ---- */

static void continue_pass(struct eb_ban_mirror *mirror)
{
	if (mirror->phase == PHASE_WRITING)
		write_some(mirror);
}

/* Ends are times of the wall clock: when that was set, all of them are wrong. */
static void look_at_clocks(struct eb_ban_mirror *mirror)
{
	int64_t offset, step;

	mirror->wall_ns = eb_wallclock_ns();
	offset = (int64_t)(mirror->wall_ns - eb_monotonic_ns());
	step = offset - mirror->offset_ns;
	if (step > -(int64_t)STEP_NS && step < (int64_t)STEP_NS)
		return;
	mirror->offset_ns = offset;
	mirror->doubtful = true;
}

void eb_ban_mirror_pass(struct eb_ban_mirror *mirror)
{
	if (!mirror->running || mirror->phase != PHASE_IDLE || !eb_store_is_up(mirror->store))
		return;
	mirror->error = 0;
	mirror->text[0] = '\0';
	mirror->wrote = mirror->has_more = false;
	look_at_clocks(mirror);
	if (mirror->doubtful)
		begin_comparing(mirror);
	else if (mirror->changed.count || mirror->expected)
		begin_writing(mirror);
}

static int on_tick(sd_event_source *source, uint64_t usec, void *arg)
{
	struct eb_ban_mirror *mirror = arg;

	(void)usec;
	eb_ban_mirror_pass(mirror);
	return eb_timer_restart(source, mirror->tick_ns);
}

void eb_ban_mirror_run(struct eb_ban_mirror *mirror)
{
	mirror->running = true;
}

void eb_ban_mirror_note(struct eb_ban_mirror *mirror, const struct eb_prefix *prefix)
{
	if (mirror->running && (!prefix || append(&mirror->changed, prefix)))
		mirror->doubtful = true;
}

bool eb_ban_mirror_is_busy(const struct eb_ban_mirror *mirror)
{
	return mirror->phase != PHASE_IDLE;
}

void eb_ban_mirror_interrupt(struct eb_ban_mirror *mirror)
{
	mirror->doubtful |= mirror->wrote;
}

void eb_ban_mirror_resume(struct eb_ban_mirror *mirror)
{
	continue_pass(mirror);
}

uint64_t eb_ban_mirror_stored(const struct eb_ban_mirror *mirror)
{
	return mirror->expected;
}

/* ---- life ---- */

int eb_ban_mirror_new(sd_event *loop, const struct eb_bans *bans, struct eb_store *store, uint64_t tick_ns,
		      const struct eb_ban_mirror_events *events, struct eb_ban_mirror **out)
{
	struct eb_ban_mirror *mirror = calloc(1, sizeof(*mirror));
	int err;

	if (!mirror)
		return -ENOMEM;
	mirror->loop = loop;
	mirror->bans = bans;
	mirror->store = store;
	mirror->tick_ns = tick_ns;
	mirror->events = *events;
	mirror->doubtful = true;
	eb_boot_id(mirror->boot_id);
	err = sd_event_add_time_relative(loop, &mirror->timer, CLOCK_MONOTONIC, eb_random_below(tick_ns) / 1000, 1000,
					 on_tick, mirror);
	if (err >= 0)
		err = sd_event_add_defer(loop, &mirror->slice, on_slice, mirror);
	if (err >= 0)
		err = sd_event_source_set_enabled(mirror->slice, SD_EVENT_OFF);
	if (err < 0) {
		eb_ban_mirror_free(mirror);
		return err;
	}
	*out = mirror;
	return 0;
}

void eb_ban_mirror_stop(struct eb_ban_mirror *mirror)
{
	if (mirror)
		mirror->stopped = true;
}

void eb_ban_mirror_free(struct eb_ban_mirror *mirror)
{
	if (!mirror)
		return;
	sd_event_source_disable_unref(mirror->timer);
	sd_event_source_disable_unref(mirror->slice);
	free_pass(mirror);
	clear(&mirror->changed);
	free(mirror);
}
