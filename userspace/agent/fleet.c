// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/fleet.h"
#include "agent/timer.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/printable.h"
#include "config/config_redis.h"
#include "maps/spent.h"
#include "policy/rules.h"
#include "store/exchange.h"

#define SECOND_NS 1000000000ULL
#define TICKS_PER_US (1000 * EB_TICKS_PER_NS)

/* A slice of a walk: so many sets are looked at before the loop gets its turn; a millisecond or two. */
#define SLICE_SETS 32768

/* How often a node says that it is there. */
#define BEAT_NS SECOND_NS

/* What a lane is to be told: what was charged since, or first all debts. */
enum telling { TELL_SINCE, WANTS_VIEWS, TELL_VIEWS };

struct eb_fleet {
	struct eb_dataplane *dataplane;
	struct eb_fleet_config config;
	char node[256];
	struct eb_spent_table *spent;
	struct eb_exchange *exchange;
	sd_event_source *timer, *slice;
	struct eb_policy *policy; /* of the walk */
	enum telling telling[EB_EXCHANGE_LANES];

	/* The walk under way. */
	bool walking;
	bool waits;          /* for the answer of a lane */
	bool is_unanswered;  /* nothing is told meanwhile, as the fleet is lost, and what was told has no answer */
	bool is_partial;     /* something has to wait for the next walk */
	bool skips_packets;  /* of the bucket where it waits: they were told */
	bool of_all;         /* not only of what changed */
	uint32_t visited_to, visiting_to; /* collections of changes: what the last whole walk saw, and this one sees */
	struct eb_spent_cursor cursor;
	uint64_t walk_ns, now, found;

	uint64_t covered_ns; /* CLOCK_MONOTONIC: what was charged before it has been sent / answered */
	uint64_t settled_ns;
	uint64_t ticks_unsettled; /* since settled_ns: an agent that stood still has lost nobody */
	bool is_lost, is_down_logged, is_refused_logged;

	/* The nodes. */
	uint64_t beat_ns;
	bool has_beaten, has_namesake;
	struct eb_exchange_node *nodes;
	size_t node_count;
	unsigned int alive; /* this one included */
	int64_t clock_offset_us;
	uint64_t told, heard, views, refused, sources;
};

/* ---- what was charged ---- */

static uint64_t to_us(uint64_t ticks)
{
	return (ticks + TICKS_PER_US - 1) / TICKS_PER_US;
}

static const struct eb_rule *find_shared(const struct eb_policy *policy, const struct eb_source *source, int *index)
{
	*index = eb_rules_find_id(policy, source->family, source->rule_id);
	return *index >= 0 && policy->rules[*index].shared ? &policy->rules[*index] : NULL;
}

/* One limit of a bucket that a walk visits. */
struct limit_visit {
	const struct eb_limit *limit;
	bool of_bytes;
	uint64_t full_at, spent;
	__u64 *told, *own;
	__u64 *seen, *charged, *charged_to; /* all can be NULL */
};

/* Of the bucket's debt: what was charged for other nodes, as Redis did not answer. */
static uint64_t charged_for_others(const struct limit_visit *visit, uint64_t now)
{
	return visit->charged && eb_gcra_debt(*visit->charged_to, now) ? *visit->charged : 0;
}

static void make_item(const struct eb_fleet *fleet, const struct eb_bucket_view *view, const struct eb_rule *rule,
		      int index, const struct limit_visit *visit, struct eb_exchange_item *out)
{
	struct eb_exchange_field field;

	*out = (struct eb_exchange_item){
		.source = view->source, .of_bytes = visit->of_bytes, .is_careful = rule->careful,
		.full_at = visit->full_at, .told = visit->told, .own = visit->own, .charged = visit->charged,
		.of_others = charged_for_others(visit, fleet->now),
	};
	eb_exchange_field_name(&view->source, fleet->policy, index, visit->of_bytes, &field);
	eb_exchange_field_format(&field, out->field);
}

