/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A packet that may be a tunnel -> the packet inside. As parse.h, knows no maps and no helpers; the host tests and the
 * fuzzer compile it too. What it needs of a frame beyond that, and whom to trust, it asks functions of its caller's:
 * `frame` is handed through to them.
 *
 * A packet inside the tunnel of a trusted outer source is what rules see. A tunnel of any other source stays the packet
 * that it is, so a sender cannot choose whose bucket is charged. One tunnel is opened. A second one inside hides its
 * transport header (EB_L4_UNKNOWN).
 *
 * A trusted tunnel that cannot be opened, because it is a fragment or its headers lie beyond the first buffer, stays
 * with its outer source and hides its transport header. One that carries no IP stays as it is.
 *
 * Reads the frame again from its beginning, so that other packets do not pay for finding out where a payload begins.
 */
#ifndef EB_INNER_H
#define EB_INNER_H

#include <stdbool.h>

#include "parse.h"

struct xdp_md;

/*
 * Looks at the extension headers that begin `offset` bytes into the frame, with `left` bytes of the packet to come, as
 * eb_parse_extensions(). Returns as that does and, shifted by EB_PARSED_BITS, where in the frame it stopped.
 */
typedef int eb_walk(struct xdp_md *frame, struct eb_packet *packet, __u32 offset, __u32 left, __u8 fragment);

#define EB_PARSED_BITS 8
#define EB_PARSED_MASK ((1 << EB_PARSED_BITS) - 1)

#define UDP_HEADER 8
#define GUE_VARIANT(first) ((first) >> 6)
#define GUE_CONTROL 0x20
#define GUE_WORDS 0x1f
#define GRE_WITH_CHECKSUM 0x8000
#define GRE_WITH_KEY 0x2000
#define GRE_WITH_SEQUENCE 0x1000
#define GRE_UNREADABLE 0x4c07 /* RFC 1701's routing and source route, a reserved bit, versions; others are ignored */
#define VXLAN_VALID 0x08
#define GENEVE_WORDS 0x3f
#define GENEVE_CONTROL 0x80
#define ETHERNET_BRIDGED 0x6558

#define EB_PARSED_HIDDEN (EB_PARSED_EXTENSIONS + 1) /* the inner headers can lie beyond the first buffer */

/* The longest headers from the outer transport header to the inner IP header's end: Geneve with all options. */
#define MAX_TUNNEL (UDP_HEADER + 8 + 4 * GENEVE_WORDS + 14 + EB_VLAN_TAGS * 4 + 8 + 60)

/* The kind of tunnel that a packet is by its protocol and port, of the kinds in use; EB_TUNNELS for none. */
static __always_inline __u32 eb_tunnel_kind(const struct eb_policy *policy, const struct eb_packet *packet)
{
	__u32 kind = EB_TUNNELS;

	if (packet->proto == EB_PROTO_IPV4 || packet->proto == EB_PROTO_IPV6)
		kind = EB_TUNNEL_IPIP;
	else if (packet->proto == EB_PROTO_GRE)
		kind = EB_TUNNEL_GRE;
	else if (packet->proto != EB_PROTO_UDP || packet->l4 != EB_L4_PORT || !packet->dport)
		return EB_TUNNELS;
	else if (packet->dport == policy->tunnel_ports[EB_TUNNEL_GUE])
		kind = EB_TUNNEL_GUE;
	else if (packet->dport == policy->tunnel_ports[EB_TUNNEL_VXLAN])
		kind = EB_TUNNEL_VXLAN;
	else if (packet->dport == policy->tunnel_ports[EB_TUNNEL_GENEVE])
		kind = EB_TUNNEL_GENEVE;
	return policy->tunnels >> kind & 1 ? kind : EB_TUNNELS;
}

/* Makes the transport header of a packet unknown. */
static __always_inline void eb_hide(struct eb_packet *packet)
{
	packet->l4 = EB_L4_UNKNOWN;
	packet->proto = 0;
	packet->sport = packet->dport = 0;
	packet->detail_of = EB_DETAIL_NONE;
	packet->detail = 0;
}

/* Read the header of a tunnel. Return the EtherType of what follows, 0 for one that is unknown, -1 for a header that is
 * cut off. */
