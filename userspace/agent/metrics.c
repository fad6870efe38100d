// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/census.h"
#include "agent/health.h"
#include "agent/http_server.h"
#include "agent/lists.h"
#include "agent/metrics.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/exposition.h"
#include "base/log.h"
#include "base/printable.h"
#include "config/endpoint.h"
#include "maps/bans.h"
#include "redis/resolve.h"

/* An address that was in use, or not there yet, is tried again after this long. */
#define RETRY_US (5 * 1000000ULL)

enum { STATUS_NOT_FOUND = 404, STATUS_ERROR = 500, STATUS_UNAVAILABLE = 503 };

struct eb_metrics {
	const struct eb_agent *agent;
	struct eb_http_server *server; /* NULL while it cannot listen */
	struct eb_census *census;
	sd_event_source *retry;
	struct eb_resolve *resolve; /* while the address is being looked up */
	char *problem; /* why it does not listen, as logged */
	uint64_t started_ns, started_wall_ns;
	struct eb_policy policy; /* the rules in force, for one reply */
	struct eb_counters counters[EB_LIMITS_MAX];
};

/* ---- packets ---- */

static int read_rules(struct eb_metrics *metrics)
{
	const struct eb_maps *maps = eb_dataplane_maps(metrics->agent->dataplane);
	int err = eb_maps_policy(maps, &metrics->policy);

	for (__u32 i = 0; i < metrics->policy.rule_count && !err; i++)
		err = eb_maps_counters(maps, metrics->policy.rules[i].slot, &metrics->counters[i]);
	return err;
}

/* A level only counts what it refused. */
static bool is_counted(const struct eb_rule *rule, enum eb_verdict verdict)
{
	return !rule->level || (verdict != EB_PASS && verdict != EB_CONTINUE);
}

static void expose_verdicts(const struct eb_metrics *metrics, FILE *out, const char *name, bool bytes)
{
	for (__u32 i = 0; i < metrics->policy.rule_count; i++) {
		const struct eb_counters *counters = &metrics->counters[i];
		char rule[EB_RULE_NAME_MAX + 1] = "", level[EB_LEVEL_TEXT_MAX];

		memcpy(rule, metrics->policy.names[i], EB_RULE_NAME_MAX);
		eb_rules_level_text(&metrics->policy.rules[i], level);
		for (int j = 0; j < EB_VERDICTS; j++)
			if (is_counted(&metrics->policy.rules[i], j))
				eb_expose(out, name, EB_LABELS({ "rule", rule }, { "verdict", eb_verdict_name(j) },
							       { *level ? "level" : NULL, level }),
					  bytes ? counters->bytes[j] : counters->packets[j]);
	}
}

static void expose_rules(const struct eb_metrics *metrics, FILE *out)
{
	eb_expose_family(out, "edgebucket_packets_total", "counter",
			 "Packets by the rule, or the level of it, that decided and its verdict.");
	expose_verdicts(metrics, out, "edgebucket_packets_total", false);
	eb_expose_family(out, "edgebucket_bytes_total", "counter",
			 "Bytes of frames by the rule, or the level of it, that decided and its verdict.");
	expose_verdicts(metrics, out, "edgebucket_bytes_total", true);
}

/* What lists of prefixes are made of. `source` is empty for what the configuration itself lists. */
static void expose_lists(const struct eb_agent *agent, FILE *out)
{
	json_t *lists = eb_lists_status(agent->config), *item;
	static const struct {
		const char *name, *help, *member;
	} families[] = {
		{ "edgebucket_list_prefixes", "Prefixes in the lists of a rule, by the file that they are from.",
		  "prefixes" },
		{ "edgebucket_list_skipped_lines", "Lines of a file that are not valid and were skipped.", "skipped" },
		{ "edgebucket_list_stale", "1 while the new content of a changed file is not in force.", "problem" },
	};

	for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
		size_t index;

		eb_expose_family(out, families[i].name, "gauge", families[i].help);
		json_array_foreach(lists, index, item) {
			const json_t *value = json_object_get(item, families[i].member);
			const char *source = json_string_value(json_object_get(item, "source"));

			eb_expose(out, families[i].name,
				  EB_LABELS({ "rule", json_string_value(json_object_get(item, "rule")) },
					    { "list", json_string_value(json_object_get(item, "list")) },
					    { "source", source ? source : "" }),
				  json_is_integer(value) ? (uint64_t)json_integer_value(value) : json_is_string(value));
		}
	}
	json_decref(lists);
}

