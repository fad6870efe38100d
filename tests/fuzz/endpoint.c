// SPDX-License-Identifier: GPL-2.0-only
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "endpoint.h"

#define CLIENTS 8
#define FILES_MAX 3
#define SPIN 100000
#define REPLY_MAX 65536

struct clients {
	struct sockaddr_un address;
	int type;
	int fd[CLIENTS];
	void (*received)(const char *text, size_t len);
};

static char directory[] = "/tmp/ebfuzz-XXXXXX";

_Noreturn static void fail(const char *what)
{
	perror(what);
	abort();
}

static char socket_path[64];

static void remove_directory(void)
{
	(void)unlink(socket_path);
	(void)rmdir(directory);
}

const char *endpoint_dir(void)
{
	static const char *made;

	if (!made) {
		made = mkdtemp(directory);
		if (!made)
			fail("endpoint: no directory");
		atexit(remove_directory);
	}
	return made;
}

sd_event *endpoint_loop(void)
{
	static sd_event *loop;

	if (!loop && sd_event_new(&loop) < 0)
		fail("endpoint: no loop");
	return loop;
}

static void run_loop(void)
{
	for (int i = 0; sd_event_run(endpoint_loop(), 0) > 0; i++)
		if (i == SPIN)
			fail("endpoint: the loop runs without end");
}

static int connect_to(const struct clients *clients)
{
	int fd = socket(AF_UNIX, clients->type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		fail("endpoint: no socket");
	/* A server that lets nobody in any more is no fault. */
	(void)connect(fd, (const struct sockaddr *)&clients->address, sizeof(clients->address));
	return fd;
}

static void hang_up(struct clients *clients, int client)
{
	if (clients->fd[client] >= 0)
		close(clients->fd[client]);
	clients->fd[client] = -1;
}

static void receive(const struct clients *clients, int fd)
{
	static char reply[REPLY_MAX];
	ssize_t len;

	while ((len = recv(fd, reply, sizeof(reply), 0)) > 0)
		clients->received(reply, len);
}

/* With `files` descriptors along: of standard input. A socket that is sent over itself stays connected after its client
 * hung up, until the server has read that far, which it does only when its answers are read. */
static void send_text(int fd, const char *text, size_t len, int files)
{
	struct iovec part = { .iov_base = (char *)text, .iov_len = len };
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(FILES_MAX * sizeof(int))];
	} ancillary = { .header = { .cmsg_len = CMSG_LEN(files * sizeof(int)), .cmsg_level = SOL_SOCKET,
				    .cmsg_type = SCM_RIGHTS } };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };

	for (int i = 0; i < files; i++)
		memcpy(CMSG_DATA(&ancillary.header) + i * sizeof(int), &(int){ STDIN_FILENO }, sizeof(int));
	if (files) {
		message.msg_control = &ancillary;
		message.msg_controllen = CMSG_SPACE(files * sizeof(int));
	}
	(void)sendmsg(fd, &message, MSG_NOSIGNAL);
}

static int client_of(char digit)
{
	return (unsigned char)digit % CLIENTS;
}

static void step(struct clients *clients, const char *text, size_t len)
{
	bool has_letter = len > 1 && strchr("fghrx", text[0]);
	int client = client_of(text[has_letter]), files = !has_letter ? 0 : text[0] == 'f' ? 1 : text[0] == 'g' ? 3 : 0;

	if (has_letter && text[0] == 'x') {
		hang_up(clients, client);
	} else {
		if (clients->fd[client] < 0)
			clients->fd[client] = connect_to(clients);
		if (has_letter && text[0] == 'h')
			(void)shutdown(clients->fd[client], SHUT_WR);
		else if (has_letter && text[0] == 'r')
			receive(clients, clients->fd[client]);
		else
			send_text(clients->fd[client], text + 1 + has_letter, len - 1 - has_letter, files);
	}
	run_loop();
}

void endpoint_run(const char *name, int type, const uint8_t *data, size_t size,
		  void (*received)(const char *text, size_t len))
{
	struct clients clients = { .address.sun_family = AF_UNIX, .type = type, .received = received };
	const char *text = (const char *)data, *end = text + size, *next;

	snprintf(socket_path, sizeof(socket_path), "%s/%s", endpoint_dir(), name);
	strcpy(clients.address.sun_path, socket_path);
	memset(clients.fd, -1, sizeof(clients.fd));
	for (; text < end; text = next + 1) {
		next = memchr(text, '~', end - text);
		next = next ? next : end;
		if (next > text)
			step(&clients, text, next - text);
	}
	for (int i = 0; i < CLIENTS; i++) {
		if (clients.fd[i] >= 0)
			receive(&clients, clients.fd[i]);
		hang_up(&clients, i);
	}
	run_loop();
}
