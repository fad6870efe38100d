// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <time.h>

#include "redis/resolve.h"
#include "world.h"

#define FD_FIRST 100000 /* no descriptor of the process has such a number */
#define SOCKETS 64
#define INPUT_MAX 65536
#define SPIN 100000 /* callbacks without time passing, and no end */
#define START_NS 1000000000000ULL
#define NS_PER_US 1000

enum kind { KIND_IO, KIND_TIME, KIND_DEFER };

struct sd_event_source {
	TAILQ_ENTRY(sd_event_source) link;
	enum kind kind;
	int enabled;
	int fd;
	uint32_t events;
	uint64_t at_us;
	union {
		sd_event_io_handler_t io;
		sd_event_time_handler_t time;
		sd_event_handler_t defer;
	} call;
	void *arg;
};

struct peer {
	bool is_open, is_connected, takes, hung_up;
	enum world_connecting connecting;
	int error;
	char *input;
	size_t start, end;
};

static TAILQ_HEAD(sources, sd_event_source) sources = TAILQ_HEAD_INITIALIZER(sources);
static struct peer peers[SOCKETS];
static uint64_t time_ns;
static size_t piece_max;
static enum world_connecting connecting;
static bool resolves;
static unsigned int lookups;

_Noreturn static void fail(const char *what)
{
	fprintf(stderr, "world: %s\n", what);
	abort();
}

/* --- The loop --- */

static int add(sd_event_source **out, struct sd_event_source source)
{
	sd_event_source *copy = malloc(sizeof(*copy));

	if (!copy)
		return -ENOMEM;
	*copy = source;
	TAILQ_INSERT_TAIL(&sources, copy, link);
	*out = copy;
	return 0;
}

int sd_event_add_io(sd_event *event, sd_event_source **out, int fd, uint32_t events, sd_event_io_handler_t call,
		    void *arg)
{
	(void)event;
	return add(out, (struct sd_event_source){ .kind = KIND_IO, .enabled = SD_EVENT_ON, .fd = fd, .events = events,
						  .call.io = call, .arg = arg });
}

int sd_event_add_time(sd_event *event, sd_event_source **out, clockid_t clock, uint64_t usec, uint64_t accuracy,
		      sd_event_time_handler_t call, void *arg)
{
	(void)event;
	(void)clock;
	(void)accuracy;
	return add(out, (struct sd_event_source){ .kind = KIND_TIME, .enabled = SD_EVENT_ONESHOT, .at_us = usec,
						  .call.time = call, .arg = arg });
}

int sd_event_add_time_relative(sd_event *event, sd_event_source **out, clockid_t clock, uint64_t usec,
			       uint64_t accuracy, sd_event_time_handler_t call, void *arg)
{
	return sd_event_add_time(event, out, clock, time_ns / NS_PER_US + usec, accuracy, call, arg);
}

int sd_event_add_defer(sd_event *event, sd_event_source **out, sd_event_handler_t call, void *arg)
{
	(void)event;
	return add(out, (struct sd_event_source){ .kind = KIND_DEFER, .enabled = SD_EVENT_ONESHOT, .call.defer = call,
						  .arg = arg });
}

int sd_event_source_set_time(sd_event_source *source, uint64_t usec)
{
	source->at_us = usec;
	return 0;
}

int sd_event_source_set_time_relative(sd_event_source *source, uint64_t usec)
{
	return sd_event_source_set_time(source, time_ns / NS_PER_US + usec);
}

int sd_event_source_set_enabled(sd_event_source *source, int enabled)
{
	source->enabled = enabled;
	return 0;
}

int sd_event_source_set_io_events(sd_event_source *source, uint32_t events)
{
	source->events = events;
	return 0;
}

sd_event_source *sd_event_source_disable_unref(sd_event_source *source)
{
	if (!source)
		return NULL;
	TAILQ_REMOVE(&sources, source, link);
	free(source);
	return NULL;
}

/* The command line's way to run a loop. */
int sd_event_run(sd_event *event, uint64_t usec)
{
	(void)event;
	(void)usec;
	fail("nobody here runs the loop but world_run()");
}

static struct peer *peer_of(int fd)
{
	return fd >= FD_FIRST && fd < FD_FIRST + SOCKETS ? &peers[fd - FD_FIRST] : NULL;
}

