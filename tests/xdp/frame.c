// SPDX-License-Identifier: GPL-2.0-only
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <netinet/in.h>

#include "frame.h"

#define IPS_MAX 3

#define ETH_P_BRIDGED 0x6558 /* Ethernet in GRE or Geneve */

struct builder {
	struct frame *frame;
	char *settings;       /* of the current word; NULL without any */
	size_t next_at;       /* of the byte (word for Ethernet) that names what follows */
	bool next_is_type;    /* … it is an EtherType */
	bool next_is_ppp;     /* … it is a protocol of PPP */
	bool next_is_fixed;   /* … and was set on purpose */
	struct ip {
		size_t at, header; /* what its length field does not count */
		bool is_fixed;     /* the length was set on purpose */
	} ips[IPS_MAX];            /* from the outside in */
	size_t ip_count;
	size_t padding;
	size_t pppoe_at; /* 0 without PPPoE */
	bool pppoe_is_fixed;
};

/* --- Settings of a word --- */

/* The text of a setting; NULL when it is not there. Valid until the next call. */
static const char *get_text(const struct builder *builder, const char *name)
{
	static char copy[256];
	char *save = NULL;

	if (!builder->settings)
		return NULL;
	strncpy(copy, builder->settings, sizeof(copy) - 1);
	for (char *item = strtok_r(copy, ",", &save); item; item = strtok_r(NULL, ",", &save)) {
		char *value = strchr(item, '=');

		if (!value && !*name)
			return item;
		if (value && strlen(name) == (size_t)(value - item) && !strncmp(item, name, value - item))
			return value + 1;
	}
	return NULL;
}

static bool has(const struct builder *builder, const char *name)
{
	return get_text(builder, name) != NULL;
}

static unsigned long get_number(const struct builder *builder, const char *name, int base, unsigned long otherwise)
{
	const char *text = get_text(builder, name);
	char *end;
	unsigned long value;

	if (!text)
		return otherwise;
	value = strtoul(text, &end, base);
	if (*end)
		fail_msg("frame: %s is not a number", text);
	return value;
}

static unsigned long get_usual(const struct builder *builder, unsigned long otherwise)
{
	return get_number(builder, "", 10, otherwise);
}

/* --- Bytes --- */

static void *put(struct builder *builder, size_t size)
{
	struct frame *frame = builder->frame;
	void *at = frame->data + frame->len;

	if (frame->len + size > FRAME_MAX)
		fail_msg("frame: longer than %d bytes", FRAME_MAX);
	memset(at, 0, size);
	frame->len += size;
	return at;
}

static void put_be16(void *at, unsigned long value)
{
	((uint8_t *)at)[0] = value >> 8;
	((uint8_t *)at)[1] = value;
}

/* Tells the header before that `type` (an EtherType or a protocol) comes. */
static void link_header(struct builder *builder, unsigned long type)
{
	uint8_t *at = builder->frame->data + builder->next_at;

	if (builder->next_is_fixed)
		return;
	if (builder->next_is_ppp)
		put_be16(at, type == ETH_P_IP ? 0x0021 : 0x0057);
	else if (builder->next_is_type)
		put_be16(at, type);
	else
		*at = type == ETH_P_IP ? IPPROTO_IPIP : type == ETH_P_IPV6 ? IPPROTO_IPV6 : type;
}

/* The next header names itself in this byte. */
static void expect_header(struct builder *builder, void *at, bool is_type)
{
	builder->next_at = (uint8_t *)at - builder->frame->data;
	builder->next_is_type = is_type;
	builder->next_is_ppp = false;
	builder->next_is_fixed = false;
}

static void put_next(struct builder *builder, void *at, const char *name)
{
	expect_header(builder, at, false);
	if (!has(builder, name))
		return;
	*(uint8_t *)at = get_number(builder, name, 10, 0);
	builder->next_is_fixed = true;
}

static void put_address(struct builder *builder, const char *name, int family, const char *otherwise, void *at)
{
	const char *text = get_text(builder, name);

	if (inet_pton(family, text ? text : otherwise, at) != 1)
		fail_msg("frame: %s is not an address", text);
}

static void set_source(struct frame *frame, uint8_t family, void *addr)
{
	frame->family = family;
	memset(frame->saddr, 0, sizeof(frame->saddr));
	memcpy(frame->saddr, addr, family == 4 ? 4 : 16);
	frame->saddr_at = (uint8_t *)addr - frame->data;
}

/* --- Words --- */

static void put_eth(struct builder *builder, int unused)
{
	(void)unused;
	link_header(builder, get_number(builder, "", 16, 0));
	builder->next_is_fixed = true;
}

static void put_tag(struct builder *builder, int unused)
{
	uint8_t *tag;

	(void)unused;
	link_header(builder, get_number(builder, "", 16, ETH_P_8021Q));
	tag = put(builder, 4);
	put_be16(tag, get_number(builder, "id", 10, 100));
	expect_header(builder, tag + 2, true);
}

