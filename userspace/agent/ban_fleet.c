// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "agent/ban_fleet.h"
#include "agent/timer.h"
#include "base/clock.h"
#include "base/grow.h"
#include "base/log.h"
#include "base/printable.h"
#include "config/prefix.h"
#include "store/ban_record.h"
#include "store/ban_share.h"

#define SECOND_NS 1000000000ULL
#define DAY_NS (24 * 3600 * SECOND_NS)

#define UNBAN_NS DAY_NS         /* how long an unban is told */
#define OVER_NS (3600 * SECOND_NS) /* what ended longer ago than this is removed */

/* The keys last as long as the longest ban, but no longer than this: nodes that are there renew them every day. */
#define KEEP_NS (30 * DAY_NS)

struct change {
	struct eb_prefix prefix;
	bool is_lift;
};

struct changes {
	struct change *items;
	size_t count, room;
};

/* An entry that is to be told unless the fleet knows it. */
struct own {
	struct eb_prefix prefix;
	bool is_told;
};

struct eb_ban_fleet {
	struct eb_bans *bans;
	struct eb_ban_share *share;
	sd_event_source *timer, *slice;
	struct eb_ban_watcher watcher;
	uint64_t tick_ns;
	size_t max;
	bool is_applying; /* what the fleet said: not to be told */
	bool is_logged;

	struct changes changed; /* since the pass began */
	bool unread;            /* what the fleet knows is not known: to be read whole */
	uint64_t longest_ns;    /* CLOCK_MONOTONIC: when the last ban ends that the fleet knows, EB_BAN_FOREVER */
	uint64_t rounds, heard, told, wholes; /* see eb_ban_fleet_status() */

	/* The pass under way. */
	bool passing, is_whole;
	struct eb_ban_walk *walk;
	struct own *own; /* sorted, once all are there */
	size_t own_count, own_room;
	struct eb_ban_list list; /* a part of what is read */
	struct eb_ban_order *holes;
	size_t hole_count, hole_room;
	struct eb_prefix *lifts;
	size_t lift_count, lifts_of; /* so many of the changes were looked at */
	struct changes writing;
	size_t next, written; /* of these: are sent; are acknowledged */
	unsigned int writes;  /* since the last reading */
	uint64_t wall_ns, now_ns;
	uint64_t fields, refused[EB_BAN_FAULTS], logged[EB_BAN_FAULTS];
	char example[EB_BAN_FAULTS][64];
};

static int append(struct changes *changes, const struct eb_prefix *prefix, bool is_lift)
{
	struct change *items = eb_grow(changes->items, changes->count, &changes->room, sizeof(*items));

	if (!items)
		return -ENOMEM;
	changes->items = items;
	changes->items[changes->count++] = (struct change){ .prefix = *prefix, .is_lift = is_lift };
	return 0;
}

static void clear(struct changes *changes)
{
	free(changes->items);
	*changes = (struct changes){};
}

static void look_at_clocks(struct eb_ban_fleet *fleet)
{
	fleet->wall_ns = eb_wallclock_ns();
	fleet->now_ns = eb_monotonic_ns();
}

/* ---- how long the keys last ---- */

static void note_end(struct eb_ban_fleet *fleet, uint64_t until_ns)
{
	if (until_ns > fleet->longest_ns)
		fleet->longest_ns = until_ns;
}

static uint64_t at_most(uint64_t value, uint64_t most)
{
	return value < most ? value : most;
}

static struct eb_ban_share_life life(const struct eb_ban_fleet *fleet)
{
	uint64_t left = fleet->longest_ns > fleet->now_ns ? fleet->longest_ns - fleet->now_ns : 0;

	return (struct eb_ban_share_life){ .least_ns = at_most(left, KEEP_NS - DAY_NS),
					   .set_ns = at_most(left, KEEP_NS - OVER_NS) + OVER_NS };
}

/* ---- the end of a pass ---- */

static void drop_lifts(struct eb_ban_fleet *fleet)
{
	free(fleet->lifts);
	fleet->lifts = NULL;
	fleet->lift_count = 0;
}

static void free_pass(struct eb_ban_fleet *fleet)
{
	eb_ban_walk_free(fleet->walk);
	eb_ban_list_clear(&fleet->list);
	clear(&fleet->writing);
	free(fleet->own);
	free(fleet->holes);
	drop_lifts(fleet);
	fleet->walk = NULL;
	fleet->own = NULL;
	fleet->holes = NULL;
	fleet->own_count = fleet->own_room = fleet->hole_count = fleet->hole_room = 0;
	fleet->next = fleet->written = 0;
	fleet->writes = 0;
}

