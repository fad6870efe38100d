// SPDX-License-Identifier: GPL-2.0-only
/* edgebucket explain: what would happen to a packet now, and why. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <net/if.h>
#include <netinet/in.h>

#include <bpf/bpf.h>

#include "base/clock.h"
#include "base/input.h"
#include "cli/agent_client.h"
#include "cli/options.h"
#include "cli/print.h"
#include "cli/session.h"
#include "config/config_tunnels.h"
#include "config/limit.h"
#include "config/protocol.h"
#include "config/quantity.h"
#include "maps/bans.h"
#include "maps/classify.h"
#include "maps/spent.h"
#include "policy/rules.h"
#include "store/exchange_field.h"

#define PORT_MAX 65535
#define ETHERNET_HEADER 14
#define VLAN_TAG 4
#define VLAN_MAX 4094
#define IP_LENGTH_MAX 65535

/* The shortest Ethernet frame, as XDP sees it: without its check sequence. */
#define LENGTH_DEFAULT 60

/* One limit of the bucket. */
struct explained_limit {
	const struct eb_limit *limit;
	uint64_t debt;
	uint64_t needed; /* tokens, for the packet in question */
	uint64_t tokens;
	uint64_t burst;
	uint64_t next_ns; /* until there is one token more; 0 when full */
	uint64_t wait_ns; /* until the packet can be paid */
	uint64_t known;   /* of a careful rule: the debt that the fleet told of */
	uint32_t nodes;   /* 0 for other rules */
	bool is_told_of_others; /* of a rule that is shared, by an agent */
	uint64_t spent_elsewhere; /* tokens that are missing because other nodes admitted packets */
};

/* A rule that the packet comes to, or a level of one. */
struct explained_rule {
	const struct eb_rule *rule;
	int place; /* in the policy */
	/* of rules that limit */
	struct eb_source source;
	bool lacks_target; /* which of its buckets depends on what was not said */
	bool has_bucket;
	bool is_gate_closed;
	struct eb_bucket_view bucket;
	struct explained_limit packets;
	struct explained_limit bytes;
};

/* What a packet can come to: all its buckets, and a rule without any behind them. */
#define EXPLAINED_MAX (EB_BUCKETS_MAX + 1)

/* The tunnel that the packet comes in. */
struct explained_tunnel {
	struct eb_prefix outer; /* its source; family 0 without a tunnel */
	int kind;               /* enum eb_tunnel; -1 when not known */
	uint64_t opened;        /* the kinds that are opened of this source, a bit each */
};

struct explanation {
	struct explained_tunnel tunnel;
	struct eb_flow flow;
	uint64_t length;
	struct eb_flow_rule found;
	struct explained_rule rules[EXPLAINED_MAX];
	int count; /* 0 when no rule matches */
	int by;    /* the one of them that decides */
	bool is_banned;
	struct eb_ban_view ban;
	/* in the end */
	enum eb_verdict verdict;
	bool passes;
	char reason[1024];
	size_t rules_from; /* where in the reason the words about rules begin */
	int why_length; /* of the part of the reason that is about the verdict */
};

__attribute__((format(printf, 2, 3))) static void because(struct explanation *explanation, const char *format, ...)
{
	size_t used = strlen(explanation->reason);
	va_list args;

	va_start(args, format);
	vsnprintf(explanation->reason + used, sizeof(explanation->reason) - used, format, args);
	va_end(args);
}

/* As finish() of the program. Returns whether the packet goes on. */
static bool decide(struct explanation *explanation, int by, enum eb_verdict verdict)
{
	const struct eb_rule *rule = explanation->rules[by].rule;

	explanation->by = by;
	explanation->verdict = verdict == EB_DROP && rule->monitor ? EB_WOULD_DROP : verdict;
	explanation->passes = explanation->verdict == EB_PASS || explanation->verdict == EB_WOULD_DROP ||
			      (verdict == EB_CROWDED && (rule->crowded_pass || rule->monitor));
	if (rule->monitor && verdict != EB_PASS)
		because(explanation, "; the rule only monitors, so the packet passes");
	return explanation->passes;
}

static void read_limit(const struct eb_limit *limit, uint64_t debt, uint64_t needed, struct explained_limit *out)
{
	*out = (struct explained_limit){
		.limit = limit,
		.debt = debt,
		.needed = needed,
		.tokens = eb_limit_tokens(limit, debt),
		.burst = eb_limit_burst(limit),
	};
	if (out->tokens < out->burst)
		out->next_ns = eb_limit_wait_ns(limit, debt, out->tokens + 1);
	out->wait_ns = limit->mult ? eb_limit_wait_ns(limit, debt, needed) : 0;
}

static bool limit_has_tokens(const struct explained_limit *limit)
{
	return !limit->limit->mult ||
	       eb_gcra_conforms(limit->limit, limit->debt, eb_gcra_cost(limit->limit, limit->needed));
}

/* As the program decides: eb_bucket_charge(), or the chain. */
static bool limit_admits(const struct explained_limit *limit)
{
	uint64_t cost = eb_gcra_cost(limit->limit, limit->needed);

	return limit_has_tokens(limit) &&
	       (!limit->nodes || !limit->limit->mult ||
		limit->debt + cost <= eb_gcra_ceiling(limit->limit, cost, limit->known, limit->nodes));
}