/* A PPPoE header and the protocol of PPP. */
static void put_pppoe(struct builder *builder, int unused)
{
	uint8_t *header;

	(void)unused;
	link_header(builder, ETH_P_PPP_SES);
	header = put(builder, 8);
	header[0] = 0x11;
	builder->pppoe_at = header - builder->frame->data;
	put_be16(header + 4, get_number(builder, "len", 10, 0));
	builder->pppoe_is_fixed = has(builder, "len");
	expect_header(builder, header + 6, true);
	builder->next_is_ppp = true;
	if (!has(builder, "proto"))
		return;
	put_be16(header + 6, get_number(builder, "proto", 16, 0));
	builder->next_is_fixed = true;
}

/* An IP header begins here. */
static void begin_ip(struct builder *builder, size_t header)
{
	if (builder->ip_count == IPS_MAX)
		fail_msg("frame: more than %d IP headers", IPS_MAX);
	builder->ips[builder->ip_count++] = (struct ip){ builder->frame->len, header, has(builder, "len") };
}

static void put_ip4(struct builder *builder, int unused)
{
	size_t options = get_number(builder, "opts", 10, 0);
	struct iphdr *ip;

	(void)unused;
	link_header(builder, ETH_P_IP);
	begin_ip(builder, 0);
	ip = put(builder, sizeof(*ip) + options);
	ip->version = get_number(builder, "ver", 10, 4);
	ip->ihl = get_number(builder, "ihl", 10, 5 + options / 4);
	ip->ttl = get_number(builder, "ttl", 10, 64);
	if (has(builder, "ra"))
		memcpy(ip + 1, "\x94\x04", 2);
	put_be16(&ip->frag_off, get_number(builder, "frag", 16, 0));
	put_be16(&ip->tot_len, get_number(builder, "len", 10, 0));
	put_address(builder, "src", AF_INET, FRAME_SRC4, &ip->saddr);
	put_address(builder, "dst", AF_INET, FRAME_DST4, &ip->daddr);
	put_next(builder, &ip->protocol, "proto");
	set_source(builder->frame, 4, &ip->saddr);
}

static void put_ip6(struct builder *builder, int unused)
{
	struct ipv6hdr *ip;

	(void)unused;
	link_header(builder, ETH_P_IPV6);
	begin_ip(builder, sizeof(*ip));
	ip = put(builder, sizeof(*ip));
	ip->version = get_number(builder, "ver", 10, 6);
	ip->hop_limit = get_number(builder, "hl", 10, 64);
	put_be16(&ip->payload_len, get_number(builder, "len", 10, 0));
	put_address(builder, "src", AF_INET6, FRAME_SRC6, &ip->saddr);
	put_address(builder, "dst", AF_INET6, FRAME_DST6, &ip->daddr);
	put_next(builder, &ip->nexthdr, "nh");
	set_source(builder->frame, 6, &ip->saddr);
}

static void put_extension(struct builder *builder, int proto)
{
	unsigned long len = get_usual(builder, 0);
	uint8_t *header;

	link_header(builder, proto);
	header = put(builder, 8 + len * (proto == IPPROTO_AH ? 4 : 8));
	header[1] = len;
	if (has(builder, "ra"))
		memcpy(header + 2, get_number(builder, "ra", 10, 1) == 1 ? "\5\2\0\0\1" : "\1\0\5\2", 5);
	expect_header(builder, header, false);
}

static void put_fragment(struct builder *builder, int proto)
{
	uint8_t *header;

	link_header(builder, proto);
	header = put(builder, 8);
	header[1] = 0xff; /* reserved; a parser that takes it for a length gets lost */
	put_be16(header + 2, get_number(builder, "off", 10, 0) << 3 | get_number(builder, "more", 10, 0));
	put_next(builder, header, "nh");
}

static void put_transport(struct builder *builder, int proto)
{
	static const uint8_t sizes[256] = { [IPPROTO_TCP] = 20, [IPPROTO_UDP] = 8, [IPPROTO_SCTP] = 12,
					    [IPPROTO_DCCP] = 16, [IPPROTO_UDPLITE] = 8 };
	uint8_t *header;

	link_header(builder, proto);
	header = put(builder, sizes[proto]);
	put_be16(header, get_number(builder, "sport", 10, 40000));
	put_be16(header + 2, get_usual(builder, 9));
	if (proto == IPPROTO_TCP)
		header[13] = get_number(builder, "flags", 16, 0x10);
	builder->next_is_fixed = true;
}

static void put_gre(struct builder *builder, int proto)
{
	unsigned long flags = get_number(builder, "flags", 16, 0);
	uint8_t *header;

	link_header(builder, proto);
	header = put(builder, 4 + 4 * (!!(flags & 0x8000) + !!(flags & 0x2000) + !!(flags & 0x1000)));
	put_be16(header, flags);
	put_be16(header + 2, get_number(builder, "type", 16, 0));
	expect_header(builder, header + 2, true);
	builder->next_is_fixed = has(builder, "type");
}

