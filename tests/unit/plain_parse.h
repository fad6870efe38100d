/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A second parser of frames, slow and plain, that was written from the RFCs: what that of the XDP program is compared
 * with, over frames made at random (unit_parse.c) and by the fuzzer (../fuzz/fuzz_parse.c). Both open tunnels.
 */
#ifndef EB_TEST_PLAIN_PARSE_H
#define EB_TEST_PLAIN_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "../../bpf/inner.h"

struct view {
	const uint8_t *data;
	size_t first; /* bytes that can be read */
	size_t end;   /* of the packet, padding not counted */
	size_t at;
};

enum where { HERE, ELSEWHERE, BEYOND }; /* can be read, in another buffer, not in the packet */

static enum where find(const struct view *view, size_t size)
{
	if (view->at + size > view->end)
		return BEYOND;
	return view->at + size > view->first ? ELSEWHERE : HERE;
}

static unsigned int byte_at(const struct view *view, size_t offset)
{
	return view->data[view->at + offset];
}

static unsigned int word_at(const struct view *view, size_t offset)
{
	return byte_at(view, offset) << 8 | byte_at(view, offset + 1);
}

static enum eb_parsed hidden(struct eb_packet *out)
{
	out->l4 = EB_L4_UNKNOWN;
	out->proto = 0;
	return EB_PARSED_IP;
}

/* What is not here: of a fragment it can come later, of a frame in several buffers it is somewhere else. */
static enum eb_parsed missing(enum where where, bool is_fragment, struct eb_packet *out)
{
	return where == ELSEWHERE || is_fragment ? hidden(out) : EB_PARSED_MALFORMED;
}

/* Flags of TCP are in its 14th byte, types of ICMP in the first. */
static void plain_detail(const struct view *view, unsigned int proto, struct eb_packet *out)
{
	size_t offset = proto == 6 ? 13 : 0;

	if ((proto != 6 && proto != 1 && proto != 58) || find(view, offset + 1) != HERE)
		return;
	out->detail_of = proto == 6 ? EB_DETAIL_TCP : proto == 1 ? EB_DETAIL_ICMP : EB_DETAIL_ICMPV6;
	out->detail = byte_at(view, offset);
}

static enum eb_parsed plain_transport(const struct view *view, unsigned int proto, bool is_fragment,
				      struct eb_packet *out)
{
	out->proto = proto;
	out->l4 = EB_L4_NO_PORT;
	if (out->wants_detail)
		plain_detail(view, proto, out);
	switch (proto) {
	case 6:   /* TCP, RFC 9293 */
	case 17:  /* UDP, RFC 768 */
	case 33:  /* DCCP, RFC 4340 */
	case 132: /* SCTP, RFC 9260 */
	case 136: /* UDP-Lite, RFC 3828 */
		if (find(view, 4) != HERE)
			return missing(find(view, 4), is_fragment, out);
		out->l4 = EB_L4_PORT;
		out->sport = word_at(view, 0);
		out->dport = word_at(view, 2);
	}
	return EB_PARSED_IP;
}

static bool is_extension(unsigned int proto)
{
	return proto == 0 || proto == 43 || proto == 44 || proto == 51 || proto == 60;
}

static enum eb_parsed plain_extensions(struct view *view, unsigned int proto, bool is_fragment, struct eb_packet *out)
{
	int walked = 0;

	if (is_extension(proto))
		out->fragment = is_fragment ? EB_FRAGMENT : EB_FRAGMENT_UNKNOWN;
	while (is_extension(proto)) {
		unsigned int next;
		size_t size;

		if (walked++ == 8)
			return hidden(out);
		if (find(view, 8) != HERE)
			return missing(find(view, 8), is_fragment, out);
		next = byte_at(view, 0);
		size = 8 * (byte_at(view, 1) + 1); /* RFC 8200 */
		if (proto == 51)
			size = 4 * (byte_at(view, 1) + 2); /* RFC 4302 */
		if (proto == 44) {
			size = 8;
			if (word_at(view, 2) & ~6)
				out->fragment = EB_FRAGMENT;
			if (word_at(view, 2) >> 3)
				return hidden(out);
			is_fragment |= word_at(view, 2) & 1;
		}
		if (find(view, size) != HERE)
			return missing(find(view, size), is_fragment, out);
		view->at += size;
		proto = next;
	}
	out->fragment = is_fragment ? EB_FRAGMENT : EB_WHOLE;
	return plain_transport(view, proto, is_fragment, out);
}