/* What was not written is told the next time. */
static void give_back(struct eb_ban_fleet *fleet)
{
	for (size_t i = fleet->written; i < fleet->writing.count; i++)
		if (append(&fleet->changed, &fleet->writing.items[i].prefix, fleet->writing.items[i].is_lift))
			fleet->unread = true;
}

static void end_pass(struct eb_ban_fleet *fleet, const char *error)
{
	give_back(fleet);
	free_pass(fleet);
	fleet->passing = false;
	fleet->unread |= *error && fleet->is_whole;
	if (*error && !fleet->is_logged)
		eb_warning("cannot share bans with the fleet, trying again; they are in force here",
			   eb_str("error", error));
	fleet->is_logged = *error;
}

static void fail_pass(struct eb_ban_fleet *fleet, int err)
{
	end_pass(fleet, err == -ENOTCONN ? eb_ban_share_last_error(fleet->share) : strerror(-err));
}

/* ---- writing ---- */

static void read_on(struct eb_ban_fleet *fleet);
static void write_on(struct eb_ban_fleet *fleet);

static void on_written(const struct eb_ban_share_result *result, void *arg)
{
	struct eb_ban_fleet *fleet = arg;

	if (result->error) {
		end_pass(fleet, result->text);
		return;
	}
	fleet->written = fleet->next;
	fleet->told = fleet->rounds;
	if (++fleet->writes < EB_BAN_SHARE_WRITES) {
		write_on(fleet);
		return;
	}
	fleet->writes = 0;
	drop_lifts(fleet);
	read_on(fleet);
}

/* False for what is not to be told: it ended, or came from the fleet. */
static bool fill_item(struct eb_ban_fleet *fleet, const struct change *change, struct eb_store_item *item)
{
	int64_t offset_ns = (int64_t)(fleet->wall_ns - fleet->now_ns);
	struct eb_ban lift = { .kind = EB_BAN_HOLE, .until_ns = fleet->now_ns + UNBAN_NS, .since_ns = fleet->now_ns };
	struct eb_ban_view view;
	bool is_there = eb_bans_get(fleet->bans, &change->prefix, &view);
	const struct eb_ban *ban = is_there && view.ban.kind == EB_BAN ? &view.ban : &lift;

	if (ban != &lift && (ban->origin == EB_BAN_FLEET || ban->until_ns <= fleet->now_ns))
		return false;
	if (!is_there && !change->is_lift)
		return false;
	eb_ban_format_field(&change->prefix, item->field);
	eb_ban_format_shared(ban, offset_ns, item->value);
	note_end(fleet, ban->until_ns);
	return true;
}

/* Of one prefix, only what is there now is written, so that one batch may name it twice. Returns 1 when a batch is on
 * its way, 0 when there is no more, or negative errno. */
static int send_batch(struct eb_ban_fleet *fleet, struct eb_store_batch *batch)
{
	struct eb_ban_share_life keep;
	int err;

	batch->count = 0;
	for (; fleet->next < fleet->writing.count && batch->count < EB_STORE_BATCH_ITEMS; fleet->next++)
		batch->count += fill_item(fleet, &fleet->writing.items[fleet->next], &batch->items[batch->count]);
	if (!batch->count)
		return 0;
	keep = life(fleet);
	err = eb_ban_share_write(fleet->share, batch, fleet->wall_ns - OVER_NS, &keep, on_written, fleet);
	return err ? err : 1;
}

/* One batch after the other: the same prefix may be in two. */
static void write_on(struct eb_ban_fleet *fleet)
{
	struct eb_store_batch *batch = malloc(sizeof(*batch));
	int ret;

	look_at_clocks(fleet);
	ret = batch ? send_batch(fleet, batch) : -ENOMEM;
	free(batch);
	if (!ret)
		fleet->written = fleet->writing.count;
	if (ret < 0)
		fail_pass(fleet, ret);
	else if (!ret)
		end_pass(fleet, "");
}

/* Returns 0 or -ENOMEM. */
static int add_untold(struct eb_ban_fleet *fleet)
{
	int err = 0;

	for (size_t i = 0; i < fleet->own_count && !err; i++)
		if (!fleet->own[i].is_told)
			err = append(&fleet->changed, &fleet->own[i].prefix, false);
	fleet->own_count = 0;
	return err;
}

static void begin_writing(struct eb_ban_fleet *fleet)
{
	if (add_untold(fleet)) {
		fail_pass(fleet, -ENOMEM);
		return;
	}
	if (fleet->written == fleet->writing.count) {
		clear(&fleet->writing);
		fleet->writing = fleet->changed;
		fleet->changed = (struct changes){};
		fleet->next = fleet->written = 0;
	}
	write_on(fleet);
}