/* As a bucket that only this node charges: what is told now was charged since the last walk. */
static void count_own(__u64 *own, uint64_t ticks, uint64_t now)
{
	*own = (*own > now ? *own : now) + ticks;
}

/* What is rounded up is not told a second time. */
static void tell_since(struct eb_fleet *fleet, unsigned int lane, struct eb_exchange_item *item,
		       const struct limit_visit *visit)
{
	item->amount_us = to_us(eb_spent_since(visit->spent, *visit->told));
	if (!item->amount_us)
		return;
	if (eb_exchange_add(fleet->exchange, lane, item, false, fleet->covered_ns / 1000)) {
		fleet->is_partial = true;
		return;
	}
	*visit->told += item->amount_us * TICKS_PER_US;
	count_own(visit->own, item->amount_us * TICKS_PER_US, fleet->now);
	fleet->found++;
}

/* What the fleet knew of the bucket when this node heard of it last: without what was charged for other nodes, which
 * tell that themselves. What was charged since follows with the next walk, and stays charged here until then. False
 * when it has to wait. */
static bool tell_view(struct eb_fleet *fleet, unsigned int lane, struct eb_exchange_item *item,
		      const struct limit_visit *visit)
{
	uint64_t since = eb_spent_since(visit->spent, *visit->told);
	uint64_t known = eb_gcra_debt_after(eb_gcra_debt(visit->full_at, fleet->now), since);

	item->amount_us = to_us(eb_gcra_debt_after(known, item->of_others));
	item->full_at = eb_gcra_full_at(fleet->now, known);
	if (item->amount_us && eb_exchange_add(fleet->exchange, lane, item, true, fleet->covered_ns / 1000)) {
		fleet->waits = true;
		return false;
	}
	fleet->is_partial |= since != 0;
	fleet->views += item->amount_us != 0;
	return true;
}

static bool takes_its_part(const struct eb_fleet *fleet)
{
	return fleet->is_lost && fleet->config.on_lost == EB_ON_LOST_SHARE;
}

/* While Redis does not answer: as if every other node had admitted as much as this one. */
static void charge_for_others(struct eb_fleet *fleet, const struct eb_source *source, const struct limit_visit *visit)
{
	uint64_t told = eb_spent_since(visit->spent, *visit->told), seen = eb_spent_since(visit->spent, *visit->seen);
	uint64_t since = told < seen ? told : seen, others = fleet->alive - 1;
	uint64_t debt = eb_gcra_debt(visit->full_at, fleet->now), room = eb_gcra_debt_after(EB_BURST_MAX, debt);
	uint64_t ticks = others && since < room / others ? since * others : room;

	if (!since || !others)
		return;
	*visit->seen = visit->spent;
	if (eb_buckets_adjust(eb_dataplane_buckets(fleet->dataplane), source, visit->of_bytes, ticks, fleet->now))
		return;
	*visit->charged = charged_for_others(visit, fleet->now) + ticks;
	*visit->charged_to = eb_gcra_full_at(fleet->now, debt + ticks);
}

static bool visit_limit(struct eb_fleet *fleet, const struct eb_bucket_view *view, const struct eb_rule *rule,
			int index, const struct limit_visit *visit)
{
	struct eb_exchange_item item;
	unsigned int lane;

	if (!visit->limit->mult)
		return true;
	if (!eb_exchange_is_up(fleet->exchange) || fleet->is_unanswered) {
		fleet->is_partial = true;
		if (takes_its_part(fleet) && visit->seen)
			charge_for_others(fleet, &view->source, visit);
		return true;
	}
	make_item(fleet, view, rule, index, visit, &item);
	lane = eb_exchange_lane(item.field);
	if (fleet->telling[lane] == TELL_VIEWS)
		return tell_view(fleet, lane, &item, visit);
	if (fleet->telling[lane] == TELL_SINCE)
		tell_since(fleet, lane, &item, visit);
	else
		fleet->is_partial = true;
	return true;
}

