/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A frame's bytes -> struct eb_packet. Knows no maps and no helpers; the host tests and the fuzzer compile it too.
 *
 * Reads Ethernet, up to two VLAN tags, a PPPoE session (RFC 2516), IPv4 and IPv6 with up to EB_EXTENSIONS extension
 * headers (RFC 8200; in IPv4 the authentication header, RFC 4302), the ports of the protocols that have them and, where
 * asked to, the flags of TCP and the type of ICMP. Frames of devices without a link-layer header begin with the IP
 * header. Nothing in a frame can keep its source address from being seen: where the transport header cannot be reached
 * (too many extension headers, beyond the first buffer of a multi-buffer frame, or in another fragment), the packet is
 * parsed all the same, with EB_L4_UNKNOWN or EB_L4_LATER.
 */
#ifndef EB_PARSE_H
#define EB_PARSE_H

#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/types.h>

#include "edgebucket.h"

#define EB_VLAN_TAGS 2
#define EB_EXTENSIONS 8
#define EB_EXTENSION_MASK 2047 /* an extension header's length behind its first 8 bytes is at most 255 * 8 */
#define EB_IPV4_OPTIONS_MAX 40
#define EB_TCP_FLAGS_AT 13
#define EB_VLAN_ID_MASK 0x0fff

/* IANA protocol numbers; linux/in.h cannot be included beside the C library's headers in host builds. */
#define EB_PROTO_HOPOPTS 0
#define EB_PROTO_ICMP 1
#define EB_PROTO_IGMP 2
#define EB_PROTO_IPV4 4
#define EB_PROTO_TCP 6
#define EB_PROTO_UDP 17
#define EB_PROTO_DCCP 33
#define EB_PROTO_IPV6 41
#define EB_PROTO_ROUTING 43
#define EB_PROTO_FRAGMENT 44
#define EB_PROTO_GRE 47
#define EB_PROTO_AH 51
#define EB_PROTO_ICMPV6 58
#define EB_PROTO_DSTOPTS 60
#define EB_PROTO_SCTP 132
#define EB_PROTO_UDPLITE 136

/* Of PPP, RFC 1661. */
#define EB_PPP_IPV4 0x0021
#define EB_PPP_IPV6 0x0057

enum eb_parsed {
	EB_PARSED_IP,
	EB_PARSED_NOT_IP,
	EB_PARSED_MALFORMED,
	EB_PARSED_ND,
	EB_PARSED_GROUP, /* says which multicast groups the link has members of: IGMP, MLD */
	EB_PARSED_EXTENSIONS, /* IP, but for eb_parse_extensions() */
};

enum eb_l4 {
	EB_L4_PORT,    /* protocol and ports are known */
	EB_L4_NO_PORT, /* the protocol is known and has no port */
	EB_L4_LATER,   /* the protocol is known, its port, if it has one, is in another fragment (IPv4) */
	EB_L4_UNKNOWN, /* neither is known; also of a later fragment of IPv6, as RFC 8200 has receivers ignore the
			* protocol that it names */
};

