// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/input.h"
#include "config/endpoint.h"
#include "support/fetch_metrics.h"

#define ANSWER_MAX (16 * 1024 * 1024)

static int open_socket(int family, const void *address, socklen_t len, int timeout_ms)
{
	struct timeval timeout = { .tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000 };
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0), err;

	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) == 0 &&
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) == 0 && connect(fd, address, len) == 0)
		return fd;
	err = errno == EINPROGRESS ? -ETIMEDOUT : -errno;
	close(fd);
	return err;
}

static int connect_unix(const char *path, int timeout_ms)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	return open_socket(AF_UNIX, &address, sizeof(address), timeout_ms);
}

static int connect_tcp(const char *text, int timeout_ms)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *list;
	struct eb_endpoint endpoint;
	char port[8];
	int err = eb_endpoint_parse(text, 0, &endpoint), fd = -EADDRNOTAVAIL;

	if (err)
		return err;
	snprintf(port, sizeof(port), "%u", endpoint.port);
	if (getaddrinfo(endpoint.host, port, &hints, &list) == 0) {
		for (struct addrinfo *one = list; one && fd < 0; one = one->ai_next)
			fd = open_socket(one->ai_family, one->ai_addr, one->ai_addrlen, timeout_ms);
		freeaddrinfo(list);
	}
	eb_endpoint_done(&endpoint);
	return fd;
}

int fetch_metrics(const char *address, int timeout_ms, char **out, size_t *size)
{
	static const char request[] = "GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n";
	int fd = strncmp(address, "unix:", 5) ? connect_tcp(address, timeout_ms) :
						connect_unix(address + 5, timeout_ms);
	int err;

	if (fd < 0)
		return fd;
	err = send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL) < 0 ? -errno :
									 eb_input_read_fd(fd, ANSWER_MAX, out, size);
	close(fd);
	return err == -EAGAIN ? -ETIMEDOUT : err;
}