static uint32_t readiness(const struct peer *peer)
{
	uint32_t ready = 0;

	if (!peer->is_connected)
		return peer->connecting == WORLD_SAYS_NOTHING ? 0 : EPOLLOUT;
	if (peer->end > peer->start || peer->hung_up)
		ready |= EPOLLIN;
	if (peer->error)
		ready |= EPOLLERR | EPOLLHUP;
	if (peer->takes || peer->hung_up)
		ready |= EPOLLOUT;
	return ready;
}

/* As epoll has it, errors come unasked. */
static uint32_t is_due(const sd_event_source *source)
{
	if (source->enabled == SD_EVENT_OFF)
		return 0;
	if (source->kind == KIND_IO)
		return readiness(peer_of(source->fd)) & (source->events | EPOLLERR | EPOLLHUP);
	return source->kind == KIND_DEFER || source->at_us <= time_ns / NS_PER_US;
}

static void dispatch(sd_event_source *source, uint32_t events)
{
	if (source->enabled == SD_EVENT_ONESHOT)
		source->enabled = SD_EVENT_OFF;
	if (source->kind == KIND_IO)
		source->call.io(source, source->fd, events, source->arg);
	else if (source->kind == KIND_TIME)
		source->call.time(source, source->at_us, source->arg);
	else
		source->call.defer(source, source->arg);
}

/* One that has been called goes to the end, so that the others have their turn. */
static bool run_one(void)
{
	sd_event_source *source;

	TAILQ_FOREACH(source, &sources, link) {
		uint32_t events = is_due(source);

		if (!events)
			continue;
		TAILQ_REMOVE(&sources, source, link);
		TAILQ_INSERT_TAIL(&sources, source, link);
		dispatch(source, events);
		return true;
	}
	return false;
}

void world_run(void)
{
	unsigned int callbacks = 0;

	while (run_one())
		if (++callbacks == SPIN)
			fail("the client calls itself without end");
}

void world_pass(uint64_t ns)
{
	uint64_t end = time_ns + ns;

	while (time_ns < end) {
		const sd_event_source *source;
		uint64_t next = end;

		TAILQ_FOREACH(source, &sources, link)
			if (source->kind == KIND_TIME && source->enabled != SD_EVENT_OFF &&
			    source->at_us * NS_PER_US < next)
				next = source->at_us * NS_PER_US;
		time_ns = next > time_ns ? next : time_ns + 1;
		world_run();
	}
}

/* --- Sockets --- */

int __real_close(int fd);
int __wrap_socket(int domain, int type, int protocol);
int __wrap_connect(int fd, const struct sockaddr *address, socklen_t len);
int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *len);
int __wrap_setsockopt(int fd, int level, int name, const void *value, socklen_t len);
ssize_t __wrap_send(int fd, const void *bytes, size_t len, int flags);
ssize_t __wrap_recv(int fd, void *bytes, size_t len, int flags);
int __wrap_close(int fd);
int __wrap_clock_gettime(clockid_t clock, struct timespec *out);
ssize_t __wrap_getrandom(void *bytes, size_t len, unsigned int flags);
int __wrap_eb_resolve_start(sd_event *event, const char *host, uint16_t port, eb_resolve_done done, void *arg,
			    struct eb_resolve **out);
void __wrap_eb_resolve_cancel(struct eb_resolve *resolve);

int __wrap_socket(int domain, int type, int protocol)
{
	(void)domain;
	(void)type;
	(void)protocol;
	for (int i = 0; i < SOCKETS; i++) {
		if (peers[i].is_open)
			continue;
		peers[i] = (struct peer){ .is_open = true, .takes = true };
		return FD_FIRST + i;
	}
	errno = EMFILE;
	return -1;
}

int __wrap_connect(int fd, const struct sockaddr *address, socklen_t len)
{
	(void)address;
	(void)len;
	peer_of(fd)->connecting = connecting;
	errno = EINPROGRESS;
	return -1;
}

int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *len)
{
	struct peer *peer = peer_of(fd);
	int error = peer->connecting == WORLD_REFUSES ? ECONNREFUSED : 0;

	(void)level;
	(void)name;
	(void)len;
	peer->is_connected = !error;
	memcpy(value, &error, sizeof(error));
	return 0;
}

int __wrap_setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
	(void)fd;
	(void)level;
	(void)name;
	(void)value;
	(void)len;
	return 0;
}

ssize_t __wrap_send(int fd, const void *bytes, size_t len, int flags)
{
	struct peer *peer = peer_of(fd);

	(void)bytes;
	(void)flags;
	if (peer->hung_up || peer->error) {
		errno = peer->error ? peer->error : EPIPE;
		return -1;
	}
	if (!peer->takes) {
		errno = EAGAIN;
		return -1;
	}
	return len;
}