static void expose_new_sources(const struct eb_metrics *metrics, FILE *out)
{
	eb_expose_family(out, "edgebucket_new_sources_total", "counter",
			 "Sources without a bucket that new_sources of the rule admitted.");
	for (__u32 i = 0; i < metrics->policy.rule_count; i++) {
		char rule[EB_RULE_NAME_MAX + 1] = "", level[EB_LEVEL_TEXT_MAX];

		memcpy(rule, metrics->policy.names[i], EB_RULE_NAME_MAX);
		eb_rules_level_text(&metrics->policy.rules[i], level);
		if (metrics->policy.rules[i].action == EB_LIMIT)
			eb_expose(out, "edgebucket_new_sources_total",
				  EB_LABELS({ "rule", rule }, { *level ? "level" : NULL, level }),
				  metrics->counters[i].new_sources);
	}
}

static void expose_penalties(const struct eb_metrics *metrics, FILE *out)
{
	eb_expose_family(out, "edgebucket_penalties_total", "counter",
			 "Bans that the penalty of the rule made or, in mode monitor, would have made.");
	for (__u32 i = 0; i < metrics->policy.rule_count; i++) {
		char rule[EB_RULE_NAME_MAX + 1] = "";

		memcpy(rule, metrics->policy.names[i], EB_RULE_NAME_MAX);
		if (metrics->policy.rules[i].penalty_mode)
			eb_expose(out, "edgebucket_penalties_total", EB_LABELS({ "rule", rule }),
				  metrics->counters[i].penalties);
	}
}

static void expose_frames(FILE *out, const struct eb_frame_counter frames[EB_FRAME_KINDS])
{
	eb_expose_family(out, "edgebucket_frames_total", "counter",
			 "Frames without a matching rule; also frames of a new source without room in the table "
			 "(table_full), and frames refused because several CPUs charged one bucket at the same moment "
			 "(contended).");
	for (int i = 0; i < EB_FRAME_KINDS; i++)
		eb_expose(out, "edgebucket_frames_total", EB_LABELS({ "kind", eb_frame_kind_name(i) }),
			  frames[i].packets);
}

static void expose_bans(const struct eb_metrics *metrics, FILE *out, const struct eb_frame_counter *banned)
{
	const struct eb_bans *bans = eb_ban_keeper_bans(metrics->agent->bans);

	eb_expose_family(out, "edgebucket_bans", "gauge", "Prefixes that are banned, by who decided it.");
	for (int i = 0; i < EB_BAN_ORIGINS; i++)
		eb_expose(out, "edgebucket_bans", EB_LABELS({ "from", eb_ban_origin_name(i) }),
			  eb_bans_count_of(bans, i));
	eb_expose_family(out, "edgebucket_banned_packets_total", "counter", "Packets of banned sources, dropped.");
	eb_expose(out, "edgebucket_banned_packets_total", EB_NO_LABELS, banned->packets);
}

static void expose_buckets(const struct eb_metrics *metrics, FILE *out)
{
	const struct eb_buckets *buckets = eb_dataplane_buckets(metrics->agent->dataplane);
	static const char *const families[] = { "ipv4", "ipv6" };
	static const int numbers[] = { 4, 6 };
	struct eb_bucket_count counts[2];

	for (int i = 0; i < 2; i++)
		eb_census_read(metrics->census, numbers[i], &counts[i]);
	eb_expose_family(out, "edgebucket_buckets", "gauge",
			 "Sources in the table. A full bucket is evicted when a new source needs room.");
	for (int i = 0; i < 2; i++)
		eb_expose(out, "edgebucket_buckets", EB_LABELS({ "family", families[i] }), counts[i].in_use);
	eb_expose_family(out, "edgebucket_buckets_in_debt", "gauge",
			 "Sources in the table whose bucket is not full, so that it is not evicted.");
	for (int i = 0; i < 2; i++)
		eb_expose(out, "edgebucket_buckets_in_debt", EB_LABELS({ "family", families[i] }), counts[i].in_debt);
	eb_expose_family(out, "edgebucket_table_size", "gauge",
			 "Buckets that the table is sized for; it has entries for twice as many.");
	for (int i = 0; i < 2; i++)
		eb_expose(out, "edgebucket_table_size", EB_LABELS({ "family", families[i] }),
			  eb_buckets_table_size(buckets, numbers[i]));
}

