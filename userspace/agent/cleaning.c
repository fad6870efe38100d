// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/cleaning.h"
#include "agent/timer.h"
#include "base/clock.h"
#include "gcra.h"
#include "policy/rules.h"
#include "store/record.h"
#include "store/restore.h"

#define SECOND_NS 1000000000ULL
#define EVERY_NS (600 * SECOND_NS)
#define AGAIN_NS (60 * SECOND_NS) /* when there was more to do */

/* After a step of the scan and what follows from it, the cleaning rests for so many times the CPU time of this thread
 * since the step began: it takes at most a tenth of a core. Other work in that time counts too, so there is a limit. */
#define REST_FACTOR 9
#define REST_MAX_NS SECOND_NS

/* Removed before the scan goes on; a step of it has 5000 fields, or a few more. */
#define STALE_MAX 16384

struct eb_cleaning {
	struct eb_dataplane *dataplane;
	const struct eb_policy *policy;
	struct eb_store *store;
	eb_cleaning_settled settled;
	void *arg;
	sd_event_source *timer, *removal, *rest;
	bool stopped, is_held, shared;
	bool is_due;
	bool scanned;  /* to the end */
	bool has_read; /* a step, after which there was no rest yet */
	bool is_resting;
	uint64_t step_began_ns; /* CPU time of this thread */
	bool has_more; /* some was left */
	size_t removing; /* fields on their way */
	char (*stale)[EB_STORE_FIELD_MAX]; /* NULL unless a cleaning is under way */
	size_t count, sent;
};

static void end(struct eb_cleaning *cleaning)
{
	if (cleaning->has_more)
		(void)eb_timer_restart(cleaning->timer, AGAIN_NS);
	free(cleaning->stale);
	cleaning->stale = NULL;
	cleaning->count = cleaning->sent = 0;
	eb_buckets_unmap(eb_dataplane_buckets(cleaning->dataplane));
}

/* ---- looking buckets up ---- */

enum debt { DEBT_NONE, DEBT_OWED, DEBT_UNKNOWN };

/* What the bucket of a record owes; nothing where there is no bucket. What belongs to no rule is not known. */
static enum debt debt_of(const struct eb_cleaning *cleaning, const struct eb_record *record)
{
	int index = eb_restore_find_rule(cleaning->policy, record);
	struct eb_bucket_view view;
	struct eb_source source;
	uint64_t now;
	int err;

	if (index < 0)
		return DEBT_UNKNOWN;
	source = eb_record_source(record, eb_rules_id_of(&cleaning->policy->rules[index], record->source.family));
	err = eb_buckets_find(eb_dataplane_buckets(cleaning->dataplane), &source, &view);
	now = eb_buckets_now();
	if (err)
		return err == -ENOENT ? DEBT_NONE : DEBT_UNKNOWN;
	return eb_gcra_debt(view.packets_full_at, now) || eb_gcra_debt(view.bytes_full_at, now) ? DEBT_OWED : DEBT_NONE;
}

/* A pass that came since it was found may have written it. */
static bool is_stale_still(const struct eb_cleaning *cleaning, const char *field)
{
	struct eb_record record;

	return eb_record_parse(field, strlen(field), "0 0", 3, &record) == EB_RECORD_OK &&
	       debt_of(cleaning, &record) != DEBT_OWED;
}

/* ---- removing ---- */

static void go_on(struct eb_cleaning *cleaning);

static void on_removed(const struct eb_store_result *result, void *arg)
{
	struct eb_cleaning *cleaning = arg;
	size_t fields = cleaning->removing;

	cleaning->removing = 0;
	if (cleaning->stopped)
		return;
	cleaning->has_more |= result->error != 0;
	cleaning->settled(result, fields, cleaning->arg);
	go_on(cleaning);
}

/* Returns 0 when there is no more to remove, 1 when a batch is on its way, or negative errno. */
static int remove_some(struct eb_cleaning *cleaning)
{
	struct eb_store_batch *batch = calloc(1, sizeof(*batch));
	int ret = 0;

	if (!batch)
		return -ENOMEM;
	while (batch->count < EB_STORE_BATCH_ITEMS && cleaning->sent < cleaning->count) {
		const char *field = cleaning->stale[cleaning->sent++];

		if (is_stale_still(cleaning, field))
			memcpy(batch->items[batch->count++].field, field, EB_STORE_FIELD_MAX);
	}
	if (batch->count)
		ret = eb_store_write(cleaning->store, batch, on_removed, cleaning);
	if (!ret)
		cleaning->removing = batch->count;
	free(batch);
	return ret ? ret : cleaning->removing != 0;
}