static bool visit_bucket(const struct eb_bucket_view *view, const struct eb_spent_way *way, void *arg)
{
	struct eb_fleet *fleet = arg;
	struct limit_visit packets = { .full_at = view->packets_full_at, .spent = way->spent.packets,
				       .told = &way->told->packets, .own = &way->own->packets,
				       .seen = way->seen ? &way->seen->packets : NULL,
				       .charged = way->charged ? &way->charged->packets : NULL,
				       .charged_to = way->charged_to ? &way->charged_to->packets : NULL };
	struct limit_visit bytes = { .of_bytes = true, .full_at = view->bytes_full_at, .spent = way->spent.bytes,
				     .told = &way->told->bytes, .own = &way->own->bytes,
				     .seen = way->seen ? &way->seen->bytes : NULL,
				     .charged = way->charged ? &way->charged->bytes : NULL,
				     .charged_to = way->charged_to ? &way->charged_to->bytes : NULL };
	int index;
	const struct eb_rule *rule = find_shared(fleet->policy, &view->source, &index);

	if (!rule) {
		*way->told = way->spent;
		return true;
	}
	packets.limit = &rule->packets;
	bytes.limit = &rule->bytes;
	if (!fleet->skips_packets && !visit_limit(fleet, view, rule, index, &packets))
		return false;
	fleet->skips_packets = !visit_limit(fleet, view, rule, index, &bytes);
	return !fleet->skips_packets;
}

/* ---- walks ---- */

static void schedule_slice(struct eb_fleet *fleet)
{
	(void)sd_event_source_set_enabled(fleet->slice, SD_EVENT_ONESHOT);
}

static bool has_careful_rule(const struct eb_policy *policy)
{
	for (__u32 i = 0; i < policy->rule_count; i++)
		if (policy->rules[i].careful)
			return true;
	return false;
}

static void want_views(struct eb_fleet *fleet)
{
	for (int i = 0; i < EB_EXCHANGE_LANES; i++)
		fleet->telling[i] = WANTS_VIEWS;
}

/* Other rules have other buckets, in other entries, which took over debts that were told under other names. */
static int look_at_rules(struct eb_fleet *fleet)
{
	__u32 before = fleet->policy->generation;
	int err = eb_maps_policy(eb_dataplane_maps(fleet->dataplane), fleet->policy);

	if (!err && fleet->policy->generation != before) {
		want_views(fleet);
		eb_spent_forget_charged(fleet->spent);
	}
	if (!err && has_careful_rule(fleet->policy))
		err = eb_spent_keep_heard(fleet->spent);
	return err;
}

static void begin_walk(struct eb_fleet *fleet)
{
	if (look_at_rules(fleet))
		return;
	fleet->walking = true;
	fleet->is_unanswered = takes_its_part(fleet) && !eb_exchange_are_all_free(fleet->exchange);
	fleet->waits = fleet->is_partial = fleet->of_all = fleet->skips_packets = false;
	fleet->cursor = (struct eb_spent_cursor){ .set = 0 };
	fleet->walk_ns = eb_monotonic_ns();
	fleet->found = 0;
	fleet->visiting_to = eb_buckets_collect_changes(eb_dataplane_buckets(fleet->dataplane));
	for (int i = 0; i < EB_EXCHANGE_LANES && eb_exchange_is_up(fleet->exchange) && !fleet->is_unanswered; i++) {
		if (fleet->telling[i] != WANTS_VIEWS || !eb_exchange_is_free(fleet->exchange, i))
			continue;
		fleet->telling[i] = TELL_VIEWS;
		fleet->of_all = true;
	}
	schedule_slice(fleet);
}

static void settle(struct eb_fleet *fleet)
{
	if (fleet->walking || !eb_exchange_is_up(fleet->exchange) || !eb_exchange_are_all_free(fleet->exchange))
		return;
	fleet->settled_ns = fleet->covered_ns;
	fleet->ticks_unsettled = 0;
	if (fleet->is_partial)
		begin_walk(fleet);
}