static void put_gue(struct builder *builder, int unused)
{
	unsigned long words = get_usual(builder, 0);
	uint8_t *header = put(builder, 4 + 4 * words);

	(void)unused;
	header[0] = get_number(builder, "first", 16, words);
	put_next(builder, header + 1, "proto");
}

static void put_vxlan(struct builder *builder, int unused)
{
	uint8_t *header = put(builder, 8);

	(void)unused;
	header[0] = get_number(builder, "flags", 16, 8);
	builder->next_is_fixed = true;
}

static void put_geneve(struct builder *builder, int unused)
{
	unsigned long words = get_usual(builder, 0);
	uint8_t *header = put(builder, 8 + 4 * words);

	(void)unused;
	header[0] = get_number(builder, "first", 16, words);
	header[1] = get_number(builder, "second", 16, 0);
	expect_header(builder, header + 2, true);
}

static void put_mac(struct builder *builder, int unused)
{
	uint8_t *header;

	(void)unused;
	link_header(builder, ETH_P_BRIDGED);
	header = put(builder, ETH_HLEN);
	expect_header(builder, header + 2 * ETH_ALEN, true);
}

static void put_icmp(struct builder *builder, int proto)
{
	uint8_t *header;

	link_header(builder, proto);
	header = put(builder, 8);
	*header = get_usual(builder, 8);
}

static void put_nothing(struct builder *builder, int unused)
{
	(void)unused;
	link_header(builder, get_usual(builder, 0));
}

static void put_payload(struct builder *builder, int unused)
{
	(void)unused;
	put(builder, get_usual(builder, 0));
}

static void put_padding(struct builder *builder, int unused)
{
	size_t size = get_usual(builder, 0);

	(void)unused;
	memset(put(builder, size), 0xff, size);
	builder->padding += size;
}

static void fix_length(struct builder *builder)
{
	size_t end = builder->frame->len - builder->padding;

	for (size_t i = 0; i < builder->ip_count; i++) {
		struct ip *ip = &builder->ips[i];

		if (!ip->is_fixed)
			put_be16(builder->frame->data + ip->at + (ip->header ? 4 : 2), end - ip->at - ip->header);
		ip->is_fixed = true;
	}
	if (builder->pppoe_at && !builder->pppoe_is_fixed)
		put_be16(builder->frame->data + builder->pppoe_at + 4, end - builder->pppoe_at - 6);
	builder->pppoe_is_fixed = true;
}

static void cut(struct builder *builder, int unused)
{
	size_t len = get_usual(builder, 0);

	(void)unused;
	fix_length(builder);
	if (len > builder->frame->len)
		fail_msg("frame: shorter than %zu bytes already", len);
	builder->frame->len = len;
}

static const struct {
	const char *name;
	void (*put)(struct builder *builder, int proto);
	int proto;
} words[] = {
	{ "eth", put_eth, 0 },
	{ "tag", put_tag, 0 },
	{ "pppoe", put_pppoe, 0 },
	{ "ip4", put_ip4, 0 },
	{ "ip6", put_ip6, 0 },
	{ "hop", put_extension, IPPROTO_HOPOPTS },
	{ "rt", put_extension, IPPROTO_ROUTING },
	{ "dst", put_extension, IPPROTO_DSTOPTS },
	{ "ah", put_extension, IPPROTO_AH },
	{ "frag", put_fragment, IPPROTO_FRAGMENT },
	{ "udp", put_transport, IPPROTO_UDP },
	{ "tcp", put_transport, IPPROTO_TCP },
	{ "sctp", put_transport, IPPROTO_SCTP },
	{ "dccp", put_transport, IPPROTO_DCCP },
	{ "udplite", put_transport, IPPROTO_UDPLITE },
	{ "icmp", put_icmp, IPPROTO_ICMP },
	{ "igmp", put_icmp, IPPROTO_IGMP },
	{ "icmp6", put_icmp, IPPROTO_ICMPV6 },
	{ "gre", put_gre, IPPROTO_GRE },
	{ "gue", put_gue, 0 },
	{ "vxlan", put_vxlan, 0 },
	{ "geneve", put_geneve, 0 },
	{ "mac", put_mac, 0 },
	{ "next", put_nothing, 0 },
	{ "raw", put_payload, 0 },
	{ "pad", put_padding, 0 },
	{ "cut", cut, 0 },
};

static void put_word(struct builder *builder, char *word)
{
	builder->settings = strchr(word, ':');
	if (builder->settings)
		*builder->settings++ = '\0';
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (strcmp(words[i].name, word))
			continue;
		words[i].put(builder, words[i].proto);
		return;
	}
	fail_msg("frame: unknown word %s", word);
}

void frame_make(const char *text, struct frame *out)
{
	struct builder builder = { .frame = out };
	char *copy = strdup(text), *save = NULL;

	out->len = 0;
	out->family = 0;
	memcpy(put(&builder, ETH_HLEN), "\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02", 2 * ETH_ALEN);
	expect_header(&builder, out->data + 2 * ETH_ALEN, true);
	for (char *word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save))
		put_word(&builder, word);
	fix_length(&builder);
	free(copy);
}
