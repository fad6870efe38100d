// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <linux/sockios.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "config/endpoint.h"
#include "redis/conn.h"
#include "redis/resolve.h"

#define READ_SIZE (32 * 1024)
#define READS_PER_EVENT 8 /* then others in the loop have their turn */
#define OUTPUT_KEEP (64 * 1024) /* room that an idle connection keeps */
#define TIMER_ACCURACY_US 1000
#define NS_PER_US 1000

enum state {
	STATE_STARTING,
	STATE_RESOLVING,
	STATE_NEXT, /* about to connect to another address */
	STATE_CONNECTING,
	STATE_HANDSHAKING,
	STATE_OPEN,
	STATE_CLOSED,
};

struct output {
	char *bytes;
	size_t start, end, size;
	bool secret;
};

struct eb_conn {
	sd_event *event;
	const struct eb_conn_options *options;
	const struct eb_conn_events *events;
	void *arg;
	enum state state;
	int fd;
	int depth;   /* callbacks that are running */
	bool freed;  /* by one of them: the last one out does it */
	struct eb_resolve *resolve;
	struct addrinfo *addresses;
	const struct addrinfo **order; /* of the addresses, in which they are tried */
	size_t order_count, order_next;
	struct eb_endpoint_text address; /* of the one that is tried */
	struct eb_tls_session *tls;
	uint64_t tls_received; /* bytes, as last looked at */
	sd_event_source *io, *timer, *kick;
	uint64_t connect_deadline_us;
	uint64_t attempt_us; /* how much time the address tried has */
	struct output out;
};

static void output_done(struct output *out)
{
	if (out->bytes && out->secret)
		explicit_bzero(out->bytes, out->size);
	free(out->bytes);
	memset(out, 0, sizeof(*out));
}

/* Room for `len` more bytes at the end. realloc() would leave copies of secrets behind. */
static bool output_reserve(struct output *out, size_t len)
{
	size_t used = out->end - out->start, size = out->size ? out->size : 4096;
	struct output larger = { .end = used, .secret = out->secret };

	if (out->size - out->end >= len)
		return true;
	if (out->size >= used + len && out->start >= out->size / 2) {
		memmove(out->bytes, out->bytes + out->start, used);
		out->start = 0;
		out->end = used;
		return true;
	}
	while (size < used + len)
		size *= 2;
	larger.size = size;
	larger.bytes = malloc(size);
	if (!larger.bytes)
		return false;
	if (used)
		memcpy(larger.bytes, out->bytes + out->start, used);
	output_done(out);
	*out = larger;
	return true;
}

static void output_consume(struct output *out, size_t len)
{
	out->start += len;
	if (out->start < out->end)
		return;
	if (out->secret)
		explicit_bzero(out->bytes, out->size);
	out->secret = false;
	out->start = out->end = 0;
	if (out->size > OUTPUT_KEEP)
		output_done(out);
}

static void close_attempt(struct eb_conn *conn)
{
	conn->io = sd_event_source_disable_unref(conn->io);
	eb_tls_close(conn->tls);
	conn->tls = NULL;
	if (conn->fd >= 0)
		close(conn->fd);
	conn->fd = -1;
}

static void forget_addresses(struct eb_conn *conn)
{
	if (conn->addresses)
		freeaddrinfo(conn->addresses);
	free(conn->order);
	conn->addresses = NULL;
	conn->order = NULL;
	conn->order_count = conn->order_next = 0;
}

/* Nothing happens any more, unless there is a next address. */
static void shut(struct eb_conn *conn)
{
	close_attempt(conn);
	(void)sd_event_source_set_enabled(conn->timer, SD_EVENT_OFF);
	(void)sd_event_source_set_enabled(conn->kick, SD_EVENT_OFF);
	eb_resolve_cancel(conn->resolve);
	conn->resolve = NULL;
	output_done(&conn->out);
	conn->state = STATE_CLOSED;
}

static void tear_down(struct eb_conn *conn)
{
	shut(conn);
	conn->timer = sd_event_source_disable_unref(conn->timer);
	conn->kick = sd_event_source_disable_unref(conn->kick);
	forget_addresses(conn);
}