/* IGMP with what its RFCs ask of a message: TTL 1, the router alert option first, a group as its destination. */
static bool is_group4(const struct view *view, unsigned int header, unsigned int fragment)
{
	return byte_at(view, 9) == 2 && byte_at(view, 8) == 1 && header >= 24 && !(fragment & 0x3fff) &&
	       byte_at(view, 16) >= 224 && byte_at(view, 16) <= 239 && find(view, 24) == HERE &&
	       word_at(view, 20) == 0x9404;
}

static enum eb_parsed plain_ip4(struct view *view, struct eb_packet *out)
{
	size_t frame_left = view->end - view->at, header, total;
	unsigned int proto, fragment;

	if (find(view, 20) != HERE || byte_at(view, 0) >> 4 != 4)
		return EB_PARSED_MALFORMED;
	header = 4 * (byte_at(view, 0) & 15);
	total = word_at(view, 2);
	if (!total && frame_left >= 65536)
		total = frame_left;
	if (header < 20 || total < header || total > frame_left)
		return EB_PARSED_MALFORMED;
	view->end = view->at + total;
	out->family = 4;
	out->ip_len = total;
	memcpy(out->saddr, view->data + view->at + 12, 4);
	memcpy(out->daddr, view->data + view->at + 16, 4);
	proto = byte_at(view, 9);
	fragment = word_at(view, 6);
	if (fragment % 8192) {
		out->proto = proto;
		out->l4 = EB_L4_LATER;
		out->fragment = EB_FRAGMENT;
		return EB_PARSED_IP;
	}
	out->fragment = fragment & 0x2000 ? EB_FRAGMENT : EB_WHOLE;
	if (is_group4(view, header, fragment))
		return EB_PARSED_GROUP;
	if (find(view, header) != HERE)
		return hidden(out);
	view->at += header;
	if (proto == 51) /* RFC 4302: in IPv4 it stands before the payload, too */
		return plain_extensions(view, proto, fragment & 0x2000, out);
	return plain_transport(view, proto, fragment & 0x2000, out);
}

/* The options of a hop-by-hop header of 8 bytes: router alert for MLD, and padding. */
static bool has_router_alert(const struct view *view)
{
	static const uint8_t forms[][6] = {
		{ 5, 2, 0, 0, 1, 0 }, { 5, 2, 0, 0, 0, 0 }, { 1, 0, 5, 2, 0, 0 }, { 0, 0, 5, 2, 0, 0 },
	};

	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++)
		if (!memcmp(view->data + view->at + 42, forms[i], sizeof(forms[i])))
			return true;
	return false;
}

/* MLD, RFC 2710 and RFC 3810: from a link-local address or none, to a group, hop limit 1, behind a router alert. */
static bool is_group6(const struct view *view)
{
	static const uint8_t none[16];
	unsigned int type;

	if (find(view, 49) != HERE || byte_at(view, 6) != 0 || byte_at(view, 7) != 1)
		return false;
	type = byte_at(view, 48);
	return byte_at(view, 24) == 255 && byte_at(view, 40) == 58 && byte_at(view, 41) == 0 &&
	       (word_at(view, 8) >> 6 == 0xfe80 >> 6 || !memcmp(view->data + view->at + 8, none, 16)) &&
	       has_router_alert(view) && (type == 130 || type == 131 || type == 132 || type == 143);
}

static enum eb_parsed plain_ip6(struct view *view, struct eb_packet *out)
{
	unsigned int payload, next;

	if (find(view, 40) != HERE || byte_at(view, 0) >> 4 != 6)
		return EB_PARSED_MALFORMED;
	payload = word_at(view, 4);
	next = byte_at(view, 6);
	if (view->at + 40 + payload > view->end)
		return EB_PARSED_MALFORMED;
	if (payload || (next != 0 && view->end - view->at - 40 < 65536))
		view->end = view->at + 40 + payload;
	out->family = 6;
	out->ip_len = view->end - view->at;
	memcpy(out->saddr, view->data + view->at + 8, 16);
	memcpy(out->daddr, view->data + view->at + 24, 16);
	if (next == 58 && byte_at(view, 7) == 255 && find(view, 41) == HERE && byte_at(view, 40) >= 133 &&
	    byte_at(view, 40) <= 137)
		return EB_PARSED_ND;
	if (is_group6(view))
		return EB_PARSED_GROUP;
	view->at += 40;
	return plain_extensions(view, next, false, out);
}

