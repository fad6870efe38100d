// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <sys/socket.h> /* before linux/netlink.h, which needs its types */

#include <linux/netlink.h>

#include "netlink/dump.h"

#define ATTEMPTS 5

static int receive_all(struct mnl_socket *socket, mnl_cb_t each, void *arg)
{
	char buffer[32 * 1024];
	ssize_t len;
	int more = MNL_CB_OK;

	while (more > MNL_CB_STOP) {
		len = mnl_socket_recvfrom(socket, buffer, sizeof(buffer));
		if (len < 0)
			return -errno;
		more = mnl_cb_run(buffer, len, 0, mnl_socket_get_portid(socket), each, arg);
	}
	return more < 0 ? -errno : 0;
}

/* With a socket of its own: what is left of an answer that was not read to its end goes with it. */
static int try(const struct nlmsghdr *request, mnl_cb_t each, void *arg)
{
	struct mnl_socket *socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	int on = 1, err = 0;

	if (!socket)
		return -errno;
	/* The kernel heeds the table in a request for routes only when it is asked to be strict. */
	(void)mnl_socket_setsockopt(socket, NETLINK_GET_STRICT_CHK, &on, sizeof(on));
	if (mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) < 0 ||
	    mnl_socket_sendto(socket, request, request->nlmsg_len) < 0)
		err = -errno;
	if (!err)
		err = receive_all(socket, each, arg);
	mnl_socket_close(socket);
	return err;
}

int eb_netlink_dump(struct nlmsghdr *request, void (*begin)(void *arg), mnl_cb_t each, void *arg)
{
	int err = -EINTR;

	request->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	for (int i = 0; i < ATTEMPTS && err == -EINTR; i++) {
		begin(arg);
		err = try(request, each, arg);
	}
	return err;
}