/* ---- agent ---- */

static void expose_interfaces(const struct eb_agent *agent, FILE *out)
{
	eb_expose_family(out, "edgebucket_attached", "gauge",
			 "1 while the rules are enforced on the interface; else 0 and an empty mode.");
	for (size_t i = 0; i < agent->interfaces.count; i++) {
		const struct eb_interface *interface = &agent->interfaces.list[i];

		eb_expose(out, "edgebucket_attached",
			  EB_LABELS({ "interface", interface->name }, { "mode", interface->attachment.mode }),
			  interface->attachment.attached);
	}
}

static void expose_patterns(const struct eb_agent *agent, FILE *out)
{
	const struct eb_config *config = agent->config;

	if (!eb_targets_have_patterns(config))
		return;
	eb_expose_family(out, "edgebucket_pattern_interfaces", "gauge",
			 "Interfaces that a pattern of interfaces, or default, stands for.");
	for (size_t i = 0; i < config->interface_count; i++)
		if (config->entries[i].kind != EB_ENTRY_NAME)
			eb_expose(out, "edgebucket_pattern_interfaces",
				  EB_LABELS({ "pattern", config->entries[i].text }),
				  eb_targets_count(&agent->interfaces.targets, i));
}

static void expose_detached(const struct eb_agent *agent, FILE *out)
{
	eb_expose_family(out, "edgebucket_detached", "gauge",
			 "1 while the program is detached from all interfaces by edgebucket detach.");
	eb_expose(out, "edgebucket_detached", EB_NO_LABELS, agent->interfaces.detached);
}

/* What an interface sees: to be compared with each other. */
static void expose_intake(const struct eb_agent *agent, FILE *out)
{
	const struct eb_interfaces *interfaces = &agent->interfaces;

	eb_expose_family(out, "edgebucket_interface_received_total", "counter",
			 "Frames received on the interface, as its driver counts them.");
	for (size_t i = 0; i < interfaces->count; i++)
		eb_expose(out, "edgebucket_interface_received_total",
			  EB_LABELS({ "interface", interfaces->list[i].name }), interfaces->list[i].intake.received);
	eb_expose_family(out, "edgebucket_interface_not_ip_total", "counter",
			 "Frames received on the interface that were not IP, and passed.");
	for (size_t i = 0; i < interfaces->count; i++)
		eb_expose(out, "edgebucket_interface_not_ip_total",
			  EB_LABELS({ "interface", interfaces->list[i].name }), interfaces->list[i].intake.not_ip);
}

static void expose_agent(const struct eb_metrics *metrics, FILE *out)
{
	const struct eb_agent *agent = metrics->agent;

	eb_expose_family(out, "edgebucket_reload_failures_total", "counter",
			 "Reloads that were refused; the previous rules stayed in force.");
	eb_expose(out, "edgebucket_reload_failures_total", EB_NO_LABELS, agent->reload_failures);
	eb_expose_family(out, "edgebucket_reload_ok", "gauge", "0 after a refused reload, until one succeeds.");
	eb_expose(out, "edgebucket_reload_ok", EB_NO_LABELS, !agent->reload_error);
	eb_expose_family(out, "edgebucket_config_refused", "gauge",
			 "1 while the kept configuration is in force because the file was refused at the start.");
	eb_expose(out, "edgebucket_config_refused", EB_NO_LABELS, agent->refused != NULL);
	eb_expose_family(out, "edgebucket_config_pending", "gauge",
			 "1 while a configuration that was applied on trial awaits its confirmation.");
	eb_expose(out, "edgebucket_config_pending", EB_NO_LABELS, agent->pending);
	eb_expose_family(out, "edgebucket_monitor", "gauge", "1 while nothing is dropped because of --monitor.");
	eb_expose(out, "edgebucket_monitor", EB_NO_LABELS, agent->monitor);
	eb_expose_family(out, "edgebucket_build_info", "gauge", "Always 1; the labels contain version and node.");
	eb_expose(out, "edgebucket_build_info",
		  EB_LABELS({ "version", EB_VERSION }, { "node", agent->config->node }), 1);
	eb_expose_family(out, "process_start_time_seconds", "gauge", "Start time of the agent, in seconds since the "
								     "Unix epoch.");
	eb_expose_seconds(out, "process_start_time_seconds", EB_NO_LABELS, metrics->started_wall_ns);
}

/* ---- persistence ---- */