/* ---- what was read ---- */

static int compare(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct eb_prefix));
}

_Static_assert(offsetof(struct own, prefix) == 0, "compared as prefixes");

static bool is_about(uint64_t a, uint64_t b)
{
	return a == b || (a > b ? a - b : b - a) < SECOND_NS;
}

static void add_lifts(struct eb_ban_fleet *fleet, const struct changes *changes, size_t from)
{
	for (size_t i = from; i < changes->count; i++)
		if (changes->items[i].is_lift)
			fleet->lifts[fleet->lift_count++] = changes->items[i].prefix;
}

/* What was lifted here and not told yet, sorted. Returns 0 or -ENOMEM. */
static int take_lifts(struct eb_ban_fleet *fleet)
{
	if (fleet->lifts && fleet->lifts_of == fleet->changed.count)
		return 0;
	drop_lifts(fleet);
	fleet->lifts = calloc(fleet->writing.count + fleet->changed.count + 1, sizeof(*fleet->lifts));
	if (!fleet->lifts)
		return -ENOMEM;
	add_lifts(fleet, &fleet->writing, fleet->written);
	add_lifts(fleet, &fleet->changed, 0);
	qsort(fleet->lifts, fleet->lift_count, sizeof(*fleet->lifts), compare);
	fleet->lifts_of = fleet->changed.count;
	return 0;
}

/* An earlier word than our own stands there: two nodes spoke at the same moment. */
static void tell_again(struct eb_ban_fleet *fleet, const struct eb_ban_view *view, const struct eb_ban_order *order)
{
	if (view->ban.origin != EB_BAN_FLEET && view->ban.kind != order->kind &&
	    view->ban.since_ns > order->since_ns && append(&fleet->changed, &order->prefix, false))
		fleet->unread = true;
}

static void note_told(struct eb_ban_fleet *fleet, const struct eb_prefix *prefix)
{
	struct own *own = bsearch(prefix, fleet->own, fleet->own_count, sizeof(*own), compare);

	if (own)
		own->is_told = true;
}

static bool is_same(const struct eb_ban *ban, const struct eb_ban_order *order)
{
	return ban->kind == order->kind && (ban->kind == EB_BAN_HOLE || is_about(ban->until_ns, order->until_ns));
}

/* Whether the word of the fleet is later than ours about this prefix. */
static bool is_news(struct eb_ban_fleet *fleet, const struct eb_ban_order *order)
{
	struct eb_ban_view view;

	if (bsearch(&order->prefix, fleet->lifts, fleet->lift_count, sizeof(*fleet->lifts), compare))
		return false;
	if (!eb_bans_get(fleet->bans, &order->prefix, &view)) {
		if (order->kind == EB_BAN)
			return true;
		return eb_bans_find(fleet->bans, &order->prefix, fleet->now_ns, &view) &&
		       view.ban.since_ns < order->since_ns;
	}
	if (is_same(&view.ban, order)) {
		note_told(fleet, &order->prefix);
		return false;
	}
	tell_again(fleet, &view, order);
	return view.ban.since_ns < order->since_ns;
}

/* Holes wait until all bans around them are there. */
static int keep_hole(struct eb_ban_fleet *fleet, const struct eb_ban_order *order)
{
	struct eb_ban_order *holes;

	if (fleet->hole_count >= fleet->max) {
		fleet->refused[EB_BAN_TOO_MANY]++;
		return 0;
	}
	holes = eb_grow(fleet->holes, fleet->hole_count, &fleet->hole_room, sizeof(*holes));
	if (!holes)
		return -ENOMEM;
	fleet->holes = holes;
	fleet->holes[fleet->hole_count++] = *order;
	return 0;
}

static int apply_bans(struct eb_ban_fleet *fleet, struct eb_ban_order *orders, size_t count)
{
	struct eb_ban_outcome added = {};
	int err;

	if (!count)
		return 0;
	fleet->is_applying = true;
	err = eb_bans_add(fleet->bans, orders, count, fleet->max, &added);
	fleet->is_applying = false;
	fleet->heard = fleet->rounds;
	if (added.refused && !fleet->refused[EB_BAN_TOO_MANY])
		(void)eb_prefix_print(&orders[0].prefix, fleet->example[EB_BAN_TOO_MANY]);
	fleet->refused[EB_BAN_TOO_MANY] += added.refused;
	return err;
}

