// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <grp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/acceptor.h"
#include "agent/line_server.h"
#include "base/log.h"
#include "ipc/control.h"

/* A request that is not whole, or an answer that is not read, for this long is hung up on. Between two requests a
 * client can take its time. More than CLIENTS_MAX at once are not let in. */
#define PATIENCE_US (30 * 1000000ULL)
#define CLIENTS_MAX 16

#define GROUPS_MAX 1024 /* of a peer: whose list is longer is looked at by its first group alone */

struct client {
	struct eb_line_server *server; /* NULL for a free place */
	eb_line_client number;
	int fd;
	sd_event_source *io, *timer;
	char *in;           /* EB_LINE_MAX + 1 bytes */
	size_t len, looked; /* of them read, and looked at for a newline */
	char *out;          /* the answer under way, or NULL */
	size_t out_len, sent;
	bool has_ended; /* it sends no more */
	bool is_asking; /* the answer to its request is to come */
	bool is_handled, is_lost; /* by on_io(); meanwhile it could not be answered */
};

struct eb_line_server {
	sd_event *loop;
	struct eb_acceptor *acceptor; /* NULL until it listens */
	struct sockaddr_un address;
	bool has_group;
	gid_t group;
	eb_line_handler handler;
	void *arg;
	struct client clients[CLIENTS_MAX];
	eb_line_client last_number;
};

/* ---- clients ---- */

static void drop_client(struct client *client)
{
	if (!client->server)
		return;
	sd_event_source_disable_unref(client->io);
	sd_event_source_disable_unref(client->timer);
	close(client->fd);
	free(client->in);
	free(client->out);
	*client = (struct client){ .fd = -1 };
}

static int on_patience_end(sd_event_source *source, uint64_t usec, void *arg)
{
	(void)source;
	(void)usec;
	drop_client(arg);
	return 0;
}

/* Takes over `reply`. False for want of memory. */
static bool begin_answer(struct client *client, json_t *reply)
{
	char *text = reply ? json_dumps(reply, JSON_COMPACT) : NULL;
	size_t len = text ? strlen(text) : 0;

	json_decref(reply);
	if (!text)
		return false;
	text[len] = '\n'; /* in place of the NUL */
	client->out = text;
	client->out_len = len + 1;
	client->sent = 0;
	return true;
}

/* False when the client is gone. */
static bool send_some(struct client *client)
{
	ssize_t size = send(client->fd, client->out + client->sent, client->out_len - client->sent,
			    MSG_NOSIGNAL | MSG_DONTWAIT);

	if (size < 0)
		return errno == EAGAIN || errno == EINTR;
	client->sent += size;
	if (client->sent < client->out_len)
		return true;
	free(client->out);
	client->out = NULL;
	return true;
}

/* False when the client is gone. The last line needs no newline. */
static bool read_some(struct client *client)
{
	ssize_t size = recv(client->fd, client->in + client->len, EB_LINE_MAX + 1 - client->len, MSG_DONTWAIT);

	if (size < 0)
		return errno == EAGAIN || errno == EINTR;
	client->len += size;
	if (size)
		return true;
	client->has_ended = true;
	if (client->len)
		client->in[client->len++] = '\n';
	return true;
}

static bool is_blank(const char *line)
{
	return line[strspn(line, " \t\r")] == '\0';
}

static json_t *refuse_length(struct client *client)
{
	client->len = client->looked = 0;
	client->has_ended = true;
	return json_pack("{s:b, s:s}", "ok", 0, "error", "the line is longer than 256 KiB");
}

/* Hands on one line, if one is there. False for want of memory. */
static bool ask_one(struct client *client)
{
	char *newline = memchr(client->in + client->looked, '\n', client->len - client->looked);
	size_t used;

	client->looked = client->len;
	if (!newline)
		return client->len <= EB_LINE_MAX || begin_answer(client, refuse_length(client));
	*newline = '\0';
	client->is_asking = !is_blank(client->in);
	if (client->is_asking)
		client->server->handler(client->in, client->number, client->server->arg);
	used = newline + 1 - client->in;
	client->len -= used;
	memmove(client->in, client->in + used, client->len);
	client->looked = 0;
	return !client->is_lost;
}

static bool has_line(const struct client *client)
{
	return client->looked < client->len;
}

static bool is_busy(const struct client *client)
{
	return !client->is_asking && (client->out || client->len);
}

/* What to wait for next; while it is asking, for nothing. The patience begins anew with each answer. */
static bool go_on(struct client *client, bool was_busy)
{
	bool busy = is_busy(client);
	uint32_t events = client->is_asking ? 0 : client->out || has_line(client) ? EPOLLOUT : EPOLLIN;

	if (!busy && !client->is_asking && client->has_ended)
		return false;
	if (busy && !was_busy && sd_event_source_set_time_relative(client->timer, PATIENCE_US) < 0)
		return false;
	return sd_event_source_set_enabled(client->timer, busy ? SD_EVENT_ONESHOT : SD_EVENT_OFF) >= 0 &&
	       sd_event_source_set_io_events(client->io, events) >= 0;
}