static bool is_tag(unsigned int type)
{
	return type == 0x8100 || type == 0x88a8 || type == 0x9100 || type == 0x9200;
}

/* RFC 2516: version and type, code, session; length of what follows, in which the protocol of PPP comes first. */
static enum eb_parsed plain_pppoe(struct view *view, struct eb_packet *out)
{
	unsigned int len, protocol;

	if (find(view, 8) != HERE)
		return EB_PARSED_MALFORMED;
	len = word_at(view, 4);
	protocol = word_at(view, 6);
	if (len < 2 || view->at + 6 + len > view->end)
		return EB_PARSED_MALFORMED;
	view->end = view->at + 6 + len;
	view->at += 8;
	if (protocol == 0x0021)
		return plain_ip4(view, out);
	if (protocol == 0x0057)
		return plain_ip6(view, out);
	if (protocol / 256 == 0x21 || protocol / 256 == 0x57) /* compressed, RFC 1661 */
		return EB_PARSED_MALFORMED;
	return EB_PARSED_NOT_IP;
}

/* From the IP header on, of a packet that nothing says the kind of. */
static enum eb_parsed plain_bare(struct view *view, struct eb_packet *out)
{
	if (find(view, 1) != HERE)
		return EB_PARSED_MALFORMED;
	if (byte_at(view, 0) / 16 == 4)
		return plain_ip4(view, out);
	if (byte_at(view, 0) / 16 == 6)
		return plain_ip6(view, out);
	return EB_PARSED_NOT_IP;
}

static enum eb_parsed plain_ethernet(struct view *view, struct eb_packet *out)
{
	unsigned int type;

	if (find(view, 14) != HERE)
		return EB_PARSED_MALFORMED;
	type = word_at(view, 12);
	view->at += 14;
	for (int tags = 0; is_tag(type); tags++) {
		if (tags == 2 || find(view, 4) != HERE)
			return EB_PARSED_MALFORMED;
		if (!out->vlan) /* 0 is none, IEEE 802.1Q */
			out->vlan = word_at(view, 0) % 4096;
		type = word_at(view, 2);
		view->at += 4;
	}
	if (type == 0x0800)
		return plain_ip4(view, out);
	if (type == 0x86dd)
		return plain_ip6(view, out);
	return type == 0x8864 ? plain_pppoe(view, out) : EB_PARSED_NOT_IP;
}

/* --- Tunnels --- */

/* The kinds of tunnels and their ports, as the tests have them. */
#define TUNNELS 5
#define GUE_PORT 6080
#define VXLAN_PORT 4789
#define GENEVE_PORT 6081

/* With which kinds the tests trust a source, a bit for each: its address says so. */
static unsigned int trusted_with(const struct eb_packet *packet)
{
	return *(const uint8_t *)packet->saddr % 32;
}

/* enum eb_tunnel, -1 for what is none. */
static int plain_kind(const struct eb_packet *packet)
{
	if (packet->l4 == EB_L4_UNKNOWN)
		return -1;
	switch (packet->proto) {
	case 4:  /* RFC 2003 */
	case 41: /* RFC 2473, RFC 4213 */
		return EB_TUNNEL_IPIP;
	case 47:
		return EB_TUNNEL_GRE;
	case 17:
		if (packet->l4 != EB_L4_PORT)
			return -1;
		return packet->dport == GUE_PORT      ? EB_TUNNEL_GUE
		       : packet->dport == VXLAN_PORT  ? EB_TUNNEL_VXLAN
		       : packet->dport == GENEVE_PORT ? EB_TUNNEL_GENEVE
						      : -1;
	}
	return -1;
}

/* What follows a tunnel's header, beside an EtherType. */
#define CUT (-1)
#define UNREADABLE 0
#define BRIDGED 0x6558 /* an Ethernet frame */

/* Goes on behind a header of `size` bytes. */
static int follow(struct view *view, size_t size, int type)
{
	if (find(view, size) != HERE)
		return CUT;
	view->at += size;
	return type;
}

/* RFC 2784 and 2890: of the bits 1 to 5, receivers know key and sequence number, and discard a packet that has another
 * one; the version is 0; bits 6 to 12 are ignored. */
