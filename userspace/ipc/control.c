// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "ipc/control.h"

int eb_control_address(const char *run_dir, const char *name, struct sockaddr_un *out)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int size = snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s", run_dir, name);

	if (size < 0 || (size_t)size >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	*out = address;
	return 0;
}

/* Both kinds of timeout; the one for sending also bounds connect() to a socket whose queue is full. */
static int set_timeouts(int fd, int timeout_ms)
{
	struct timeval timeout = { .tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000 };

	if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)))
		return -errno;
	return 0;
}

/* A timeout of the socket reads as EAGAIN. */
static int socket_error(void)
{
	return errno == EAGAIN || errno == EINPROGRESS ? -ETIMEDOUT : -errno;
}

static int receive_reply(int fd, char **reply)
{
	ssize_t size;
	char *text;

	text = malloc(EB_CONTROL_REPLY_MAX + 1);
	if (!text)
		return -ENOMEM;
	do
		size = recv(fd, text, EB_CONTROL_REPLY_MAX + 1, 0);
	while (size < 0 && errno == EINTR);
	if (size <= 0 || size > EB_CONTROL_REPLY_MAX) {
		int err = size < 0 ? socket_error() : size == 0 ? -ECONNRESET : -EMSGSIZE;

		free(text);
		return err;
	}
	text[size] = '\0';
	*reply = text;
	return 0;
}

/* Room for one descriptor beside a packet, see cmsg(3). */
union ancillary {
	struct cmsghdr header;
	char space[CMSG_SPACE(sizeof(int))];
};

static ssize_t send_request(int fd, const char *request, int file)
{
	struct iovec text = { .iov_base = (char *)request, .iov_len = strlen(request) };
	struct msghdr message = { .msg_iov = &text, .msg_iovlen = 1 };
	union ancillary ancillary = {};

	if (file >= 0) {
		ancillary.header = (struct cmsghdr){
			.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS
		};
		memcpy(CMSG_DATA(&ancillary.header), &file, sizeof(file));
		message.msg_control = &ancillary;
		message.msg_controllen = sizeof(ancillary);
	}
	return sendmsg(fd, &message, MSG_NOSIGNAL);
}

/* The one file that came along, or -1. Alignment leaves room for another one; who sends more has none of them taken. */
static int take_file(struct msghdr *message)
{
	struct cmsghdr *header = CMSG_FIRSTHDR(message);
	int files[CMSG_SPACE(sizeof(int)) / sizeof(int)];
	size_t size;

	if (!header || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
		return -1;
	size = header->cmsg_len - CMSG_LEN(0);
	memcpy(files, CMSG_DATA(header), size);
	if (size == sizeof(int))
		return files[0];
	for (size_t i = 0; i < size / sizeof(int); i++)
		close(files[i]);
	return -1;
}

ssize_t eb_control_receive(int fd, char request[EB_CONTROL_REQUEST_MAX + 1], int *file)
{
	struct iovec text = { .iov_base = request, .iov_len = EB_CONTROL_REQUEST_MAX };
	union ancillary ancillary = {};
	struct msghdr message = {
		.msg_iov = &text, .msg_iovlen = 1, .msg_control = &ancillary, .msg_controllen = sizeof(ancillary)
	};
	ssize_t len = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);

	*file = -1;
	if (len < 0)
		return -errno;
	request[len] = '\0';
	*file = take_file(&message);
	if (len == 0 && *file >= 0) {
		close(*file);
		*file = -1;
	}
	return len;
}

static int ask(int fd, const struct sockaddr_un *address, const char *request, int file, int timeout_ms, char **reply)
{
	int err = set_timeouts(fd, timeout_ms);

	if (err)
		return err;
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)))
		return socket_error();
	if (send_request(fd, request, file) < 0)
		return errno == EPIPE ? -ECONNRESET : socket_error();
	return receive_reply(fd, reply);
}

int eb_control_ask_with(const char *run_dir, const char *request, int file, int timeout_ms, char **reply)
{
	struct sockaddr_un address;
	int fd, err;

	if (strlen(request) > EB_CONTROL_REQUEST_MAX)
		return -EMSGSIZE;
	err = eb_control_address(run_dir, EB_CONTROL_SOCKET, &address);
	if (err)
		return err;
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	err = ask(fd, &address, request, file, timeout_ms, reply);
	close(fd);
	return err;
}

int eb_control_ask(const char *run_dir, const char *request, int timeout_ms, char **reply)
{
	return eb_control_ask_with(run_dir, request, -1, timeout_ms, reply);
}
