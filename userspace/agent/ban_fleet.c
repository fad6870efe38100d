// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/ban_fleet.h"
#include "agent/timer.h"
#include "base/boot_id.h"
#include "base/clock.h"
#include "base/grow.h"
#include "base/log.h"
#include "base/printable.h"
#include "config/config_redis.h"
#include "store/ban_record.h"
#include "store/store.h"

#define SECOND_NS 1000000000ULL
#define DAY_NS (24 * 3600 * SECOND_NS)

#define EXPIRE_NS (100 * 365 * DAY_NS)
#define UNBAN_NS DAY_NS         /* how long an unban is told */
#define OVER_NS (3600 * SECOND_NS) /* what ended longer ago than this is removed */
#define STALE_MAX 1024          /* with one reading */

struct change {
	struct eb_prefix prefix;
	bool is_lift;
};

struct changes {
	struct change *items;
	size_t count, room;
};

struct eb_ban_fleet {
	struct eb_bans *bans;
	struct eb_store *store;
	sd_event_source *timer;
	struct eb_ban_watcher watcher;
	uint64_t tick_ns;
	size_t max;
	char boot_id[EB_BOOT_ID_MAX], node[sizeof(((struct eb_store_meta *)NULL)->agent)];
	bool is_applying; /* what the fleet said: not to be told */
	bool is_logged;

	struct changes changed; /* since the pass began */
	bool doubtful;          /* whether the fleet knows our bans is not known */
	bool unread;            /* nothing was read yet */
	struct eb_store_meta seen;

	/* The pass under way. */
	bool passing, failed;
	struct eb_store_meta found;
	struct eb_ban_list list;
	struct changes writing, stale;
	struct eb_prefix *lifts;
	size_t lift_count;
	size_t next;
	unsigned int flying;
	uint64_t wall_ns, now_ns;
	uint64_t fields, refused[EB_BAN_FAULTS], logged[EB_BAN_FAULTS];
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

/* ---- the end of a pass ---- */

static void end_pass(struct eb_ban_fleet *fleet, const char *error)
{
	eb_ban_list_clear(&fleet->list);
	clear(&fleet->writing);
	clear(&fleet->stale);
	fleet->passing = false;
	fleet->doubtful |= *error;
	if (*error && !fleet->is_logged)
		eb_warning("cannot share bans with the fleet, trying again; they are in force here",
			   eb_str("error", error));
	fleet->is_logged = *error;
}

/* ---- writing ---- */

static void write_on(struct eb_ban_fleet *fleet);

static void on_marked(const struct eb_store_result *result, void *arg)
{
	struct eb_ban_fleet *fleet = arg;

	if (fleet->passing)
		end_pass(fleet, result->error ? result->text : "");
}

/* Who reads it sees that there is something new. */
static void write_mark(struct eb_ban_fleet *fleet)
{
	struct eb_store_meta meta = { .schema = EB_STORE_SCHEMA, .saved_at_ns = eb_wallclock_ns() };
	int err;

	memcpy(meta.boot_id, fleet->boot_id, sizeof(fleet->boot_id));
	memcpy(meta.agent, fleet->node, sizeof(fleet->node));
	err = eb_store_write_meta(fleet->store, &meta, EXPIRE_NS, on_marked, fleet);
	if (err)
		end_pass(fleet, strerror(-err));
}

static void on_written(const struct eb_store_result *result, void *arg)
{
	struct eb_ban_fleet *fleet = arg;

	fleet->flying--;
	if (!fleet->passing)
		return;
	fleet->failed |= result->error != 0;
	write_on(fleet);
}

/* False for what is not to be told: it ended, or came from the fleet. */
static bool fill_item(const struct eb_ban_fleet *fleet, const struct change *change, struct eb_store_item *item)
{
	int64_t offset_ns = (int64_t)(fleet->wall_ns - fleet->now_ns);
	struct eb_ban lift = { .kind = EB_BAN_HOLE, .until_ns = fleet->now_ns + UNBAN_NS, .since_ns = fleet->now_ns };
	struct eb_ban_view view;
	bool is_there = eb_bans_get(fleet->bans, &change->prefix, &view);

	if (is_there && view.ban.kind == EB_BAN &&
	    (view.ban.origin == EB_BAN_FLEET || view.ban.until_ns <= fleet->now_ns))
		return false;
	if (!is_there && !change->is_lift)
		return false;
	eb_ban_format_field(&change->prefix, item->field);
	eb_ban_format_shared(is_there && view.ban.kind == EB_BAN ? &view.ban : &lift, offset_ns, item->value);
	return true;
}

/* Of one prefix, only what is there now is written, so that one batch may name it twice. */
static int send_batch(struct eb_ban_fleet *fleet, struct eb_store_batch *batch)
{
	size_t next = fleet->next;
	int err;

	batch->count = 0;
	for (; next < fleet->writing.count && batch->count < EB_STORE_BATCH_ITEMS; next++)
		if (fill_item(fleet, &fleet->writing.items[next], &batch->items[batch->count]))
			batch->count++;
	for (; next >= fleet->writing.count && next - fleet->writing.count < fleet->stale.count &&
	       batch->count < EB_STORE_BATCH_ITEMS; next++) {
		struct eb_store_item *item = &batch->items[batch->count++];

		eb_ban_format_field(&fleet->stale.items[next - fleet->writing.count].prefix, item->field);
		item->value[0] = '\0';
	}
	err = batch->count ? eb_store_write(fleet->store, batch, on_written, fleet) : 0;
	if (err)
		return err;
	fleet->next = next;
	fleet->flying += batch->count != 0;
	return batch->count != 0;
}

/* One batch after the other: the same prefix may be in two. */
static void write_on(struct eb_ban_fleet *fleet)
{
	struct eb_store_batch *batch = malloc(sizeof(*batch));
	bool any = fleet->next;
	int ret = batch ? send_batch(fleet, batch) : -ENOMEM;

	free(batch);
	if (ret > 0)
		return;
	if (ret < 0 || fleet->failed)
		end_pass(fleet, ret == -ENOTCONN || !ret ? eb_store_last_error(fleet->store) : strerror(-ret));
	else if (any)
		write_mark(fleet);
	else
		end_pass(fleet, "");
}

static int take_own(const struct eb_ban_view *view, void *arg)
{
	return append(arg, &view->prefix, false);
}

static void begin_writing(struct eb_ban_fleet *fleet)
{
	fleet->writing = fleet->changed;
	fleet->changed = (struct changes){};
	fleet->next = 0;
	fleet->failed = false;
	if (fleet->doubtful && eb_bans_each(fleet->bans, take_own, &fleet->writing)) {
		end_pass(fleet, "out of memory");
		return;
	}
	fleet->doubtful = false;
	if (fleet->writing.count)
		clear(&fleet->stale); /* a prefix may be in both */
	write_on(fleet);
}

/* ---- reading ---- */

static int compare(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct eb_prefix));
}