static void enter(struct eb_conn *conn)
{
	conn->depth++;
}

static void leave(struct eb_conn *conn)
{
	if (--conn->depth == 0 && conn->freed)
		free(conn);
}

__attribute__((format(printf, 3, 4))) static void fail(struct eb_conn *conn, enum eb_redis_error error,
						       const char *format, ...)
{
	char text[256];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	shut(conn);
	conn->events->failed(error, text, conn->arg);
}

static void set_timer(struct eb_conn *conn, uint64_t at_us)
{
	(void)sd_event_source_set_time(conn->timer, at_us);
	(void)sd_event_source_set_enabled(conn->timer, SD_EVENT_ONESHOT);
}

static void want(struct eb_conn *conn, uint32_t events)
{
	(void)sd_event_source_set_io_events(conn->io, events);
}

static void want_more(struct eb_conn *conn)
{
	bool has_output = conn->out.end > conn->out.start;
	/* TLS may have to read before it can write; being called for nothing would spin. */
	bool writes = has_output && (!conn->tls || eb_tls_wants_write(conn->tls));

	want(conn, EPOLLIN | (writes ? EPOLLOUT : 0));
}

/* A record of TLS takes a while on a slow link: that it comes is news too. */
static void tell_undecrypted(struct eb_conn *conn)
{
	uint64_t received = eb_tls_received(conn->tls);

	if (received == conn->tls_received)
		return;
	conn->tls_received = received;
	conn->events->received("", 0, conn->arg);
}

static void read_input(struct eb_conn *conn)
{
	char buf[READ_SIZE];

	for (int i = 0; i < READS_PER_EVENT && conn->state == STATE_OPEN; i++) {
		ssize_t n = conn->tls ? eb_tls_read(conn->tls, buf, sizeof(buf)) : recv(conn->fd, buf, sizeof(buf), 0);

		if (n < 0 && !conn->tls)
			n = errno == EINTR ? -EAGAIN : -errno;
		if (n == -EAGAIN && conn->tls)
			tell_undecrypted(conn);
		if (n == -EAGAIN)
			return;
		if (n == 0) {
			fail(conn, EB_REDIS_LOST, "the server closed the connection");
			return;
		}
		if (n < 0) {
			fail(conn, EB_REDIS_LOST, "receiving failed: %s",
			     conn->tls ? eb_tls_error(conn->tls) : strerror(-n));
			return;
		}
		conn->events->received(buf, n, conn->arg);
		if (!conn->tls && (size_t)n < sizeof(buf))
			return;
	}
	/* The socket may never become readable again for what TLS holds already. */
	if (conn->state == STATE_OPEN && conn->tls && eb_tls_has_pending(conn->tls))
		(void)sd_event_source_set_enabled(conn->kick, SD_EVENT_ONESHOT);
}

/* Before a server hung up it may have said why: an error reply, a TLS alert. */
static void fail_sending(struct eb_conn *conn, int err)
{
	char reason[160];

	snprintf(reason, sizeof(reason), "%s", conn->tls ? eb_tls_error(conn->tls) : strerror(-err));
	read_input(conn);
	if (conn->state == STATE_OPEN)
		fail(conn, EB_REDIS_LOST, "sending failed: %s", reason);
}

static void write_output(struct eb_conn *conn)
{
	bool had_output = conn->out.end > conn->out.start;

	while (conn->state == STATE_OPEN && conn->out.end > conn->out.start) {
		const char *bytes = conn->out.bytes + conn->out.start;
		size_t len = conn->out.end - conn->out.start;
		ssize_t n = conn->tls ? eb_tls_write(conn->tls, bytes, len)
				      : send(conn->fd, bytes, len, MSG_NOSIGNAL);

		if (n < 0 && !conn->tls)
			n = errno == EINTR ? -EAGAIN : -errno;
		if (n == -EAGAIN)
			break;
		if (n < 0) {
			fail_sending(conn, n);
			return;
		}
		output_consume(&conn->out, n);
	}
	if (conn->state == STATE_OPEN && had_output && conn->out.end == conn->out.start && conn->events->drained)
		conn->events->drained(conn->arg);
}

