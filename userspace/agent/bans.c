// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdlib.h>

#include "agent/bans.h"
#include "agent/timer.h"
#include "base/clock.h"
#include "base/log.h"
#include "maps/bans.h"

/* Between two looks for what ran out; and between the parts of one, each of which takes about a millisecond. */
#define SWEEP_PAUSE_NS 10000000000ULL
#define SLICE_PAUSE_NS 1000000ULL

/* How often bans that rules made are counted. They are in force at once. */
#define TAKE_PAUSE_NS 100000000ULL

struct eb_ban_keeper {
	struct eb_bans *bans;
	sd_event_source *timer, *taking;
};

/* ---- what ran out ---- */

static int on_timer(sd_event_source *source, uint64_t usec, void *arg)
{
	struct eb_ban_keeper *keeper = arg;
	int left = 0;

	(void)usec;
	if (eb_bans_is_sweeping(keeper->bans) || eb_bans_next_end(keeper->bans) <= eb_monotonic_ns())
		left = eb_bans_sweep(keeper->bans);
	if (left < 0)
		eb_warning("cannot remove bans that ran out, trying again", eb_err(left));
	return eb_timer_restart(source, left > 0 ? SLICE_PAUSE_NS : SWEEP_PAUSE_NS);
}

static int on_taking(sd_event_source *source, uint64_t usec, void *arg)
{
	struct eb_ban_keeper *keeper = arg;
	int err = eb_bans_take_made(keeper->bans);

	(void)usec;
	if (err)
		eb_warning("cannot count the bans that rules made, trying again", eb_err(err));
	return eb_timer_restart(source, TAKE_PAUSE_NS);
}

int eb_ban_keeper_new(sd_event *loop, const struct eb_maps *maps, struct eb_ban_keeper **out)
{
	struct eb_ban_keeper *keeper = calloc(1, sizeof(*keeper));
	int err = keeper ? eb_bans_open(maps, true, &keeper->bans) : -ENOMEM;

	if (!err)
		err = sd_event_add_time_relative(loop, &keeper->timer, CLOCK_MONOTONIC, SWEEP_PAUSE_NS / 1000, 0,
						 on_timer, keeper);
	if (err >= 0)
		err = sd_event_add_time_relative(loop, &keeper->taking, CLOCK_MONOTONIC, TAKE_PAUSE_NS / 1000, 0,
						 on_taking, keeper);
	if (err < 0) {
		eb_ban_keeper_free(keeper);
		return err;
	}
	*out = keeper;
	return 0;
}

void eb_ban_keeper_free(struct eb_ban_keeper *keeper)
{
	if (!keeper)
		return;
	sd_event_source_disable_unref(keeper->timer);
	sd_event_source_disable_unref(keeper->taking);
	eb_bans_close(keeper->bans);
	free(keeper);
}

void eb_ban_keeper_configure(struct eb_ban_keeper *keeper, const struct eb_config *config)
{
	uint64_t memory_ns = 0;

	for (size_t i = 0; i < config->rule_count; i++)
		if (config->rules[i].penalty.max_ns > memory_ns)
			memory_ns = config->rules[i].penalty.max_ns;
	eb_bans_set_limits(keeper->bans, config->bans_max, memory_ns);
}

struct eb_bans *eb_ban_keeper_bans(const struct eb_ban_keeper *keeper)
{
	return keeper->bans;
}

json_t *eb_ban_keeper_status(const struct eb_ban_keeper *keeper, uint32_t max)
{
	json_t *from = json_object();

	for (int origin = 0; origin < EB_BAN_ORIGINS; origin++)
		json_object_set_new(from, eb_ban_origin_name(origin),
				    json_integer(eb_bans_count_of(keeper->bans, origin)));
	return json_pack("{s:I, s:I, s:o}", "count", (json_int_t)eb_bans_count(keeper->bans), "max", (json_int_t)max,
			 "from", from);
}
