// SPDX-License-Identifier: GPL-2.0-only
/* edgebucket status: who runs, what is enforced where, how full the tables are. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/input.h"
#include "base/printable.h"
#include "cli/agent_client.h"
#include "cli/interfaces.h"
#include "cli/options.h"
#include "cli/print.h"
#include "cli/session.h"
#include "config/targets_json.h"
#include "ipc/detach_note.h"
#include "ipc/lock.h"
#include "policy/rules.h"

struct status {
	const struct session *session;
	struct eb_config *config; /* NULL when there is none that can be used */
	bool is_running;
	struct eb_lock_holder holder;
	json_t *reply; /* the agent's; NULL when there is none */
	const char *redis_path;
	struct interface_list interfaces;
	json_t *patterns; /* eb_targets_json(); NULL where nobody knows them */
	struct eb_bucket_count counts[2]; /* IPv4, IPv6 */
	uint32_t table_size;
	struct eb_frame_counter frames[EB_FRAME_KINDS];
};

static void ask_agent(struct status *status)
{
	if (!agent_is_running(status->session))
		return;
	(void)agent_ask(status->session, "status", AGENT_TIMEOUT_MS, &status->reply);
	/* By now another one may hold the lock, or none. */
	status->is_running = !eb_lock_find_holder(status->session->paths.run_dir, &status->holder);
}

/* Status shows the error of a bad configuration, and everything else as usual. */
static void read_config(struct status *status)
{
	char *error = NULL;

	if (!status->session->config_path ||
	    !eb_config_read(status->session->config_path, status->redis_path, &status->config, &error))
		return;
	cli_note("%s", error ? error : "out of memory");
	free(error);
}

/* "" where the configuration asks for none. */
static const char *node_of(const struct status *status)
{
	static char host[HOST_NAME_MAX + 1];
	const char *agent = json_string_value(json_object_get(status->reply, "node"));
	const char *node = eb_input_env("EDGEBUCKET_NODE");

	if (agent)
		return agent;
	if (status->config)
		return status->config->node;
	if (node)
		return node;
	return gethostname(host, sizeof(host) - 1) ? "" : host;
}

/* Those of the agent, which might go by another file, or else of the file. */
static int find_patterns(struct status *status)
{
	struct eb_default_routes routes = { .count = 0 };
	struct eb_targets targets;
	int err;

	status->patterns = json_incref(json_object_get(status->reply, "patterns"));
	if (status->patterns || !status->config || !eb_targets_have_patterns(status->config))
		return 0;
	err = eb_default_routes_read(&routes);
	if (!err)
		err = eb_targets_find(status->config, &routes, &targets);
	if (err)
		return err;
	status->patterns = eb_targets_json(status->config, &targets);
	eb_targets_done(&targets);
	return 0;
}

static enum cli_result collect(struct status *status)
{
	const struct session *session = status->session;
	int err;

	read_config(status);
	ask_agent(status);
	err = interfaces_list(session, status->config, json_object_get(status->reply, "interfaces"),
			      &status->interfaces);
	if (!err)
		err = find_patterns(status);
	if (err)
		return cli_fail("the interfaces cannot be read: %s", strerror(-err));
	if (!session_has_maps(session))
		return CLI_DONE;
	eb_buckets_count(session->buckets, 4, &status->counts[0]);
	eb_buckets_count(session->buckets, 6, &status->counts[1]);
	status->table_size = eb_buckets_table_size(session->buckets, 4);
	err = eb_maps_frames(&session->maps, status->frames);
	return err ? cli_fail("%s/frames: %s", session->paths.pin_dir, strerror(-err)) : CLI_DONE;
}

static json_t *agent_json(const struct status *status)
{
	if (!status->is_running)
		return json_pack("{s:b, s:n, s:n, s:b}", "running", 0, "pid", "version", "answers", 0);
	return json_pack("{s:b, s:i, s:s, s:b}", "running", 1, "pid", (int)status->holder.pid, "version",
			 status->holder.version, "answers", status->reply != NULL);
}

