// SPDX-License-Identifier: GPL-2.0-only
/* edgebucket explain: what would happen to a packet now, and why. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/bpf.h>

#include "base/clock.h"
#include "base/input.h"
#include "cli/options.h"
#include "cli/print.h"
#include "cli/session.h"
#include "config/limit.h"
#include "config/protocol.h"
#include "maps/bans.h"
#include "maps/classify.h"
#include "policy/rules.h"

#define PORT_MAX 65535

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
};

struct explanation {
	struct eb_flow flow;
	uint64_t length;
	struct eb_flow_rule found;
	const struct eb_rule *rule; /* NULL when none matches */
	struct text rule_name;
	bool is_banned;
	struct eb_ban_view ban;
	/* of rules that limit */
	struct eb_source source;
	bool has_bucket;
	bool is_gate_closed;
	struct eb_bucket_view bucket;
	struct explained_limit packets;
	struct explained_limit bytes;
	/* in the end */
	enum eb_verdict verdict;
	bool passes;
	char reason[1024];
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

static void decide(struct explanation *explanation, enum eb_verdict verdict)
{
	const struct eb_rule *rule = explanation->rule;

	explanation->verdict = verdict == EB_DROP && rule->monitor ? EB_WOULD_DROP : verdict;
	explanation->passes = explanation->verdict == EB_PASS || explanation->verdict == EB_WOULD_DROP ||
			      (verdict == EB_CROWDED && (rule->crowded_pass || rule->monitor));
	if (rule && rule->monitor && verdict != EB_PASS)
		because(explanation, "; the rule only monitors, so the packet passes");
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

/* As the program decides: eb_bucket_charge(). */
static bool limit_admits(const struct explained_limit *limit)
{
	return !limit->limit->mult ||
	       eb_gcra_conforms(limit->limit, limit->debt, eb_gcra_cost(limit->limit, limit->needed));
}

static void explain_refusal(struct explanation *explanation, const struct explained_limit *limit, bool is_bytes)
{
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
	if (!explanation->has_bucket)
		because(explanation, "the source has no bucket yet, which counts as a full one");
	else
		because(explanation, "the bucket has enough tokens for a frame of %llu bytes",
			(unsigned long long)explanation->length);
}

static void explain_limit(struct explanation *explanation)
{
	const struct eb_rule *rule = explanation->rule;

	if (!explanation->has_bucket && explanation->is_gate_closed) {
		because(explanation, "the source has no bucket, and more new sources appear than %s: %s",
			print_limit(&rule->new_sources, false).s,
			rule->crowded_pass ? "crowded packets pass" : "crowded packets are dropped");
		decide(explanation, EB_CROWDED);
	} else if (!limit_admits(&explanation->packets)) {
		explain_refusal(explanation, &explanation->packets, false);
		decide(explanation, EB_DROP);
	} else if (!limit_admits(&explanation->bytes)) {
		explain_refusal(explanation, &explanation->bytes, true);
		decide(explanation, EB_DROP);
	} else {
		explain_admission(explanation);
		decide(explanation, EB_PASS);
	}
}

/* The options that would lead to another rule. */
static struct text candidate_options(const struct eb_flow *flow, const struct eb_flow_candidate *candidate)
{
	char proto[EB_PROTOCOL_NAME_MAX];
	struct text text = { "" };
	size_t used = 0;

	if (candidate->has_dst)
		used += snprintf(text.s, sizeof(text.s), " --dst %.45s", print_address(flow->family, candidate->dst).s);
	if (candidate->proto >= 0)
		used += snprintf(text.s + used, sizeof(text.s) - used, " --proto %s",
				 eb_protocol_print(candidate->proto, proto));
	if (candidate->dport >= 0)
		snprintf(text.s + used, sizeof(text.s) - used, " --dport %d", candidate->dport);
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
	return explanation->rule && explanation->rule->action == EB_ALLOW;
}

static void explain_rule(struct explanation *explanation)
{
	const struct eb_rule *rule = explanation->rule;

	if (!rule) {
		because(explanation, "no rule matches, so it passes");
		explanation->passes = true;
	} else if (rule->action == EB_LIMIT) {
		explain_limit(explanation);
	} else {
		because(explanation, "rule %s %s it", explanation->rule_name.s,
			rule->action == EB_ALLOW ? "allows" : "denies");
		decide(explanation, rule->action == EB_ALLOW ? EB_PASS : EB_DROP);
	}
}

static void explain(struct explanation *explanation)
{
	bool is_banned = explanation->is_banned && !is_allowed(explanation);

	if (is_banned)
		explain_ban(explanation);
	if (!is_banned || explanation->found.policy.bans_monitor)
		explain_rule(explanation);
	if (explanation->is_banned && !is_banned)
		because(explanation, ", although it is banned");
	explanation->why_length = strlen(explanation->reason);
	explain_candidates(explanation);
}

static int read_gate(const struct session *session, struct explanation *explanation, uint64_t now)
{
	struct eb_state *state = malloc(sizeof(*state));
	uint32_t zero = 0;
	int err;

	if (!state)
		return -ENOMEM;
	err = bpf_map_lookup_elem(session->maps.fd[EB_MAP_STATE], &zero, state);
	if (!err) {
		const struct eb_bucket *gate = &state->gates[explanation->rule->slot % EB_SLOTS];
		const struct eb_limit *limit = &explanation->rule->new_sources;
		uint64_t debt = eb_gcra_debt(gate->packets_full_at, now);

		explanation->is_gate_closed = !eb_gcra_conforms(limit, debt, eb_gcra_cost(limit, 1));
	}
	free(state);
	return err;
}

static int read_bucket(const struct session *session, struct explanation *explanation)
{
	const struct eb_rule *rule = explanation->rule;
	struct eb_bucket_view *bucket = &explanation->bucket;
	uint64_t now;
	int err;

	explanation->source = session_source(rule, explanation->flow.family, explanation->flow.src);
	err = eb_buckets_find(session->buckets, &explanation->source, bucket);
	if (err && err != -ENOENT)
		return err;
	explanation->has_bucket = !err;
	now = eb_buckets_now();
	read_limit(&rule->packets, err ? 0 : eb_gcra_debt(bucket->packets_full_at, now), 1, &explanation->packets);
	read_limit(&rule->bytes, err ? 0 : eb_gcra_debt(bucket->bytes_full_at, now), explanation->length,
		   &explanation->bytes);
	return read_gate(session, explanation, now);
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

static int find_out(const struct session *session, struct explanation *explanation)
{
	int err = eb_flow_classify(&session->maps, &explanation->flow, &explanation->found);

	if (!err)
		err = find_ban(session, explanation);
	if (err)
		return err;
	if (explanation->found.rule >= 0) {
		explanation->rule = &explanation->found.policy.rules[explanation->found.rule];
		explanation->rule_name = session_rule_name(&explanation->found.policy, explanation->found.rule);
		if (explanation->rule->action == EB_LIMIT)
			err = read_bucket(session, explanation);
	}
	if (!err)
		explain(explanation);
	return err;
}

static json_t *limit_json(const struct explained_limit *limit)
{
	if (!limit->limit || !limit->limit->mult)
		return json_null();
	return json_pack("{s:I, s:I, s:o, s:o}", "tokens", (json_int_t)limit->tokens, "burst",
			 (json_int_t)limit->burst, "next_token_seconds", print_json_seconds(limit->next_ns),
			 "wait_seconds", print_json_seconds(limit->wait_ns));
}

static struct text source_text(const struct explanation *explanation)
{
	return print_prefix(explanation->source.family, explanation->source.addr,
			    session_source_len(explanation->rule, explanation->source.family));
}

static bool is_limited(const struct explanation *explanation)
{
	return explanation->rule && explanation->rule->action == EB_LIMIT;
}

static json_t *explanation_json(const struct explanation *explanation)
{
	const struct eb_rule *rule = explanation->rule;
	json_t *object;

	object = json_pack("{s:s, s:o, s:o, s:o, s:o, s:s, s:b, s:o, s:o, s:s}", "address",
			   print_address(explanation->flow.family, explanation->flow.src).s, "rule",
			   rule ? json_string(explanation->rule_name.s) : json_null(), "action",
			   rule ? json_string(eb_action_name(rule->action)) : json_null(), "mode",
			   rule ? json_string(rule->monitor ? "monitor" : "enforce") : json_null(), "source",
			   is_limited(explanation) ? json_string(source_text(explanation).s) : json_null(), "verdict",
			   eb_verdict_name(explanation->verdict), "passes", explanation->passes, "packets",
			   limit_json(&explanation->packets), "bytes", limit_json(&explanation->bytes), "reason",
			   explanation->reason);
	json_object_set_new(object, "banned", explanation->is_banned
					      ? json_string(prefix_text(&explanation->ban.prefix).s)
					      : json_null());
	if (is_limited(explanation)) {
		json_object_set_new(object, "has_bucket", json_boolean(explanation->has_bucket));
		json_object_set_new(object, "dropped", json_integer(explanation->bucket.dropped));
		json_object_set_new(object, "gate_open", json_boolean(!explanation->is_gate_closed));
	}
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
	used = snprintf(text, sizeof(text), "%.40s of %.40s left, refilled at %.40s",
			print_tokens(limit->limit, limit->tokens, is_bytes).s,
			print_tokens(limit->limit, limit->burst, is_bytes).s, print_rate(limit->limit, is_bytes).s);
	if (limit->next_ns && limit->next_ns != EB_LIMIT_NEVER && !is_bytes)
		snprintf(text + used, sizeof(text) - used, ", the next in %.40s", print_duration(limit->next_ns).s);
	print_field(name, text);
}

static void print_bucket(const struct explanation *explanation)
{
	char text[64];

	print_field("Source:", source_text(explanation).s);
	if (!explanation->has_bucket)
		print_field("Bucket:", "none yet, counts as full");
	print_limit_left("Packets:", &explanation->packets, false);
	print_limit_left("Bytes:", &explanation->bytes, true);
	snprintf(text, sizeof(text), "%.40s packets so far", print_count(explanation->bucket.dropped).s);
	if (explanation->bucket.dropped)
		print_field("Refused:", text);
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

static void print_explanation(const struct explanation *explanation)
{
	const struct eb_rule *rule = explanation->rule;
	enum colour colour = explanation->verdict == EB_PASS ? COLOUR_GREEN : COLOUR_YELLOW;
	char text[sizeof(explanation->reason)];

	if (!explanation->passes)
		colour = COLOUR_RED;
	print_field("Address:", print_address(explanation->flow.family, explanation->flow.src).s);
	if (rule)
		snprintf(text, sizeof(text), "%.32s (%s%s)", explanation->rule_name.s, eb_action_name(rule->action),
			 rule->monitor ? ", monitor" : "");
	print_field("Rule:", rule ? text : "none");
	if (is_limited(explanation))
		print_bucket(explanation);
	snprintf(text, sizeof(text), "%s%s%s", print_colour(colour), eb_verdict_name(explanation->verdict),
		 print_colour_end(colour));
	print_field("Verdict:", text);
	snprintf(text, sizeof(text), "%.*s", explanation->why_length, explanation->reason);
	print_field("Why:", text);
	print_candidates(explanation);
}

/* The options as text. */
struct flow_options {
	const char *dst;
	const char *proto;
	int64_t dport;
	int64_t length;
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

static enum cli_result parse_flow(const struct cli *cli, const struct flow_options *options, struct eb_flow *flow)
{
	struct eb_prefix src;

	if (!cli->arg_count)
		return cli_misuse(cli, "explain needs an address");
	if (session_parse_address(cli, cli->args[0], &src))
		return CLI_MISUSED;
	*flow = (struct eb_flow){ .family = src.family, .proto = -1, .dport = options->dport };
	memcpy(flow->src, src.addr, sizeof(flow->src));
	if (options->dst && parse_dst(cli, options->dst, flow))
		return CLI_MISUSED;
	if (options->proto)
		flow->proto = eb_protocol_parse(options->proto);
	if (options->proto && flow->proto < 0)
		return cli_misuse(cli, "--proto: %s is not a protocol; write a name like udp or a number from 0 to 255",
				  eb_input_quote(options->proto).text);
	if (flow->dport >= 0 && flow->proto >= 0 && !eb_protocol_has_port(flow->proto))
		return cli_misuse(cli, "--dport: protocol %s has no ports", options->proto);
	return CLI_DONE;
}

enum cli_result cmd_explain(struct cli *cli, int argc, char **argv)
{
	struct flow_options options = { .dport = -1, .length = LENGTH_DEFAULT };
	const struct option_spec specs[] = {
		{ "dst", 'd', OPTION_TEXT, &options.dst, 0 },
		{ "proto", 'p', OPTION_TEXT, &options.proto, 0 },
		{ "dport", 0, OPTION_NUMBER, &options.dport, PORT_MAX },
		{ "length", 'l', OPTION_NUMBER, &options.length, EB_TOKENS_MAX - 1 },
	};
	struct explanation explanation = { .verdict = EB_PASS };
	struct session session;
	enum cli_result result;
	int err;

	if (options_parse(cli, argc, argv, specs, 4, 1) || parse_flow(cli, &options, &explanation.flow))
		return CLI_MISUSED;
	explanation.length = options.length;
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
