/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A second parser of frames, slow and plain, that was written from the RFCs: what that of the XDP program is compared
 * with, over frames made at random (unit_parse.c) and by the fuzzer (../fuzz/fuzz_parse.c).
 */
#ifndef EB_TEST_PLAIN_PARSE_H
#define EB_TEST_PLAIN_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "../../bpf/parse.h"

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
	view->at = 14;
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

static enum eb_parsed plain_frame(const uint8_t *data, size_t first, size_t len, bool ethernet, struct eb_packet *out)
{
	struct view view = { .data = data, .first = first, .end = len };

	return ethernet ? plain_ethernet(&view, out) : plain_bare(&view, out);
}

static bool is_equal(const struct eb_packet *a, const struct eb_packet *b)
{
	return !memcmp(a->saddr, b->saddr, sizeof(a->saddr)) && !memcmp(a->daddr, b->daddr, sizeof(a->daddr)) &&
	       a->len == b->len && a->dport == b->dport && a->family == b->family && a->proto == b->proto &&
	       a->l4 == b->l4 && a->sport == b->sport && a->ip_len == b->ip_len && a->vlan == b->vlan &&
	       a->fragment == b->fragment && a->detail_of == b->detail_of && a->detail == b->detail;
}

#endif