static void expose_redis(const struct eb_persist_figures *figures, FILE *out)
{
	eb_expose_family(out, "redis_latency_seconds", "histogram",
			 "Time from sending a command to Redis to its reply; commands without a reply are not "
			 "counted.");
	eb_expose_histogram(out, "redis_latency_seconds", EB_LABELS({ "op", "write" }),
			    &figures->redis_latency[EB_STORE_WRITE]);
	eb_expose_histogram(out, "redis_latency_seconds", EB_LABELS({ "op", "read" }),
			    &figures->redis_latency[EB_STORE_READ]);
	eb_expose_family(out, "edgebucket_redis_up", "gauge", "1 while the agent can write to Redis; absent without "
							      "redis.");
	if (figures->has_redis)
		eb_expose(out, "edgebucket_redis_up", EB_NO_LABELS, figures->redis_is_up);
	eb_expose_family(out, "edgebucket_redis_other_writer", "gauge",
			 "1 while another host also writes the buckets of this node; absent without redis.");
	if (figures->has_redis)
		eb_expose(out, "edgebucket_redis_other_writer", EB_NO_LABELS, figures->has_other_writer);
}

static void expose_fallbacks(const struct eb_persist_figures *figures, FILE *out)
{
	uint64_t faults = 0;

	eb_expose_family(out, "openclaw_fallback_writes_total", "counter",
			 "Writes of the buckets because of a fault, by its reason.");
	for (int i = 0; i < EB_PASS_REASONS; i++) {
		if (i == EB_PASS_TICK)
			continue;
		faults += figures->passes[i];
		eb_expose(out, "openclaw_fallback_writes_total", EB_LABELS({ "reason", eb_pass_reason_name(i) }),
			  figures->passes[i]);
	}
	eb_expose_family(out, "openclaw_fallback_reads_seconds", "histogram",
			 "Time to read the buckets of one store for a restore.");
	eb_expose_histogram(out, "openclaw_fallback_reads_seconds", EB_NO_LABELS, &figures->recovery.reads);
	eb_expose_family(out, "edgebucket_mirror_writes_total", "counter",
			 "Writes of the buckets, on a tick or because of a fault.");
	eb_expose(out, "edgebucket_mirror_writes_total", EB_LABELS({ "kind", "tick" }), figures->passes[EB_PASS_TICK]);
	eb_expose(out, "edgebucket_mirror_writes_total", EB_LABELS({ "kind", "fault" }), faults);
}

static void expose_mirror(const struct eb_metrics *metrics, const struct eb_persist_figures *figures, FILE *out)
{
	uint64_t since = figures->last_success_ns ? figures->last_success_ns : metrics->started_ns;

	eb_expose_family(out, "edgebucket_mirror_fields_total", "counter", "Buckets written (set) and removed (del).");
	eb_expose(out, "edgebucket_mirror_fields_total", EB_LABELS({ "op", "set" }), figures->fields_set);
	eb_expose(out, "edgebucket_mirror_fields_total", EB_LABELS({ "op", "del" }), figures->fields_deleted);
	eb_expose_family(out, "edgebucket_mirror_errors_total", "counter",
			 "Writes that a store did not accept; the agent retries them.");
	eb_expose(out, "edgebucket_mirror_errors_total", EB_NO_LABELS, figures->failures);
	eb_expose_family(out, "edgebucket_mirror_lag_seconds", "gauge",
			 "Time since a store last held every bucket, or since the start; absent without a store.");
	if (figures->has_store)
		eb_expose_seconds(out, "edgebucket_mirror_lag_seconds", EB_NO_LABELS, eb_monotonic_ns() - since);
}

static void expose_restore(const struct eb_persist_figures *figures, FILE *out)
{
	eb_expose_family(out, "edgebucket_restored_buckets", "gauge", "Buckets that this agent restored from a store.");
	eb_expose(out, "edgebucket_restored_buckets", EB_NO_LABELS, figures->recovery.restored);
	eb_expose_family(out, "edgebucket_restore_age_seconds", "gauge",
			 "Age of the buckets when they were restored; absent when nothing was restored.");
	if (figures->recovery.has_age)
		eb_expose_seconds(out, "edgebucket_restore_age_seconds", EB_NO_LABELS, figures->recovery.age_ns);
}