/* Takes a part. Of one prefix, the last word of it counts. */
static int apply_part(struct eb_ban_fleet *fleet)
{
	struct eb_ban_list *list = &fleet->list;
	size_t bans = 0;
	int err = take_lifts(fleet);

	for (size_t i = 0; i < list->count && !err; i++) {
		struct eb_ban_order order = list->orders[i];

		order.index = i;
		note_end(fleet, order.until_ns);
		if (order.kind == EB_BAN_HOLE)
			err = keep_hole(fleet, &order);
		else if (is_news(fleet, &order))
			list->orders[bans++] = order;
	}
	return err ? err : apply_bans(fleet, list->orders, bans);
}

static int apply_holes(struct eb_ban_fleet *fleet)
{
	size_t lifted;
	int err = take_lifts(fleet);

	fleet->is_applying = true;
	for (size_t i = 0; i < fleet->hole_count && !err; i++) {
		if (!is_news(fleet, &fleet->holes[i]))
			continue;
		err = eb_bans_lift(fleet->bans, &fleet->holes[i].prefix, 1, &lifted);
		fleet->heard = fleet->rounds;
	}
	fleet->is_applying = false;
	fleet->hole_count = 0;
	return err;
}

static void note_refused(struct eb_ban_fleet *fleet)
{
	for (int i = 0; i < EB_BAN_FAULTS; i++) {
		if (fleet->list.refused[i] && !fleet->refused[i])
			memcpy(fleet->example[i], fleet->list.example[i], sizeof(fleet->example[i]));
		fleet->refused[i] += fleet->list.refused[i];
	}
}

static void log_refused(struct eb_ban_fleet *fleet)
{
	for (int i = 0; i < EB_BAN_FAULTS; i++) {
		if (fleet->refused[i] > fleet->logged[i])
			eb_warning("bans of the fleet were refused", eb_num("fields", fleet->refused[i]),
				   eb_str("reason", eb_ban_fault_name(i)), eb_str("example", fleet->example[i]),
				   eb_str("hint", i == EB_BAN_TOO_MANY ? "raise bans.max"
								       : "look who writes to the key of the fleet"));
		fleet->logged[i] = fleet->refused[i];
	}
}

/* ---- reading ---- */

static void on_field(const char *field, size_t field_len, const char *value, size_t value_len, void *arg)
{
	struct eb_ban_fleet *fleet = arg;

	fleet->fields++;
	if (eb_ban_list_add_shared(&fleet->list, field, field_len, value, value_len, fleet->now_ns, fleet->wall_ns))
		fleet->unread = true; /* again, the next time */
}

static void begin_whole(struct eb_ban_fleet *fleet);

static void on_read(const struct eb_ban_share_result *result, void *arg)
{
	struct eb_ban_fleet *fleet = arg;
	int err;

	if (result->error == -ESTALE) {
		begin_whole(fleet);
		return;
	}
	if (result->error) {
		end_pass(fleet, result->text);
		return;
	}
	err = apply_part(fleet);
	note_refused(fleet);
	eb_ban_list_clear(&fleet->list);
	if (!err && result->more) {
		read_on(fleet);
		return;
	}
	err = err ? err : apply_holes(fleet);
	log_refused(fleet);
	if (!err) {
		begin_writing(fleet);
		return;
	}
	fleet->unread = true;
	fail_pass(fleet, err);
}

static void read_on(struct eb_ban_fleet *fleet)
{
	struct eb_ban_share_life keep;
	int err;

	look_at_clocks(fleet);
	keep = life(fleet);
	err = eb_ban_share_read(fleet->share, &keep, on_field, on_read, fleet);
	if (err)
		fail_pass(fleet, err);
}

/* ---- reading all ---- */

static void take_own(const struct eb_ban_view *view, void *arg)
{
	struct eb_ban_fleet *fleet = arg;
	struct own *own;

	if (view->ban.kind == EB_BAN && view->ban.origin == EB_BAN_FLEET)
		return;
	own = eb_grow(fleet->own, fleet->own_count, &fleet->own_room, sizeof(*own));
	if (!own) {
		fleet->unread = true;
		return;
	}
	fleet->own = own;
	fleet->own[fleet->own_count++] = (struct own){ .prefix = view->prefix };
}

/* A part of our own; a millisecond or two. */
static int on_slice(sd_event_source *source, void *arg)
{
	struct eb_ban_fleet *fleet = arg;
	int ret;

	if (!fleet->walk)
		return 0;
	ret = eb_ban_walk_next(fleet->walk, take_own, fleet);
	if (ret > 0)
		return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
	eb_ban_walk_free(fleet->walk);
	fleet->walk = NULL;
	if (ret < 0) {
		fail_pass(fleet, ret);
		return 0;
	}
	if (fleet->own)
		qsort(fleet->own, fleet->own_count, sizeof(*fleet->own), compare);
	read_on(fleet);
	return 0;
}