/* Frames on an interface that were not IP. */
static uint64_t count_not_ip(const struct status *status, const struct interface *interface)
{
	__u64 count;

	return session_has_maps(status->session) &&
	       !eb_maps_not_ip(&status->session->maps, if_nametoindex(interface->name), &count) ? count : 0;
}

static bool has_text(const json_t *list, const char *text)
{
	json_t *item;
	size_t i;

	json_array_foreach(list, i, item)
		if (!strcmp(json_string_value(item), text))
			return true;
	return false;
}

/* The patterns that stand for an interface. */
static json_t *patterns_of(const struct status *status, const char *name)
{
	json_t *list = json_array(), *item;
	size_t i;

	json_array_foreach(status->patterns, i, item)
		if (has_text(json_object_get(item, "interfaces"), name))
			json_array_append(list, json_object_get(item, "pattern"));
	return list;
}

static json_t *interfaces_json(const struct status *status)
{
	json_t *list = json_array();

	for (size_t i = 0; i < status->interfaces.count; i++) {
		const struct interface *interface = &status->interfaces.items[i];
		const struct eb_attachment *attachment = &interface->attachment;
		bool attached = attachment->attached;

		json_array_append_new(
			list,
			json_pack("{s:s, s:o, s:b, s:b, s:o, s:b, s:i, s:b, s:I, s:b, s:s?, s:o}", "name",
				  interface->name, "mode", attached ? json_string(attachment->mode) : json_null(),
				  "attached", attached, "exists", interface->error != -ENODEV, "program",
				  attached ? json_integer(attachment->prog_id) : json_null(), "dispatcher",
				  attachment->dispatcher, "others", (int)attachment->others, "foreign",
				  attachment->foreign, "not_ip", (json_int_t)count_not_ip(status, interface),
				  "mostly_not_ip", interface->is_mostly_not_ip, "problem", interface->problem,
				  "patterns", patterns_of(status, interface->name)));
	}
	return list;
}

static json_t *frames_json(const struct status *status)
{
	json_t *object = json_object();

	for (int i = 0; i < EB_FRAME_KINDS; i++)
		json_object_set_new(object, eb_frame_kind_name(i),
				    json_pack("{s:I, s:I}", "packets", (json_int_t)status->frames[i].packets, "bytes",
					      (json_int_t)status->frames[i].bytes));
	return object;
}

/* A part of the agent's reply; `otherwise` where there is none, which this takes over. */
static json_t *reply_part(const struct status *status, const char *name, json_t *otherwise)
{
	json_t *part = json_object_get(status->reply, name);

	if (!json_is_object(part))
		return otherwise;
	json_decref(otherwise);
	return json_incref(part);
}

/* A store, "redis" or "embedded", as the agent says it is. */
static json_t *store_json(const struct status *status, const char *name)
{
	const struct eb_config *config = status->config;
	bool is_configured = config && (strcmp(name, "redis") ? config->state_dir[0] != '\0' : config->redis != NULL);

	return reply_part(status, name,
			  json_pack("{s:b, s:b, s:n, s:n}", "configured", is_configured, "up", 0,
				    "last_write_age_seconds", "last_error"));
}

static json_t *restore_json(const struct status *status)
{
	return reply_part(status, "restore",
			  json_pack("{s:s, s:i, s:n}", "state", "none", "buckets", 0, "age_seconds"));
}

/* The boot id of another host that writes the buckets of this node; NULL while there is none. */
static const char *other_writer(const struct status *status)
{
	return json_string_value(json_object_get(status->reply, "other_writer"));
}

/* Out of the policy in force, as an agent with --monitor may be gone. */
static bool monitors_all(const struct session *session)
{
	return session_rule_count(session) && eb_rules_drop_nothing(&session->policy);
}

/* Why the agent started with the configuration that was kept; NULL when it did not. */
static const char *refused_config(const struct status *status)
{
	return json_string_value(json_object_get(status->reply, "config_refused"));
}

/* Out of the note, where no agent tells. */
static bool stays_off(const struct status *status)
{
	const struct eb_paths *paths = &status->session->paths;

	return status->reply ? json_is_true(json_object_get(status->reply, "stays"))
			     : eb_detach_note_is_set(paths->state_dir, paths->run_dir);
}

