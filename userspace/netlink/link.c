// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h> /* before linux/rtnetlink.h, which needs its types */

#include <libmnl/libmnl.h>
#include <linux/if.h>
#include <linux/if_arp.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>

#include "netlink/dump.h"
#include "netlink/link.h"

static int read_info(const struct nlattr *attribute, void *arg)
{
	struct eb_link *link = arg;

	if (mnl_attr_get_type(attribute) == IFLA_INFO_KIND)
		snprintf(link->kind, sizeof(link->kind), "%s", mnl_attr_get_str(attribute));
	return MNL_CB_OK;
}

static int read_attribute(const struct nlattr *attribute, void *arg)
{
	struct rtnl_link_stats64 stats = {};
	struct eb_link *link = arg;
	size_t size = mnl_attr_get_payload_len(attribute);

	if (mnl_attr_get_type(attribute) == IFLA_LINKINFO)
		return mnl_attr_parse_nested(attribute, read_info, link);
	if (mnl_attr_get_type(attribute) != IFLA_STATS64)
		return MNL_CB_OK;
	/* Newer kernels have more fields at its end. */
	memcpy(&stats, mnl_attr_get_payload(attribute), size < sizeof(stats) ? size : sizeof(stats));
	link->received = stats.rx_packets;
	return MNL_CB_OK;
}

static int on_link(const struct nlmsghdr *message, void *arg)
{
	const struct ifinfomsg *info = mnl_nlmsg_get_payload(message);
	struct eb_link *link = arg;

	link->type = info->ifi_type;
	return mnl_attr_parse(message, sizeof(*info), read_attribute, link);
}

static int ask(struct mnl_socket *socket, int ifindex, struct eb_link *out)
{
	char buffer[32 * 1024];
	struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
	struct ifinfomsg *info;
	ssize_t len;

	message->nlmsg_type = RTM_GETLINK;
	message->nlmsg_flags = NLM_F_REQUEST;
	message->nlmsg_seq = 1;
	info = mnl_nlmsg_put_extra_header(message, sizeof(*info));
	info->ifi_family = AF_UNSPEC;
	info->ifi_index = ifindex;
	if (mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) < 0 ||
	    mnl_socket_sendto(socket, message, message->nlmsg_len) < 0)
		return -errno;
	len = mnl_socket_recvfrom(socket, buffer, sizeof(buffer));
	if (len < 0)
		return -errno;
	return mnl_cb_run(buffer, len, 1, mnl_socket_get_portid(socket), on_link, out) < 0 ? -errno : 0;
}

int eb_link_read(int ifindex, struct eb_link *out)
{
	struct mnl_socket *socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	struct eb_link link = {};
	int err = socket ? ask(socket, ifindex, &link) : -errno;

	if (socket)
		mnl_socket_close(socket);
	if (!err)
		*out = link;
	return err;
}

/* ---- all of them ---- */

struct walk {
	void (*begin)(void *arg);
	int (*each)(const struct eb_link_names *names, void *arg);
	void *arg;
};

static int read_name(const struct nlattr *attribute, void *arg)
{
	struct eb_link_names *names = arg;

	if (mnl_attr_get_type(attribute) == IFLA_IFNAME)
		names->names[0] = mnl_attr_get_str(attribute);
	else if (mnl_attr_get_type(attribute) == IFLA_PROP_LIST)
		return mnl_attr_parse_nested(attribute, read_name, arg);
	else if (mnl_attr_get_type(attribute) == IFLA_ALT_IFNAME && names->count < EB_LINK_NAMES_MAX)
		names->names[names->count++] = mnl_attr_get_str(attribute);
	return MNL_CB_OK;
}

static int on_each(const struct nlmsghdr *message, void *arg)
{
	const struct ifinfomsg *info = mnl_nlmsg_get_payload(message);
	const struct walk *walk = arg;
	struct eb_link_names names = {
		.ifindex = info->ifi_index,
		.is_loopback = info->ifi_flags & IFF_LOOPBACK,
		.names = { "" },
		.count = 1,
	};
	int err;

	if (message->nlmsg_type != RTM_NEWLINK)
		return MNL_CB_OK;
	(void)on_link(message, &names.link);
	(void)mnl_attr_parse(message, sizeof(*info), read_name, &names);
	err = walk->each(&names, walk->arg);
	errno = -err;
	return err ? MNL_CB_ERROR : MNL_CB_OK;
}

static void begin_walk(void *arg)
{
	const struct walk *walk = arg;

	walk->begin(walk->arg);
}

int eb_links_each(void (*begin)(void *arg), int (*each)(const struct eb_link_names *names, void *arg), void *arg)
{
	char buffer[MNL_NLMSG_HDRLEN + sizeof(struct ifinfomsg) + MNL_ATTR_HDRLEN + sizeof(uint32_t)];
	struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
	struct walk walk = { begin, each, arg };

	message->nlmsg_type = RTM_GETLINK;
	(void)mnl_nlmsg_put_extra_header(message, sizeof(struct ifinfomsg));
	mnl_attr_put_u32(message, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
	return eb_netlink_dump(message, begin_walk, on_each, &walk);
}

/* ---- what they are ---- */

/* IPsec puts the Ethernet header of the outer packet, if it had one, before the inner one. */
static bool is_ipsec(const char *kind)
{
	return strcmp(kind, "xfrm") == 0 || strcmp(kind, "vti") == 0 || strcmp(kind, "vti6") == 0;
}

enum eb_link_header eb_link_header(const struct eb_link *link)
{
	switch (link->type) {
	case ARPHRD_ETHER:
	case ARPHRD_LOOPBACK:
		return EB_LINK_ETHERNET;
	case ARPHRD_NONE: /* tun, WireGuard, modems */
	case ARPHRD_RAWIP:
	case ARPHRD_PPP:
	case ARPHRD_TUNNEL:
	case ARPHRD_TUNNEL6:
	case ARPHRD_SIT:
	case ARPHRD_IPGRE:
	case ARPHRD_IP6GRE:
		return is_ipsec(link->kind) ? EB_LINK_OTHER : EB_LINK_IP;
	default:
		return EB_LINK_OTHER;
	}
}
