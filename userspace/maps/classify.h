/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which rule a packet would meet, asked of the pinned policy that is in force: the same look-ups and the same
 * arithmetic as the program's (bpf/classify.h), for a packet of which not everything may be known.
 */
#ifndef EB_CLASSIFY_H
#define EB_CLASSIFY_H

#include <stdbool.h>
#include <stdint.h>

#include "maps/maps.h"

/* Addresses are in network byte order; IPv4 in the first 4 bytes. */
struct eb_flow {
	uint8_t family; /* 4 or 6 */
	uint8_t src[16];
	uint8_t dst[16];
	bool has_dst;
	int proto; /* -1 when not known */
	int dport; /* -1 when not known, or none */
};

/* A rule ahead of the one found, which would decide if what the flow leaves open were the following. */
struct eb_flow_candidate {
	int rule;
	bool has_dst; /* it takes this destination, one of perhaps many */
	uint8_t dst[16];
	int proto;    /* … this protocol; -1 when it takes any, or the flow's own */
	int dport;    /* … this port; likewise */
};

struct eb_flow_rule {
	struct eb_policy policy;   /* in force while the look-ups were made */
	int rule;                  /* index into policy.rules; -1 when none matches */
	struct eb_flow_candidate candidates[EB_RULES_MAX]; /* in the order of the rules */
	int candidate_count;
};

/* What a flow leaves open matches only rules that do not ask for it. Returns 0 or negative errno. */
int eb_flow_classify(const struct eb_maps *maps, const struct eb_flow *flow, struct eb_flow_rule *out);

#endif