static void end_walk(struct eb_fleet *fleet)
{
	fleet->walking = false;
	for (int i = 0; i < EB_EXCHANGE_LANES; i++)
		if (fleet->telling[i] == TELL_VIEWS)
			fleet->telling[i] = TELL_SINCE;
	fleet->told += fleet->found;
	fleet->sources = fleet->found;
	if (!fleet->is_partial) {
		fleet->covered_ns = fleet->walk_ns;
		fleet->visited_to = fleet->visiting_to;
	}
	eb_exchange_send(fleet->exchange);
	if (!fleet->is_partial)
		settle(fleet);
}

/* What was to be viewed still is. */
static void abandon_walk(struct eb_fleet *fleet)
{
	fleet->walking = fleet->waits = false;
	for (int i = 0; i < EB_EXCHANGE_LANES; i++)
		if (fleet->telling[i] == TELL_VIEWS)
			fleet->telling[i] = WANTS_VIEWS;
}

static int on_slice(sd_event_source *source, void *arg)
{
	struct eb_fleet *fleet = arg;
	int ret;

	(void)source;
	if (!fleet->walking)
		return 0;
	fleet->now = eb_buckets_now();
	ret = eb_spent_walk(fleet->spent, &fleet->cursor, SLICE_SETS, fleet->visited_to, fleet->of_all,
			    visit_bucket, fleet);
	if (ret <= 0)
		end_walk(fleet);
	else if (!fleet->waits)
		schedule_slice(fleet);
	return 0;
}

/* ---- what Redis says ---- */

/* A debt of the fleet's in place of what was this node's own when it told: what was charged here since stays. The time
 * that the answer took counts as debt, too: a source gets at most so much less. */
static void take_debt(struct eb_fleet *fleet, const struct eb_exchange_item *item, uint64_t now)
{
	uint64_t debt = item->debt_us * TICKS_PER_US, own = eb_gcra_debt(item->full_at, now);
	int err = eb_buckets_adjust(eb_dataplane_buckets(fleet->dataplane), &item->source, item->of_bytes,
				    (int64_t)(debt - own), now);

	if (!err && item->charged)
		*item->charged = eb_gcra_debt_after(*item->charged, item->of_others);
	if (!err && item->is_careful)
		(void)eb_spent_hear(fleet->spent, &item->source, item->of_bytes, eb_gcra_full_at(now, debt));
}

static void on_answered(unsigned int lane, const struct eb_exchange_item *items, unsigned int count, void *arg)
{
	struct eb_fleet *fleet = arg;
	uint64_t now = eb_buckets_now();

	(void)lane;
	for (unsigned int i = 0; i < count; i++)
		take_debt(fleet, &items[i], now);
	fleet->heard += count;
	fleet->is_refused_logged = false;
	if (fleet->waits) {
		fleet->waits = false;
		schedule_slice(fleet);
	}
	settle(fleet);
}

static void on_wants_views(unsigned int lane, const struct eb_exchange_item *items, unsigned int count, void *arg)
{
	struct eb_fleet *fleet = arg;

	for (unsigned int i = 0; i < count; i++) {
		*items[i].told -= items[i].amount_us * TICKS_PER_US;
		*items[i].own -= items[i].amount_us * TICKS_PER_US;
	}
	fleet->is_partial = true;
	fleet->telling[lane] = WANTS_VIEWS;
	settle(fleet);
}

static void on_refused(const char *text, void *arg)
{
	struct eb_fleet *fleet = arg;

	fleet->refused++;
	if (!fleet->is_refused_logged)
		eb_warning("redis refused to share buckets, trying again", eb_str("fleet", fleet->config.name),
			   eb_str("error", text), eb_str("hint", "see the ACL in docs/operations.md"));
	fleet->is_refused_logged = true;
}

static void on_up(void *arg)
{
	struct eb_fleet *fleet = arg;

	eb_info("sharing buckets with the fleet", eb_str("fleet", fleet->config.name),
		eb_str("peer", eb_exchange_peer(fleet->exchange)));
	fleet->is_down_logged = false;
	fleet->beat_ns = 0;
}