ssize_t __wrap_recv(int fd, void *bytes, size_t len, int flags)
{
	struct peer *peer = peer_of(fd);
	size_t got = peer->end - peer->start;

	(void)flags;
	if (!got && !peer->hung_up) {
		errno = EAGAIN;
		return -1;
	}
	if (!got && peer->error) {
		errno = peer->error;
		return -1;
	}
	got = got < len ? got : len;
	got = got < piece_max ? got : piece_max;
	if (got)
		memcpy(bytes, peer->input + peer->start, got);
	peer->start += got;
	return got;
}

int __wrap_close(int fd)
{
	struct peer *peer = peer_of(fd);

	if (!peer)
		return __real_close(fd);
	if (!peer->is_open)
		fail("a socket is closed twice");
	free(peer->input);
	*peer = (struct peer){ 0 };
	return 0;
}

static struct peer *connected(unsigned int index)
{
	unsigned int count = 0;

	for (int i = 0; i < SOCKETS; i++)
		count += peers[i].is_connected && !peers[i].hung_up;
	if (!count)
		return NULL;
	index %= count;
	for (int i = 0;; i++)
		if (peers[i].is_connected && !peers[i].hung_up && !index--)
			return &peers[i];
}

void world_deliver(unsigned int index, const void *bytes, size_t len)
{
	struct peer *peer = connected(index);

	if (!peer || !len || len > INPUT_MAX - peer->end)
		return;
	if (!peer->input && !(peer->input = malloc(INPUT_MAX)))
		fail("out of memory");
	if (peer->start == peer->end)
		peer->start = peer->end = 0;
	memcpy(peer->input + peer->end, bytes, len);
	peer->end += len;
}

void world_hang_up(unsigned int index, bool reset)
{
	struct peer *peer = connected(index);

	if (!peer)
		return;
	peer->hung_up = true;
	peer->error = reset ? ECONNRESET : 0;
}

void world_set_taking(unsigned int index, bool takes)
{
	struct peer *peer = connected(index);

	if (peer)
		peer->takes = takes;
}

void world_set_connecting(enum world_connecting how)
{
	connecting = how;
}

/* --- The clock, chance and names --- */

int __wrap_clock_gettime(clockid_t clock, struct timespec *out)
{
	(void)clock;
	*out = (struct timespec){ .tv_sec = time_ns / 1000000000, .tv_nsec = time_ns % 1000000000 };
	return 0;
}

ssize_t __wrap_getrandom(void *bytes, size_t len, unsigned int flags)
{
	(void)flags;
	memset(bytes, 0x55, len);
	return len;
}

struct eb_resolve {
	sd_event_source *source;
	uint16_t port;
	eb_resolve_done done;
	void *arg;
};

static int on_resolved(sd_event_source *source, void *arg)
{
	struct eb_resolve resolve = *(struct eb_resolve *)arg;
	struct addrinfo *list = NULL;
	int error = resolves ? eb_resolve_numeric("192.0.2.1", resolve.port, &list) : EAI_NONAME;

	(void)source;
	__wrap_eb_resolve_cancel(arg);
	resolve.done(error, list, resolve.arg);
	return 0;
}

int __wrap_eb_resolve_start(sd_event *event, const char *host, uint16_t port, eb_resolve_done done, void *arg,
			    struct eb_resolve **out)
{
	struct eb_resolve *resolve = malloc(sizeof(*resolve));

	(void)host;
	if (!resolve)
		return -ENOMEM;
	*resolve = (struct eb_resolve){ .port = port, .done = done, .arg = arg };
	(void)sd_event_add_defer(event, &resolve->source, on_resolved, resolve);
	lookups++;
	*out = resolve;
	return 0;
}

void __wrap_eb_resolve_cancel(struct eb_resolve *resolve)
{
	if (!resolve)
		return;
	lookups--;
	sd_event_source_disable_unref(resolve->source);
	free(resolve);
}

void world_set_resolving(bool works)
{
	resolves = works;
}

/* --- Life --- */

sd_event *world_loop(void)
{
	static char loop;

	return (sd_event *)&loop;
}

void world_begin(size_t piece)
{
	time_ns = START_NS;
	piece_max = piece;
	connecting = WORLD_ACCEPTS;
	resolves = true;
}

void world_end(void)
{
	for (int i = 0; i < SOCKETS; i++)
		if (peers[i].is_open)
			fail("a socket is left");
	if (!TAILQ_EMPTY(&sources))
		fail("an event source is left");
	if (lookups)
		fail("a look-up is left");
}
