/* SPDX-License-Identifier: GPL-2.0-only */
/* What the kernel reports about one interface (rtnetlink(7)). */
#ifndef EB_LINK_H
#define EB_LINK_H

#include <stdint.h>

#define EB_LINK_KIND_MAX 32

struct eb_link {
	uint16_t type;               /* ARPHRD_ of linux/if_arp.h */
	char kind[EB_LINK_KIND_MAX]; /* "veth", "wireguard"; "" if the driver has no kind */
	uint64_t received;           /* frames; it depends on the driver whether those that XDP drops are included */
};

/* The header with which the frames of an interface begin when XDP sees them. */
enum eb_link_header { EB_LINK_ETHERNET, EB_LINK_IP, EB_LINK_OTHER };

/* Derives the header from the type. EB_LINK_OTHER also stands for known types whose frames begin with different
 * headers. */
enum eb_link_header eb_link_header(const struct eb_link *link);

/* Returns 0, -ENODEV if there is no interface with this index, or another negative errno. */
int eb_link_read(int ifindex, struct eb_link *out);

#endif