/* Before the next of several things to say of the rules. */
static void separate(struct explanation *explanation)
{
	if (strlen(explanation->reason) > explanation->rules_from)
		because(explanation, "; ");
}

/* Where there are several, says which one the next words are about. */
static void name_bucket(struct explanation *explanation, const struct explained_rule *at)
{
	char level[EB_LEVEL_TEXT_MAX];

	if (explanation->count == 1)
		return;
	separate(explanation);
	if (*eb_rules_level_text(at->rule, level))
		because(explanation, "level %s of ", level);
	because(explanation, "rule %s: ", session_rule_name(&explanation->found.policy, at->place).s);
}

static void explain_refusal(struct explanation *explanation, const struct explained_limit *limit, bool is_bytes)
{
	if (limit_has_tokens(limit)) {
		because(explanation, "this node has spent its part of the burst, one of %u, until it hears of the "
			"fleet again", limit->nodes);
		return;
	}
	because(explanation, "%s of %s %s left", print_tokens(limit->limit, limit->tokens, is_bytes).s,
		print_tokens(limit->limit, limit->burst, is_bytes).s, is_bytes ? "are" : "packet tokens are");
	if (is_bytes)
		because(explanation, ", too little for a frame of %llu bytes", (unsigned long long)limit->needed);
	if (limit->wait_ns == EB_LIMIT_NEVER)
		because(explanation, "; the burst is smaller, so it never passes");
	else
		because(explanation, "; enough in %s", print_duration(limit->wait_ns).s);
}

static void explain_admission(struct explanation *explanation)
{
	if (explanation->count > 1)
		because(explanation, "all buckets have enough tokens for a frame of %llu bytes",
			(unsigned long long)explanation->length);
	else if (explanation->rules[0].lacks_target)
		because(explanation, "which bucket it meets depends on --%s; one that is not in debt has enough tokens",
			eb_also_names[explanation->rules[0].rule->also]);
	else if (!explanation->rules[0].has_bucket)
		because(explanation, "the source has no bucket yet, which counts as a full one");
	else
		because(explanation, "the bucket has enough tokens for a frame of %llu bytes",
			(unsigned long long)explanation->length);
}

/* Whether the bucket lets the packet go on. */
static bool explain_bucket(struct explanation *explanation, int by)
{
	const struct explained_rule *at = &explanation->rules[by];
	const struct eb_rule *rule = at->rule;

	if (!at->has_bucket && at->is_gate_closed) {
		name_bucket(explanation, at);
		because(explanation, "the source has no bucket, and more new sources appear than %s: %s",
			print_limit(&rule->new_sources, false).s,
			rule->crowded_pass ? "crowded packets pass" : "crowded packets are dropped");
		return decide(explanation, by, EB_CROWDED);
	}
	if (limit_admits(&at->packets) && limit_admits(&at->bytes))
		return true;
	name_bucket(explanation, at);
	if (!limit_admits(&at->packets))
		explain_refusal(explanation, &at->packets, false);
	else
		explain_refusal(explanation, &at->bytes, true);
	return decide(explanation, by, EB_DROP);
}

static bool explain_rule(struct explanation *explanation, int by)
{
	const struct explained_rule *at = &explanation->rules[by];

	if (at->rule->action == EB_LIMIT)
		return explain_bucket(explanation, by);
	separate(explanation);
	because(explanation, "rule %s %s it", session_rule_name(&explanation->found.policy, at->place).s,
		at->rule->action == EB_ALLOW ? "allows" : "denies");
	return decide(explanation, by, at->rule->action == EB_ALLOW ? EB_PASS : EB_DROP);
}

/* The last level of the rule that `by` is of: a monitored rule that refuses is left with all its levels. */
static int skip_levels(const struct explanation *explanation, int by)
{
	while (by + 1 < explanation->count && explanation->rules[by + 1].rule->level)
		by++;
	return by;
}

/* As the program's chain: the first that refuses decides, but those that only monitor let the packet go on. */
static void explain_rules(struct explanation *explanation)
{
	explanation->passes = true;
	explanation->rules_from = strlen(explanation->reason);
	for (int i = 0; i < explanation->count; i++)
		if (!explanation->rules[i].rule->level)
			explanation->by = i;
	for (int i = 0; i < explanation->count; i++) {
		if (!explain_rule(explanation, i))
			return;
		if (explanation->by == i && explanation->verdict == EB_WOULD_DROP)
			i = skip_levels(explanation, i);
	}
	if (strlen(explanation->reason) == explanation->rules_from)
		explain_admission(explanation);
}

/* As options, each with a space before it. `length` of a candidate is the IP packet's, that of the option the
 * frame's. */
