// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdlib.h>

#include "agent/census.h"

/* A slice counts so many buckets, about a millisecond's worth; then the loop gets its turn. */
#define SLICE_BUCKETS 16384

/* From the end of a count to the next one, and at least so many times as long as it took. */
#define PAUSE_TICKS (2000000000ULL * EB_TICKS_PER_NS)
#define PAUSE_FACTOR 250

struct eb_census {
	const struct eb_buckets *buckets;
	sd_event_source *timer, *slice;
	struct eb_bucket_count counts[2]; /* of the last count that was completed */

	/* The count under way. */
	struct eb_bucket_cursor cursor;
	struct eb_bucket_count counting[2];
	uint64_t next_entry; /* those before it are counted: a slice begins with the set that ended the last one */
	uint32_t sliced;
	uint64_t now, spent;
};

static int count_bucket(const struct eb_bucket_view *view, uint32_t index, void *arg)
{
	struct eb_census *census = arg;
	int family = eb_source_table(&view->source) == 6;
	uint64_t entry = ((uint64_t)family << 32) + index;

	if (entry < census->next_entry)
		return 0;
	census->next_entry = entry + 1;
	census->counting[family].in_use++;
	census->counting[family].in_debt += eb_gcra_debt(view->packets_full_at, census->now) ||
					    eb_gcra_debt(view->bytes_full_at, census->now);
	return ++census->sliced % SLICE_BUCKETS == 0;
}

static void begin_count(struct eb_census *census)
{
	census->cursor = (struct eb_bucket_cursor){ 0 };
	census->counting[0] = census->counting[1] = (struct eb_bucket_count){ 0 };
	census->next_entry = 0;
	census->spent = 0;
	census->now = eb_buckets_now();
}

static int pause_census(struct eb_census *census)
{
	uint64_t pause = census->spent * PAUSE_FACTOR;
	int err;

	if (pause < PAUSE_TICKS)
		pause = PAUSE_TICKS;
	err = sd_event_source_set_time_relative(census->timer, pause / EB_TICKS_PER_NS / 1000);
	return err < 0 ? err : sd_event_source_set_enabled(census->timer, SD_EVENT_ONESHOT);
}

static int on_slice(sd_event_source *source, void *arg)
{
	struct eb_census *census = arg;
	uint64_t begun = eb_buckets_now();
	int ret = eb_buckets_walk(census->buckets, &census->cursor, count_bucket, census);

	census->spent += eb_buckets_now() - begun;
	if (ret > 0)
		return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
	if (ret == 0) {
		census->counts[0] = census->counting[0];
		census->counts[1] = census->counting[1];
	}
	return pause_census(census);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *arg)
{
	struct eb_census *census = arg;

	(void)source;
	(void)usec;
	begin_count(census);
	return sd_event_source_set_enabled(census->slice, SD_EVENT_ONESHOT);
}

int eb_census_new(sd_event *loop, const struct eb_buckets *buckets, struct eb_census **out)
{
	struct eb_census *census = calloc(1, sizeof(*census));
	int err;

	if (!census)
		return -ENOMEM;
	census->buckets = buckets;
	begin_count(census);
	err = sd_event_add_defer(loop, &census->slice, on_slice, census);
	if (err < 0)
		goto out;
	err = sd_event_add_time(loop, &census->timer, CLOCK_MONOTONIC, 0, 0, on_timer, census);
	if (err < 0)
		goto out;
	err = sd_event_source_set_enabled(census->timer, SD_EVENT_OFF);
out:
	if (err < 0) {
		eb_census_free(census);
		return err;
	}
	*out = census;
	return 0;
}

void eb_census_read(const struct eb_census *census, int family, struct eb_bucket_count *out)
{
	*out = census->counts[family == 6];
}

void eb_census_free(struct eb_census *census)
{
	if (!census)
		return;
	sd_event_source_disable_unref(census->timer);
	sd_event_source_disable_unref(census->slice);
	free(census);
}