static int plain_gre(struct view *view)
{
	unsigned int bits;
	size_t size = 4;

	if (find(view, 4) != HERE)
		return CUT;
	bits = word_at(view, 0);
	if (bits & (1 << 14 | 1 << 11 | 1 << 10) || bits % 8)
		return UNREADABLE;
	size += bits >> 15 & 1 ? 4 : 0; /* checksum */
	size += bits >> 13 & 1 ? 4 : 0; /* key */
	size += bits >> 12 & 1 ? 4 : 0; /* sequence number */
	return follow(view, size, word_at(view, 2));
}

/* draft-ietf-intarea-gue: variant, control bit, length of the header in words beyond the first; or, as variant 1, an IP
 * packet at once. */
static int plain_gue(struct view *view)
{
	unsigned int first, proto;

	if (find(view, 1) != HERE)
		return CUT;
	first = byte_at(view, 0);
	if (first >> 6 == 1)
		return first >> 4 == 4 ? 0x0800 : first >> 4 == 6 ? 0x86dd : UNREADABLE;
	if (find(view, 4) != HERE)
		return CUT;
	proto = byte_at(view, 1);
	if (first >= 0x20)
		return UNREADABLE;
	return follow(view, 4 + 4 * first, proto == 4 ? 0x0800 : proto == 41 ? 0x86dd : UNREADABLE);
}

/* RFC 7348: a flag that the network's id is there, which it must be; the others are ignored. */
static int plain_vxlan(struct view *view)
{
	if (find(view, 8) != HERE)
		return CUT;
	return follow(view, 8, byte_at(view, 0) & 8 ? BRIDGED : UNREADABLE);
}

/* RFC 8926: version 0, length of the options in words; a control packet (bit O) carries nobody's payload. */
static int plain_geneve(struct view *view)
{
	if (find(view, 8) != HERE)
		return CUT;
	if (byte_at(view, 0) >> 6 || byte_at(view, 1) & 0x80)
		return UNREADABLE;
	return follow(view, 8 + 4 * byte_at(view, 0), word_at(view, 2));
}

static int plain_tunnel_header(struct view *view, int kind, unsigned int proto)
{
	if (kind == EB_TUNNEL_IPIP)
		return proto == 4 ? 0x0800 : 0x86dd;
	if (kind == EB_TUNNEL_GRE)
		return plain_gre(view);
	if (follow(view, 8, 0) == CUT) /* UDP */
		return CUT;
	if (kind == EB_TUNNEL_GUE)
		return plain_gue(view);
	return kind == EB_TUNNEL_VXLAN ? plain_vxlan(view) : plain_geneve(view);
}

static enum eb_parsed plain_inner(struct view *view, int type, struct eb_packet *out)
{
	switch (type) {
	case CUT:
		return EB_PARSED_MALFORMED;
	case BRIDGED:
		return plain_ethernet(view, out);
	case 0x0800:
		return plain_ip4(view, out);
	case 0x86dd:
		return plain_ip6(view, out);
	}
	return EB_PARSED_NOT_IP;
}

/* Nothing of its transport header is known any more. */
static enum eb_parsed unseen(struct eb_packet *out)
{
	out->sport = out->dport = out->detail = 0;
	out->detail_of = EB_DETAIL_NONE;
	return hidden(out);
}

/* Whether the frame goes on in other buffers, and the headers of a tunnel that begins here might: the longest are those
 * of UDP, Geneve with all its options, Ethernet with two tags and PPPoE, and IPv4 with all its options. */
static bool is_split(const struct view *view)
{
	return view->end > view->first && view->at + 8 + 8 + 252 + 14 + 8 + 8 + 60 > view->first;
}

/* Opens the tunnel at the view, of which *out is the outer packet. */
static enum eb_parsed plain_open(struct view *view, int kind, struct eb_packet *out)
{
	struct eb_packet inner = { .len = out->len, .vlan = out->vlan, .wants_detail = out->wants_detail };
	struct view tunnel = *view;
	int type = plain_tunnel_header(view, kind, out->proto);
	enum eb_parsed parsed = plain_inner(view, type, &inner);

