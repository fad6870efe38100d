/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A frame's bytes -> struct eb_packet. Knows no maps and no helpers; the host tests and the fuzzer compile it too.
 *
 * Reads Ethernet, up to two VLAN tags, IPv4 and IPv6 with up to EB_EXTENSIONS extension headers (RFC 8200; in IPv4 the
 * authentication header, RFC 4302), and the destination port of the protocols that have one. Nothing in a frame can
 * keep its source address from being seen: where the transport header cannot be reached (too many extension headers, or
 * beyond the first buffer of a multi-buffer frame), the packet is parsed all the same, with EB_L4_UNKNOWN.
 */
#ifndef EB_PARSE_H
#define EB_PARSE_H

#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/types.h>

#include "gcra.h"

#define EB_VLAN_TAGS 2
#define EB_EXTENSIONS 8
#define EB_IPV4_OPTIONS_MAX 40

/* IANA protocol numbers; linux/in.h cannot be included beside the C library's headers in host builds. */
#define EB_PROTO_HOPOPTS 0
#define EB_PROTO_TCP 6
#define EB_PROTO_UDP 17
#define EB_PROTO_DCCP 33
#define EB_PROTO_ROUTING 43
#define EB_PROTO_FRAGMENT 44
#define EB_PROTO_AH 51
#define EB_PROTO_ICMPV6 58
#define EB_PROTO_DSTOPTS 60
#define EB_PROTO_SCTP 132
#define EB_PROTO_UDPLITE 136

enum eb_parsed {
	EB_PARSED_IP,
	EB_PARSED_NOT_IP,
	EB_PARSED_MALFORMED,
	EB_PARSED_ND,
	EB_PARSED_EXTENSIONS, /* IP, but for eb_parse_extensions() */
};

enum eb_l4 {
	EB_L4_PORT,    /* protocol and destination port are known */
	EB_L4_NO_PORT, /* the protocol is known and has no port, or this is a later fragment of IPv4 */
	EB_L4_LATER, /* a later fragment of IPv6: no port, and RFC 8200 has receivers ignore the protocol that it names
		      */
	EB_L4_UNKNOWN, /* neither is known */
};

struct eb_packet {
	__u64 saddr[2]; /* network byte order; IPv4 in the first 4 bytes, the rest 0 */
	__u64 daddr[2];
	__u32 len;      /* of the whole frame */
	__u16 dport;    /* host byte order; 0 without EB_L4_PORT */
	__u8 family;    /* 4 or 6 */
	__u8 proto;     /* 0 with EB_L4_LATER and EB_L4_UNKNOWN */
	__u8 l4;        /* enum eb_l4 */
};

/* What is left to read: `left` bytes of the packet from `pos` on, of which those before `end` are in the first buffer.
 * Bytes that only pad the frame behind the packet do not count. */
struct eb_cursor {
	void *pos;
	void *end;
	__u32 left;
	__u8 fragment; /* more of the packet comes in later fragments */
};

struct eb_vlan_tag {
	__be16 tci;
	__be16 next;
};

struct eb_extension {
	__u8 next;
	__u8 len; /* in 8 bytes, the first 8 not counted; AH: in 4 bytes, the first 8 not counted */
	__be16 fragment; /* fragment header: offset in units of 8 bytes, and flags */
};

/* Both ways, host and network byte order. */
static __always_inline __u16 eb_swap_be16(__u16 value)
{
	return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? __builtin_bswap16(value) : value;
}

/* The next `size` bytes as one header, or NULL when the packet or the first buffer ends before. */
static __always_inline void *eb_cursor_take(struct eb_cursor *cursor, __u32 size)
{
	void *header = cursor->pos;

	if (size > cursor->left || header + size > cursor->end)
		return 0;
	cursor->pos = header + size;
	cursor->left -= size;
	return header;
}

/* After eb_cursor_take() gave NULL behind an IP header: what is missing may come in another buffer or another fragment,
 * and then the packet is fine; if not, it is malformed. */
static __always_inline enum eb_parsed eb_parse_short(struct eb_packet *packet, const struct eb_cursor *cursor,
						     __u32 size)
{
	packet->l4 = EB_L4_UNKNOWN;
	packet->proto = 0;
	return size <= cursor->left || cursor->fragment ? EB_PARSED_IP : EB_PARSED_MALFORMED;
}