/* Nothing where there is no fleet. */
static void expose_fleet(const struct eb_fleet *fleet, FILE *out)
{
	struct eb_fleet_figures figures;

	if (!fleet)
		return;
	eb_fleet_figures(fleet, &figures);
	eb_expose_family(out, "edgebucket_fleet_nodes", "gauge", "Nodes of the fleet that were seen lately.");
	eb_expose(out, "edgebucket_fleet_nodes", EB_NO_LABELS, figures.nodes);
	eb_expose_family(out, "edgebucket_fleet_lost", "gauge",
			 "1 while nothing can be told to the fleet for longer than lost_after.");
	eb_expose(out, "edgebucket_fleet_lost", EB_NO_LABELS, figures.is_lost);
	eb_expose_family(out, "edgebucket_fleet_namesake", "gauge",
			 "1 while another agent of the fleet has the name of this node.");
	eb_expose(out, "edgebucket_fleet_namesake", EB_NO_LABELS, figures.has_namesake);
	eb_expose_family(out, "edgebucket_fleet_lag_seconds", "gauge",
			 "Time since what the fleet knows of this node was charged, less a tick.");
	eb_expose_seconds(out, "edgebucket_fleet_lag_seconds", EB_NO_LABELS, figures.lag_ns);
	eb_expose_family(out, "edgebucket_fleet_exchanged_total", "counter",
			 "Limits of buckets that were told to the fleet (sent) and answered (received).");
	eb_expose(out, "edgebucket_fleet_exchanged_total", EB_LABELS({ "direction", "sent" }), figures.told);
	eb_expose(out, "edgebucket_fleet_exchanged_total", EB_LABELS({ "direction", "received" }), figures.heard);
	eb_expose_family(out, "edgebucket_fleet_refused_total", "counter",
			 "Batches that Redis refused; the agent sends them again.");
	eb_expose(out, "edgebucket_fleet_refused_total", EB_NO_LABELS, figures.refused);
}

/* ---- replies ---- */

static void fail_reply(struct eb_http_reply *reply, int err)
{
	reply->status = STATUS_ERROR;
	fprintf(reply->body, "cannot read the maps: %s\n", strerror(-err));
}

static void answer_metrics(struct eb_metrics *metrics, struct eb_http_reply *reply)
{
	struct eb_frame_counter frames[EB_FRAME_KINDS];
	struct eb_persist_figures figures;
	int err = read_rules(metrics);

	if (!err)
		err = eb_maps_frames(eb_dataplane_maps(metrics->agent->dataplane), frames);
	if (err) {
		fail_reply(reply, err);
		return;
	}
	eb_persist_figures(metrics->agent->persist, &figures);
	reply->type = EB_EXPOSITION_TYPE;
	expose_rules(metrics, reply->body);
	expose_new_sources(metrics, reply->body);
	expose_penalties(metrics, reply->body);
	expose_lists(metrics->agent, reply->body);
	expose_frames(reply->body, frames);
	expose_bans(metrics, reply->body, &frames[EB_BANNED]);
	expose_buckets(metrics, reply->body);
	expose_interfaces(metrics->agent, reply->body);
	expose_patterns(metrics->agent, reply->body);
	expose_intake(metrics->agent, reply->body);
	expose_detached(metrics->agent, reply->body);
	expose_redis(&figures, reply->body);
	expose_fallbacks(&figures, reply->body);
	expose_mirror(metrics, &figures, reply->body);
	expose_restore(&figures, reply->body);
	expose_fleet(metrics->agent->fleet, reply->body);
	expose_agent(metrics, reply->body);
}

static void on_request(const char *path, struct eb_http_reply *reply, void *arg)
{
	struct eb_metrics *metrics = arg;

	if (strcmp(path, "/metrics") == 0) {
		answer_metrics(metrics, reply);
	} else if (strcmp(path, "/healthz") == 0) {
		reply->status = eb_health_is_enforced(metrics->agent, reply->body) ? reply->status : STATUS_UNAVAILABLE;
	} else if (strcmp(path, "/readyz") == 0) {
		reply->status = eb_health_is_ready(metrics->agent, reply->body) ? reply->status : STATUS_UNAVAILABLE;
	} else {
		reply->status = STATUS_NOT_FOUND;
		fputs("use /metrics, /healthz or /readyz\n", reply->body);
	}
}

/* ---- life ---- */