	if (parsed == EB_PARSED_NOT_IP)
		return EB_PARSED_IP;
	if (parsed == EB_PARSED_MALFORMED)
		return is_split(&tunnel) ? unseen(out) : EB_PARSED_MALFORMED;
	if (type == BRIDGED && parsed != EB_PARSED_IP)
		return parsed;
	*out = inner;
	return parsed != EB_PARSED_IP || plain_kind(out) >= 0 ? unseen(out) : EB_PARSED_IP;
}

/* A packet of a trusted source that is a tunnel, or a piece of what could be one. */
static enum eb_parsed plain_tunnel(struct view *view, struct eb_packet *out)
{
	bool is_piece = out->fragment == EB_FRAGMENT, no_port = out->l4 == EB_L4_LATER && out->proto == 17;
	unsigned int trusted = trusted_with(out);
	int kind = plain_kind(out);

	if (kind < 0 ? no_port && trusted >> EB_TUNNEL_GUE : is_piece && trusted >> kind & 1)
		return unseen(out);
	if (kind < 0 || !(trusted >> kind & 1))
		return EB_PARSED_IP;
	return plain_open(view, kind, out);
}

/* With the tunnels of trusted sources opened. */
static enum eb_parsed plain_frame(const uint8_t *data, size_t first, size_t len, bool ethernet, struct eb_packet *out)
{
	struct view view = { .data = data, .first = first, .end = len };
	enum eb_parsed parsed = ethernet ? plain_ethernet(&view, out) : plain_bare(&view, out);

	return parsed == EB_PARSED_IP ? plain_tunnel(&view, out) : parsed;
}

/* --- The XDP program's parser, over memory --- */

struct memory {
	void *data, *end;
};

static int walk_memory(struct xdp_md *frame, struct eb_packet *packet, __u32 offset, __u32 left, __u8 fragment)
{
	struct memory *memory = (struct memory *)frame;
	struct eb_cursor cursor = { memory->data + offset, memory->end, left, fragment };
	enum eb_parsed parsed = eb_parse_extensions(&cursor, packet);

	return parsed | (__u32)(cursor.pos - memory->data) << EB_PARSED_BITS;
}

static int find_in_memory(struct xdp_md *frame, struct eb_packet *outer)
{
	struct memory *memory = (struct memory *)frame;

	return eb_find_payload(frame, memory->data, memory->end, 1, outer, walk_memory);
}

static int find_in_bare_memory(struct xdp_md *frame, struct eb_packet *outer)
{
	struct memory *memory = (struct memory *)frame;

	return eb_find_payload(frame, memory->data, memory->end, 0, outer, walk_memory);
}

static int parse_in_memory(struct xdp_md *frame, struct eb_packet *packet, __u32 at, __u32 kind)
{
	struct memory *memory = (struct memory *)frame;

	return eb_parse_inner(frame, memory->data, memory->end, packet, at, kind, walk_memory);
}

static __u64 trust_packet(const struct eb_policy *policy, __u32 index, const struct eb_packet *packet)
{
	(void)policy;
	(void)index;
	return trusted_with(packet);
}

static int program_frame(uint8_t *data, size_t first, bool ethernet, struct eb_packet *out)
{
	static const struct eb_policy policy = {
		.tunnels = (1 << TUNNELS) - 1,
		.tunnel_ports = { [EB_TUNNEL_GUE] = GUE_PORT,
				  [EB_TUNNEL_VXLAN] = VXLAN_PORT,
				  [EB_TUNNEL_GENEVE] = GENEVE_PORT },
	};
	struct memory memory = { data, data + first };
	enum eb_parsed parsed = eb_parse_frame(data, data + first, ethernet, out);

	if (parsed != EB_PARSED_IP)
		return parsed;
	return eb_open_tunnel((struct xdp_md *)&memory, &policy, 0, out, trust_packet,
			      ethernet ? find_in_memory : find_in_bare_memory, parse_in_memory);
}

static bool is_equal(const struct eb_packet *a, const struct eb_packet *b)
{
	return !memcmp(a->saddr, b->saddr, sizeof(a->saddr)) && !memcmp(a->daddr, b->daddr, sizeof(a->daddr)) &&
	       a->len == b->len && a->dport == b->dport && a->family == b->family && a->proto == b->proto &&
	       a->l4 == b->l4 && a->sport == b->sport && a->ip_len == b->ip_len && a->vlan == b->vlan &&
	       a->fragment == b->fragment && a->detail_of == b->detail_of && a->detail == b->detail;
}

#endif
