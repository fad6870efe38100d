// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h> /* before linux/rtnetlink.h, which needs its types */

#include <libmnl/libmnl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>

#include "netlink/dump.h"
#include "netlink/layers.h"

/* The kernel nests no deeper (MAX_NEST_DEV). */
#define DEPTH_MAX 8

struct device {
	int ifindex;
	int link;   /* the interface that it was made on, or its peer; 0 for none */
	int master; /* the bridge, bond or team that it is a port of; 0 for none */
};

struct eb_layers {
	struct device *devices;
	size_t count;
};

/* ---- reading ---- */

/* What rtnetlink tells of one device. */
struct telling {
	struct device device;
	const char *kind;
	const struct nlattr *data;
	bool is_elsewhere; /* `link` is of another network namespace */
};

static int read_info(const struct nlattr *attribute, void *arg)
{
	struct telling *telling = arg;

	if (mnl_attr_get_type(attribute) == IFLA_INFO_KIND)
		telling->kind = mnl_attr_get_str(attribute);
	else if (mnl_attr_get_type(attribute) == IFLA_INFO_DATA)
		telling->data = attribute;
	return MNL_CB_OK;
}

/* A VXLAN device names its card here alone. */
static int read_vxlan(const struct nlattr *attribute, void *arg)
{
	struct telling *telling = arg;

	if (mnl_attr_get_type(attribute) == IFLA_VXLAN_LINK)
		telling->device.link = mnl_attr_get_u32(attribute);
	return MNL_CB_OK;
}

static int read_attribute(const struct nlattr *attribute, void *arg)
{
	struct telling *telling = arg;

	switch (mnl_attr_get_type(attribute)) {
	case IFLA_LINK:
		telling->device.link = mnl_attr_get_u32(attribute);
		break;
	case IFLA_MASTER:
		telling->device.master = mnl_attr_get_u32(attribute);
		break;
	case IFLA_LINK_NETNSID:
		telling->is_elsewhere = true;
		break;
	case IFLA_LINKINFO:
		(void)mnl_attr_parse_nested(attribute, read_info, telling);
		break;
	}
	return MNL_CB_OK;
}

static int add(struct eb_layers *layers, const struct device *device)
{
	struct device *devices = reallocarray(layers->devices, layers->count + 1, sizeof(*devices));

	if (!devices) {
		errno = ENOMEM;
		return MNL_CB_ERROR;
	}
	layers->devices = devices;
	devices[layers->count++] = *device;
	return MNL_CB_OK;
}

static int on_device(const struct nlmsghdr *message, void *arg)
{
	const struct ifinfomsg *info = mnl_nlmsg_get_payload(message);
	struct telling telling = { .device.ifindex = info->ifi_index };

	if (message->nlmsg_type != RTM_NEWLINK)
		return MNL_CB_OK;
	(void)mnl_attr_parse(message, sizeof(*info), read_attribute, &telling);
	if (telling.kind && telling.data && strcmp(telling.kind, "vxlan") == 0)
		(void)mnl_attr_parse_nested(telling.data, read_vxlan, &telling);
	if (telling.is_elsewhere)
		telling.device.link = 0;
	return add(arg, &telling.device);
}

static void begin(void *arg)
{
	((struct eb_layers *)arg)->count = 0;
}

int eb_layers_read(struct eb_layers **out)
{
	char buffer[MNL_NLMSG_HDRLEN + sizeof(struct ifinfomsg)];
	struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
	struct eb_layers *layers = calloc(1, sizeof(*layers));
	int err = -ENOMEM;

	message->nlmsg_type = RTM_GETLINK;
	(void)mnl_nlmsg_put_extra_header(message, sizeof(struct ifinfomsg));
	if (layers)
		err = eb_netlink_dump(message, begin, on_device, layers);
	if (err) {
		eb_layers_free(layers);
		return err;
	}
	*out = layers;
	return 0;
}

void eb_layers_free(struct eb_layers *layers)
{
	if (!layers)
		return;
	free(layers->devices);
	free(layers);
}

/* ---- asking ---- */

static const struct device *find(const struct eb_layers *layers, int ifindex)
{
	for (size_t i = 0; i < layers->count; i++)
		if (layers->devices[i].ifindex == ifindex)
			return &layers->devices[i];
	return NULL;
}

/* The ends of a pair name each other: neither lies on the other. */
static bool is_right_on(const struct device *upper, const struct device *lower)
{
	if (lower->master == upper->ifindex)
		return true;
	return upper->link == lower->ifindex && lower->link != upper->ifindex && upper != lower;
}

static bool is_on(const struct eb_layers *layers, const struct device *upper, const struct device *lower, int depth)
{
	if (is_right_on(upper, lower))
		return true;
	for (size_t i = 0; depth > 0 && i < layers->count; i++)
		if (is_right_on(upper, &layers->devices[i]) && is_on(layers, &layers->devices[i], lower, depth - 1))
			return true;
	return false;
}

bool eb_layers_is_on(const struct eb_layers *layers, int upper, int lower)
{
	const struct device *one = layers ? find(layers, upper) : NULL, *other = layers ? find(layers, lower) : NULL;

	return one && other && one != other && is_on(layers, one, other, DEPTH_MAX);
}

/* The first of them that lies on none of the others. */
static int find_lowest(const struct eb_layers *layers, const int *ifindexes, int count)
{
	for (int i = 0; i < count; i++) {
		int k = 0;

		while (k < count && !eb_layers_is_on(layers, ifindexes[i], ifindexes[k]))
			k++;
		if (k == count)
			return i;
	}
	return 0;
}

void eb_layers_sort(const struct eb_layers *layers, int *ifindexes, int count)
{
	for (; count > 1; ifindexes++, count--) {
		int place = find_lowest(layers, ifindexes, count), lowest = ifindexes[place];

		memmove(&ifindexes[1], &ifindexes[0], place * sizeof(*ifindexes));
		ifindexes[0] = lowest;
	}
}