/* One request each time, so that a client which sends many does not keep the loop. */
static int on_io(sd_event_source *source, int fd, uint32_t events, void *arg)
{
	struct client *client = arg;
	bool was_busy = is_busy(client), lives = true;

	(void)source;
	(void)fd;
	client->is_handled = true;
	if (client->is_asking) {
		lives = !(events & (EPOLLHUP | EPOLLERR));
	} else if (client->out) {
		lives = send_some(client);
		was_busy = client->out;
	} else if (!has_line(client)) {
		lives = read_some(client);
	}
	if (lives && !client->is_asking && !client->out && has_line(client))
		lives = ask_one(client) && (!client->out || send_some(client));
	client->is_handled = false;
	if (!lives || !go_on(client, was_busy))
		drop_client(client);
	return 0;
}

static struct client *find_client(struct eb_line_server *server, eb_line_client number)
{
	for (int i = 0; i < CLIENTS_MAX; i++)
		if (server->clients[i].server && server->clients[i].number == number)
			return &server->clients[i];
	return NULL;
}

void eb_line_server_reply(struct eb_line_server *server, eb_line_client number, json_t *reply)
{
	struct client *client = find_client(server, number);

	if (!client) {
		json_decref(reply);
		return;
	}
	client->is_asking = false;
	client->is_lost = !begin_answer(client, reply);
	if (client->is_handled)
		return;
	if (client->is_lost || !send_some(client) || !go_on(client, false))
		drop_client(client);
}

/* ---- who may ---- */

static bool is_member(int fd, gid_t group)
{
	gid_t groups[GROUPS_MAX];
	socklen_t len = sizeof(groups);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &len) < 0)
		return false;
	for (size_t i = 0; i < len / sizeof(groups[0]); i++)
		if (groups[i] == group)
			return true;
	return false;
}

/* Not by the owner of the socket's file: to give a file away takes CAP_CHOWN, which the agent does not have. */
static bool is_allowed(const struct eb_line_server *server, int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return false;
	return peer.uid == 0 || peer.uid == geteuid() ||
	       (server->has_group && (peer.gid == server->group || is_member(fd, server->group)));
}

static void find_group(struct eb_line_server *server, const char *name)
{
	char *end;
	unsigned long number = strtoul(name, &end, 10);
	const struct group *group = *end ? getgrnam(name) : NULL;

	server->has_group = group || !*end;
	server->group = group ? group->gr_gid : (gid_t)number;
	if (!server->has_group)
		eb_warning("control_group names no group of this system, root alone may connect",
			   eb_str("group", name), eb_str("socket", server->address.sun_path));
}

/* ---- life ---- */

static struct client *free_place(struct eb_line_server *server)
{
	for (int i = 0; i < CLIENTS_MAX; i++)
		if (!server->clients[i].server)
			return &server->clients[i];
	return NULL;
}

static void on_connection(int fd, const struct sockaddr *address, socklen_t len, void *arg)
{
	struct eb_line_server *server = arg;
	struct client *client = is_allowed(server, fd) ? free_place(server) : NULL;

	(void)address;
	(void)len;
	if (!client) {
		close(fd);
		return;
	}
	*client = (struct client){
		.server = server, .number = ++server->last_number, .fd = fd, .in = malloc(EB_LINE_MAX + 1)
	};
	if (!client->in || sd_event_add_io(server->loop, &client->io, fd, EPOLLIN, on_io, client) < 0 ||
	    sd_event_add_time(server->loop, &client->timer, CLOCK_MONOTONIC, 0, 0, on_patience_end, client) < 0 ||
	    sd_event_source_set_enabled(client->timer, SD_EVENT_OFF) < 0)
		drop_client(client);
}

int eb_line_server_open(sd_event *loop, const char *run_dir, const char *group, eb_line_handler handler, void *arg,
			struct eb_line_server **out)
{
	struct eb_line_server *server = calloc(1, sizeof(*server));
	int err;

	if (!server)
		return -ENOMEM;
	server->loop = loop;
	server->handler = handler;
	server->arg = arg;
	err = eb_control_address(run_dir, EB_JSON_SOCKET, &server->address);
	if (!err && group)
		find_group(server, group);
	if (!err)
		err = eb_acceptor_open_unix(loop, &server->address, SOCK_STREAM, server->has_group ? 0666 : 0600,
					    CLIENTS_MAX, on_connection, server, &server->acceptor);
	if (err < 0) {
		eb_line_server_close(server);
		return err;
	}
	*out = server;
	return 0;
}

void eb_line_server_close(struct eb_line_server *server)
{
	if (!server)
		return;
	for (int i = 0; i < CLIENTS_MAX; i++)
		drop_client(&server->clients[i]);
	if (server->acceptor)
		(void)unlink(server->address.sun_path);
	eb_acceptor_close(server->acceptor);
	free(server);
}
