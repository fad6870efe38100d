// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <strings.h>

#include "base/input.h"
#include "config/protocol.h"
#include "config/quantity.h"

/* Further apart than this, a word is no slip of the finger for another. */
#define NEAREST_MAX 5

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

/* By bit. */
static const char *const flags[] = { "fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr" };

/* IANA's registries of types, under the names that nftables and ip6tables made usual. */
static const struct protocol icmp_types[] = {
	{ "echo-reply", 0 },          { "destination-unreachable", 3 }, { "source-quench", 4 },
	{ "redirect", 5 },            { "echo-request", 8 },            { "router-advertisement", 9 },
	{ "router-solicitation", 10 }, { "time-exceeded", 11 },         { "parameter-problem", 12 },
	{ "timestamp-request", 13 },  { "timestamp-reply", 14 },        { "info-request", 15 },
	{ "info-reply", 16 },         { "address-mask-request", 17 },   { "address-mask-reply", 18 },
	{ "extended-echo-request", 42 }, { "extended-echo-reply", 43 },
};

static const struct protocol icmpv6_types[] = {
	{ "destination-unreachable", 1 }, { "packet-too-big", 2 },      { "time-exceeded", 3 },
	{ "parameter-problem", 4 },       { "echo-request", 128 },      { "echo-reply", 129 },
	{ "mld-listener-query", 130 },    { "mld-listener-report", 131 }, { "mld-listener-done", 132 },
	{ "router-solicitation", 133 },   { "router-advertisement", 134 }, { "neighbour-solicitation", 135 },
	{ "neighbor-solicitation", 135 }, { "neighbour-advertisement", 136 }, { "neighbor-advertisement", 136 },
	{ "redirect", 137 },              { "mld2-listener-report", 143 }, { "extended-echo-request", 160 },
	{ "extended-echo-reply", 161 },
};

struct names {
	const struct protocol *items;
	size_t count;
};

static struct names icmp_names(bool is_6)
{
	return is_6 ? (struct names){ icmpv6_types, ARRAY_SIZE(icmpv6_types) }
		    : (struct names){ icmp_types, ARRAY_SIZE(icmp_types) };
}

int eb_tcp_flag_parse(const char *text)
{
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
		if (!strcasecmp(text, flags[i]))
			return 1 << i;
	return -EINVAL;
}

int eb_tcp_flags_print(uint8_t set, const char *before, char *out, size_t size)
{
	int used = 0;

	*out = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
		if (set >> i & 1 && used < (int)size)
			used += snprintf(out + used, size - used, "%s%s%s", used ? "," : "", before, flags[i]);
	return used;
}

int eb_icmp_parse(const char *text, bool is_6)
{
	struct names names = icmp_names(is_6);
	uint64_t number;

	if (!eb_quantity_integer(text, &number))
		return number <= 255 ? (int)number : -EINVAL;
	for (size_t i = 0; i < names.count; i++)
		if (!strcasecmp(text, names.items[i].name))
			return names.items[i].number;
	return -EINVAL;
}

char *eb_icmp_print(int type, bool is_6, char out[EB_PROTOCOL_NAME_MAX])
{
	struct names names = icmp_names(is_6);

	snprintf(out, EB_PROTOCOL_NAME_MAX, "%d", type);
	for (size_t i = names.count; i > 0; i--)
		if (names.items[i - 1].number == type)
			snprintf(out, EB_PROTOCOL_NAME_MAX, "%s", names.items[i - 1].name);
	return out;
}

static const char *nearest_of(const char *text, bool is_6, unsigned int *distance)
{
	struct names names = icmp_names(is_6);
	const char *nearest = NULL;

	for (size_t i = 0; i < names.count; i++) {
		unsigned int now = eb_input_distance(text, names.items[i].name);

		if (now >= *distance)
			continue;
		*distance = now;
		nearest = names.items[i].name;
	}
	return nearest;
}

const char *eb_icmp_nearest(const char *text, bool is_4, bool is_6)
{
	unsigned int distance = NEAREST_MAX + 1;
	const char *nearest = is_4 ? nearest_of(text, false, &distance) : NULL;
	const char *nearest6 = is_6 ? nearest_of(text, true, &distance) : NULL;

	return nearest6 ? nearest6 : nearest;
}

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

void eb_octets_add(struct eb_octets *set, int proto)
{
	set->words[proto / 64] |= 1ULL << proto % 64;
}

bool eb_octets_have(const struct eb_octets *set, int proto)
{
	return set->words[proto / 64] >> proto % 64 & 1;
}