static bool is_detached(const struct status *status)
{
	return json_is_true(json_object_get(status->reply, "detached")) || stays_off(status);
}

static json_t *status_json(const struct status *status)
{
	json_t *object;

	object = json_pack(
	    "{s:s, s:o, s:o, s:{s:I, s:I}, s:{s:I, s:I}, s:I, s:o, s:o, s:o, s:s?}", "node", node_of(status), "agent",
	    agent_json(status), "interfaces", interfaces_json(status), "buckets", "ipv4",
	    (json_int_t)status->counts[0].in_use, "ipv6", (json_int_t)status->counts[1].in_use, "in_debt", "ipv4",
	    (json_int_t)status->counts[0].in_debt, "ipv6", (json_int_t)status->counts[1].in_debt, "table_size",
	    (json_int_t)status->table_size, "redis", store_json(status, "redis"), "embedded",
	    store_json(status, "embedded"), "restore", restore_json(status), "other_writer", other_writer(status));
	json_object_set_new(object, "patterns", status->patterns ? json_incref(status->patterns) : json_array());
	json_object_set_new(object, "rules", json_integer(session_own_rule_count(status->session)));
	json_object_set_new(object, "metrics", reply_part(status, "metrics", json_null()));
	json_object_set_new(object, "pins", reply_part(status, "pins", json_pack("{s:n}", "problem")));
	json_object_set_new(object, "config_refused", eb_printable_json(refused_config(status)));
	json_object_set_new(object, "detached", json_boolean(is_detached(status)));
	json_object_set_new(object, "stays", json_boolean(stays_off(status)));
	json_object_set_new(object, "pending", reply_part(status, "pending", json_null()));
	json_object_set_new(object, "bans", reply_part(status, "bans", json_null()));
	json_object_set_new(object, "fleet", reply_part(status, "fleet", json_null()));
	json_object_set_new(object, "monitor", json_boolean(monitors_all(status->session)));
	json_object_set_new(object, "generation", json_integer(status->session->policy.generation));
	json_object_set_new(object, "frames", frames_json(status));
	return object;
}

/* One line; `name` NULL goes on with the line before. */
__attribute__((format(printf, 3, 4))) static void line(const char *name, enum colour colour, const char *format, ...)
{
	va_list args;

	printf("%s%-12s%s %s", print_colour(COLOUR_BOLD), name ? name : "", print_colour_end(COLOUR_BOLD),
	       print_colour(colour));
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("%s\n", print_colour_end(colour));
}

static void print_agent(const struct status *status)
{
	if (!status->is_running)
		line("Agent:", COLOUR_YELLOW, "not running");
	else if (!status->reply)
		line("Agent:", COLOUR_YELLOW, "%s, pid %d, version %s, does not answer",
		     status->holder.is_stopping ? "stopping" : "running", status->holder.pid, status->holder.version);
	else
		line("Agent:", COLOUR_GREEN, "running, pid %d, version %s", status->holder.pid, status->holder.version);
}

static void print_pins(const struct status *status)
{
	const char *problem = json_string_value(json_object_get(json_object_get(status->reply, "pins"), "problem"));

	if (problem)
		line("Pins:", COLOUR_RED, "%s", problem);
}

static void print_refused(const struct status *status)
{
	const char *reason = refused_config(status);

	if (!reason)
		return;
	line("Config:", COLOUR_RED, "refused at the start: %s", reason);
	line(NULL, COLOUR_RED, "the last one that was in force is enforced; correct the file and reload");
}

static void print_metrics(const struct status *status)
{
	const json_t *metrics = json_object_get(status->reply, "metrics");
	const char *address = json_string_value(json_object_get(metrics, "address"));
	const char *problem = json_string_value(json_object_get(metrics, "problem"));

	if (problem)
		line("Metrics:", COLOUR_RED, "not served: %s", problem);
	else if (address)
		line("Metrics:", COLOUR_NONE, "%s at %s",
		     json_is_true(json_object_get(metrics, "served")) ? "served" : "not served yet", address);
}

