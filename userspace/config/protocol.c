// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <strings.h>

#include "config/protocol.h"
#include "config/quantity.h"

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

struct protocol {
	const char *name;
	int number;
};

/* The usual ones, whatever /etc/protocols holds; small images have none. */
static const struct protocol protocols[] = {
	{ "icmp", IPPROTO_ICMP },     { "igmp", IPPROTO_IGMP }, { "tcp", IPPROTO_TCP },       { "udp", IPPROTO_UDP },
	{ "dccp", IPPROTO_DCCP },     { "gre", IPPROTO_GRE },   { "esp", IPPROTO_ESP },       { "ah", IPPROTO_AH },
	{ "icmpv6", IPPROTO_ICMPV6 }, { "sctp", IPPROTO_SCTP }, { "udplite", IPPROTO_UDPLITE },
	{ "ipv6-icmp", IPPROTO_ICMPV6 }, { "ospf", 89 },        { "pim", IPPROTO_PIM },       { "vrrp", 112 },
};

int eb_protocol_parse(const char *text)
{
	const struct protoent *entry;
	uint64_t number;

	if (!eb_quantity_integer(text, &number))
		return number <= 255 ? (int)number : -EINVAL;
	for (size_t i = 0; i < ARRAY_SIZE(protocols); i++)
		if (!strcasecmp(text, protocols[i].name))
			return protocols[i].number;
	entry = getprotobyname(text);
	/* 0 is what "ip" stands for there; as a protocol number it is IPv6's hop-by-hop options. */
	return entry && entry->p_proto > 0 && entry->p_proto <= 255 ? entry->p_proto : -EINVAL;
}

char *eb_protocol_print(int proto, char out[EB_PROTOCOL_NAME_MAX])
{
	for (size_t i = 0; i < ARRAY_SIZE(protocols); i++) {
		if (protocols[i].number == proto) {
			snprintf(out, EB_PROTOCOL_NAME_MAX, "%s", protocols[i].name);
			return out;
		}
	}
	snprintf(out, EB_PROTOCOL_NAME_MAX, "%d", proto);
	return out;
}

bool eb_protocol_has_port(int proto)
{
	switch (proto) {
	case IPPROTO_TCP:
	case IPPROTO_UDP:
	case IPPROTO_DCCP:
	case IPPROTO_SCTP:
	case IPPROTO_UDPLITE:
		return true;
	default:
		return false;
	}
}

void eb_protocols_add(struct eb_protocols *set, int proto)
{
	set->words[proto / 64] |= 1ULL << proto % 64;
}

bool eb_protocols_have(const struct eb_protocols *set, int proto)
{
	return set->words[proto / 64] >> proto % 64 & 1;
}