static void finish_opening(struct eb_conn *conn)
{
	conn->state = STATE_OPEN;
	(void)sd_event_source_set_enabled(conn->timer, SD_EVENT_OFF);
	conn->events->opened(conn->arg);
}

static void handshake(struct eb_conn *conn)
{
	int err = eb_tls_handshake(conn->tls);

	if (err == -EAGAIN)
		want(conn, eb_tls_wants_write(conn->tls) ? EPOLLOUT : EPOLLIN);
	else if (err)
		fail(conn, EB_REDIS_TLS, "TLS: %s", eb_tls_error(conn->tls));
	else
		finish_opening(conn);
}

static const char *peer_name(const struct eb_conn *conn)
{
	if (conn->options->server_name)
		return conn->options->server_name;
	/* A local socket has no name of its own; the server is on this host. */
	return conn->options->socket ? "localhost" : conn->options->host;
}

static void start_session(struct eb_conn *conn)
{
	char *error = NULL;

	if (!conn->options->tls) {
		finish_opening(conn);
		return;
	}
	if (eb_tls_open(conn->options->tls, conn->fd, peer_name(conn), &conn->tls, &error)) {
		fail(conn, EB_REDIS_TLS, "%s", error ? error : "TLS: out of memory");
		free(error);
		return;
	}
	conn->tls_received = 0;
	conn->state = STATE_HANDSHAKING;
	handshake(conn);
}

