// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <string.h>
#include <sys/socket.h> /* before linux/rtnetlink.h, which needs its types */

#include <linux/rtnetlink.h>

#include "netlink/default_routes.h"
#include "netlink/dump.h"

bool eb_default_routes_have(const struct eb_default_routes *routes, int ifindex)
{
	for (size_t i = 0; i < routes->count; i++)
		if (routes->ifindexes[i] == ifindex)
			return true;
	return false;
}

static void add(struct eb_default_routes *routes, int ifindex)
{
	if (routes->count < EB_DEFAULT_ROUTES_MAX && !eb_default_routes_have(routes, ifindex))
		routes->ifindexes[routes->count++] = ifindex;
}

static void add_nexthops(struct eb_default_routes *routes, const struct nlattr *attribute)
{
	const struct rtnexthop *hop = mnl_attr_get_payload(attribute);
	int left = mnl_attr_get_payload_len(attribute);

	while (RTNH_OK(hop, left)) {
		int size = RTNH_ALIGN(hop->rtnh_len);

		add(routes, hop->rtnh_ifindex);
		left -= size < left ? size : left;
		hop = RTNH_NEXT(hop);
	}
}

static int read_attribute(const struct nlattr *attribute, void *arg)
{
	if (mnl_attr_get_type(attribute) == RTA_OIF)
		add(arg, mnl_attr_get_u32(attribute));
	else if (mnl_attr_get_type(attribute) == RTA_MULTIPATH)
		add_nexthops(arg, attribute);
	return MNL_CB_OK;
}

static int read_destination(const struct nlattr *attribute, void *arg)
{
	static const unsigned char zeros[4];
	bool *is_past = arg;

	if (mnl_attr_get_type(attribute) == RTA_DST && mnl_attr_get_payload_len(attribute) == sizeof(zeros))
		*is_past = memcmp(mnl_attr_get_payload(attribute), zeros, sizeof(zeros)) != 0;
	return MNL_CB_OK;
}

/* The kernel reports routes of IPv4 by ascending address, so a full table of the internet need not be read. */
static bool is_past_defaults(const struct nlmsghdr *message, const struct rtmsg *route)
{
	bool is_past = false;

	if (route->rtm_family == AF_INET)
		(void)mnl_attr_parse(message, sizeof(*route), read_destination, &is_past);
	return is_past;
}

static int on_route(const struct nlmsghdr *message, void *arg)
{
	const struct rtmsg *route = mnl_nlmsg_get_payload(message);

	if (is_past_defaults(message, route))
		return MNL_CB_STOP;
	if (message->nlmsg_type == RTM_NEWROUTE && !route->rtm_dst_len && route->rtm_type == RTN_UNICAST &&
	    route->rtm_table == RT_TABLE_MAIN && !(route->rtm_flags & RTM_F_CLONED))
		(void)mnl_attr_parse(message, sizeof(*route), read_attribute, arg);
	return MNL_CB_OK;
}

static void begin(void *arg)
{
	((struct eb_default_routes *)arg)->count = 0;
}

static int read_family(int family, struct eb_default_routes *out)
{
	char buffer[MNL_NLMSG_HDRLEN + sizeof(struct rtmsg)];
	struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
	struct rtmsg *route;
	int err;

	message->nlmsg_type = RTM_GETROUTE;
	route = mnl_nlmsg_put_extra_header(message, sizeof(*route));
	route->rtm_family = family;
	route->rtm_table = RT_TABLE_MAIN;
	err = eb_netlink_dump(message, begin, on_route, out);
	return err == -ENOENT ? 0 : err; /* there is no such table while it has no route */
}

int eb_default_routes_read(struct eb_default_routes *out)
{
	struct eb_default_routes v4 = { 0 }, v6 = { 0 };
	int err = read_family(AF_INET, &v4);

	if (!err)
		err = read_family(AF_INET6, &v6);
	if (err)
		return err;
	for (size_t i = 0; i < v6.count; i++)
		add(&v4, v6.ifindexes[i]);
	*out = v4;
	return 0;
}
