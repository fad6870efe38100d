/* SPDX-License-Identifier: GPL-2.0-only */
/* What the kernel says of one interface (rtnetlink(7)). */
#ifndef EB_LINK_H
#define EB_LINK_H

#include <stdint.h>

#define EB_LINK_KIND_MAX 32

struct eb_link {
	uint16_t type;               /* ARPHRD_ of linux/if_arp.h */
	char kind[EB_LINK_KIND_MAX]; /* "veth", "wireguard"; "" for a driver without */
	uint64_t received;           /* frames, as the driver counts them: with or without those that XDP drops */
};

/* What the frames of an interface begin with, where XDP sees them. */
enum eb_link_header { EB_LINK_ETHERNET, EB_LINK_IP, EB_LINK_OTHER };

/* By its type. EB_LINK_OTHER also of types that are known, but of which XDP sees one thing or the other. */
enum eb_link_header eb_link_header(const struct eb_link *link);

/* Returns 0, -ENODEV when there is no such interface, or other negative errno. */
int eb_link_read(int ifindex, struct eb_link *out);

#endif
