/* SPDX-License-Identifier: GPL-2.0-only */
/* What becomes of a packet that a rule decided about: counted, sampled, passed or dropped. */
#ifndef EB_VERDICT_H
#define EB_VERDICT_H

#include <linux/bpf.h>

#include "account.h"

/* The one place that turns a refusal into a verdict. */
static __always_inline enum eb_verdict refuse(const struct eb_rule *rule)
{
	return rule->monitor ? EB_WOULD_DROP : EB_DROP;
}

/* The one place that decides about packets whose source got no bucket: fail open or closed, as the rule says. */
static __always_inline int crowded_action(const struct eb_rule *rule)
{
	return rule->crowded_pass || rule->monitor ? XDP_PASS : XDP_DROP;
}

static __always_inline int finish(struct eb_cpu *cpu, const struct eb_rule *rule, const struct eb_packet *packet,
				  enum eb_verdict verdict)
{
	count_verdict(rule, verdict, packet->len);
	if (verdict != EB_PASS)
		sample_event(cpu, rule, packet, verdict);
	if (verdict == EB_CROWDED)
		return crowded_action(rule);
	return verdict == EB_DROP ? XDP_DROP : XDP_PASS;
}

#endif