/* First what there is here, to find out what of it the fleet does not know. */
static void begin_whole(struct eb_ban_fleet *fleet)
{
	int err = eb_ban_walk_new(fleet->bans, &fleet->walk);

	fleet->is_whole = true;
	fleet->unread = false;
	fleet->wholes++;
	fleet->longest_ns = fleet->fields = fleet->own_count = 0;
	memset(fleet->refused, 0, sizeof(fleet->refused));
	eb_ban_share_restart(fleet->share);
	if (err)
		fail_pass(fleet, err);
	else
		(void)sd_event_source_set_enabled(fleet->slice, SD_EVENT_ONESHOT);
}

static int on_tick(sd_event_source *source, uint64_t usec, void *arg)
{
	struct eb_ban_fleet *fleet = arg;

	(void)usec;
	if (!fleet->passing && eb_ban_share_is_up(fleet->share)) {
		fleet->passing = true;
		fleet->is_whole = false;
		fleet->rounds++;
		if (fleet->unread)
			begin_whole(fleet);
		else
			read_on(fleet);
	}
	return eb_timer_restart(source, fleet->tick_ns);
}

/* ---- what changes here ---- */

static void on_change(const struct eb_prefix *prefix, const struct eb_ban *removed, void *arg)
{
	struct eb_ban_fleet *fleet = arg;
	bool is_lift = removed && eb_ban_holds(removed, eb_monotonic_ns());

	if (fleet->is_applying || (removed && !is_lift))
		return;
	if (!prefix || append(&fleet->changed, prefix, is_lift))
		fleet->unread = true;
}

/* What was written over the lost connection may be lost with it. */
static void on_down(void *arg)
{
	struct eb_ban_fleet *fleet = arg;

	fleet->unread = true;
}

/* ---- life ---- */

int eb_ban_fleet_new(sd_event *loop, const struct eb_config *config, struct eb_bans *bans, struct eb_ban_fleet **out)
{
	struct eb_ban_fleet *fleet = calloc(1, sizeof(*fleet));
	int err;

	if (!fleet)
		return -ENOMEM;
	fleet->bans = bans;
	fleet->tick_ns = config->fleet.tick_ns;
	fleet->max = config->bans_max;
	fleet->unread = true;
	fleet->list.max = SIZE_MAX;
	fleet->watcher = (struct eb_ban_watcher){ .changed = on_change, .arg = fleet };
	err = eb_ban_share_new(loop, config->redis, config->fleet.name, on_down, fleet, &fleet->share);
	if (!err)
		err = sd_event_add_defer(loop, &fleet->slice, on_slice, fleet);
	if (err >= 0)
		err = sd_event_source_set_enabled(fleet->slice, SD_EVENT_OFF);
	if (err >= 0)
		err = sd_event_add_time_relative(loop, &fleet->timer, CLOCK_MONOTONIC,
						 eb_random_below(fleet->tick_ns) / 1000, 1000, on_tick, fleet);
	if (err < 0) {
		eb_ban_fleet_free(fleet);
		return err;
	}
	eb_bans_watch(bans, &fleet->watcher);
	*out = fleet;
	return 0;
}

void eb_ban_fleet_free(struct eb_ban_fleet *fleet)
{
	if (!fleet)
		return;
	eb_bans_unwatch(fleet->bans, &fleet->watcher);
	sd_event_source_disable_unref(fleet->timer);
	sd_event_source_disable_unref(fleet->slice);
	eb_ban_share_free(fleet->share);
	free_pass(fleet);
	clear(&fleet->changed);
	free(fleet);
}

json_t *eb_ban_fleet_status(const struct eb_ban_fleet *fleet)
{
	json_t *refused;

	if (!fleet)
		return json_null();
	refused = json_object();
	for (int i = 0; i < EB_BAN_FAULTS; i++)
		if (fleet->refused[i])
			json_object_set_new(refused, eb_ban_fault_name(i), json_integer((json_int_t)fleet->refused[i]));
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:o, s:o}", "rounds", (json_int_t)fleet->rounds, "told",
			 (json_int_t)fleet->told, "heard", (json_int_t)fleet->heard, "read_whole",
			 (json_int_t)fleet->wholes, "fields", (json_int_t)fleet->fields, "refused", refused,
			 "last_error", eb_printable_json(eb_ban_share_last_error(fleet->share)));
}