static size_t print_numbers(const struct eb_flow_candidate *candidate, char *out, size_t size)
{
	const int *numbers = candidate->numbers;
	size_t used = 0;

	if (numbers[EB_SPORT] >= 0)
		used += snprintf(out + used, size - used, " --sport %d", numbers[EB_SPORT]);
	if (numbers[EB_DPORT] >= 0)
		used += snprintf(out + used, size - used, " --dport %d", numbers[EB_DPORT]);
	if (numbers[EB_LENGTH] >= 0)
		used += snprintf(out + used, size - used, " --length %d", numbers[EB_LENGTH] + ETHERNET_HEADER);
	if (numbers[EB_VLAN] > 0)
		used += snprintf(out + used, size - used, " --vlan %d", numbers[EB_VLAN]);
	else if (!numbers[EB_VLAN])
		used += snprintf(out + used, size - used, " --vlan none");
	return used;
}

static size_t print_detail(int proto, int detail, char *out, size_t size)
{
	char name[EB_PROTOCOL_NAME_MAX], flags[64];

	if (eb_flow_detail_of(proto) != EB_DETAIL_TCP)
		return snprintf(out, size, " --icmp-type %s", eb_icmp_print(detail, proto == IPPROTO_ICMPV6, name));
	eb_tcp_flags_print(detail, "", flags, sizeof(flags));
	return snprintf(out, size, " --tcp-flags %s", *flags ? flags : "none");
}

/* The options that would lead to another rule. */
static struct text candidate_options(const struct eb_flow *flow, const struct eb_flow_candidate *candidate)
{
	char proto[EB_PROTOCOL_NAME_MAX], interface[IF_NAMESIZE];
	struct text text = { "" };
	size_t used = 0;

	if (candidate->has_dst)
		used += snprintf(text.s, sizeof(text.s), " --dst %.45s", print_address(flow->family, candidate->dst).s);
	if (candidate->proto >= 0)
		used += snprintf(text.s + used, sizeof(text.s) - used, " --proto %s",
				 eb_protocol_print(candidate->proto, proto));
	used += print_numbers(candidate, text.s + used, sizeof(text.s) - used);
	if (candidate->detail >= 0)
		used += print_detail(flow->proto >= 0 ? flow->proto : candidate->proto, candidate->detail,
				     text.s + used, sizeof(text.s) - used);
	if (candidate->fragment >= 0)
		used += snprintf(text.s + used, sizeof(text.s) - used, " --fragment %s",
				 candidate->fragment == EB_FRAGMENT ? "first" : "none");
	if (candidate->ifindex && if_indextoname(candidate->ifindex, interface))
		snprintf(text.s + used, sizeof(text.s) - used, " --interface %s", interface);
	return text;
}

static void explain_candidates(struct explanation *explanation)
{
	for (int i = 0; i < explanation->found.candidate_count; i++) {
		const struct eb_flow_candidate *candidate = &explanation->found.candidates[i];

		because(explanation, "; rule %s would decide with%s",
			session_rule_name(&explanation->found.policy, candidate->rule).s,
			candidate_options(&explanation->flow, candidate).s);
	}
}

static struct text prefix_text(const struct eb_prefix *prefix)
{
	return print_prefix(prefix->family, prefix->addr, prefix->len);
}

/* Before the rules are asked, but for those that allow. */
static void explain_ban(struct explanation *explanation)
{
	const struct eb_ban_view *ban = &explanation->ban;
	bool is_watched = explanation->found.policy.bans_monitor;

	because(explanation, "%s is banned ", prefix_text(&ban->prefix).s);
	if (ban->ban.until_ns == EB_BAN_FOREVER)
		because(explanation, "for good");
	else
		because(explanation, "for another %s", print_duration(ban->ban.until_ns - eb_monotonic_ns()).s);
	if (is_watched)
		because(explanation, ", but nothing is dropped; without the ban, ");
	else
		explanation->verdict = EB_DROP;
}

static bool is_allowed(const struct explanation *explanation)
{
	return explanation->count && explanation->rules[0].rule->action == EB_ALLOW;
}

static void explain_as_ruled(struct explanation *explanation)
{
	if (explanation->count) {
		explain_rules(explanation);
	} else {
		because(explanation, "no rule matches, so it passes");
		explanation->passes = true;
	}
}

static void explain(struct explanation *explanation)
{
	bool is_banned = explanation->is_banned && !is_allowed(explanation);

	if (is_banned)
		explain_ban(explanation);
	if (!is_banned || explanation->found.policy.bans_monitor)
		explain_as_ruled(explanation);
	if (explanation->is_banned && !is_banned)
		because(explanation, ", although it is banned");
	explanation->why_length = strlen(explanation->reason);
	explain_candidates(explanation);
}

static int read_gate(const struct session *session, struct explained_rule *at, uint64_t now)
{
	struct eb_state *state = malloc(sizeof(*state));
	uint32_t zero = 0;
	int err;

	if (!state)
		return -ENOMEM;
	err = bpf_map_lookup_elem(session->maps.fd[EB_MAP_STATE], &zero, state);
	if (!err) {
		const struct eb_bucket *gate = &state->gates[at->rule->slot % EB_SLOTS];
		const struct eb_limit *limit = &at->rule->new_sources;
		uint64_t debt = eb_gcra_debt(gate->packets_full_at, now);

		at->is_gate_closed = !eb_gcra_conforms(limit, debt, eb_gcra_cost(limit, 1));
	}
	free(state);
	return err;
}

