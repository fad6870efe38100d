// SPDX-License-Identifier: GPL-2.0-only
/* Facts about interfaces and their drivers: ioctls, as /sys may show another network namespace. */
#include <errno.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <bpf/libbpf.h>
#include <linux/if_link.h>

#include "support/facts.h"

static int ask(int fd, const char *name, unsigned long request, struct ifreq *out)
{
	snprintf(out->ifr_name, sizeof(out->ifr_name), "%s", name);
	return ioctl(fd, request, out) ? -errno : 0;
}

static int ask_ethtool(int fd, const char *name, void *command)
{
	struct ifreq request = { .ifr_data = command };

	return ask(fd, name, SIOCETHTOOL, &request);
}

static json_t *driver_json(int fd, const char *name)
{
	struct ethtool_drvinfo info = { .cmd = ETHTOOL_GDRVINFO };
	int err = ask_ethtool(fd, name, &info);

	if (err)
		return json_pack("{s:s}", "error", strerror(-err));
	return json_pack("{s:s, s:s, s:s, s:s}", "name", info.driver, "version", info.version, "firmware",
			 info.fw_version, "bus", info.bus_info);
}

static json_t *channels_json(int fd, const char *name)
{
	struct ethtool_channels channels = { .cmd = ETHTOOL_GCHANNELS };
	int err = ask_ethtool(fd, name, &channels);

	if (err)
		return json_pack("{s:s}", "error", strerror(-err));
	return json_pack("{s:I, s:I, s:I, s:I}", "rx", (json_int_t)channels.rx_count, "tx",
			 (json_int_t)channels.tx_count, "combined", (json_int_t)channels.combined_count,
			 "combined_max", (json_int_t)channels.max_combined);
}

static json_t *rings_json(int fd, const char *name)
{
	struct ethtool_ringparam rings = { .cmd = ETHTOOL_GRINGPARAM };
	int err = ask_ethtool(fd, name, &rings);

	if (err)
		return json_pack("{s:s}", "error", strerror(-err));
	return json_pack("{s:I, s:I, s:I, s:I}", "rx", (json_int_t)rings.rx_pending, "rx_max",
			 (json_int_t)rings.rx_max_pending, "tx", (json_int_t)rings.tx_pending, "tx_max",
			 (json_int_t)rings.tx_max_pending);
}

/* How many features the kernel knows; 0 when it does not say. */
static __u32 count_features(int fd, const char *name)
{
	struct {
		struct ethtool_sset_info info;
		__u32 count;
	} request = { .info = { .cmd = ETHTOOL_GSSET_INFO, .sset_mask = 1ULL << ETH_SS_FEATURES } };

	return ask_ethtool(fd, name, &request) || !request.info.sset_mask ? 0 : request.count;
}

/* Names of the features that are on. */
static void list_features(int fd, const char *name, __u32 count, json_t *list)
{
	__u32 blocks = (count + 31) / 32;
	struct ethtool_gstrings *names = calloc(1, sizeof(*names) + (size_t)count * ETH_GSTRING_LEN);
	struct ethtool_gfeatures *features = calloc(1, sizeof(*features) + blocks * sizeof(features->features[0]));

	if (names && features) {
		*names = (struct ethtool_gstrings){
			.cmd = ETHTOOL_GSTRINGS, .string_set = ETH_SS_FEATURES, .len = count
		};
		*features = (struct ethtool_gfeatures){ .cmd = ETHTOOL_GFEATURES, .size = blocks };
		if (ask_ethtool(fd, name, names) || ask_ethtool(fd, name, features))
			count = 0;
		for (__u32 i = 0; i < count; i++)
			if (features->features[i / 32].active >> i % 32 & 1)
				json_array_append_new(list, json_stringn((char *)names->data + i * ETH_GSTRING_LEN,
									 strnlen((char *)names->data +
											 i * ETH_GSTRING_LEN,
										 ETH_GSTRING_LEN)));
	}
	free(features);
	free(names);
}

static json_t *features_json(int fd, const char *name)
{
	json_t *list = json_array();

	list_features(fd, name, count_features(fd, name), list);
	return list;
}

static json_t *xdp_json(const struct interface *interface)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, query);
	int err = bpf_xdp_query(if_nametoindex(interface->name), 0, &query);

	if (err)
		return json_pack("{s:s}", "error", strerror(-err));
	return json_pack("{s:s, s:b, s:I, s:b, s:b, s:I, s:I, s:I}", "mode", interface->attachment.mode, "attached",
			 interface->attachment.attached, "our_program", (json_int_t)interface->attachment.prog_id,
			 "dispatcher", interface->attachment.dispatcher, "foreign", interface->attachment.foreign,
			 "native_program", (json_int_t)query.drv_prog_id, "generic_program",
			 (json_int_t)query.skb_prog_id, "offloaded_program", (json_int_t)query.hw_prog_id);
}

static json_t *interface_json(int fd, const struct interface *interface)
{
	struct ifreq mtu = {}, flags = {};
	const char *name = interface->name;
	int err = ask(fd, name, SIOCGIFMTU, &mtu);

	if (!err)
		err = ask(fd, name, SIOCGIFFLAGS, &flags);
	if (err)
		return json_pack("{s:s, s:s}", "name", name, "error", strerror(-err));
	return json_pack("{s:s, s:i, s:b, s:b, s:o, s:o, s:o, s:o, s:o}", "name", name, "mtu", mtu.ifr_mtu, "up",
			 !!(flags.ifr_flags & IFF_UP), "running", !!(flags.ifr_flags & IFF_RUNNING), "driver",
			 driver_json(fd, name), "queues", channels_json(fd, name), "rings", rings_json(fd, name),
			 "features_on", features_json(fd, name), "xdp", xdp_json(interface));
}

json_t *facts_interfaces(const struct interface_list *list)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	json_t *array = json_array();

	if (fd < 0) {
		json_decref(array);
		return json_pack("{s:s}", "error", strerror(errno));
	}
	for (size_t i = 0; i < list->count; i++)
		json_array_append_new(array, interface_json(fd, &list->items[i]));
	close(fd);
	return array;
}
