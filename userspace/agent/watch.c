// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>

#include "agent/lists.h"
#include "agent/watch.h"
#include "base/clock.h"
#include "base/log.h"

#define EVENTS (IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF)

/* After an event it waits so long for more of them, and no longer than this in all: files come in bursts, and each time
 * all rules are written anew. */
#define CALM_US 250000ULL
#define PATIENCE_US 2000000ULL

#define LOOK_US (5 * 1000000ULL)

struct eb_watch {
	struct eb_agent *agent;
	sd_event_source **directories;
	size_t count;
	sd_event_source *calm; /* after events */
	sd_event_source *look; /* without them */
	uint64_t first_us;     /* event that was not seen to yet; 0 for none */
};

static int arm(sd_event_source *timer, uint64_t at_us)
{
	(void)sd_event_source_set_time(timer, at_us);
	return sd_event_source_set_enabled(timer, SD_EVENT_ONESHOT);
}

static void wait_for_calm(struct eb_watch *watch)
{
	uint64_t now = eb_monotonic_us(), at;

	if (!watch->first_us)
		watch->first_us = now;
	at = now + CALM_US;
	if (at > watch->first_us + PATIENCE_US)
		at = watch->first_us + PATIENCE_US;
	(void)arm(watch->calm, at);
}

static int on_event(sd_event_source *source, const struct inotify_event *event, void *arg)
{
	(void)source;
	(void)event;
	wait_for_calm(arg);
	return 0;
}

static void add_directory(struct eb_watch *watch, const char *path)
{
	const char *slash = strrchr(path, '/');
	char *directory = slash ? strndup(path, slash == path ? 1 : slash - path) : strdup(".");
	sd_event_source **grown = reallocarray(watch->directories, watch->count + 1, sizeof(sd_event_source *));

	if (grown)
		watch->directories = grown;
	if (grown && directory &&
	    sd_event_add_inotify(watch->agent->loop, &grown[watch->count], directory, EVENTS, on_event, watch) >= 0)
		watch->count++;
	free(directory);
}

/* The directory of its name, and that of the file itself, where the name is that of a link. */
static void add_file(struct eb_watch *watch, const char *path)
{
	char *real = realpath(path, NULL);

	add_directory(watch, path);
	if (real && strcmp(real, path))
		add_directory(watch, real);
	free(real);
}

static void drop_directories(struct eb_watch *watch)
{
	for (size_t i = 0; i < watch->count; i++)
		sd_event_source_disable_unref(watch->directories[i]);
	free(watch->directories);
	watch->directories = NULL;
	watch->count = 0;
}

/* Whether there is a file to watch. */
static bool add_files(struct eb_watch *watch)
{
	const struct eb_config *config = watch->agent->config;
	bool is_any = false;

	for (size_t i = 0; i < config->rule_count; i++) {
		const struct eb_match *match = &config->rules[i].match;

		for (size_t j = 0; j < match->file_count; j++) {
			if (!eb_lists_is_watched(match, &match->files[j]))
				continue;
			add_file(watch, match->files[j].path);
			is_any = true;
		}
	}
	return is_any;
}

void eb_watch_follow(struct eb_watch *watch)
{
	drop_directories(watch);
	(void)sd_event_source_set_enabled(watch->look, SD_EVENT_OFF);
	if (add_files(watch))
		(void)arm(watch->look, eb_monotonic_us() + CALM_US);
}

static void refresh(struct eb_watch *watch)
{
	watch->first_us = 0;
	/* A link may lead elsewhere now. */
	if (eb_lists_refresh(watch->agent))
		eb_watch_follow(watch);
}

static int on_calm(sd_event_source *source, uint64_t usec, void *arg)
{
	(void)source;
	(void)usec;
	refresh(arg);
	return 0;
}

static int on_look(sd_event_source *source, uint64_t usec, void *arg)
{
	(void)usec;
	(void)arm(source, eb_monotonic_us() + LOOK_US);
	refresh(arg);
	return 0;
}

int eb_watch_new(struct eb_agent *agent, struct eb_watch **out)
{
	struct eb_watch *watch = calloc(1, sizeof(*watch));
	int err;

	if (!watch)
		return -ENOMEM;
	watch->agent = agent;
	err = sd_event_add_time(agent->loop, &watch->calm, CLOCK_MONOTONIC, 0, 1, on_calm, watch);
	if (err >= 0)
		err = sd_event_add_time(agent->loop, &watch->look, CLOCK_MONOTONIC, 0, 1, on_look, watch);
	if (err < 0) {
		eb_watch_free(watch);
		return err;
	}
	(void)sd_event_source_set_enabled(watch->calm, SD_EVENT_OFF);
	eb_watch_follow(watch);
	*out = watch;
	return 0;
}

void eb_watch_free(struct eb_watch *watch)
{
	if (!watch)
		return;
	drop_directories(watch);
	sd_event_source_disable_unref(watch->calm);
	sd_event_source_disable_unref(watch->look);
	free(watch);
}