static bool lacks_target(const struct eb_rule *rule, const struct eb_flow *flow)
{
	if (rule->also == EB_ALSO_DPORT)
		return flow->numbers[EB_DPORT] < 0 && !flow->is_later &&
		       (flow->proto < 0 || eb_protocol_has_port(flow->proto));
	return rule->also == EB_ALSO_DST && !flow->has_dst;
}

static struct eb_source source_of(const struct eb_rule *rule, const struct eb_flow *flow)
{
	return session_source(rule, flow->family, flow->src, flow->dst,
			      flow->numbers[EB_DPORT] < 0 ? 0 : flow->numbers[EB_DPORT]);
}

/* What the agent has put into the maps for careful rules; nothing where none has. */
static int read_heard(const struct session *session, struct explained_rule *at, uint64_t now)
{
	struct eb_spent heard = { .packets = EB_FULL, .bytes = EB_FULL };
	uint32_t nodes;
	int err = eb_maps_fleet_nodes(&session->maps, &nodes);

	if (!err)
		err = eb_spent_heard(&session->maps, session->buckets, &at->source, &heard);
	if (err && err != -ENOENT)
		return err;
	at->packets.nodes = at->bytes.nodes = nodes ? nodes : 1;
	at->packets.known = eb_gcra_debt(heard.packets, now);
	at->bytes.known = eb_gcra_debt(heard.bytes, now);
	return 0;
}

/* What other nodes admitted, as far as the agent knows. */
static void read_others(const struct session *session, const struct eb_policy *policy, const struct explained_rule *at,
			bool of_bytes, struct explained_limit *limit)
{
	struct eb_exchange_field field;
	char text[EB_EXCHANGE_FIELD_MAX];
	uint64_t own_ns, others;

	if (!limit->limit->mult)
		return;
	eb_exchange_field_name(&at->source, policy, at->place, of_bytes, &field);
	eb_exchange_field_format(&field, text);
	limit->is_told_of_others = agent_own_debt(session, text, &own_ns);
	others = eb_gcra_debt_after(limit->debt, own_ns * EB_TICKS_PER_NS);
	limit->spent_elsewhere = limit->burst - eb_limit_tokens(limit->limit, others);
}

static int read_bucket(const struct session *session, const struct explanation *explanation, struct explained_rule *at)
{
	const struct eb_rule *rule = at->rule;
	struct eb_bucket_view *bucket = &at->bucket;
	uint64_t now;
	int err;

	at->source = source_of(rule, &explanation->flow);
	at->lacks_target = lacks_target(rule, &explanation->flow);
	err = eb_buckets_find(session->buckets, &at->source, bucket);
	if (err && err != -ENOENT)
		return err;
	at->has_bucket = !err;
	now = eb_buckets_now();
	read_limit(&rule->packets, err ? 0 : eb_gcra_debt(bucket->packets_full_at, now), 1, &at->packets);
	read_limit(&rule->bytes, err ? 0 : eb_gcra_debt(bucket->bytes_full_at, now), explanation->length, &at->bytes);
	if (rule->shared && at->has_bucket) {
		read_others(session, &explanation->found.policy, at, false, &at->packets);
		read_others(session, &explanation->found.policy, at, true, &at->bytes);
	}
	err = rule->careful ? read_heard(session, at, now) : 0;
	return err ? err : read_gate(session, at, now);
}

/* Levels that packets of the family do not meet are left out. */
static int add_rule(const struct session *session, struct explanation *explanation, int place)
{
	const struct eb_rule *rule = &explanation->found.policy.rules[place];
	struct explained_rule *at = &explanation->rules[explanation->count];

	if (explanation->count == EXPLAINED_MAX ||
	    (rule->level && !source_of(rule, &explanation->flow).rule_id))
		return 0;
	explanation->count++;
	*at = (struct explained_rule){ .rule = rule, .place = place };
	return rule->action == EB_LIMIT ? read_bucket(session, explanation, at) : 0;
}

static int add_levels(const struct session *session, struct explanation *explanation, const struct eb_rule *rule)
{
	int err = 0;

	for (int i = 0; i < rule->level_count && !err; i++)
		err = add_rule(session, explanation, (rule->first_level + i) % EB_LIMITS_MAX);
	return err;
}

static int find_ban(const struct session *session, struct explanation *explanation)
{
	int family = explanation->flow.family;
	struct eb_prefix source = { .family = family, .len = family == 4 ? 32 : 128 };
	struct eb_bans *bans;
	int err = eb_bans_open(&session->maps, false, &bans);

	if (err)
		return err;
	memcpy(source.addr, explanation->flow.src, sizeof(source.addr));
	explanation->is_banned = eb_bans_find(bans, &source, eb_monotonic_ns(), &explanation->ban);
	eb_bans_close(bans);
	return 0;
}

static bool is_opened(const struct explained_tunnel *tunnel)
{
	return tunnel->kind < 0 ? tunnel->opened : tunnel->opened >> tunnel->kind & 1;
}