static bool is_about(uint64_t a, uint64_t b)
{
	return a == b || (a > b ? a - b : b - a) < SECOND_NS;
}

/* What was lifted here and not told yet, sorted. */
static int take_lifts(struct eb_ban_fleet *fleet)
{
	free(fleet->lifts);
	fleet->lift_count = 0;
	fleet->lifts = calloc(fleet->changed.count + 1, sizeof(*fleet->lifts));
	if (!fleet->lifts)
		return -ENOMEM;
	for (size_t i = 0; i < fleet->changed.count; i++)
		if (fleet->changed.items[i].is_lift)
			fleet->lifts[fleet->lift_count++] = fleet->changed.items[i].prefix;
	qsort(fleet->lifts, fleet->lift_count, sizeof(*fleet->lifts), compare);
	return 0;
}

/* An earlier word than our own stands there: two nodes spoke at the same moment. */
static void tell_again(struct eb_ban_fleet *fleet, const struct eb_ban_view *view, const struct eb_ban_order *order)
{
	if (view->ban.origin != EB_BAN_FLEET && view->ban.kind != order->kind &&
	    view->ban.since_ns > order->since_ns && append(&fleet->changed, &order->prefix, false))
		fleet->doubtful = true;
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
	if (view.ban.kind == order->kind && is_about(view.ban.until_ns, order->until_ns))
		return false; /* the same */
	tell_again(fleet, &view, order);
	return view.ban.since_ns < order->since_ns;
}

/* Bans first, then what is lifted within them. */
static void apply(struct eb_ban_fleet *fleet)
{
	struct eb_ban_list *list = &fleet->list;
	struct eb_ban_outcome added;
	size_t bans = 0, lifted;
	int err = take_lifts(fleet);

	if (err) {
		fleet->unread = true; /* again, the next time */
		return;
	}
	fleet->is_applying = true;
	for (size_t i = 0; i < list->count; i++)
		if (list->orders[i].kind == EB_BAN && is_news(fleet, &list->orders[i])) {
			struct eb_ban_order order = list->orders[bans];

			list->orders[bans++] = list->orders[i];
			list->orders[i] = order;
		}
	err = eb_bans_add(fleet->bans, list->orders, bans, fleet->max, &added);
	fleet->refused[EB_BAN_TOO_MANY] += added.refused;
	if (err)
		eb_error("cannot put bans of the fleet into force", eb_err(err));
	for (size_t i = bans; i < list->count; i++)
		if (list->orders[i].kind == EB_BAN_HOLE && is_news(fleet, &list->orders[i]))
			(void)eb_bans_lift(fleet->bans, &list->orders[i].prefix, 1, &lifted);
	fleet->is_applying = false;
}

