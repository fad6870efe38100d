// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/acceptor.h"
#include "agent/control_server.h"
#include "ipc/control.h"

/* A client that says nothing, or cannot be answered, for this long is hung up on; more than so many at once are not let
 * in. */
#define PATIENCE_US (30 * 1000000ULL)
#define CLIENTS_MAX 16

struct client {
	struct eb_control_server *server; /* NULL for a free place */
	eb_control_client number;
	int fd;
	sd_event_source *io, *timer;
};

struct eb_control_server {
	sd_event *loop;
	struct eb_acceptor *acceptor; /* NULL until it listens */
	struct sockaddr_un address;
	eb_control_handler handler;
	void *arg;
	struct client clients[CLIENTS_MAX];
	eb_control_client last_number;
};

static void drop_client(struct client *client)
{
	if (!client->server)
		return;
	sd_event_source_disable_unref(client->io);
	sd_event_source_disable_unref(client->timer);
	close(client->fd);
	*client = (struct client){ .fd = -1 };
}

static int on_patience_end(sd_event_source *source, uint64_t usec, void *arg)
{
	(void)source;
	(void)usec;
	drop_client(arg);
	return 0;
}

/* Sends the one reply and hangs up. Takes over `reply`; NULL, for want of memory, is not to keep anybody waiting. */
static void finish(struct client *client, json_t *reply)
{
	static const char none[] = "{\"ok\":false,\"error\":\"out of memory\"}";
	char *text = reply ? json_dumps(reply, JSON_COMPACT) : NULL;
	const char *packet = text ? text : none;

	/* A client that does not read its one packet loses it. */
	(void)send(client->fd, packet, strlen(packet), MSG_NOSIGNAL | MSG_DONTWAIT);
	free(text);
	json_decref(reply);
	drop_client(client);
}

static int on_request(sd_event_source *source, int fd, uint32_t events, void *arg)
{
	char request[EB_CONTROL_REQUEST_MAX + 1];
	struct client *client = arg;
	json_t *reply = NULL;
	bool is_answered;
	int file;
	ssize_t len = eb_control_receive(fd, request, &file);

	(void)events;
	if (len == -EAGAIN || len == -EINTR)
		return 0;
	if (len <= 0) {
		drop_client(client);
		return 0;
	}
	(void)sd_event_source_set_enabled(source, SD_EVENT_OFF); /* one request each */
	is_answered = client->server->handler(request, file, client->number, client->server->arg, &reply);
	if (file >= 0)
		close(file);
	if (is_answered)
		finish(client, reply);
	return 0;
}

void eb_control_reply(struct eb_control_server *server, eb_control_client client, json_t *reply)
{
	for (int i = 0; i < CLIENTS_MAX; i++) {
		if (server->clients[i].server && server->clients[i].number == client) {
			finish(&server->clients[i], reply);
			return;
		}
	}
	json_decref(reply);
}

void eb_control_be_patient(struct eb_control_server *server, eb_control_client client)
{
	for (int i = 0; i < CLIENTS_MAX; i++)
		if (server->clients[i].server && server->clients[i].number == client)
			(void)sd_event_source_set_enabled(server->clients[i].timer, SD_EVENT_OFF);
}

static struct client *free_place(struct eb_control_server *server)
{
	for (int i = 0; i < CLIENTS_MAX; i++)
		if (!server->clients[i].server)
			return &server->clients[i];
	return NULL;
}

static void on_connection(int fd, const struct sockaddr *address, socklen_t len, void *arg)
{
	struct eb_control_server *server = arg;
	struct client *client = free_place(server);

	(void)address;
	(void)len;
	if (!client) {
		close(fd);
		return;
	}
	*client = (struct client){ .server = server, .number = ++server->last_number, .fd = fd };
	if (sd_event_add_io(server->loop, &client->io, fd, EPOLLIN, on_request, client) < 0 ||
	    sd_event_add_time_relative(server->loop, &client->timer, CLOCK_MONOTONIC, PATIENCE_US, 0, on_patience_end,
				       client) < 0)
		drop_client(client);
}

int eb_control_server_open(sd_event *loop, const char *run_dir, eb_control_handler handler, void *arg,
			   struct eb_control_server **out)
{
	struct eb_control_server *server = calloc(1, sizeof(*server));
	int err;

	if (!server)
		return -ENOMEM;
	server->loop = loop;
	server->handler = handler;
	server->arg = arg;
	err = eb_control_address(run_dir, EB_CONTROL_SOCKET, &server->address);
	if (!err)
		err = eb_acceptor_open_unix(loop, &server->address, SOCK_SEQPACKET, 0600, CLIENTS_MAX, on_connection,
					    server, &server->acceptor);
	if (err < 0) {
		eb_control_server_close(server);
		return err;
	}
	*out = server;
	return 0;
}

void eb_control_server_close(struct eb_control_server *server)
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