static void finish_connecting(struct eb_conn *conn)
{
	socklen_t len = sizeof(int);
	int err = 0;

	if (getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
		err = errno;
	if (err)
		fail(conn, EB_REDIS_CONNECT, "%s", strerror(err));
	else
		start_session(conn);
}

/* Ends each event: sends what the replies made the owner write. */
static void finish_event(struct eb_conn *conn)
{
	if (conn->state == STATE_OPEN)
		write_output(conn);
	if (conn->state == STATE_OPEN)
		want_more(conn);
	leave(conn);
}

static int on_io(sd_event_source *source, int fd, uint32_t revents, void *arg)
{
	struct eb_conn *conn = arg;

	(void)source;
	(void)fd;
	enter(conn);
	if (conn->state == STATE_CONNECTING)
		finish_connecting(conn);
	else if (conn->state == STATE_HANDSHAKING)
		handshake(conn);
	else if (conn->state == STATE_OPEN && (revents & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		read_input(conn);
	finish_event(conn);
	return 0;
}

/* Returns 0 or negative errno. */
static int start_socket(struct eb_conn *conn, const struct sockaddr *addr, socklen_t len)
{
	int one = 1, err;

	conn->fd = socket(addr->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (conn->fd < 0)
		return -errno;
	if (addr->sa_family != AF_UNIX) {
		(void)setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		(void)setsockopt(conn->fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	}
	err = connect(conn->fd, addr, len) < 0 ? -errno : 0;
	if (err && err != -EINPROGRESS)
		return err;
	err = sd_event_add_io(conn->event, &conn->io, conn->fd, EPOLLOUT, on_io, conn);
	conn->state = STATE_CONNECTING;
	return err < 0 ? err : 0;
}

/* Shares what is left of the time among the addresses that are left, so that one that swallows packets does not keep
 * us from the others. */
static void set_attempt_timer(struct eb_conn *conn)
{
	uint64_t now = eb_monotonic_us(), left = conn->connect_deadline_us > now ? conn->connect_deadline_us - now : 0;

	conn->attempt_us = left / (conn->order_count - conn->order_next);
	set_timer(conn, now + conn->attempt_us);
}

static void name_address(struct eb_conn *conn, const struct addrinfo *ai)
{
	char host[64];

	if (getnameinfo(ai->ai_addr, ai->ai_addrlen, host, sizeof(host), NULL, 0, NI_NUMERICHOST))
		snprintf(host, sizeof(host), "?");
	conn->address = eb_endpoint_text(host, conn->options->port);
}

static void connect_address(struct eb_conn *conn)
{
	const struct addrinfo *ai = conn->order[conn->order_next];
	int err;

	name_address(conn, ai);
	set_attempt_timer(conn);
	conn->order_next++;
	err = start_socket(conn, ai->ai_addr, ai->ai_addrlen);
	if (err)
		fail(conn, EB_REDIS_CONNECT, "%s", strerror(-err));
}

static bool is_good(const struct eb_conn *conn, const struct addrinfo *ai)
{
	const struct eb_address *good = conn->options->good;

	return good && good->len && good->len == ai->ai_addrlen && !memcmp(&good->addr, ai->ai_addr, good->len);
}

/* As the resolver says, but that the one that was good is the first. */
static int order_addresses(struct eb_conn *conn)
{
	size_t count = 0;

	for (const struct addrinfo *ai = conn->addresses; ai; ai = ai->ai_next)
		count++;
	conn->order = calloc(count, sizeof(const struct addrinfo *));
	if (!conn->order)
		return -ENOMEM;
	for (int wanted = 1; wanted >= 0; wanted--)
		for (const struct addrinfo *ai = conn->addresses; ai; ai = ai->ai_next)
			if (is_good(conn, ai) == wanted)
				conn->order[conn->order_count++] = ai;
	return 0;
}

static void connect_addresses(struct eb_conn *conn, struct addrinfo *list)
{
	conn->addresses = list;
	if (!list)
		fail(conn, EB_REDIS_CONNECT, "the name has no address");
	else if (order_addresses(conn))
		fail(conn, EB_REDIS_CONNECT, "%s", strerror(ENOMEM));
	else
		connect_address(conn);
}

static void connect_socket(struct eb_conn *conn)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int err = -ENAMETOOLONG;

	if (strlen(conn->options->socket) < sizeof(addr.sun_path)) {
		strcpy(addr.sun_path, conn->options->socket);
		err = start_socket(conn, (struct sockaddr *)&addr, sizeof(addr));
	}
	if (err)
		fail(conn, EB_REDIS_CONNECT, "%s", strerror(-err));
}

static void on_resolved(int error, struct addrinfo *list, void *arg)
{
	struct eb_conn *conn = arg;

	conn->resolve = NULL;
	enter(conn);
	if (error)
		fail(conn, EB_REDIS_CONNECT, "looking up %s: %s", conn->options->host, gai_strerror(error));
	else
		connect_addresses(conn, list);
	leave(conn);
}

static void start(struct eb_conn *conn)
{
	struct addrinfo *list;
	int err;

	if (conn->options->socket) {
		connect_socket(conn);
		return;
	}
	if (!eb_resolve_numeric(conn->options->host, conn->options->port, &list)) {
		connect_addresses(conn, list);
		return;
	}
	conn->state = STATE_RESOLVING;
	err = eb_resolve_start(conn->event, conn->options->host, conn->options->port, on_resolved, conn,
			       &conn->resolve);
	if (err)
		fail(conn, EB_REDIS_CONNECT, "looking up %s: %s", conn->options->host,
		     err == -EAGAIN ? "earlier look-ups are still running" : strerror(-err));
}

static int on_kick(sd_event_source *source, void *arg)
{
	struct eb_conn *conn = arg;

	(void)source;
	enter(conn);
	if (conn->state == STATE_STARTING)
		start(conn);
	else if (conn->state == STATE_NEXT)
		connect_address(conn);
	else if (conn->state == STATE_OPEN)
		read_input(conn);
	finish_event(conn);
	return 0;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *arg)
{
	struct eb_conn *conn = arg;

	(void)source;
	(void)usec;
	enter(conn);
	fail(conn, conn->state == STATE_CONNECTING ? EB_REDIS_CONNECT : EB_REDIS_TIMEOUT,
	     conn->state == STATE_HANDSHAKING  ? "no answer to the TLS handshake within %.1f s"
	     : conn->state == STATE_RESOLVING ? "no answer from the resolver within %.1f s"
					      : "no answer within %.1f s",
	     (conn->attempt_us ? conn->attempt_us * NS_PER_US : conn->options->connect_timeout_ns) / 1e9);
	leave(conn);
	return 0;
}

static int add_sources(struct eb_conn *conn)
{
	int err;

	conn->connect_deadline_us = eb_monotonic_us() + conn->options->connect_timeout_ns / NS_PER_US;
	err = sd_event_add_time(conn->event, &conn->timer, CLOCK_MONOTONIC, conn->connect_deadline_us,
				TIMER_ACCURACY_US, on_timer, conn);
	if (err < 0)
		return err;
	err = sd_event_add_defer(conn->event, &conn->kick, on_kick, conn);
	return err < 0 ? err : 0;
}

int eb_conn_open(sd_event *event, const struct eb_conn_options *options, const struct eb_conn_events *events,
		 void *arg, struct eb_conn **out)
{
	struct eb_conn *conn = calloc(1, sizeof(*conn));
	int err;

	if (!conn)
		return -ENOMEM;
	conn->event = event;
	conn->options = options;
	conn->events = events;
	conn->arg = arg;
	conn->fd = -1;
	err = add_sources(conn);
	if (err) {
		eb_conn_free(conn);
		return err;
	}
	*out = conn;
	return 0;
}

void eb_conn_free(struct eb_conn *conn)
{
	if (!conn)
		return;
	tear_down(conn);
	if (conn->depth)
		conn->freed = true;
	else
		free(conn);
}

int eb_conn_next(struct eb_conn *conn)
{
	uint64_t now = eb_monotonic_us();

	if (conn->order_next == conn->order_count)
		return -ENOENT;
	if (conn->state == STATE_OPEN || now >= conn->connect_deadline_us)
		conn->connect_deadline_us = now + conn->options->connect_timeout_ns / NS_PER_US;
	shut(conn);
	conn->state = STATE_NEXT;
	(void)sd_event_source_set_enabled(conn->kick, SD_EVENT_ONESHOT);
	return 0;
}

void eb_conn_keep(struct eb_conn *conn)
{
	const struct addrinfo *ai = conn->order_next ? conn->order[conn->order_next - 1] : NULL;
	struct eb_address *good = conn->options->good;

	if (ai && good && ai->ai_addrlen <= sizeof(good->addr)) {
		memcpy(&good->addr, ai->ai_addr, ai->ai_addrlen);
		good->len = ai->ai_addrlen;
	}
	forget_addresses(conn);
}

bool eb_conn_has_choice(const struct eb_conn *conn)
{
	return conn->order_count > 1;
}

const char *eb_conn_address(const struct eb_conn *conn)
{
	return conn->address.text;
}

int eb_conn_write(struct eb_conn *conn, const char *data, size_t len)
{
	bool was_empty = conn->out.end == conn->out.start;

	if (conn->state == STATE_CLOSED)
		return -ENOTCONN;
	if (len > conn->options->max_output - (conn->out.end - conn->out.start))
		return -ENOBUFS;
	if (!output_reserve(&conn->out, len))
		return -ENOMEM;
	memcpy(conn->out.bytes + conn->out.end, data, len);
	conn->out.end += len;
	/* Sent when the loop comes round: what is written until then goes out in one piece. */
	if (was_empty && conn->state == STATE_OPEN)
		want(conn, EPOLLIN | EPOLLOUT);
	return 0;
}

void eb_conn_wipe_output(struct eb_conn *conn)
{
	conn->out.secret = true;
}

size_t eb_conn_pending(const struct eb_conn *conn)
{
	return conn->out.end - conn->out.start;
}

size_t eb_conn_unconfirmed(const struct eb_conn *conn)
{
	int queued;

	if (conn->fd < 0 || ioctl(conn->fd, SIOCOUTQ, &queued) < 0 || queued < 0)
		queued = 0;
	return eb_conn_pending(conn) + queued;
}