static __always_inline int eb_open_gre(struct eb_cursor *cursor)
{
	__be16 *gre = eb_cursor_take(cursor, 4);
	__u16 flags, type;
	__u32 more;

	if (!gre)
		return -1;
	flags = eb_swap_be16(gre[0]);
	type = eb_swap_be16(gre[1]);
	if (flags & GRE_UNREADABLE)
		return 0;
	more = 4 * (!!(flags & GRE_WITH_CHECKSUM) + !!(flags & GRE_WITH_KEY) + !!(flags & GRE_WITH_SEQUENCE));
	return eb_cursor_take(cursor, eb_mask(more, 15)) ? type : -1;
}

static __always_inline int eb_open_gue(struct eb_cursor *cursor)
{
	__u8 *gue = cursor->pos;
	__u8 first, proto;

	if (!cursor->left || gue + 1 > (__u8 *)cursor->end)
		return -1;
	first = *gue;
	if (GUE_VARIANT(first) == 1)
		return eb_parse_version(cursor);
	gue = eb_cursor_take(cursor, 4);
	if (!gue)
		return -1;
	proto = gue[1];
	if (GUE_VARIANT(first) || first & GUE_CONTROL)
		return 0;
	if (!eb_cursor_take(cursor, eb_mask(4 * (first & GUE_WORDS), 127)))
		return -1;
	return proto == EB_PROTO_IPV4 ? ETH_P_IP : proto == EB_PROTO_IPV6 ? ETH_P_IPV6 : 0;
}

static __always_inline int eb_open_vxlan(struct eb_cursor *cursor)
{
	__u8 *vxlan = eb_cursor_take(cursor, 8);

	if (!vxlan)
		return -1;
	return vxlan[0] & VXLAN_VALID ? ETHERNET_BRIDGED : 0;
}

static __always_inline int eb_open_geneve(struct eb_cursor *cursor)
{
	__u8 *geneve = eb_cursor_take(cursor, 8);
	__u16 type;
	__u32 words;

	if (!geneve)
		return -1;
	if (geneve[0] >> 6 || geneve[1] & GENEVE_CONTROL)
		return 0;
	type = eb_swap_be16(*(__be16 *)(geneve + 2));
	words = geneve[0] & GENEVE_WORDS;
	return eb_cursor_take(cursor, eb_mask(4 * words, 255)) ? type : -1;
}

static __always_inline int eb_open_header(struct eb_cursor *cursor, __u32 kind, __u8 proto)
{
	if (kind == EB_TUNNEL_IPIP)
		return proto == EB_PROTO_IPV4 ? ETH_P_IP : ETH_P_IPV6;
	if (kind == EB_TUNNEL_GRE)
		return eb_open_gre(cursor);
	if (!eb_cursor_take(cursor, UDP_HEADER))
		return -1;
	if (kind == EB_TUNNEL_GUE)
		return eb_open_gue(cursor);
	return kind == EB_TUNNEL_VXLAN ? eb_open_vxlan(cursor) : eb_open_geneve(cursor);
}

/* Parses the outer packet into *outer once more. Returns where in the frame its transport header begins, or -1 when
 * that is unknown. outer->len, the frame's length before, becomes where in the frame the outer IP packet ends. */
static __always_inline int eb_find_payload(struct xdp_md *frame, void *data, void *data_end, int ethernet,
					   struct eb_packet *outer, eb_walk *walk)
{
	struct eb_cursor cursor;
	enum eb_parsed parsed;
	__u32 at;
	int walked;

	eb_clear_packet(outer, outer->len);
	parsed = eb_parse_headers(data, data_end, ethernet, &cursor, outer);
	at = cursor.pos - data;
	outer->len = at + cursor.left;
	if (parsed == EB_PARSED_EXTENSIONS) {
		walked = walk(frame, outer, at, cursor.left, cursor.fragment);
		parsed = walked & EB_PARSED_MASK;
		at = walked >> EB_PARSED_BITS;
	}
	if (parsed != EB_PARSED_IP)
		return -1;
	return outer->l4 == EB_L4_PORT ? at - 2 * sizeof(__be16) : at;
}

