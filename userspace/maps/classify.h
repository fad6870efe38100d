/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Finds the rule that a packet would match in the pinned policy in force. It makes the same look-ups and uses the same
 * arithmetic as the program (bpf/classify.h), but parts of the packet can be unknown.
 */
#ifndef EB_CLASSIFY_H
#define EB_CLASSIFY_H

#include <stdbool.h>
#include <stdint.h>

#include "config/config.h"
#include "maps/maps.h"

/* Addresses are in network byte order; IPv4 in the first 4 bytes. */
struct eb_flow {
	uint8_t family; /* 4 or 6 */
	uint8_t src[16];
	uint8_t dst[16];
	bool has_dst;
	int proto; /* 0-255; -1 if unknown, as are all that follow */
	int numbers[EB_NUMBERS]; /* ports: also -1 where there are none */
	int detail; /* flags of TCP or type of ICMP, of which the protocol is known */
	int fragment; /* EB_WHOLE or EB_FRAGMENT */
	bool is_later; /* a fragment, not the first: it shows neither ports nor detail, and in IPv6 no protocol */
	int ifindex; /* 0 when not known */
};

/* A rule before the one that was found. It would decide if the unknown parts of the flow had these values. */
struct eb_flow_candidate {
	int rule;
	bool has_dst; /* `dst` is one destination that the rule matches; there can be others */
	uint8_t dst[16];
	int proto;    /* a protocol that the rule matches; -1 if it matches any, or the one of the flow */
	int numbers[EB_NUMBERS]; /* … these; likewise */
	int detail;
	int fragment;
	int ifindex; /* 0 when it takes any */
};

/* All is open but the family. */
void eb_flow_init(uint8_t family, struct eb_flow *out);

/* Which byte of the transport header rules can ask for. */
enum eb_detail eb_flow_detail_of(int proto);

struct eb_flow_rule {
	struct eb_policy policy;   /* in force while the look-ups were made */
	int rule;                  /* index into policy.rules; -1 when none matches */
	uint64_t rules;            /* all that match, a bit each */
	struct eb_flow_candidate candidates[EB_RULES_MAX]; /* in the order of the rules */
	int candidate_count;
};

/* An unknown part of the flow only matches rules without a condition on it. Returns 0 or negative errno. */
int eb_flow_classify(const struct eb_maps *maps, const struct eb_flow *flow, struct eb_flow_rule *out);

/* The kinds of tunnels (bit n for enum eb_tunnel) that are opened when they come from `outer`, an address. *policy is
 * the one in force then. Returns 0 or negative errno. */
int eb_flow_tunnels(const struct eb_maps *maps, const struct eb_prefix *outer, struct eb_policy *policy,
		    uint64_t *kinds);

#endif