/* The packet that carries another one, which is what rules see. */
static void take_outer(const struct explained_tunnel *tunnel, const struct eb_policy *policy, struct eb_flow *flow)
{
	static const uint8_t protocols[EB_TUNNELS] = { [EB_TUNNEL_GRE] = IPPROTO_GRE, [EB_TUNNEL_GUE] = IPPROTO_UDP,
						       [EB_TUNNEL_VXLAN] = IPPROTO_UDP,
						       [EB_TUNNEL_GENEVE] = IPPROTO_UDP };
	int inner = flow->family == 4 ? IPPROTO_IPIP : IPPROTO_IPV6;

	eb_flow_init(tunnel->outer.family, flow);
	memcpy(flow->src, tunnel->outer.addr, sizeof(flow->src));
	if (tunnel->kind < 0)
		return;
	flow->proto = protocols[tunnel->kind] ? protocols[tunnel->kind] : inner;
	if (flow->proto == IPPROTO_UDP)
		flow->numbers[EB_DPORT] = policy->tunnel_ports[tunnel->kind] ? policy->tunnel_ports[tunnel->kind]
									     : eb_tunnel_ports[tunnel->kind];
}

static int find_tunnel(const struct session *session, struct explanation *explanation)
{
	struct explained_tunnel *tunnel = &explanation->tunnel;
	int err;

	if (!tunnel->outer.family)
		return 0;
	err = eb_flow_tunnels(&session->maps, &tunnel->outer, &explanation->found.policy, &tunnel->opened);
	if (!err && !is_opened(tunnel))
		take_outer(tunnel, &explanation->found.policy, &explanation->flow);
	return err;
}

static int find_out(const struct session *session, struct explanation *explanation)
{
	int err = find_tunnel(session, explanation);

	if (!err)
		err = eb_flow_classify(&session->maps, &explanation->flow, &explanation->found);
	if (!err)
		err = find_ban(session, explanation);
	for (uint64_t rules = err ? 0 : explanation->found.rules; rules && !err; rules &= rules - 1) {
		int place = __builtin_ctzll(rules);
		const struct eb_rule *rule = &explanation->found.policy.rules[place];

		err = add_rule(session, explanation, place);
		if (!err)
			err = add_levels(session, explanation, rule);
		if (!rule->goes_on)
			break;
	}
	if (!err)
		explain(explanation);
	return err;
}

static json_t *limit_json(const struct explained_limit *limit)
{
	if (!limit->limit || !limit->limit->mult)
		return json_null();
	return json_pack("{s:I, s:I, s:o, s:o, s:o}", "tokens", (json_int_t)limit->tokens, "burst",
			 (json_int_t)limit->burst, "next_token_seconds", print_json_seconds(limit->next_ns),
			 "wait_seconds", print_json_seconds(limit->wait_ns), "spent_elsewhere",
			 limit->is_told_of_others ? json_integer(limit->spent_elsewhere) : json_null());
}

static struct text source_text(const struct explained_rule *at)
{
	struct eb_source source = at->source;

	if (at->lacks_target)
		source.target.also = EB_ALSO_NONE;
	return session_source_text(at->rule, &source);
}

static bool is_limit(const struct explained_rule *at)
{
	return at->rule && at->rule->action == EB_LIMIT;
}

/* The members that every rule has, of which there may be none. */
static void add_rule_json(const struct explanation *explanation, const struct explained_rule *at, json_t *object)
{
	const struct eb_rule *rule = at->rule;

	json_object_set_new(object, "rule", rule ? json_string(session_rule_name(&explanation->found.policy,
										 at->place).s) : json_null());
	json_object_set_new(object, "level", rule ? print_json_level(rule) : json_null());
	json_object_set_new(object, "action", rule ? json_string(eb_action_name(rule->action)) : json_null());
	json_object_set_new(object, "mode", rule ? json_string(rule->monitor ? "monitor" : "enforce") : json_null());
	json_object_set_new(object, "source", is_limit(at) ? json_string(source_text(at).s) : json_null());
	json_object_set_new(object, "packets", limit_json(&at->packets));
	json_object_set_new(object, "bytes", limit_json(&at->bytes));
	if (!is_limit(at))
		return;
	json_object_set_new(object, "share", json_string(at->rule->shared ? "fleet" : "node"));
	json_object_set_new(object, "has_bucket", at->lacks_target ? json_null() : json_boolean(at->has_bucket));
	json_object_set_new(object, "dropped", json_integer(at->bucket.dropped));
	json_object_set_new(object, "penalty", print_json_penalty(at->rule));
	json_object_set_new(object, "gate_open", json_boolean(!at->is_gate_closed));
}

