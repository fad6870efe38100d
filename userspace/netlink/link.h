/* SPDX-License-Identifier: GPL-2.0-only */
/* What the kernel reports about an interface (rtnetlink(7)). */
#ifndef EB_LINK_H
#define EB_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EB_LINK_KIND_MAX 32
#define EB_LINK_NAMES_MAX 32 /* those beyond are not seen */

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

/* A link as eb_links_each() reports it. */
struct eb_link_names {
	int ifindex;
	bool is_loopback;
	struct eb_link link;                  /* without `received` */
	const char *names[EB_LINK_NAMES_MAX]; /* its name, then its other ones (ip link property add altname) */
	size_t count;                         /* at least 1 */
};

/*
 * Calls `each`, which returns 0 or negative errno, for every interface that is there. The names are valid during the
 * call. `begin` is called before, and each time the interfaces are read again because they changed meanwhile. Returns 0
 * or negative errno.
 */
int eb_links_each(void (*begin)(void *arg), int (*each)(const struct eb_link_names *names, void *arg), void *arg);

/* Returns 0, -ENODEV if there is no interface with this index, or another negative errno. */
int eb_link_read(int ifindex, struct eb_link *out);

#endif
