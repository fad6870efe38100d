// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "agent/keep.h"
#include "base/log.h"
#include "base/privileges.h"
#include "config/kept.h"

struct eb_keep {
	char *state_dir;
	sd_event_source *source;
	int fd; /* eventfd: the thread is done */
	pthread_t thread;
	struct eb_inputs *writing; /* the thread's while there is one; NULL: there is none */
	struct eb_inputs *next;
	char *error; /* of the thread, to be read once it is done */
};

static void *run(void *arg)
{
	struct eb_keep *keep = arg;
	uint64_t one = 1;

	eb_privileges_drop_thread();
	(void)eb_kept_write(keep->state_dir, keep->writing, &keep->error);
	(void)!write(keep->fd, &one, sizeof(one)); /* cannot fail: it is read in between */
	return NULL;
}

static int start_thread(struct eb_keep *keep)
{
	sigset_t all, old;
	int err;

	/* Signals are the loop's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&keep->thread, NULL, run, keep);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return err;
}

static void tell(const char *error)
{
	eb_error("cannot keep a copy of the configuration in force", eb_str("error", error),
		 eb_str("hint", "if the next start refuses its file, it uses the previous copy; a reload tries to keep "
				"one again"));
}

static void start(struct eb_keep *keep, struct eb_inputs *inputs)
{
	int err;

	keep->writing = inputs;
	err = start_thread(keep);
	if (!err)
		return;
	tell(strerror(err));
	eb_inputs_free(inputs);
	keep->writing = NULL;
}

static void end_thread(struct eb_keep *keep)
{
	pthread_join(keep->thread, NULL);
	if (keep->error)
		tell(keep->error);
	free(keep->error);
	keep->error = NULL;
	eb_inputs_free(keep->writing);
	keep->writing = NULL;
}

static void start_next(struct eb_keep *keep)
{
	struct eb_inputs *next = keep->next;

	keep->next = NULL;
	if (next)
		start(keep, next);
}

static int on_done(sd_event_source *source, int fd, uint32_t events, void *arg)
{
	struct eb_keep *keep = arg;
	uint64_t count;

	(void)source;
	(void)events;
	(void)!read(fd, &count, sizeof(count));
	end_thread(keep);
	start_next(keep);
	return 0;
}

static void add_update(struct eb_inputs *next, struct eb_inputs *update)
{
	if (eb_inputs_merge(next, update))
		tell("out of memory");
	eb_inputs_free(update);
}

void eb_keep_inputs(struct eb_keep *keep, struct eb_inputs *inputs)
{
	if (keep->next && inputs->is_update) {
		add_update(keep->next, inputs);
		return; /* it waits for the thread */
	}
	eb_inputs_free(keep->next);
	keep->next = inputs;
	if (!keep->writing)
		start_next(keep);
}

int eb_keep_new(sd_event *loop, const char *state_dir, struct eb_keep **out)
{
	struct eb_keep *keep = calloc(1, sizeof(*keep));
	int err;

	if (!keep)
		return -ENOMEM;
	keep->state_dir = strdup(state_dir);
	keep->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	err = keep->fd < 0 ? -errno : sd_event_add_io(loop, &keep->source, keep->fd, EPOLLIN, on_done, keep);
	if (err >= 0 && !keep->state_dir)
		err = -ENOMEM;
	if (err < 0) {
		eb_keep_free(keep);
		return err;
	}
	*out = keep;
	return 0;
}

void eb_keep_free(struct eb_keep *keep)
{
	if (!keep)
		return;
	while (keep->writing) {
		end_thread(keep);
		start_next(keep);
	}
	sd_event_source_disable_unref(keep->source);
	if (keep->fd >= 0)
		close(keep->fd);
	free(keep->state_dir);
	free(keep);
}