/* Reads the Ethernet header and VLAN tags. Returns the EtherType in host byte order, -1 when malformed. */
static __always_inline int eb_parse_ethernet(struct eb_cursor *cursor)
{
	struct ethhdr *eth = eb_cursor_take(cursor, sizeof(*eth));
	__u16 type;

	if (!eth)
		return -1;
	type = eb_swap_be16(eth->h_proto);
	for (int i = 0; i < EB_VLAN_TAGS && (type == ETH_P_8021Q || type == ETH_P_8021AD); i++) {
		struct eb_vlan_tag *tag = eb_cursor_take(cursor, sizeof(*tag));

		if (!tag)
			return -1;
		type = eb_swap_be16(tag->next);
	}
	/* A third tag would hide the addresses from the rules. */
	return type == ETH_P_8021Q || type == ETH_P_8021AD ? -1 : type;
}

static __always_inline int eb_proto_has_port(__u8 proto)
{
	return proto == EB_PROTO_TCP || proto == EB_PROTO_UDP || proto == EB_PROTO_SCTP || proto == EB_PROTO_DCCP ||
	       proto == EB_PROTO_UDPLITE;
}

/* All of these protocols begin with source and destination port. */
static __always_inline enum eb_parsed eb_parse_transport(struct eb_cursor *cursor, __u8 proto, struct eb_packet *packet)
{
	__be16 *ports;

	packet->proto = proto;
	packet->l4 = EB_L4_NO_PORT;
	if (!eb_proto_has_port(proto))
		return EB_PARSED_IP;
	ports = eb_cursor_take(cursor, 2 * sizeof(*ports));
	if (!ports)
		return eb_parse_short(packet, cursor, 2 * sizeof(*ports));
	packet->dport = eb_swap_be16(ports[1]);
	packet->l4 = EB_L4_PORT;
	return EB_PARSED_IP;
}

static __always_inline enum eb_parsed eb_parse_ipv4(struct eb_cursor *cursor, struct eb_packet *packet)
{
	__u32 left = cursor->left, header, total, options;
	struct iphdr *ip = eb_cursor_take(cursor, sizeof(*ip));

	if (!ip || ip->version != 4 || ip->ihl < 5)
		return EB_PARSED_MALFORMED;
	header = ip->ihl * 4;
	total = eb_swap_be16(ip->tot_len);
	/* Generic XDP can see aggregates of over 64 KiB (BIG TCP): their length field is 0. */
	if (total == 0 && left > 0xffff)
		total = left;
	if (total < header || total > left)
		return EB_PARSED_MALFORMED;
	cursor->left = total - sizeof(*ip);
	packet->family = 4;
	*(__be32 *)&packet->saddr[0] = ip->saddr;
	*(__be32 *)&packet->daddr[0] = ip->daddr;
	packet->proto = ip->protocol;
	if (ip->frag_off & eb_swap_be16(0x1fff)) {
		packet->l4 = EB_L4_NO_PORT;
		return EB_PARSED_IP;
	}
	cursor->fragment = !!(ip->frag_off & eb_swap_be16(0x2000));
	options = header - sizeof(*ip);
	/* What the compiler knows of it, the verifier does not: clang 19 shows it a difference without bounds. */
	asm volatile("" : "+r"(options));
	if (options > EB_IPV4_OPTIONS_MAX)
		return EB_PARSED_MALFORMED;
	if (!eb_cursor_take(cursor, options))
		return eb_parse_short(packet, cursor, options);
	if (ip->protocol == EB_PROTO_AH)
		return EB_PARSED_EXTENSIONS;
	return eb_parse_transport(cursor, ip->protocol, packet);
}

/* RFC 4861: neighbour discovery is ICMPv6 133-137 with a hop limit of 255, which no router lets through. RFC 6980
 * forbids to fragment it, and nobody puts extension headers before it. */
static __always_inline int eb_is_neighbour_discovery(const struct eb_cursor *cursor, const struct ipv6hdr *ip)
{
	__u8 *type = cursor->pos;

	return ip->nexthdr == EB_PROTO_ICMPV6 && ip->hop_limit == 255 && cursor->left &&
	       type + 1 <= (__u8 *)cursor->end && *type >= 133 && *type <= 137;
}