static void print_pending(const struct status *status)
{
	json_t *pending = json_object_get(status->reply, "pending");
	const char *file = json_string_value(json_object_get(pending, "file"));
	const char *problem = json_string_value(json_object_get(pending, "problem"));

	if (!file)
		return;
	line("Pending:", COLOUR_YELLOW,
	     "%s waits for \"edgebucket confirm\", rolled back otherwise in %" JSON_INTEGER_FORMAT "s", file,
	     json_integer_value(json_object_get(pending, "seconds_left")));
	if (problem)
		line(NULL, COLOUR_RED, "cannot be rolled back, trying again: %s", problem);
}

static void print_detached(const struct status *status)
{
	if (is_detached(status))
		line("Detached:", COLOUR_YELLOW, "by an operator, until \"edgebucket attach\" or %s",
		     stays_off(status) ? "reload, also over restarts" : "reload, or a restart of the agent");
}

/* " (en*, default)", after the name of an interface. */
static struct text patterns_text(const struct status *status, const char *name)
{
	json_t *patterns = patterns_of(status, name), *pattern;
	struct text text = { "" };
	size_t i;

	json_array_foreach(patterns, i, pattern) {
		size_t len = strlen(text.s);

		snprintf(text.s + len, sizeof(text.s) - len, "%s%s", i ? ", " : " (", json_string_value(pattern));
	}
	if (i)
		snprintf(text.s + strlen(text.s), sizeof(text.s) - strlen(text.s), ")");
	json_decref(patterns);
	return text;
}

static void print_interface(const char *name, const struct status *status, const struct interface *interface)
{
	const struct eb_attachment *attachment = &interface->attachment;
	struct text patterns = patterns_text(status, interface->name);

	if (attachment->attached && attachment->others)
		line(name, COLOUR_GREEN, "%s%s attached, %s mode, program %u, beside %u of other owners",
		     interface->name, patterns.s, attachment->mode, attachment->prog_id, attachment->others);
	else if (attachment->attached)
		line(name, COLOUR_GREEN, "%s%s attached, %s mode, program %u", interface->name, patterns.s,
		     attachment->mode, attachment->prog_id);
	else if (interface->error == -ENODEV)
		line(name, COLOUR_YELLOW, "%s is not there", interface->name);
	else if (interface->error)
		line(name, COLOUR_RED, "%s cannot be read: %s", interface->name, strerror(-interface->error));
	else if (attachment->foreign)
		line(name, COLOUR_RED, "%s%s NOT attached: a program of another owner is attached", interface->name,
		     patterns.s);
	else
		line(name, COLOUR_RED, "%s%s NOT attached%s%s", interface->name, patterns.s,
		     interface->problem ? ": " : "", interface->problem ? interface->problem : "");
}

/* Patterns that wait for an interface, and what they leave out. An interface that several leave out is told of once. */
static void print_patterns(const struct status *status)
{
	json_t *item, *left, *told = json_object();
	size_t i, k;

	json_array_foreach(status->patterns, i, item) {
		const char *pattern = json_string_value(json_object_get(item, "pattern"));

		if (!json_array_size(json_object_get(item, "interfaces")) &&
		    !json_array_size(json_object_get(item, "left_out")))
			line(NULL, COLOUR_NONE, "%s: no interface yet", pattern);
		json_array_foreach(json_object_get(item, "left_out"), k, left) {
			const char *name = json_string_value(json_object_get(left, "name"));

			if (!json_object_get(told, name))
				line(NULL, COLOUR_NONE, "%s (%s) left out: %s", name, pattern,
				     json_string_value(json_object_get(left, "reason")));
			json_object_set_new(told, name, json_true());
		}
	}
	json_decref(told);
}

static void print_interfaces(const struct status *status)
{
	const struct interface_list *list = &status->interfaces;

	if (!list->count)
		line("Interfaces:", COLOUR_YELLOW, "none");
	for (size_t i = 0; i < list->count; i++) {
		print_interface(i ? NULL : "Interfaces:", status, &list->items[i]);
		if (list->items[i].is_mostly_not_ip)
			line(NULL, COLOUR_RED, "%s: almost all frames are not IP, and pass",
			     list->items[i].name);
	}
	print_patterns(status);
}

