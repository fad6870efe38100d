// SPDX-License-Identifier: GPL-2.0-only
#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "agent/acceptor.h"
#include "agent/http_server.h"
#include "base/clock.h"
#include "base/error.h"

/* From the connection to the last byte of the reply; a scraper on the same continent needs a tenth of a second. */
#define PATIENCE_US (5 * 1000000ULL)

#define CONNECTIONS_PER_ADDRESS 32
#define CONNECTIONS 96

/* Where libmicrohttpd stops to accept: room for those that were ended and are not gone yet. */
#define CONNECTIONS_HARD 128

#define CONNECTION_MEMORY (16 * 1024) /* request line and headers; more is refused */
#define BACKLOG 64

/* Whose connection: an IPv4 address, an IPv6 network of 64 bits, which one host has for itself, or 0 for a socket. */
struct origin {
	uint64_t family, address;
};

struct connection {
	TAILQ_ENTRY(connection) link;
	struct eb_http_server *server;
	struct origin origin;
	uint64_t deadline_us; /* CLOCK_MONOTONIC */
	int fd;               /* libmicrohttpd's */
	bool ended;           /* shut down; libmicrohttpd has yet to notice */
};

struct eb_http_server {
	sd_event *loop;
	struct MHD_Daemon *daemon;
	eb_http_handler handler;
	void *arg;
	struct eb_acceptor *acceptor;
	sd_event_source *io, *again, *deadline;
	TAILQ_HEAD(connections, connection) connections; /* the oldest first */
	char *path; /* of the socket, once it is ours to remove */
};

/* ---- requests ---- */

static enum MHD_Result send_text(struct MHD_Connection *connection, const struct eb_http_reply *reply, char *text,
				 size_t size)
{
	struct MHD_Response *response = MHD_create_response_from_buffer(size, text, MHD_RESPMEM_MUST_FREE);
	enum MHD_Result result;

	if (!response) {
		free(text);
		return MHD_NO;
	}
	(void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, reply->type);
	(void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
	if (reply->status == MHD_HTTP_METHOD_NOT_ALLOWED)
		(void)MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
	result = MHD_queue_response(connection, reply->status, response);
	MHD_destroy_response(response);
	return result;
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection, const char *url, const char *method,
				  const char *version, const char *upload, size_t *upload_size, void **state)
{
	struct eb_http_server *server = arg;
	struct eb_http_reply reply = { .status = MHD_HTTP_OK, .type = "text/plain; charset=utf-8" };
	bool is_broken;
	size_t size = 0;
	char *text = NULL;

	(void)version;
	(void)upload;
	(void)upload_size;
	(void)state;
	reply.body = open_memstream(&text, &size);
	if (!reply.body)
		return MHD_NO;
	if (strcmp(method, MHD_HTTP_METHOD_GET) == 0 || strcmp(method, MHD_HTTP_METHOD_HEAD) == 0) {
		server->handler(url, &reply, server->arg);
	} else {
		reply.status = MHD_HTTP_METHOD_NOT_ALLOWED;
		fputs("only GET and HEAD are supported\n", reply.body);
	}
	is_broken = ferror(reply.body);
	if (fclose(reply.body) || is_broken) {
		free(text);
		return MHD_NO;
	}
	return send_text(connection, &reply, text, size);
}

/* ---- connections ---- */

static struct origin origin_of(const struct sockaddr *address)
{
	struct origin origin = { .family = address ? address->sa_family : AF_UNIX };

	if (origin.family == AF_INET) {
		origin.address = ((const struct sockaddr_in *)address)->sin_addr.s_addr;
	} else if (origin.family == AF_INET6) {
		const struct in6_addr *in6 = &((const struct sockaddr_in6 *)address)->sin6_addr;

		memcpy(&origin.address, &in6->s6_addr[IN6_IS_ADDR_V4MAPPED(in6) ? 8 : 0], sizeof(origin.address));
	}
	return origin;
}

static bool is_same(const struct origin *a, const struct origin *b)
{
	return a->family == b->family && a->address == b->address;
}

/* libmicrohttpd reads the end of the connection, and lets go of it; the kernel does not keep what was not read. */
static void end_connection(struct connection *connection)
{
	const struct linger linger = { .l_onoff = 1 };

	connection->ended = true;
	(void)setsockopt(connection->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	(void)shutdown(connection->fd, SHUT_RDWR);
}

/* Ends the oldest of the same origin if there are too many of it, or of all. */
static void make_room(struct eb_http_server *server, const struct origin *origin)
{
	struct connection *connection, *oldest = NULL, *oldest_of_origin = NULL;
	unsigned int count = 0, count_of_origin = 0;

	TAILQ_FOREACH(connection, &server->connections, link) {
		if (connection->ended)
			continue;
		oldest = oldest ? oldest : connection;
		count++;
		if (!is_same(&connection->origin, origin))
			continue;
		oldest_of_origin = oldest_of_origin ? oldest_of_origin : connection;
		count_of_origin++;
	}
	if (count_of_origin > CONNECTIONS_PER_ADDRESS)
		end_connection(oldest_of_origin);
	else if (count > CONNECTIONS)
		end_connection(oldest);
}

static void set_deadline(struct eb_http_server *server)
{
	struct connection *connection;

	TAILQ_FOREACH(connection, &server->connections, link) {
		if (connection->ended)
			continue;
		(void)sd_event_source_set_time(server->deadline, connection->deadline_us);
		(void)sd_event_source_set_enabled(server->deadline, SD_EVENT_ONESHOT);
		return;
	}
}

static int on_deadline(sd_event_source *source, uint64_t usec, void *arg)
{
	struct eb_http_server *server = arg;
	struct connection *connection;

	(void)source;
	(void)usec;
	TAILQ_FOREACH(connection, &server->connections, link)
		if (!connection->ended && connection->deadline_us <= eb_monotonic_us())
			end_connection(connection);
	set_deadline(server);
	return 0;
}

/* Each answer of MHD_get_connection_info() holds until the next one: libmicrohttpd 1.0 has one place for all. */
static int descriptor_of(struct MHD_Connection *mhd)
{
	return MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
}

static struct origin client_of(struct MHD_Connection *mhd)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);

	return origin_of(info ? info->client_addr : NULL);
}