static json_t *explanation_json(const struct explanation *explanation)
{
	json_t *object = json_pack("{s:s, s:s, s:b, s:s}", "address",
				   print_address(explanation->flow.family, explanation->flow.src).s, "verdict",
				   eb_verdict_name(explanation->verdict), "passes", explanation->passes, "reason",
				   explanation->reason);
	json_t *chain = json_array();
	const struct explained_tunnel *tunnel = &explanation->tunnel;

	if (tunnel->outer.family)
		json_object_set_new(object, "tunnel",
				    json_pack("{s:s, s:b}", "outer",
					      print_address(tunnel->outer.family, tunnel->outer.addr).s, "opened",
					      is_opened(tunnel)));
	json_object_set_new(object, "banned", explanation->is_banned
					      ? json_string(prefix_text(&explanation->ban.prefix).s)
					      : json_null());
	/* First the one that decides; then all that the packet comes to. */
	add_rule_json(explanation, &explanation->rules[explanation->by], object);
	for (int i = 0; i < explanation->count; i++) {
		json_t *item = json_object();

		add_rule_json(explanation, &explanation->rules[i], item);
		json_array_append_new(chain, item);
	}
	json_object_set_new(object, "chain", chain);
	return object;
}

static void print_field(const char *name, const char *value)
{
	printf("%s%-9s%s %s\n", print_colour(COLOUR_BOLD), name, print_colour_end(COLOUR_BOLD), value);
}

static void print_limit_left(const char *name, const struct explained_limit *limit, bool is_bytes)
{
	char text[256];
	int used;

	if (!limit->limit->mult)
		return;
	used = snprintf(text, sizeof(text), "%.40s of %.40s left, ",
			print_tokens(limit->limit, limit->tokens, is_bytes).s,
			print_tokens(limit->limit, limit->burst, is_bytes).s);
	if (limit->is_told_of_others)
		used += snprintf(text + used, sizeof(text) - used, "%.40s spent on other nodes, ",
				 print_tokens(limit->limit, limit->spent_elsewhere, is_bytes).s);
	used += snprintf(text + used, sizeof(text) - used, "refilled at %.40s", print_rate(limit->limit, is_bytes).s);
	if (limit->next_ns && limit->next_ns != EB_LIMIT_NEVER && !is_bytes)
		snprintf(text + used, sizeof(text) - used, ", the next in %.40s", print_duration(limit->next_ns).s);
	print_field(name, text);
}

static void print_bucket(const struct explained_rule *at)
{
	char text[64];

	print_field("Source:", source_text(at).s);
	snprintf(text, sizeof(text), "depends on --%s", eb_also_names[at->rule->also]);
	if (at->lacks_target)
		print_field("Bucket:", text);
	else if (!at->has_bucket)
		print_field("Bucket:", "none yet, counts as full");
	if (at->rule->shared)
		print_field("Shared:", "with the fleet, so what other nodes admitted counts too");
	print_limit_left("Packets:", &at->packets, false);
	print_limit_left("Bytes:", &at->bytes, true);
	snprintf(text, sizeof(text), "%.40s packets so far", print_count(at->bucket.dropped).s);
	if (at->bucket.dropped)
		print_field("Refused:", text);
	if (at->rule->penalty_mode)
		print_field("Penalty:", print_penalty(at->rule).s);
}

static void print_rule(const struct explanation *explanation, const struct explained_rule *at)
{
	char text[128], level[EB_LEVEL_TEXT_MAX];

	if (*eb_rules_level_text(at->rule, level))
		snprintf(text, sizeof(text), "%s of %.32s", level,
			 session_rule_name(&explanation->found.policy, at->place).s);
	else
		snprintf(text, sizeof(text), "%.32s (%s%s)", session_rule_name(&explanation->found.policy, at->place).s,
			 eb_action_name(at->rule->action), at->rule->monitor ? ", monitor" : "");
	print_field(at->rule->level ? "Level:" : "Rule:", text);
	if (is_limit(at))
		print_bucket(at);
}

static void print_candidates(const struct explanation *explanation)
{
	for (int i = 0; i < explanation->found.candidate_count; i++) {
		const struct eb_flow_candidate *candidate = &explanation->found.candidates[i];
		char text[256];

		snprintf(text, sizeof(text), "rule %.40s would decide with%s",
			 session_rule_name(&explanation->found.policy, candidate->rule).s,
			 candidate_options(&explanation->flow, candidate).s);
		print_field(i ? "" : "But:", text);
	}
}

static void print_tunnel(const struct explained_tunnel *tunnel)
{
	char kinds[64] = "", text[192];

	for (int kind = 0; kind < EB_TUNNELS; kind++)
		if (tunnel->opened >> kind & 1)
			snprintf(kinds + strlen(kinds), sizeof(kinds) - strlen(kinds), "%s%s", *kinds ? ", " : "",
				 eb_tunnel_names[kind]);
	snprintf(text, sizeof(text), "%s, tunnels that are opened: %s%s",
		 print_address(tunnel->outer.family, tunnel->outer.addr).s, *kinds ? kinds : "none",
		 is_opened(tunnel) ? "" : "; so its own packet is judged");
	print_field("Outer:", text);
}

