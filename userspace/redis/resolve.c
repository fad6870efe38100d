// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/privileges.h"
#include "redis/resolve.h"

/* A resolver that hangs holds a thread for up to half a minute; attempts go on at the pace of the backoff. */
#define LOOKUPS_MAX 4

static atomic_int lookups;

struct lookup {
	atomic_int refs;
	atomic_bool finished;
	int fd; /* eventfd: written once finished */
	int error;
	struct addrinfo *list;
	char port[6];
	char host[];
};

struct eb_resolve {
	struct lookup *lookup;
	sd_event_source *source;
	eb_resolve_done done;
	void *arg;
};

static int look_up(const char *host, const char *port, int flags, struct addrinfo **out)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV | flags };

	return getaddrinfo(host, port, &hints, out);
}

int eb_resolve_numeric(const char *host, uint16_t port, struct addrinfo **out)
{
	char text[6];

	snprintf(text, sizeof(text), "%u", port);
	return look_up(host, text, AI_NUMERICHOST, out);
}

static void unref(struct lookup *lookup)
{
	if (atomic_fetch_sub(&lookup->refs, 1) != 1)
		return;
	if (lookup->list)
		freeaddrinfo(lookup->list);
	close(lookup->fd);
	free(lookup);
}

static void *run(void *arg)
{
	struct lookup *lookup = arg;
	uint64_t one = 1;

	eb_privileges_drop_thread();
	lookup->error = look_up(lookup->host, lookup->port, AI_ADDRCONFIG, &lookup->list);
	atomic_store(&lookup->finished, true);
	(void)!write(lookup->fd, &one, sizeof(one)); /* cannot fail: the counter is 0 */
	unref(lookup);
	atomic_fetch_sub(&lookups, 1);
	return NULL;
}

static int start_thread(struct lookup *lookup)
{
	pthread_attr_t attr;
	sigset_t all, old;
	pthread_t thread;
	int err;

	if (pthread_attr_init(&attr))
		return -ENOMEM;
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	/* Signals are the loop's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	atomic_fetch_add(&lookup->refs, 1);
	err = pthread_create(&thread, &attr, run, lookup);
	if (err)
		atomic_fetch_sub(&lookup->refs, 1);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	return -err;
}

static int on_finished(sd_event_source *source, int fd, uint32_t revents, void *arg)
{
	struct eb_resolve *resolve = arg;
	struct lookup *lookup = resolve->lookup;
	eb_resolve_done done = resolve->done;
	void *done_arg = resolve->arg;
	struct addrinfo *list;
	int error;

	(void)source;
	(void)fd;
	(void)revents;
	if (!atomic_load(&lookup->finished))
		return 0;
	list = lookup->list;
	error = lookup->error;
	lookup->list = NULL;
	eb_resolve_cancel(resolve);
	done(error, list, done_arg);
	return 0;
}

static struct lookup *new_lookup(const char *host, uint16_t port)
{
	size_t size = strlen(host) + 1;
	struct lookup *lookup = calloc(1, sizeof(*lookup) + size);

	if (!lookup)
		return NULL;
	atomic_init(&lookup->refs, 1);
	memcpy(lookup->host, host, size);
	snprintf(lookup->port, sizeof(lookup->port), "%u", port);
	lookup->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (lookup->fd < 0) {
		free(lookup);
		return NULL;
	}
	return lookup;
}

int eb_resolve_start(sd_event *event, const char *host, uint16_t port, eb_resolve_done done, void *arg,
		     struct eb_resolve **out)
{
	struct eb_resolve *resolve;
	int err = -ENOMEM;

	if (atomic_fetch_add(&lookups, 1) >= LOOKUPS_MAX) {
		atomic_fetch_sub(&lookups, 1);
		return -EAGAIN;
	}
	resolve = calloc(1, sizeof(*resolve));
	if (!resolve)
		goto fail;
	resolve->done = done;
	resolve->arg = arg;
	resolve->lookup = new_lookup(host, port);
	if (!resolve->lookup)
		goto fail;
	err = sd_event_add_io(event, &resolve->source, resolve->lookup->fd, EPOLLIN, on_finished, resolve);
	if (err >= 0)
		err = start_thread(resolve->lookup);
	if (err < 0)
		goto fail;
	*out = resolve;
	return 0;
fail:
	eb_resolve_cancel(resolve);
	atomic_fetch_sub(&lookups, 1);
	return err;
}

void eb_resolve_cancel(struct eb_resolve *resolve)
{
	if (!resolve)
		return;
	sd_event_source_disable_unref(resolve->source);
	if (resolve->lookup)
		unref(resolve->lookup);
	free(resolve);
}