static void log_refused(struct eb_ban_fleet *fleet)
{
	for (int i = 0; i < EB_BAN_FAULTS; i++) {
		fleet->refused[i] += fleet->list.refused[i];
		if (fleet->refused[i] > fleet->logged[i])
			eb_warning("bans of the fleet were refused", eb_num("fields", fleet->refused[i]),
				   eb_str("reason", eb_ban_fault_name(i)), eb_str("example", fleet->list.example[i]),
				   eb_str("hint", i == EB_BAN_TOO_MANY ? "raise bans.max"
								       : "look who writes to the key of the fleet"));
		fleet->logged[i] = fleet->refused[i];
	}
}

static void on_field(const char *field, size_t field_len, const char *value, size_t value_len, void *arg)
{
	struct eb_ban_fleet *fleet = arg;
	struct eb_prefix prefix;
	uint64_t over = fleet->list.over;

	if (!fleet->passing)
		return;
	fleet->fields++;
	if (eb_ban_list_add_shared(&fleet->list, field, field_len, value, value_len, fleet->now_ns, fleet->wall_ns))
		fleet->list.refused[EB_BAN_TOO_MANY]++;
	if (fleet->list.over > over && fleet->stale.count < STALE_MAX &&
	    eb_ban_shared_is_old(value, value_len, fleet->wall_ns - OVER_NS) &&
	    eb_ban_parse_field(field, field_len, &prefix))
		(void)append(&fleet->stale, &prefix, false);
}

static void on_scanned(const struct eb_store_result *result, void *arg)
{
	struct eb_ban_fleet *fleet = arg;

	if (!fleet->passing)
		return;
	if (result->error && result->error != -ELOOP) {
		end_pass(fleet, result->text);
		return;
	}
	fleet->unread = false;
	fleet->seen = fleet->found;
	memset(fleet->refused, 0, sizeof(fleet->refused));
	apply(fleet);
	log_refused(fleet);
	begin_writing(fleet);
}

/* Another time, another writer: there is something new. None at all: Redis has lost it. */
static bool is_seen(const struct eb_ban_fleet *fleet)
{
	const struct eb_store_meta *found = &fleet->found, *seen = &fleet->seen;

	return !fleet->unread && found->saved_at_ns == seen->saved_at_ns &&
	       strcmp(found->boot_id, seen->boot_id) == 0 && strcmp(found->agent, seen->agent) == 0;
}

static void on_meta(const struct eb_store_result *result, const struct eb_store_meta *meta, void *arg)
{
	struct eb_ban_fleet *fleet = arg;
	int err;

	if (!fleet->passing)
		return;
	if (result->error) {
		end_pass(fleet, result->text);
		return;
	}
	fleet->found = *meta;
	if (!meta->saved_at_ns && fleet->seen.saved_at_ns)
		fleet->doubtful = true;
	if (is_seen(fleet) && !fleet->doubtful) {
		begin_writing(fleet);
		return;
	}
	fleet->fields = 0;
	fleet->list.max = fleet->max;
	err = eb_store_scan(fleet->store, on_field, on_scanned, fleet);
	if (err)
		end_pass(fleet, strerror(-err));
}

static int on_tick(sd_event_source *source, uint64_t usec, void *arg)
{
	struct eb_ban_fleet *fleet = arg;

	(void)usec;
	if (!fleet->passing && eb_store_is_up(fleet->store)) {
		fleet->wall_ns = eb_wallclock_ns();
		fleet->now_ns = eb_monotonic_ns();
		fleet->passing = !eb_store_read_meta(fleet->store, on_meta, fleet);
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
		fleet->doubtful = true;
}

/* What was written over the lost connection may be lost with it. */
static void on_down(const char *text, void *arg)
{
	struct eb_ban_fleet *fleet = arg;

	(void)text;
	fleet->doubtful = true;
}

/* ---- life ---- */

int eb_ban_fleet_new(sd_event *loop, const struct eb_config *config, struct eb_bans *bans, struct eb_ban_fleet **out)
{
	struct eb_ban_fleet *fleet = calloc(1, sizeof(*fleet));
	struct eb_store_events events = { .down = on_down, .arg = fleet };
	int err;

	if (!fleet)
		return -ENOMEM;
	fleet->bans = bans;
	fleet->tick_ns = config->fleet.tick_ns;
	fleet->max = config->bans_max;
	fleet->doubtful = fleet->unread = true;
	fleet->watcher = (struct eb_ban_watcher){ .changed = on_change, .arg = fleet };
	eb_boot_id(fleet->boot_id);
	snprintf(fleet->node, sizeof(fleet->node), "%s", config->node);
	err = eb_store_redis_new(loop, config->redis, NULL, config->fleet.name, EB_STORE_FLEET_BANS, &events,
				 &fleet->store);
	if (!err)
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
	fleet->passing = false;
	eb_store_free(fleet->store);
	eb_ban_list_clear(&fleet->list);
	clear(&fleet->changed);
	clear(&fleet->writing);
	clear(&fleet->stale);
	free(fleet->lifts);
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
	return json_pack("{s:I, s:o, s:o}", "fields", (json_int_t)fleet->fields, "refused", refused, "last_error",
			 eb_printable_json(eb_store_last_error(fleet->store)));
}