static void on_down(const char *text, void *arg)
{
	struct eb_fleet *fleet = arg;

	if (!fleet->is_down_logged)
		eb_warning("the fleet cannot be reached, trying again; packets are limited as before",
			   eb_str("fleet", fleet->config.name), eb_str("error", text));
	fleet->is_down_logged = true;
	if (fleet->walking && fleet->waits)
		abandon_walk(fleet);
}

/* ---- the nodes ---- */

/* Careful rules divide the burst among them, unless this one is to limit as if it were alone. */
static void publish_nodes(struct eb_fleet *fleet)
{
	bool is_alone = fleet->is_lost && fleet->config.on_lost == EB_ON_LOST_NODE;

	(void)eb_maps_set_fleet_nodes(eb_dataplane_maps(fleet->dataplane), is_alone ? 1 : fleet->alive);
}

static void note_namesake(struct eb_fleet *fleet, bool has_namesake)
{
	if (has_namesake && !fleet->has_namesake)
		eb_error("another agent of the fleet has the name of this node; the budget holds, but it counts as one",
			 eb_str("fleet", fleet->config.name), eb_str("node", fleet->node),
			 eb_str("hint", "give each host a unique node:"));
	fleet->has_namesake = has_namesake;
}

static bool is_seen(const struct eb_fleet *fleet, const struct eb_exchange_node *node)
{
	return node->seen_us * 1000 < fleet->config.lost_after_ns + BEAT_NS;
}

/* A server that has forgotten this node has forgotten its buckets, too. Without this, only those would be told again
 * that are charged here again, and a source could begin anew on another node. */
static void tell_again(struct eb_fleet *fleet)
{
	eb_warning("redis has lost what the fleet had written; telling it again", eb_str("fleet", fleet->config.name));
	if (fleet->walking)
		abandon_walk(fleet);
	want_views(fleet);
	begin_walk(fleet);
}

static void on_nodes(int error, const char *text, const struct eb_exchange_nodes *nodes, void *arg)
{
	struct eb_fleet *fleet = arg;
	struct eb_exchange_node *copy = error ? NULL : calloc(nodes->count + 1, sizeof(*copy));
	bool has_namesake = false, is_listed = false;

	if (error && error != -ENOTCONN)
		on_refused(text, fleet);
	if (!copy)
		return;
	fleet->clock_offset_us = (int64_t)(eb_wallclock_ns() / 1000 - nodes->server_us);
	fleet->alive = 1;
	for (size_t i = 0; i < nodes->count; i++) {
		const struct eb_exchange_node *node = &nodes->list[i];
		bool is_self = !strcmp(node->name, fleet->node);

		copy[i] = *node;
		is_listed |= is_self;
		fleet->alive += !is_self && is_seen(fleet, node);
		has_namesake |= is_self && strcmp(node->incarnation, eb_exchange_incarnation(fleet->exchange)) != 0;
	}
	publish_nodes(fleet);
	if (fleet->has_beaten && !is_listed)
		tell_again(fleet);
	note_namesake(fleet, has_namesake && fleet->has_beaten);
	fleet->has_beaten = true;
	free(fleet->nodes);
	fleet->nodes = copy;
	fleet->node_count = nodes->count;
}

static uint64_t lag_ns(const struct eb_fleet *fleet)
{
	uint64_t since = eb_monotonic_ns() - fleet->settled_ns;

	return since > fleet->config.tick_ns ? since - fleet->config.tick_ns : 0;
}

static void beat(struct eb_fleet *fleet)
{
	struct eb_exchange_node self = {
		.clock_offset_us = fleet->clock_offset_us, .lag_us = lag_ns(fleet) / 1000, .sources = fleet->sources,
	};
	uint64_t now = eb_monotonic_ns();

	if (now - fleet->beat_ns < BEAT_NS || !eb_exchange_is_up(fleet->exchange))
		return;
	memcpy(self.name, fleet->node, sizeof(self.name));
	if (eb_exchange_beat(fleet->exchange, &self, on_nodes, fleet) == 0)
		fleet->beat_ns = now;
}