static void print_buckets(const char *name, const char *family, const struct eb_bucket_count *count, uint32_t size)
{
	line(name, COLOUR_NONE, "%s %s in use, %s in debt, room for %s", family, print_count(count->in_use).s,
	     print_count(count->in_debt).s, print_count(size).s);
}

static void print_frames(const struct status *status)
{
	bool first = true;

	for (int i = 0; i < EB_FRAME_KINDS; i++) {
		char label[32];

		if (!status->frames[i].packets)
			continue;
		snprintf(label, sizeof(label), "%s", eb_frame_kind_name(i));
		for (char *c = label; *c; c++)
			*c = *c == '_' ? ' ' : *c;
		line(first ? "Frames:" : NULL, COLOUR_NONE, "%s %s, %s", print_count(status->frames[i].packets).s,
		     label, print_size(status->frames[i].bytes).s);
		first = false;
	}
}

static void print_bans(const struct status *status)
{
	json_t *bans = json_object_get(status->reply, "bans");

	if (bans)
		line("Bans:", COLOUR_NONE, "%s, room for %s",
		     print_count(json_integer_value(json_object_get(bans, "count"))).s,
		     print_count(json_integer_value(json_object_get(bans, "max"))).s);
}

/* "12 buckets, last written 350ms ago" */
static struct text store_text(const json_t *store)
{
	const json_t *age = json_object_get(store, "last_write_age_seconds"),
		     *fields = json_object_get(store, "fields");
	struct text text = { "nothing written yet" };

	if (json_is_number(age))
		snprintf(text.s, sizeof(text.s), "%.30s buckets, last write %.40s ago",
			 print_count(json_integer_value(fields)).s, print_duration(json_number_value(age) * 1e9).s);
	return text;
}

static void print_redis(const struct status *status)
{
	json_t *redis = store_json(status, "redis");
	const char *error = json_string_value(json_object_get(redis, "last_error"));
	const char *address = json_string_value(json_object_get(redis, "address"));

	if (!json_is_true(json_object_get(redis, "configured")))
		line("Redis:", COLOUR_NONE, "not configured");
	else if (!status->reply)
		line("Redis:", COLOUR_NONE, "configured");
	else if (!json_is_true(json_object_get(redis, "up")))
		line("Redis:", COLOUR_YELLOW, "cannot be written to%s%s", error && *error ? ": " : "",
		     error ? error : "");
	else
		line("Redis:", COLOUR_GREEN, "connected%s%s, %s", address ? " to " : "", address ? address : "",
		     store_text(redis).s);
	if (other_writer(status))
		line(NULL, COLOUR_RED, "another host (boot %s) writes the buckets of this node too",
		     other_writer(status));
	json_decref(redis);
}

/* It is written to only while Redis is not. */
static void print_embedded(const struct status *status)
{
	json_t *redis = store_json(status, "redis"), *embedded = store_json(status, "embedded");
	const char *error = json_string_value(json_object_get(embedded, "last_error"));

	if (!json_is_true(json_object_get(embedded, "configured")))
		line("Embedded:", COLOUR_NONE, "no store");
	else if (!status->reply)
		line("Embedded:", COLOUR_NONE, "configured");
	else if (!json_is_true(json_object_get(embedded, "up")))
		line("Embedded:", COLOUR_YELLOW, "cannot be used%s%s", error && *error ? ": " : "", error ? error : "");
	else if (json_is_true(json_object_get(redis, "up")))
		line("Embedded:", COLOUR_GREEN, "ready for use while Redis is unreachable, %s", store_text(embedded).s);
	else
		line("Embedded:", COLOUR_GREEN, "in use, %s", store_text(embedded).s);
	json_decref(embedded);
	json_decref(redis);
}

static json_int_t number(const json_t *object, const char *name)
{
	return json_integer_value(json_object_get(object, name));
}

/* Nothing where there is no fleet. */
static void print_fleet(const struct status *status)
{
	json_t *fleet = json_object_get(status->reply, "fleet");
	const char *name = json_string_value(json_object_get(fleet, "name"));
	json_int_t nodes = number(fleet, "nodes_seen");

	if (!name)
		return;
	if (json_is_true(json_object_get(fleet, "lost")))
		line("Fleet:", COLOUR_RED, "%s is lost: this node limits %s", name,
		     !strcmp(json_string_value(json_object_get(fleet, "on_lost")), "share") ? "to its share" : "alone");
	else
		line("Fleet:", COLOUR_GREEN, "%s, %lld node%s, \"edgebucket fleet\" shows them", name, nodes,
		     nodes == 1 ? "" : "s");
	if (json_is_true(json_object_get(fleet, "namesake")))
		line(NULL, COLOUR_RED, "another agent of it has the name of this node: give each a unique node:");
}