static void print_explanation(const struct explanation *explanation)
{
	enum colour colour = explanation->verdict == EB_PASS ? COLOUR_GREEN : COLOUR_YELLOW;
	char text[sizeof(explanation->reason)];

	if (!explanation->passes)
		colour = COLOUR_RED;
	if (explanation->tunnel.outer.family)
		print_tunnel(&explanation->tunnel);
	print_field("Address:", print_address(explanation->flow.family, explanation->flow.src).s);
	if (!explanation->count)
		print_field("Rule:", "none");
	for (int i = 0; i < explanation->count; i++)
		print_rule(explanation, &explanation->rules[i]);
	snprintf(text, sizeof(text), "%s%s%s", print_colour(colour), eb_verdict_name(explanation->verdict),
		 print_colour_end(colour));
	print_field("Verdict:", text);
	snprintf(text, sizeof(text), "%.*s", explanation->why_length, explanation->reason);
	print_field("Why:", text);
	print_candidates(explanation);
}

/* The options as text. */
struct flow_options {
	const char *dst, *proto, *tcp_flags, *icmp_type, *fragment, *vlan, *interface, *outer, *tunnel;
	int64_t sport, dport;
	int64_t length; /* of the frame; -1 when not given */
};

static enum cli_result parse_dst(const struct cli *cli, const char *text, struct eb_flow *flow)
{
	struct eb_prefix dst;

	if (session_parse_address(cli, text, &dst))
		return CLI_MISUSED;
	if (dst.family != flow->family)
		return cli_misuse(cli, "--dst: %s is not of the source's address family", text);
	memcpy(flow->dst, dst.addr, sizeof(flow->dst));
	flow->has_dst = true;
	return CLI_DONE;
}

static enum cli_result parse_proto(const struct cli *cli, const char *text, struct eb_flow *flow)
{
	flow->proto = eb_protocol_parse(text);
	if (flow->proto >= 0)
		return CLI_DONE;
	return cli_misuse(cli, "--proto: %s is not a protocol; write a name like udp or a number from 0 to 255",
			  eb_input_quote(text).text);
}

static enum cli_result parse_ports(const struct cli *cli, const struct flow_options *options, struct eb_flow *flow)
{
	bool has_port = options->dport >= 0 || options->sport >= 0;

	flow->numbers[EB_DPORT] = options->dport;
	flow->numbers[EB_SPORT] = options->sport;
	if (has_port && flow->proto >= 0 && !eb_protocol_has_port(flow->proto))
		return cli_misuse(cli, "--%s: protocol %s has no ports", options->dport >= 0 ? "dport" : "sport",
				  options->proto);
	return CLI_DONE;
}

/* "syn,ack", or "none". */
static enum cli_result parse_tcp_flags(const struct cli *cli, const char *text, struct eb_flow *flow)
{
	char copy[64], *save = NULL;

	if (flow->proto >= 0 && flow->proto != IPPROTO_TCP)
		return cli_misuse(cli, "--tcp-flags: only TCP has flags");
	flow->proto = IPPROTO_TCP;
	flow->detail = 0;
	snprintf(copy, sizeof(copy), "%s", strcmp(text, "none") ? text : "");
	for (char *word = strtok_r(copy, ",", &save); word; word = strtok_r(NULL, ",", &save)) {
		int flag = eb_tcp_flag_parse(word);

		if (flag < 0)
			return cli_misuse(cli, "--tcp-flags: %s is not a flag of TCP; write them like syn,ack, or none",
					  eb_input_quote(word).text);
		flow->detail |= flag;
	}
	return CLI_DONE;
}

/* Without a protocol, of the address family's own. */
static enum cli_result parse_icmp_type(const struct cli *cli, const char *text, struct eb_flow *flow)
{
	if (flow->proto < 0)
		flow->proto = flow->family == 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6;
	if (flow->proto != IPPROTO_ICMP && flow->proto != IPPROTO_ICMPV6)
		return cli_misuse(cli, "--icmp-type: only ICMP and ICMPv6 have types");
	flow->detail = eb_icmp_parse(text, flow->proto == IPPROTO_ICMPV6);
	if (flow->detail >= 0)
		return CLI_DONE;
	return cli_misuse(cli, "--icmp-type: %s is not a type of %s; write a name like echo-request or a number from 0 "
			  "to 255", eb_input_quote(text).text, flow->proto == IPPROTO_ICMP ? "ICMP" : "ICMPv6");
}

static enum cli_result parse_fragment(const struct cli *cli, const char *text, struct eb_flow *flow)
{
	bool is_first = !strcmp(text, "first");

	flow->is_later = !strcmp(text, "later");
	flow->fragment = is_first || flow->is_later ? EB_FRAGMENT : EB_WHOLE;
	if (!is_first && !flow->is_later && strcmp(text, "none"))
		return cli_misuse(cli, "--fragment: %s is not one of first, later, none", eb_input_quote(text).text);
	if (flow->is_later && (flow->numbers[EB_DPORT] >= 0 || flow->numbers[EB_SPORT] >= 0 || flow->detail >= 0))
		return cli_misuse(cli, "--fragment: a later fragment has no ports, flags or types");
	return CLI_DONE;
}

static enum cli_result parse_vlan(const struct cli *cli, const char *text, struct eb_flow *flow)
{
	uint64_t id = 0;

	if (strcmp(text, "none") && (eb_quantity_integer(text, &id) || !id || id > VLAN_MAX))
		return cli_misuse(cli, "--vlan: %s is not a VLAN; write a number from 1 to %d, or none",
				  eb_input_quote(text).text, VLAN_MAX);
	flow->numbers[EB_VLAN] = id;
	return CLI_DONE;
}