static uint64_t cpu_time_ns(void)
{
	struct timespec now = { 0 };

	(void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * SECOND_NS + now.tv_nsec;
}

static void begin_rest(struct eb_cleaning *cleaning)
{
	uint64_t rest_ns = REST_FACTOR * (cpu_time_ns() - cleaning->step_began_ns);

	cleaning->has_read = false;
	cleaning->is_resting = true;
	(void)eb_timer_restart(cleaning->rest, rest_ns < REST_MAX_NS ? rest_ns : REST_MAX_NS);
}

static int on_rested(sd_event_source *source, uint64_t usec, void *arg)
{
	struct eb_cleaning *cleaning = arg;

	(void)source;
	(void)usec;
	cleaning->is_resting = false;
	go_on(cleaning);
	return 0;
}

/* Removes what was found, a batch after the other; rests; then reads on. */
static void go_on(struct eb_cleaning *cleaning)
{
	int ret;

	if (!cleaning->stale || cleaning->is_held || cleaning->removing || cleaning->is_resting)
		return;
	ret = remove_some(cleaning);
	if (ret > 0)
		return;
	cleaning->has_more |= ret < 0;
	cleaning->count = cleaning->sent = 0;
	if (cleaning->scanned) {
		end(cleaning);
	} else if (cleaning->has_read) {
		begin_rest(cleaning);
	} else {
		cleaning->step_began_ns = cpu_time_ns();
		eb_store_hold_scan(cleaning->store, false);
	}
}

static int on_removal(sd_event_source *source, void *arg)
{
	(void)source;
	go_on(arg);
	return 0;
}

/* ---- reading ---- */

static void on_field(const char *field, size_t field_len, const char *value, size_t value_len, void *arg)
{
	struct eb_cleaning *cleaning = arg;
	uint64_t now = eb_wallclock_ns();
	struct eb_record record;
	bool is_past;

	if (cleaning->stopped)
		return;
	if (!cleaning->has_read) {
		cleaning->has_read = true;
		eb_store_hold_scan(cleaning->store, true);
		(void)sd_event_source_set_enabled(cleaning->removal, SD_EVENT_ONESHOT);
	}
	if (field_len >= EB_STORE_FIELD_MAX ||
	    eb_record_parse(field, field_len, value, value_len, &record) != EB_RECORD_OK)
		return;
	is_past = record.packets_full_at_ns < now && record.bytes_full_at_ns < now;
	if (!is_past && (cleaning->shared || debt_of(cleaning, &record) != DEBT_NONE))
		return;
	if (cleaning->count == STALE_MAX) {
		cleaning->has_more = true;
		return;
	}
	memcpy(cleaning->stale[cleaning->count++], field, field_len + 1);
}

static void on_scanned(const struct eb_store_result *result, void *arg)
{
	struct eb_cleaning *cleaning = arg;

	/* What the server refuses, or does not end, is tried again in its time. */
	cleaning->has_more |= result->error == -ENOTCONN || result->error == -ETIMEDOUT;
	cleaning->scanned = true;
	if (!cleaning->stopped)
		(void)sd_event_source_set_enabled(cleaning->removal, SD_EVENT_ONESHOT);
}

static void begin_if_due(struct eb_cleaning *cleaning)
{
	if (!cleaning->is_due || cleaning->is_held)
		return;
	cleaning->is_due = false;
	cleaning->stale = calloc(STALE_MAX, sizeof(*cleaning->stale));
	if (!cleaning->stale)
		return;
	cleaning->scanned = cleaning->has_more = cleaning->has_read = false;
	cleaning->step_began_ns = cpu_time_ns();
	if (!eb_store_scan(cleaning->store, on_field, on_scanned, cleaning))
		return;
	end(cleaning);
	cleaning->is_due = true; /* after the next pass: the store is away, or another scan under way */
}

static int on_timer(sd_event_source *source, uint64_t usec, void *arg)
{
	struct eb_cleaning *cleaning = arg;

	(void)usec;
	(void)eb_timer_restart(source, EVERY_NS);
	cleaning->is_due = !cleaning->stale;
	begin_if_due(cleaning);
	return 0;
}

/* ---- life ---- */

int eb_cleaning_new(sd_event *loop, struct eb_dataplane *dataplane, const struct eb_policy *policy,
		    struct eb_store *store, eb_cleaning_settled settled, void *arg, struct eb_cleaning **out)
{
	struct eb_cleaning *cleaning = calloc(1, sizeof(*cleaning));
	int err;

	if (!cleaning)
		return -ENOMEM;
	*cleaning = (struct eb_cleaning){
		.dataplane = dataplane,
		.policy = policy,
		.store = store,
		.settled = settled,
		.arg = arg,
		.is_held = true,
	};
	err = sd_event_add_time_relative(loop, &cleaning->timer, CLOCK_MONOTONIC,
					 (EVERY_NS + eb_random_below(EVERY_NS)) / 1000, 1000, on_timer, cleaning);
	if (err < 0)
		goto out;
	err = sd_event_add_time(loop, &cleaning->rest, CLOCK_MONOTONIC, 0, 1000, on_rested, cleaning);
	if (err < 0)
		goto out;
	err = sd_event_source_set_enabled(cleaning->rest, SD_EVENT_OFF);
	if (err < 0)
		goto out;
	err = sd_event_add_defer(loop, &cleaning->removal, on_removal, cleaning);
	if (err < 0)
		goto out;
	err = sd_event_source_set_enabled(cleaning->removal, SD_EVENT_OFF);
out:
	if (err < 0) {
		eb_cleaning_free(cleaning);
		return err;
	}
	*out = cleaning;
	return 0;
}

void eb_cleaning_stop(struct eb_cleaning *cleaning)
{
	if (cleaning)
		cleaning->stopped = true;
}

void eb_cleaning_free(struct eb_cleaning *cleaning)
{
	if (!cleaning)
		return;
	sd_event_source_disable_unref(cleaning->timer);
	sd_event_source_disable_unref(cleaning->removal);
	sd_event_source_disable_unref(cleaning->rest);
	free(cleaning->stale);
	free(cleaning);
}

void eb_cleaning_soon(struct eb_cleaning *cleaning, uint64_t delay_ns)
{
	(void)eb_timer_restart(cleaning->timer, delay_ns);
}

void eb_cleaning_hold(struct eb_cleaning *cleaning)
{
	cleaning->is_held = true;
	eb_store_hold_scan(cleaning->store, true);
}

void eb_cleaning_go_on(struct eb_cleaning *cleaning, bool shared)
{
	cleaning->is_held = false;
	cleaning->shared = shared;
	begin_if_due(cleaning);
	go_on(cleaning);
}

bool eb_cleaning_is_removing(const struct eb_cleaning *cleaning)
{
	return cleaning->removing;
}