static void print_restored(const json_t *restore)
{
	const json_t *age = json_object_get(restore, "age_seconds");
	json_t *refused = json_object_get(restore, "refused"), *count;
	const char *reason;

	line("Restore:", COLOUR_NONE, "%s buckets restored from %s fields%s%s",
	     print_count(number(restore, "buckets")).s, print_count(number(restore, "fields")).s,
	     json_is_number(age) ? ", at an age of " : "",
	     json_is_number(age) ? print_duration(json_number_value(age) * 1e9).s : "");
	if (number(restore, "full") || number(restore, "clamped"))
		line(NULL, COLOUR_NONE, "%s full by then, %s clamped to the burst",
		     print_count(number(restore, "full")).s, print_count(number(restore, "clamped")).s);
	json_object_foreach(refused, reason, count)
		line(NULL, COLOUR_YELLOW, "%s refused: %s", print_count(json_integer_value(count)).s, reason);
}

static void print_restore(const struct status *status)
{
	json_t *restore = restore_json(status);
	const char *state = json_string_value(json_object_get(restore, "state"));

	if (!state || !strcmp(state, "none"))
		line("Restore:", COLOUR_NONE, "none");
	else if (!strcmp(state, "adopted"))
		line("Restore:", COLOUR_NONE, "none needed: the maps existed");
	else if (!strcmp(state, "running"))
		line("Restore:", COLOUR_YELLOW, "running, nothing is enforced yet");
	else
		print_restored(restore);
	if (state && !strcmp(state, "waiting"))
		line(NULL, COLOUR_YELLOW, "Redis has not answered yet: the agent will add the debts that it holds");
	if (state && !strcmp(state, "partial"))
		line(NULL, COLOUR_YELLOW, "Redis could not be read completely: the rest is lost");
	json_decref(restore);
}

static void print_status(const struct status *status)
{
	line("Node:", COLOUR_NONE, "%s", node_of(status));
	print_agent(status);
	print_refused(status);
	print_pending(status);
	print_detached(status);
	print_interfaces(status);
	if (session_has_maps(status->session)) {
		line("Rules:", COLOUR_NONE, "%d, generation %u", session_own_rule_count(status->session),
		     status->session->policy.generation);
		if (monitors_all(status->session))
			line("Monitor:", COLOUR_YELLOW, "nothing is dropped%s",
			     json_is_true(json_object_get(status->reply, "monitor")) ?
				     ": the agent runs with --monitor" : ": every rule only counts");
		print_buckets("Buckets:", "IPv4:", &status->counts[0], status->table_size);
		print_buckets(NULL, "IPv6:", &status->counts[1], status->table_size);
		print_bans(status);
		print_frames(status);
	} else {
		line("Maps:", COLOUR_YELLOW, "none in %s: nothing is enforced", status->session->paths.pin_dir);
	}
	print_pins(status);
	print_metrics(status);
	print_redis(status);
	print_embedded(status);
	print_fleet(status);
	print_restore(status);
}

enum cli_result cmd_status(struct cli *cli, int argc, char **argv)
{
	struct session session;
	struct status status = { .session = &session, .redis_path = cli->redis_path };
	enum cli_result result;

	if (options_parse(cli, argc, argv, NULL, 0, 0))
		return CLI_MISUSED;
	result = session_open(cli, SESSION_BUCKETS | SESSION_OPTIONAL, &session);
	if (!result)
		result = collect(&status);
	if (!result && cli->json)
		result = print_json(status_json(&status));
	else if (!result)
		print_status(&status);
	interfaces_done(&status.interfaces);
	json_decref(status.patterns);
	json_decref(status.reply);
	eb_config_free(status.config);
	session_close(&session);
	return result;
}