/* Logs a problem once, not at every attempt. Takes over `problem`. */
static void retry_later(struct eb_metrics *metrics, char *problem)
{
	if (problem && (!metrics->problem || strcmp(problem, metrics->problem) != 0))
		eb_error("cannot serve metrics, trying again; limits do not depend on it",
			 eb_str("address", metrics->agent->config->metrics), eb_str("error", problem),
			 eb_str("hint", "free the address, or set metrics: to another; OpenTelemetry also uses 9464"));
	free(metrics->problem);
	metrics->problem = problem;
	(void)sd_event_source_set_time_relative(metrics->retry, RETRY_US);
	(void)sd_event_source_set_enabled(metrics->retry, SD_EVENT_ONESHOT);
}

static void listen_at(struct eb_metrics *metrics, const struct addrinfo *resolved)
{
	const char *address = metrics->agent->config->metrics;
	char *error = NULL;
	int err = eb_http_server_open(metrics->agent->loop, address, resolved, on_request, metrics, &metrics->server,
				      &error);

	if (!err) {
		eb_info("metrics are served", eb_str("address", address));
		free(metrics->problem);
		metrics->problem = NULL;
		return;
	}
	if (err == -EADDRINUSE) {
		free(error);
		eb_fail(err, &error, "cannot listen at %s, another program does: its answers are not edgebucket's",
			address);
	}
	retry_later(metrics, error);
}

static void on_resolved(int error, struct addrinfo *list, void *arg)
{
	struct eb_metrics *metrics = arg;
	char *problem = NULL;

	metrics->resolve = NULL;
	if (error) {
		eb_fail(0, &problem, "%s cannot be resolved: %s", metrics->agent->config->metrics, gai_strerror(error));
		retry_later(metrics, problem);
		return;
	}
	listen_at(metrics, list);
	freeaddrinfo(list);
}

static int resolve(struct eb_metrics *metrics)
{
	struct addrinfo *list = NULL;
	struct eb_endpoint endpoint;
	int err = eb_endpoint_parse(metrics->agent->config->metrics, 0, &endpoint);

	if (err)
		return err;
	if (eb_resolve_numeric(endpoint.host, endpoint.port, &list) == 0)
		on_resolved(0, list, metrics);
	else
		err = eb_resolve_start(metrics->agent->loop, endpoint.host, endpoint.port, on_resolved, metrics,
				       &metrics->resolve);
	eb_endpoint_done(&endpoint);
	return err;
}

static void try_to_listen(struct eb_metrics *metrics)
{
	char *problem = NULL;
	int err = 0;

	if (strncmp(metrics->agent->config->metrics, EB_HTTP_UNIX, strlen(EB_HTTP_UNIX)) == 0)
		listen_at(metrics, NULL);
	else
		err = resolve(metrics);
	if (!err)
		return;
	eb_fail(err, &problem, "%s cannot be resolved: %s", metrics->agent->config->metrics, strerror(-err));
	retry_later(metrics, problem);
}

static int on_retry(sd_event_source *source, uint64_t usec, void *arg)
{
	(void)source;
	(void)usec;
	try_to_listen(arg);
	return 0;
}

int eb_metrics_open(const struct eb_agent *agent, struct eb_metrics **out)
{
	struct eb_metrics *metrics;
	int err;

	*out = NULL;
	if (!agent->config->metrics)
		return 0;
	metrics = calloc(1, sizeof(*metrics));
	if (!metrics)
		return -ENOMEM;
	metrics->agent = agent;
	metrics->started_ns = eb_monotonic_ns();
	metrics->started_wall_ns = eb_wallclock_ns();
	err = eb_census_new(agent->loop, eb_dataplane_buckets(agent->dataplane), &metrics->census);
	if (!err)
		err = sd_event_add_time(agent->loop, &metrics->retry, CLOCK_MONOTONIC, 0, 0, on_retry, metrics);
	if (err < 0) {
		eb_metrics_close(metrics);
		return err;
	}
	*out = metrics;
	return 0;
}

json_t *eb_metrics_status(const struct eb_metrics *metrics)
{
	if (!metrics)
		return json_null();
	return json_pack("{s:o, s:b, s:o}", "address", eb_printable_json(metrics->agent->config->metrics), "served",
			 metrics->server != NULL, "problem", eb_printable_json(metrics->problem));
}

void eb_metrics_close(struct eb_metrics *metrics)
{
	if (!metrics)
		return;
	sd_event_source_disable_unref(metrics->retry);
	eb_resolve_cancel(metrics->resolve);
	eb_http_server_close(metrics->server);
	eb_census_free(metrics->census);
	free(metrics->problem);
	free(metrics);
}