static enum cli_result parse_interface(const struct cli *cli, const char *text, struct eb_flow *flow)
{
	flow->ifindex = if_nametoindex(text);
	return flow->ifindex ? CLI_DONE
			     : cli_misuse(cli, "--interface: there is no %s", eb_input_quote(text).text);
}

static enum cli_result parse_tunnel(const struct cli *cli, const struct flow_options *options,
				    struct explained_tunnel *tunnel)
{
	tunnel->kind = -1;
	if (options->tunnel && !options->outer)
		return cli_misuse(cli, "--tunnel needs --outer, the source of the tunnel");
	if (options->outer && session_parse_address(cli, options->outer, &tunnel->outer))
		return CLI_MISUSED;
	for (int kind = 0; options->tunnel && kind < EB_TUNNELS; kind++)
		if (!strcmp(options->tunnel, eb_tunnel_names[kind]))
			tunnel->kind = kind;
	if (options->tunnel && tunnel->kind < 0)
		return cli_misuse(cli, "--tunnel: %s is not one of ipip, gre, gue, vxlan, geneve",
				  eb_input_quote(options->tunnel).text);
	return CLI_DONE;
}

/* The IP packet's length, of a frame with an Ethernet header and perhaps a tag. */
static void set_length(int64_t frame, struct eb_flow *flow)
{
	int64_t length = frame - ETHERNET_HEADER - (flow->numbers[EB_VLAN] > 0 ? VLAN_TAG : 0);

	if (frame >= 0)
		flow->numbers[EB_LENGTH] = length < 0 ? 0 : length > IP_LENGTH_MAX ? IP_LENGTH_MAX : length;
}

static enum cli_result parse_flow(const struct cli *cli, const struct flow_options *options, struct eb_flow *flow)
{
	struct eb_prefix src;

	if (!cli->arg_count)
		return cli_misuse(cli, "explain needs an address");
	if (session_parse_address(cli, cli->args[0], &src))
		return CLI_MISUSED;
	eb_flow_init(src.family, flow);
	memcpy(flow->src, src.addr, sizeof(flow->src));
	if ((options->dst && parse_dst(cli, options->dst, flow)) ||
	    (options->proto && parse_proto(cli, options->proto, flow)) || parse_ports(cli, options, flow) ||
	    (options->tcp_flags && parse_tcp_flags(cli, options->tcp_flags, flow)) ||
	    (options->icmp_type && parse_icmp_type(cli, options->icmp_type, flow)) ||
	    (options->fragment && parse_fragment(cli, options->fragment, flow)) ||
	    (options->vlan && parse_vlan(cli, options->vlan, flow)) ||
	    (options->interface && parse_interface(cli, options->interface, flow)))
		return CLI_MISUSED;
	if (!options->outer) /* whose headers count too */
		set_length(options->length, flow);
	return CLI_DONE;
}

enum cli_result cmd_explain(struct cli *cli, int argc, char **argv)
{
	struct flow_options options = { .sport = -1, .dport = -1, .length = -1 };
	const struct option_spec specs[] = {
		{ "dst", 'd', OPTION_TEXT, &options.dst, 0 },
		{ "proto", 'p', OPTION_TEXT, &options.proto, 0 },
		{ "sport", 0, OPTION_NUMBER, &options.sport, PORT_MAX },
		{ "dport", 0, OPTION_NUMBER, &options.dport, PORT_MAX },
		{ "tcp-flags", 0, OPTION_TEXT, &options.tcp_flags, 0 },
		{ "icmp-type", 0, OPTION_TEXT, &options.icmp_type, 0 },
		{ "length", 'l', OPTION_NUMBER, &options.length, EB_TOKENS_MAX - 1 },
		{ "fragment", 0, OPTION_TEXT, &options.fragment, 0 },
		{ "vlan", 0, OPTION_TEXT, &options.vlan, 0 },
		{ "interface", 'i', OPTION_TEXT, &options.interface, 0 },
		{ "outer", 0, OPTION_TEXT, &options.outer, 0 },
		{ "tunnel", 0, OPTION_TEXT, &options.tunnel, 0 },
	};
	struct explanation explanation = { .verdict = EB_PASS };
	struct session session;
	enum cli_result result;
	int err;

	if (options_parse(cli, argc, argv, specs, sizeof(specs) / sizeof(specs[0]), 1) ||
	    parse_flow(cli, &options, &explanation.flow) || parse_tunnel(cli, &options, &explanation.tunnel))
		return CLI_MISUSED;
	explanation.length = options.length < 0 ? LENGTH_DEFAULT : options.length;
	result = session_open(cli, SESSION_BUCKETS, &session);
	err = result ? 0 : find_out(&session, &explanation);
	if (err)
		result = cli_fail("the maps in %s cannot be read: %s", session.paths.pin_dir, strerror(-err));
	else if (!result && cli->json)
		result = print_json(explanation_json(&explanation));
	else if (!result)
		print_explanation(&explanation);
	session_close(&session);
	return result;
}