/* ---- ticks ---- */

static const char *on_lost_name(const struct eb_fleet *fleet)
{
	return fleet->config.on_lost == EB_ON_LOST_SHARE ? "share" : "node";
}

static void look_whether_lost(struct eb_fleet *fleet)
{
	bool is_lost = ++fleet->ticks_unsettled * fleet->config.tick_ns > fleet->config.lost_after_ns;

	if (is_lost && !fleet->is_lost)
		eb_error("the fleet is lost", eb_str("fleet", fleet->config.name), eb_num("nodes", fleet->alive),
			 eb_str("on_lost", on_lost_name(fleet)));
	else if (!is_lost && fleet->is_lost)
		eb_info("the fleet is back", eb_str("fleet", fleet->config.name));
	if (is_lost != fleet->is_lost) {
		fleet->is_lost = is_lost;
		publish_nodes(fleet);
	}
	if (takes_its_part(fleet))
		(void)eb_spent_keep_seen(fleet->spent);
}

static int on_tick(sd_event_source *source, uint64_t usec, void *arg)
{
	struct eb_fleet *fleet = arg;

	(void)usec;
	look_whether_lost(fleet);
	if (fleet->walking && fleet->waits && takes_its_part(fleet))
		abandon_walk(fleet);
	beat(fleet);
	eb_fleet_tell(fleet);
	return eb_timer_restart(source, fleet->config.tick_ns);
}

void eb_fleet_tell(struct eb_fleet *fleet)
{
	if (!fleet)
		return;
	if (eb_exchange_is_up(fleet->exchange))
		eb_exchange_send(fleet->exchange); /* what was refused */
	if (!fleet->walking)
		begin_walk(fleet);
}

/* ---- life ---- */

bool eb_fleet_is_same(const struct eb_config *a, const struct eb_config *b)
{
	return !strcmp(a->fleet.name, b->fleet.name) && a->fleet.tick_ns == b->fleet.tick_ns &&
	       a->fleet.lost_after_ns == b->fleet.lost_after_ns && a->fleet.on_lost == b->fleet.on_lost &&
	       eb_redis_config_equal(a->redis, b->redis);
}

static int add_timers(struct eb_fleet *fleet, sd_event *loop)
{
	int err = sd_event_add_defer(loop, &fleet->slice, on_slice, fleet);

	if (err >= 0)
		err = sd_event_source_set_enabled(fleet->slice, SD_EVENT_OFF);
	if (err >= 0)
		err = sd_event_add_time_relative(loop, &fleet->timer, CLOCK_MONOTONIC,
						 eb_random_below(fleet->config.tick_ns) / 1000, 1000, on_tick, fleet);
	return err < 0 ? err : 0;
}

/* What an agent before this one saw, since the maps were made; until Redis answers. */
static unsigned int nodes_before(const struct eb_maps *maps)
{
	__u32 nodes;

	return eb_maps_fleet_nodes(maps, &nodes) == 0 && nodes ? nodes : 1;
}

int eb_fleet_new(sd_event *loop, const struct eb_config *config, struct eb_dataplane *dataplane,
		 struct eb_fleet **out)
{
	struct eb_fleet *fleet = calloc(1, sizeof(*fleet));
	const struct eb_exchange_events events = {
		.up = on_up, .down = on_down, .answered = on_answered, .wants_views = on_wants_views,
		.refused = on_refused, .arg = fleet,
	};
	int err = fleet ? 0 : -ENOMEM;

	if (err)
		return err;
	fleet->dataplane = dataplane;
	fleet->config = config->fleet;
	snprintf(fleet->node, sizeof(fleet->node), "%s", config->node);
	fleet->alive = nodes_before(eb_dataplane_maps(dataplane));
	fleet->settled_ns = fleet->covered_ns = eb_monotonic_ns();
	want_views(fleet);
	fleet->policy = calloc(1, sizeof(*fleet->policy));
	err = fleet->policy ? eb_maps_policy(eb_dataplane_maps(dataplane), fleet->policy) : -ENOMEM;
	if (!err)
		err = eb_spent_open(eb_dataplane_maps(dataplane), eb_dataplane_buckets(dataplane), &fleet->spent);
	if (!err)
		err = eb_exchange_new(loop, config->redis, config->fleet.name, &events, &fleet->exchange);
	if (!err)
		err = add_timers(fleet, loop);
	if (err) {
		eb_fleet_free(fleet);
		return err;
	}
	*out = fleet;
	return 0;
}

