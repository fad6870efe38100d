// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h> /* before linux/rtnetlink.h, which needs its types */

#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/filter.h>
#include <linux/if.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>

#include "netlink/link_watch.h"

/* With the last address of IPv4 the kernel takes the routes of an interface away, and tells of the address alone. */
#define GROUPS (RTMGRP_LINK | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE | RTMGRP_IPV4_IFADDR)

struct eb_link_watch {
	struct mnl_socket *socket;
	sd_event_source *source;
	void (*changed)(const char *name, int ifindex, bool running, void *arg);
	void *arg;
};

static int read_name(const struct nlattr *attribute, void *arg)
{
	const char **name = arg;

	if (mnl_attr_get_type(attribute) == IFLA_IFNAME && mnl_attr_validate(attribute, MNL_TYPE_NUL_STRING) == 0)
		*name = mnl_attr_get_str(attribute);
	return MNL_CB_OK;
}

static int on_message(const struct nlmsghdr *message, void *arg)
{
	const struct ifinfomsg *info = mnl_nlmsg_get_payload(message);
	struct eb_link_watch *watch = arg;
	const char *name = NULL;

	if (message->nlmsg_type != RTM_NEWLINK && message->nlmsg_type != RTM_DELLINK) {
		watch->changed(NULL, 0, false, watch->arg); /* routes and addresses that pass the filter */
		return MNL_CB_OK;
	}
	mnl_attr_parse(message, sizeof(struct ifinfomsg), read_name, &name);
	if (name)
		watch->changed(name, info->ifi_index,
			       message->nlmsg_type == RTM_NEWLINK && (info->ifi_flags & IFF_RUNNING), watch->arg);
	return MNL_CB_OK;
}

static int on_readable(sd_event_source *source, int fd, uint32_t events, void *arg)
{
	char buffer[32 * 1024];
	struct eb_link_watch *watch = arg;
	ssize_t len;

	(void)source;
	(void)fd;
	(void)events;
	len = mnl_socket_recvfrom(watch->socket, buffer, sizeof(buffer));
	if (len < 0 && (errno == ENOBUFS || errno == ENOSPC))
		watch->changed(NULL, 0, false, watch->arg);
	if (len > 0)
		(void)mnl_cb_run(buffer, len, 0, 0, on_message, watch);
	return 0;
}

/* Of the routes, only default ones get through: those of the internet would keep the agent of a router busy. */
static int filter_routes(struct mnl_socket *socket)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_H | BPF_ABS, offsetof(struct nlmsghdr, nlmsg_type)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, htons(RTM_NEWROUTE), 1, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, htons(RTM_DELROUTE), 0, 2),
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, NLMSG_HDRLEN + offsetof(struct rtmsg, rtm_dst_len)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	const struct sock_fprog program = { .len = sizeof(code) / sizeof(code[0]), .filter = code };

	return setsockopt(mnl_socket_get_fd(socket), SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program));
}

int eb_link_watch_open(sd_event *loop, void (*changed)(const char *name, int ifindex, bool running, void *arg),
		       void *arg, struct eb_link_watch **out)
{
	struct eb_link_watch *watch = calloc(1, sizeof(*watch));
	int err;

	if (!watch)
		return -ENOMEM;
	watch->changed = changed;
	watch->arg = arg;
	watch->socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (!watch->socket || filter_routes(watch->socket) < 0 ||
	    mnl_socket_bind(watch->socket, GROUPS, MNL_SOCKET_AUTOPID) < 0)
		err = -errno;
	else
		err = sd_event_add_io(loop, &watch->source, mnl_socket_get_fd(watch->socket), EPOLLIN, on_readable,
				      watch);
	if (err < 0) {
		eb_link_watch_close(watch);
		return err;
	}
	*out = watch;
	return 0;
}

void eb_link_watch_close(struct eb_link_watch *watch)
{
	if (!watch)
		return;
	sd_event_source_unref(watch->source);
	if (watch->socket)
		mnl_socket_close(watch->socket);
	free(watch);
}