static void *begin_connection(struct eb_http_server *server, struct MHD_Connection *mhd)
{
	struct connection *connection = calloc(1, sizeof(*connection));

	if (!connection) {
		(void)shutdown(descriptor_of(mhd), SHUT_RDWR); /* it would be without a deadline */
		return NULL;
	}
	connection->server = server;
	connection->fd = descriptor_of(mhd);
	connection->origin = client_of(mhd);
	connection->deadline_us = eb_monotonic_us() + PATIENCE_US;
	TAILQ_INSERT_TAIL(&server->connections, connection, link);
	if (TAILQ_FIRST(&server->connections) == connection)
		set_deadline(server);
	make_room(server, &connection->origin);
	return connection;
}

static void on_connection(void *arg, struct MHD_Connection *mhd, void **context,
			  enum MHD_ConnectionNotificationCode code)
{
	struct connection *connection = *context;

	if (code == MHD_CONNECTION_NOTIFY_STARTED) {
		*context = begin_connection(arg, mhd);
	} else if (connection) {
		TAILQ_REMOVE(&connection->server->connections, connection, link);
		free(connection);
		*context = NULL;
	}
}

/* ---- the loop ---- */

/* libmicrohttpd's own epoll says when a descriptor is ready, but not that it has more to do with one. */
static void run_daemon(struct eb_http_server *server)
{
	MHD_UNSIGNED_LONG_LONG wait_ms;

	(void)MHD_run(server->daemon);
	if (MHD_get_timeout(server->daemon, &wait_ms) == MHD_YES && wait_ms == 0)
		(void)sd_event_source_set_enabled(server->again, SD_EVENT_ONESHOT);
}

static int on_ready(sd_event_source *source, int fd, uint32_t events, void *arg)
{
	(void)source;
	(void)fd;
	(void)events;
	run_daemon(arg);
	return 0;
}

static int on_again(sd_event_source *source, void *arg)
{
	(void)source;
	run_daemon(arg);
	return 0;
}

/* libmicrohttpd would spin where it cannot take the first connection. */
static void on_accepted(int fd, const struct sockaddr *address, socklen_t len, void *arg)
{
	struct eb_http_server *server = arg;

	if (MHD_add_connection(server->daemon, fd, address, len) == MHD_YES) /* closes it otherwise */
		run_daemon(server);
}