void eb_fleet_free(struct eb_fleet *fleet)
{
	if (!fleet)
		return;
	sd_event_source_disable_unref(fleet->timer);
	sd_event_source_disable_unref(fleet->slice);
	eb_exchange_free(fleet->exchange);
	eb_spent_close(fleet->spent);
	free(fleet->policy);
	free(fleet->nodes);
	free(fleet);
}

/* ---- status ---- */

void eb_fleet_figures(const struct eb_fleet *fleet, struct eb_fleet_figures *out)
{
	*out = (struct eb_fleet_figures){
		.nodes = fleet->alive,
		.is_up = eb_exchange_is_up(fleet->exchange),
		.is_lost = fleet->is_lost,
		.has_namesake = fleet->has_namesake,
		.lag_ns = lag_ns(fleet),
		.told = fleet->told,
		.heard = fleet->heard,
		.views = fleet->views,
		.refused = fleet->refused,
		.sources = fleet->sources,
		.clock_offset_ns = fleet->clock_offset_us * 1000,
	};
}

static json_t *nodes_status(const struct eb_fleet *fleet)
{
	json_t *list = json_array();

	for (size_t i = 0; i < fleet->node_count; i++) {
		const struct eb_exchange_node *node = &fleet->nodes[i];

		json_array_append_new(list, json_pack("{s:o, s:b, s:f, s:f, s:f, s:I}", "node",
						      eb_printable_json(node->name), "seen", is_seen(fleet, node),
						      "seen_seconds_ago", node->seen_us / 1e6, "clock_offset_seconds",
						      node->clock_offset_us / 1e6, "lag_seconds", node->lag_us / 1e6,
						      "changed", (json_int_t)node->sources));
	}
	return list;
}

int eb_fleet_own_debt(const struct eb_fleet *fleet, const char *limit, uint64_t *debt_ns)
{
	struct eb_exchange_field field;
	struct eb_spent_way way;
	struct eb_source source;
	uint64_t since, own;
	int err;

	if (!eb_exchange_field_parse(limit, &field))
		return -EINVAL;
	source = eb_record_source(&field.record, field.rule_id);
	err = fleet ? eb_spent_find(fleet->spent, &source, &way) : -ENOENT;
	if (err)
		return err;
	since = field.of_bytes ? eb_spent_since(way.spent.bytes, way.told->bytes)
			       : eb_spent_since(way.spent.packets, way.told->packets);
	own = field.of_bytes ? way.own->bytes : way.own->packets;
	*debt_ns = (eb_gcra_debt(own, eb_buckets_now()) + since) / EB_TICKS_PER_NS;
	return 0;
}

json_t *eb_fleet_status(const struct eb_fleet *fleet)
{
	struct eb_fleet_figures figures;

	if (!fleet)
		return json_null();
	eb_fleet_figures(fleet, &figures);
	return json_pack("{s:s, s:s, s:b, s:b, s:b, s:i, s:f, s:I, s:I, s:I, s:I, s:f, s:o}", "name",
			 fleet->config.name, "on_lost", on_lost_name(fleet), "up", figures.is_up, "lost",
			 figures.is_lost, "namesake", figures.has_namesake, "nodes_seen", (int)figures.nodes,
			 "lag_seconds", figures.lag_ns / 1e9, "told", (json_int_t)figures.told, "heard",
			 (json_int_t)figures.heard, "views", (json_int_t)figures.views, "changed",
			 (json_int_t)figures.sources, "clock_offset_seconds", figures.clock_offset_ns / 1e9, "nodes",
			 nodes_status(fleet));
}