/*
 * Parses the packet inside a tunnel of this kind, whose header begins `at` bytes into the frame, into *packet, which is
 * as eb_find_payload() left it, with `at` no more than its `len`. Returns an enum eb_parsed, or EB_PARSED_HIDDEN.
 *
 * Neighbour discovery and group membership are of a link: only a tunnel of Ethernet frames has one.
 */
static __always_inline int eb_parse_inner(struct xdp_md *frame, void *data, void *data_end, struct eb_packet *packet,
					  __u32 at, __u32 kind, eb_walk *walk)
{
	__u32 packet_end = packet->len, first = data_end - data;
	struct eb_cursor cursor = { .pos = data + at, .end = data_end, .left = packet_end - at };
	__u8 proto = packet->proto;
	__u16 vlan = packet->vlan;
	bool bridged;
	int parsed, type;

	eb_clear_packet(packet, packet_end);
	packet->vlan = vlan;
	type = eb_open_header(&cursor, kind, proto);
	bridged = type == ETHERNET_BRIDGED;
	if (bridged)
		type = eb_parse_ethernet(&cursor, packet);
	parsed = eb_parse_ip(type, &cursor, packet);
	if (parsed == EB_PARSED_EXTENSIONS)
		parsed = walk(frame, packet, cursor.pos - data, cursor.left, cursor.fragment) & EB_PARSED_MASK;
	/* The frame continues in other buffers, and the headers could lie there. */
	if (parsed == EB_PARSED_MALFORMED && packet_end > first && at + MAX_TUNNEL > first)
		return EB_PARSED_HIDDEN;
	if (!bridged && (parsed == EB_PARSED_ND || parsed == EB_PARSED_GROUP)) {
		eb_hide(packet);
		return EB_PARSED_IP;
	}
	return parsed;
}

/* What eb_open_tunnel() asks its caller: the two above, and with which kinds a packet's source is trusted, as bits. */
typedef int eb_find(struct xdp_md *frame, struct eb_packet *outer);
typedef int eb_inner(struct xdp_md *frame, struct eb_packet *packet, __u32 at, __u32 kind);
typedef __u64 eb_trust(const struct eb_policy *policy, __u32 index, const struct eb_packet *packet);

/*
 * Replaces *packet, which was parsed as EB_PARSED_IP, by the packet inside, if it is a tunnel to open. Returns an enum
 * eb_parsed. There is one struct eb_packet, for the stack's sake: a tunnel that stays closed is parsed once more.
 */
static __always_inline int eb_open_tunnel(struct xdp_md *frame, const struct eb_policy *policy, __u32 index,
					  struct eb_packet *packet, eb_trust *trust, eb_find *find, eb_inner *parse)
{
	__u32 kind = eb_tunnel_kind(policy, packet), len = packet->len;
	int parsed = EB_PARSED_NOT_IP, at;
	__u64 trusted;

	if (packet->l4 == EB_L4_UNKNOWN)
		return EB_PARSED_IP;
	/* A later fragment of UDP can be one of any kind over UDP. */
	if (kind == EB_TUNNELS && !(packet->l4 == EB_L4_LATER && packet->proto == EB_PROTO_UDP))
		return EB_PARSED_IP;
	trusted = trust(policy, index, packet);
	if (kind == EB_TUNNELS ? !(trusted >> EB_TUNNEL_GUE) : !(trusted >> kind & 1))
		return EB_PARSED_IP;
	if (packet->fragment == EB_FRAGMENT) {
		eb_hide(packet);
		return EB_PARSED_IP;
	}
	at = find(frame, packet);
	if (at >= 0)
		parsed = parse(frame, packet, at, kind);
	packet->len = len;
	if (parsed == EB_PARSED_HIDDEN || parsed == EB_PARSED_NOT_IP) {
		find(frame, packet);
		packet->len = len;
	}
	if (parsed == EB_PARSED_HIDDEN || (parsed == EB_PARSED_IP && eb_tunnel_kind(policy, packet) != EB_TUNNELS))
		eb_hide(packet);
	return parsed == EB_PARSED_HIDDEN || parsed == EB_PARSED_NOT_IP ? EB_PARSED_IP : parsed;
}

#endif