static int add_sources(struct eb_http_server *server)
{
	const union MHD_DaemonInfo *epoll = MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	int err;

	if (!epoll)
		return -ENOSYS;
	err = sd_event_add_io(server->loop, &server->io, epoll->epoll_fd, EPOLLIN, on_ready, server);
	if (err < 0)
		return err;
	err = sd_event_add_defer(server->loop, &server->again, on_again, server);
	if (err < 0)
		return err;
	err = sd_event_add_time(server->loop, &server->deadline, CLOCK_MONOTONIC, 0, 0, on_deadline, server);
	if (err < 0)
		return err;
	err = sd_event_source_set_enabled(server->deadline, SD_EVENT_OFF);
	return err < 0 ? err : 0;
}

/* ---- listening ---- */

/* Returns a descriptor or negative errno. */
static int listen_at(const struct sockaddr *address, socklen_t len)
{
	int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), err, on = 1;

	if (fd < 0)
		return -errno;
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, address, len) == 0 && listen(fd, BACKLOG) == 0)
		return fd;
	err = -errno;
	close(fd);
	return err;
}

static int listen_tcp(const struct addrinfo *list)
{
	int ret = -EADDRNOTAVAIL;

	for (const struct addrinfo *one = list; one && ret < 0; one = one->ai_next)
		ret = listen_at(one->ai_addr, one->ai_addrlen);
	return ret;
}

/* Removes the socket of an agent that was killed. Anything else in its place stays. */
static int remove_stale(const struct sockaddr_un *address)
{
	struct stat info;
	int fd, err;

	if (lstat(address->sun_path, &info) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(info.st_mode))
		return -EEXIST;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	err = connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 ? -errno : -EADDRINUSE;
	close(fd);
	if (err != -ECONNREFUSED)
		return err == -EAGAIN ? -EADDRINUSE : err;
	return unlink(address->sun_path) < 0 ? -errno : 0;
}

/* Open to all users, as a port of localhost is; who may come to it is for the directory to say. */
static int listen_unix(struct eb_http_server *server, const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int ret;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	ret = remove_stale(&address);
	if (ret)
		return ret;
	ret = listen_at((const struct sockaddr *)&address, sizeof(address));
	if (ret < 0)
		return ret;
	if (chmod(path, 0666) < 0) {
		int err = -errno;

		close(ret);
		return err;
	}
	server->path = strdup(path);
	return ret;
}

static int start_daemon(struct eb_http_server *server)
{
	server->daemon = MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET, 0, NULL, NULL, on_request, server,
					  MHD_OPTION_CONNECTION_LIMIT, (unsigned int)CONNECTIONS_HARD,
					  MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY,
					  MHD_OPTION_NOTIFY_CONNECTION, on_connection, server, MHD_OPTION_END);
	return server->daemon ? add_sources(server) : -ENOMEM;
}

int eb_http_server_open(sd_event *loop, const char *address, const struct addrinfo *resolved, eb_http_handler handler,
			void *arg, struct eb_http_server **out, char **error)
{
	struct eb_http_server *server = calloc(1, sizeof(*server));
	int ret;

	if (!server)
		return eb_fail(-ENOMEM, error, "out of memory");
	server->loop = loop;
	server->handler = handler;
	server->arg = arg;
	TAILQ_INIT(&server->connections);
	ret = start_daemon(server);
	if (!ret)
		ret = resolved ? listen_tcp(resolved) : listen_unix(server, address + strlen(EB_HTTP_UNIX));
	if (ret >= 0)
		ret = eb_acceptor_open(loop, ret, address, on_accepted, server, &server->acceptor);
	if (ret < 0) {
		eb_http_server_close(server);
		return eb_fail(ret, error, "cannot listen at %s: %s", address, strerror(-ret));
	}
	*out = server;
	return 0;
}

void eb_http_server_close(struct eb_http_server *server)
{
	if (!server)
		return;
	eb_acceptor_close(server->acceptor);
	sd_event_source_disable_unref(server->io);
	sd_event_source_disable_unref(server->again);
	if (server->daemon)
		MHD_stop_daemon(server->daemon); /* ends and forgets the connections */
	sd_event_source_disable_unref(server->deadline);
	if (server->path)
		(void)unlink(server->path);
	free(server->path);
	free(server);
}