struct eb_packet {
	__u64 saddr[2]; /* network byte order; IPv4 in the first 4 bytes, the rest 0 */
	__u64 daddr[2];
	__u32 len;      /* of the whole frame */
	__u32 ip_len;   /* of the IP packet: total length of IPv4, payload length of IPv6 and 40 */
	__u16 dport;    /* host byte order; 0 without EB_L4_PORT */
	__u16 sport;
	__u16 vlan;     /* id of the outermost tag that has one: 0 only sets a priority (802.1Q), and is none */
	__u8 family;    /* 4 or 6 */
	__u8 proto;     /* 0 with EB_L4_UNKNOWN */
	__u8 l4;        /* enum eb_l4 */
	__u8 fragment;  /* enum eb_fragment */
	__u8 wants_detail; /* set by the caller: whether to look for the following */
	__u8 detail_of; /* enum eb_detail */
	__u8 detail;    /* 0 with EB_DETAIL_NONE */
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

struct eb_pppoe {
	__u8 version, code;
	__be16 session;
	__be16 len; /* of what follows: the protocol and its packet */
	__be16 protocol;
};

struct eb_extension {
	__u8 next;
	__u8 len; /* in 8 bytes, the first 8 not counted; AH: in 4 bytes, the first 8 not counted */
	__be16 fragment; /* fragment header: offset in units of 8 bytes, and flags */
};

/* Makes a packet ready for eb_parse_headers(), once more. */
static __always_inline void eb_clear_packet(struct eb_packet *packet, __u32 len)
{
	__u8 wants_detail = packet->wants_detail;

	__builtin_memset(packet, 0, sizeof(*packet));
	packet->len = len;
	packet->wants_detail = wants_detail;
}

/* Both ways, host and network byte order. */
static __always_inline __u16 eb_swap_be16(__u16 value)
{
	return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? __builtin_bswap16(value) : value;
}

/* `value` & `mask`, also where a compiler knows that the mask changes nothing: verifiers know no other bound. */
static __always_inline __u32 eb_mask(__u32 value, __u32 mask)
{
	asm volatile("" : "+r"(value));
	return value & mask;
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

static __always_inline int eb_is_ip(int type)
{
	return type == ETH_P_IP || type == ETH_P_IPV6;
}

/* No standard assigns 0x9100 and 0x9200, but equipment of many vendors uses them for the outer tag. */
static __always_inline int eb_is_tag(int type)
{
	return type == ETH_P_8021Q || type == ETH_P_8021AD || type == ETH_P_QINQ1 || type == ETH_P_QINQ2;
}

/* Reads a PPPoE header and the protocol behind it. Returns it as an EtherType, ETH_P_PPP_SES when it is not IP, -1 when
 * malformed: so is an IP packet whose protocol is compressed to one byte, which PPPoE advises against and few
 * expect. */
static __always_inline int eb_parse_pppoe(struct eb_cursor *cursor)
{
	struct eb_pppoe *pppoe = eb_cursor_take(cursor, sizeof(*pppoe));
	__u16 protocol, len;

	if (!pppoe)
		return -1;
	protocol = eb_swap_be16(pppoe->protocol);
	len = eb_swap_be16(pppoe->len);
	if (len < sizeof(pppoe->protocol) || len - sizeof(pppoe->protocol) > cursor->left)
		return -1;
	cursor->left = len - sizeof(pppoe->protocol);
	if (protocol == EB_PPP_IPV4)
		return ETH_P_IP;
	if (protocol == EB_PPP_IPV6)
		return ETH_P_IPV6;
	return protocol >> 8 == EB_PPP_IPV4 || protocol >> 8 == EB_PPP_IPV6 ? -1 : ETH_P_PPP_SES;
}

/* Reads the Ethernet header, VLAN tags, and a PPPoE header. Returns the EtherType of what follows in host byte order,
 * -1 when malformed. */
static __always_inline int eb_parse_ethernet(struct eb_cursor *cursor, struct eb_packet *packet)
{
	struct ethhdr *eth = eb_cursor_take(cursor, sizeof(*eth));
	__u16 type;

	if (!eth)
		return -1;
	type = eb_swap_be16(eth->h_proto);
	/* The usual ones are asked for nothing more. */
	if (eb_is_ip(type))
		return type;
	for (int i = 0; i < EB_VLAN_TAGS && eb_is_tag(type); i++) {
		struct eb_vlan_tag *tag = eb_cursor_take(cursor, sizeof(*tag));

		if (!tag)
			return -1;
		if (!packet->vlan)
			packet->vlan = eb_swap_be16(tag->tci) & EB_VLAN_ID_MASK;
		type = eb_swap_be16(tag->next);
	}
	if (type == ETH_P_PPP_SES)
		return eb_parse_pppoe(cursor);
	/* A third tag would hide the addresses from the rules. */
	return eb_is_tag(type) ? -1 : type;
}

/* The same where no link-layer header says what a packet is: its version does. 0 when it is not IP. */
static __always_inline int eb_parse_version(const struct eb_cursor *cursor)
{
	__u8 *first = cursor->pos;

	if (!cursor->left || first + 1 > (__u8 *)cursor->end)
		return -1;
	return *first >> 4 == 4 ? ETH_P_IP : *first >> 4 == 6 ? ETH_P_IPV6 : 0;
}

static __always_inline int eb_proto_has_port(__u8 proto)
{
	return proto == EB_PROTO_TCP || proto == EB_PROTO_UDP || proto == EB_PROTO_SCTP || proto == EB_PROTO_DCCP ||
	       proto == EB_PROTO_UDPLITE;
}

/* One that is cut off stays unknown: the rest of the header may come in another fragment (RFC 1858). */
static __always_inline void eb_parse_detail(const struct eb_cursor *cursor, __u8 proto, struct eb_packet *packet)
{
	__u32 offset = proto == EB_PROTO_TCP ? EB_TCP_FLAGS_AT : 0;
	__u8 *at = cursor->pos + offset;
	__u8 kind = EB_DETAIL_TCP;

	if (proto == EB_PROTO_ICMP)
		kind = EB_DETAIL_ICMP;
	else if (proto == EB_PROTO_ICMPV6)
		kind = EB_DETAIL_ICMPV6;
	else if (proto != EB_PROTO_TCP)
		return;
	if (offset >= cursor->left || at + 1 > (__u8 *)cursor->end)
		return;
	packet->detail_of = kind;
	packet->detail = *at;
}

/* All of these protocols begin with source and destination port. */
static __always_inline enum eb_parsed eb_parse_transport(struct eb_cursor *cursor, __u8 proto, struct eb_packet *packet)
{
	__be16 *ports;

	packet->proto = proto;
	packet->l4 = EB_L4_NO_PORT;
	if (packet->wants_detail)
		eb_parse_detail(cursor, proto, packet);
	if (!eb_proto_has_port(proto))
		return EB_PARSED_IP;
	ports = eb_cursor_take(cursor, 2 * sizeof(*ports));
	if (!ports)
		return eb_parse_short(packet, cursor, 2 * sizeof(*ports));
	packet->sport = eb_swap_be16(ports[0]);
	packet->dport = eb_swap_be16(ports[1]);
	packet->l4 = EB_L4_PORT;
	return EB_PARSED_IP;
}

/*
 * RFC 3376, RFC 2236: IGMP has a TTL of 1 and the router alert option (RFC 2113), and goes to a group. A sender off
 * the link can choose the TTL and the option, but its packet must arrive at a group's address: for that, multicast
 * routers would have to forward it to this link, which they do with no group of 224.0.0.0/24, and others only where
 * asked to.
 */
static __always_inline int eb_is_igmp(const struct eb_cursor *cursor, const struct iphdr *ip)
{
	const __u8 *option = (const __u8 *)(ip + 1);

	return ip->protocol == EB_PROTO_IGMP && ip->ttl == 1 && ip->ihl > 5 && !cursor->fragment &&
	       (*(const __u8 *)&ip->daddr & 0xf0) == 0xe0 && cursor->left >= 4 &&
	       option + 4 <= (const __u8 *)cursor->end && option[0] == 0x94 && option[1] == 4;
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
	packet->ip_len = total;
	packet->family = 4;
	*(__be32 *)&packet->saddr[0] = ip->saddr;
	*(__be32 *)&packet->daddr[0] = ip->daddr;
	packet->proto = ip->protocol;
	if (ip->frag_off & eb_swap_be16(0x1fff)) {
		packet->l4 = EB_L4_LATER;
		packet->fragment = EB_FRAGMENT;
		return EB_PARSED_IP;
	}
	cursor->fragment = !!(ip->frag_off & eb_swap_be16(0x2000));
	packet->fragment = cursor->fragment ? EB_FRAGMENT : EB_WHOLE;
	options = header - sizeof(*ip);
	/* What the compiler knows of it, the verifier does not: clang 19 shows it a difference without bounds. */
	asm volatile("" : "+r"(options));
	if (options > EB_IPV4_OPTIONS_MAX)
		return EB_PARSED_MALFORMED;
	if (options && eb_is_igmp(cursor, ip))
		return EB_PARSED_GROUP;
	if (!eb_cursor_take(cursor, options))
		return eb_parse_short(packet, cursor, options);
	if (ip->protocol == EB_PROTO_AH)
		return EB_PARSED_EXTENSIONS;
	return eb_parse_transport(cursor, ip->protocol, packet);
}

/* RFC 4861: neighbour discovery is ICMPv6 133-137 with a hop limit of 255, which no router lets through. RFC 6980
 * forbids to fragment it, and no implementation puts extension headers before it. */
static __always_inline int eb_is_neighbour_discovery(const struct eb_cursor *cursor, const struct ipv6hdr *ip)
{
	__u8 *type = cursor->pos;

	return ip->nexthdr == EB_PROTO_ICMPV6 && ip->hop_limit == 255 && cursor->left &&
	       type + 1 <= (__u8 *)cursor->end && *type >= 133 && *type <= 137;
}

/* Of a hop-by-hop header: RFC 2711 with the value for MLD; and two bytes of nothing. */
static __always_inline int eb_is_router_alert(const __u8 *option)
{
	return option[0] == 5 && option[1] == 2 && option[2] == 0 && option[3] == 0;
}

static __always_inline int eb_is_padding(const __u8 *option)
{
	return option[0] <= 1 && option[1] == 0;
}

/* Link-local, or the unspecified one that a host has before (RFC 3590). No router forwards a packet from either. */
static __always_inline int eb_is_on_link(const __u8 *source)
{
	const __u64 *words = (const __u64 *)source;

	return (source[0] == 0xfe && (source[1] & 0xc0) == 0x80) || !(words[0] | words[1]);
}

/* RFC 2710, RFC 3810: multicast listener discovery is ICMPv6 130-132 and 143 with a hop limit of 1, behind a hop-by-hop
 * header with the router alert option alone, from an address of the link to a group. */
static __always_inline int eb_is_listener_discovery(const struct eb_cursor *cursor, const struct ipv6hdr *ip,
						    const struct eb_packet *packet)
{
	const __u8 *hop = cursor->pos;

	if (ip->nexthdr != EB_PROTO_HOPOPTS || ip->hop_limit != 1 || cursor->left < 9 ||
	    hop + 9 > (const __u8 *)cursor->end || *(const __u8 *)packet->daddr != 0xff)
		return 0;
	return hop[0] == EB_PROTO_ICMPV6 && hop[1] == 0 &&
	       ((eb_is_router_alert(hop + 2) && eb_is_padding(hop + 6)) ||
		(eb_is_padding(hop + 2) && eb_is_router_alert(hop + 4))) &&
	       ((hop[8] >= 130 && hop[8] <= 132) || hop[8] == 143) && eb_is_on_link((const __u8 *)packet->saddr);
}

static __always_inline int eb_proto_is_extension(__u32 proto)
{
	const __u64 extensions = 1ULL << EB_PROTO_HOPOPTS | 1ULL << EB_PROTO_ROUTING | 1ULL << EB_PROTO_FRAGMENT |
				 1ULL << EB_PROTO_AH | 1ULL << EB_PROTO_DSTOPTS;

	return proto < 64 && (extensions >> proto & 1);
}

/* 1 if `proto` is `other`, else 0; without a branch, after which a verifier would follow the walk twice. Both are below
 * 256. */
static __always_inline __u32 eb_proto_is(__u32 proto, __u32 other)
{
	__u32 difference = proto ^ other;

	asm volatile("" : "+r"(difference));
	return (difference - 1) >> 31;
}

/* The packet's transport header, `size` bytes on, cannot be reached. */
static __always_inline enum eb_parsed eb_parse_hidden(struct eb_packet *packet, const struct eb_cursor *cursor,
						      __u32 size)
{
	packet->fragment = cursor->fragment ? EB_FRAGMENT : EB_FRAGMENT_UNKNOWN;
	return eb_parse_short(packet, cursor, size);
}

/* Continues after EB_PARSED_EXTENSIONS. The verifier of Linux 7.3 keeps every branch of the loop apart; it has few. */
static __always_inline enum eb_parsed eb_parse_extensions(struct eb_cursor *cursor, struct eb_packet *packet)
{
	__u32 proto = packet->proto;

	packet->proto = 0;
	for (int i = 0; i < EB_EXTENSIONS && eb_proto_is_extension(proto); i++) {
		struct eb_extension *ext = eb_cursor_take(cursor, 8);
		__u32 is_fragment = eb_proto_is(proto, EB_PROTO_FRAGMENT), fragment, more;

		if (!ext)
			return eb_parse_hidden(packet, cursor, 8);
		fragment = eb_swap_be16(ext->fragment) & -is_fragment;
		if (fragment & 0xfff8) {
			packet->l4 = EB_L4_UNKNOWN;
			packet->fragment = EB_FRAGMENT;
			return EB_PARSED_IP;
		}
		cursor->fragment |= fragment & 1;
		/* The length field of a fragment header is reserved. */
		more = ext->len * (8 - 4 * eb_proto_is(proto, EB_PROTO_AH)) & (is_fragment - 1);
		more = eb_mask(more, EB_EXTENSION_MASK);
		proto = ext->next;
		if (!eb_cursor_take(cursor, more))
			return eb_parse_hidden(packet, cursor, more);
	}
	if (eb_proto_is_extension(proto))
		return eb_parse_hidden(packet, cursor, 0);
	packet->fragment = cursor->fragment ? EB_FRAGMENT : EB_WHOLE;
	return eb_parse_transport(cursor, proto, packet);
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
	packet->ip_len = cursor->left + sizeof(*ip);
	packet->family = 6;
	__builtin_memcpy(packet->saddr, &ip->saddr, sizeof(packet->saddr));
	__builtin_memcpy(packet->daddr, &ip->daddr, sizeof(packet->daddr));
	if (eb_is_neighbour_discovery(cursor, ip))
		return EB_PARSED_ND;
	if (!eb_proto_is_extension(ip->nexthdr))
		return eb_parse_transport(cursor, ip->nexthdr, packet);
	if (eb_is_listener_discovery(cursor, ip, packet))
		return EB_PARSED_GROUP;
	packet->proto = ip->nexthdr;
	return EB_PARSED_EXTENSIONS;
}

static __always_inline enum eb_parsed eb_parse_ip(int type, struct eb_cursor *cursor, struct eb_packet *packet)
{
	switch (type) {
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

/*
 * Begins with a frame whose first buffer is [data, data_end); `ethernet` says whether it begins with an Ethernet header
 * or with IP. Fills *packet, which the caller has zeroed but for len and wants_detail; addresses and family are set
 * with EB_PARSED_IP and EB_PARSED_EXTENSIONS alone. In two parts, because the program's verifier is spared most of its
 * work when the rare second one is a function of its own.
 */
static __always_inline enum eb_parsed eb_parse_headers(void *data, void *data_end, int ethernet,
						       struct eb_cursor *cursor, struct eb_packet *packet)
{
	*cursor = (struct eb_cursor){ .pos = data, .end = data_end, .left = packet->len };
	return eb_parse_ip(ethernet ? eb_parse_ethernet(cursor, packet) : eb_parse_version(cursor), cursor, packet);
}

/* Both parts, for callers that no verifier checks. */
static __always_inline enum eb_parsed eb_parse_frame(void *data, void *data_end, int ethernet, struct eb_packet *packet)
{
	struct eb_cursor cursor;
	enum eb_parsed parsed = eb_parse_headers(data, data_end, ethernet, &cursor, packet);

	return parsed == EB_PARSED_EXTENSIONS ? eb_parse_extensions(&cursor, packet) : parsed;
}

#endif