static __always_inline int eb_proto_is_extension(__u8 proto)
{
	return proto == EB_PROTO_HOPOPTS || proto == EB_PROTO_ROUTING || proto == EB_PROTO_DSTOPTS ||
	       proto == EB_PROTO_FRAGMENT || proto == EB_PROTO_AH;
}

/* Goes on after EB_PARSED_EXTENSIONS. */
static __always_inline enum eb_parsed eb_parse_extensions(struct eb_cursor *cursor, struct eb_packet *packet)
{
	__u8 proto = packet->proto;

	packet->proto = 0;
	for (int i = 0; i < EB_EXTENSIONS && eb_proto_is_extension(proto); i++) {
		struct eb_extension *ext = eb_cursor_take(cursor, 8);
		__u32 more;

		if (!ext)
			return eb_parse_short(packet, cursor, 8);
		if (proto == EB_PROTO_FRAGMENT && (ext->fragment & eb_swap_be16(0xfff8))) {
			packet->l4 = EB_L4_LATER;
			return EB_PARSED_IP;
		}
		more = proto == EB_PROTO_AH ? ext->len * 4 : ext->len * 8;
		if (proto == EB_PROTO_FRAGMENT) {
			more = 0; /* its length field is reserved */
			cursor->fragment |= !!(ext->fragment & eb_swap_be16(1));
		}
		proto = ext->next;
		if (!eb_cursor_take(cursor, more))
			return eb_parse_short(packet, cursor, more);
	}
	if (!eb_proto_is_extension(proto))
		return eb_parse_transport(cursor, proto, packet);
	packet->l4 = EB_L4_UNKNOWN;
	return EB_PARSED_IP;
}

static __always_inline enum eb_parsed eb_parse_ipv6(struct eb_cursor *cursor, struct eb_packet *packet)
{
	struct ipv6hdr *ip = eb_cursor_take(cursor, sizeof(*ip));
	__u32 payload;

	if (!ip || ip->version != 6)
		return EB_PARSED_MALFORMED;
	payload = eb_swap_be16(ip->payload_len);
	if (payload > cursor->left)
		return EB_PARSED_MALFORMED;
	/* 0 stands for a jumbogram, whose hop-by-hop header has the length (RFC 2675), or for BIG TCP as in IPv4. */
	if (payload || (ip->nexthdr != EB_PROTO_HOPOPTS && cursor->left <= 0xffff))
		cursor->left = payload;
	packet->family = 6;
	__builtin_memcpy(packet->saddr, &ip->saddr, sizeof(packet->saddr));
	__builtin_memcpy(packet->daddr, &ip->daddr, sizeof(packet->daddr));
	if (eb_is_neighbour_discovery(cursor, ip))
		return EB_PARSED_ND;
	if (!eb_proto_is_extension(ip->nexthdr))
		return eb_parse_transport(cursor, ip->nexthdr, packet);
	packet->proto = ip->nexthdr;
	return EB_PARSED_EXTENSIONS;
}

/*
 * Begins with a frame whose first buffer is [data, data_end). Fills *packet, which the caller has zeroed but for len;
 * addresses and family are set with EB_PARSED_IP and EB_PARSED_EXTENSIONS alone. In two parts, because the program's
 * verifier is spared most of its work when the rare second one is a function of its own.
 */
static __always_inline enum eb_parsed eb_parse_headers(void *data, void *data_end, struct eb_cursor *cursor,
						       struct eb_packet *packet)
{
	*cursor = (struct eb_cursor){ .pos = data, .end = data_end, .left = packet->len };
	switch (eb_parse_ethernet(cursor)) {
	case -1:
		return EB_PARSED_MALFORMED;
	case ETH_P_IP:
		return eb_parse_ipv4(cursor, packet);
	case ETH_P_IPV6:
		return eb_parse_ipv6(cursor, packet);
	default:
		return EB_PARSED_NOT_IP;
	}
}

/* Both parts, for those who have no verifier. */
static __always_inline enum eb_parsed eb_parse_frame(void *data, void *data_end, struct eb_packet *packet)
{
	struct eb_cursor cursor;
	enum eb_parsed parsed = eb_parse_headers(data, data_end, &cursor, packet);

	return parsed == EB_PARSED_EXTENSIONS ? eb_parse_extensions(&cursor, packet) : parsed;
}

#endif
