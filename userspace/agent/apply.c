// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "agent/apply.h"
#include "agent/lists.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/input.h"
#include "base/log.h"
#include "base/printable.h"
#include "base/replace_file.h"
#include "config/config_redis.h"
#include "config/yaml.h"
#include "ipc/control.h"

/* When rules could not be put back, for want of memory say, it is tried again after this long. */
#define RETRY_US (5 * 1000000ULL)

#define SAVED ", saved in %s; its previous content is in %s" EB_REPLACE_FILE_PREVIOUS

struct eb_apply {
	struct eb_agent *agent;
	struct eb_config *before; /* goes back into force; NULL while nothing awaits a confirmation */
	bool was_detached;        /* before */
	char *text;               /* what is to be confirmed, as it was read */
	size_t size;
	sd_event_source *timer;
	uint64_t deadline_us;
	char *problem; /* why it could not be taken back at its time; NULL */
	char *expired; /* the file that was taken back last, for want of a confirmation; NULL */
};

/* What one request asks for. */
struct order {
	const char *path;
	uint64_t confirm_ns; /* 0: for good, at once */
	char *text;
	size_t size;
	struct eb_list_sizes before; /* of the configuration that was in force */
	bool is_own; /* the agent's file has this text already */
};

static json_t *refuse(char *error)
{
	json_t *reply = json_pack("{s:b, s:o}", "ok", 0, "error", eb_printable_json(error ? error : "out of memory"));

	free(error);
	return reply;
}

/* Not by the loop's time, which stands still while a million prefixes are put into force. */
static uint64_t seconds_left(const struct eb_apply *apply)
{
	uint64_t now = eb_monotonic_us();

	return now < apply->deadline_us ? (apply->deadline_us - now + 999999) / 1000000 : 0;
}

/* Nothing awaits a confirmation any more. */
static void settle(struct eb_apply *apply)
{
	eb_config_free(apply->before);
	apply->before = NULL;
	apply->agent->pending = false;
	apply->timer = sd_event_source_disable_unref(apply->timer);
	eb_input_free(apply->text, apply->size);
	free(apply->problem);
	apply->text = apply->problem = NULL;
}

/* ---- taking back ---- */

/* Attaches to the interfaces of the configuration in force, or stays off them. */
static void attach(struct eb_agent *agent)
{
	char *error = NULL;

	if (!agent->interfaces.detached) {
		eb_interfaces_attach_all(agent);
		return;
	}
	if (eb_interfaces_detach_all(agent, true, &error))
		eb_error("cannot detach, its packets are still limited; try edgebucket detach",
			 eb_str("error", error ? error : "out of memory"));
	free(error);
}

/* Who detached meanwhile, or had before, meant it. */
static int take_back(struct eb_apply *apply, const char *why, char **error)
{
	struct eb_agent *agent = apply->agent;
	struct eb_config *tried;
	int err = eb_agent_replace(agent, apply->before, &tried, error);

	if (err)
		return err;
	agent->interfaces.detached |= apply->was_detached;
	attach(agent);
	apply->before = NULL; /* the agent's again */
	settle(apply);
	eb_warning("rolled back, the previous rules are in force again", eb_str("reason", why),
		   eb_str("file", tried->path), eb_num("rules", agent->config->rule_count),
		   eb_str("config", agent->config->path));
	eb_config_free(tried);
	return 0;
}

static int on_deadline(sd_event_source *source, uint64_t usec, void *arg)
{
	struct eb_apply *apply = arg;
	char *path = strdup(apply->agent->config->path);

	(void)usec;
	free(apply->problem);
	apply->problem = NULL;
	if (take_back(apply, "not confirmed in time", &apply->problem) == 0) {
		free(apply->expired);
		apply->expired = path;
		return 0;
	}
	free(path);
	eb_error("cannot put the previous rules into force, trying again",
		 eb_str("error", apply->problem ? apply->problem : "out of memory"));
	(void)sd_event_source_set_time_relative(source, RETRY_US);
	return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

void eb_apply_stop(struct eb_apply *apply)
{
	char *error = NULL;

	if (apply->before && take_back(apply, "as the agent stops", &error))
		eb_error("cannot put the previous rules into force, the next agent will",
			 eb_str("error", error ? error : "out of memory"));
	free(error);
}

static char *nothing_pending(const struct eb_apply *apply)
{
	char *error = NULL;

	if (apply->expired)
		eb_fail(0, &error, "nothing awaits a confirmation; %s was not confirmed in time and was rolled back",
			apply->expired);
	else
		eb_fail(0, &error, "nothing awaits a confirmation");
	return error;
}

json_t *eb_apply_rollback(struct eb_apply *apply)
{
	const struct eb_config *config;
	char *error = NULL, *message = NULL;
	json_t *reply;

	if (!apply->before)
		return refuse(nothing_pending(apply));
	if (take_back(apply, "as asked", &error))
		return refuse(error);
	config = apply->agent->config;
	eb_fail(0, &message, "rolled back: %zu rules of %s in force again", config->rule_count, config->path);
	reply = json_pack("{s:b, s:i, s:o, s:o}", "ok", 1, "rules", (int)config->rule_count, "config",
			  eb_printable_json(config->path), "message", eb_printable_json(message));
	free(message);
	return reply;
}

/* ---- confirming ---- */

/* What is in force is the file's content from now on, as after a reload that went well. */
static void become_file(struct eb_agent *agent)
{
	char *path = strdup(agent->config_path);

	if (path) {
		free(agent->config->path);
		agent->config->path = path;
	}
	eb_agent_settle(agent);
	if (!agent->interfaces.detached)
		eb_interfaces_stay_no_more(agent);
}

json_t *eb_apply_confirm(struct eb_apply *apply)
{
	struct eb_agent *agent = apply->agent;
	char *error = NULL, *message = NULL;
	json_t *reply;

	if (!apply->before)
		return refuse(nothing_pending(apply));
	if (eb_replace_file(agent->config_path, apply->text, apply->size, &error)) {
		eb_error("not confirmed, the file cannot be replaced", eb_str("config", agent->config_path),
			 eb_str("error", error ? error : "out of memory"));
		return refuse(error);
	}
	eb_info("confirmed, the configuration is replaced", eb_str("file", agent->config->path),
		eb_num("rules", agent->config->rule_count), eb_str("config", agent->config_path));
	settle(apply);
	become_file(agent);
	eb_fail(0, &message, "confirmed: %zu rules in force" SAVED, agent->config->rule_count,
		agent->config_path, agent->config_path);
	reply = json_pack("{s:b, s:i, s:o, s:o}", "ok", 1, "rules", (int)agent->config->rule_count, "config",
			  eb_printable_json(agent->config_path), "message", eb_printable_json(message));
	free(message);
	return reply;
}

/* ---- applying ---- */

/* "NANOSECONDS FILE" */
static int parse_order(const char *arguments, struct order *order, char **error)
{
	char *end;

	order->confirm_ns = strtoull(arguments, &end, 10);
	order->path = end + 1;
	if (end == arguments || *end != ' ' || !*order->path ||
	    (order->confirm_ns && (order->confirm_ns < EB_CONFIRM_MIN_NS || order->confirm_ns > EB_CONFIRM_MAX_NS)))
		return eb_fail(-EINVAL, error, "apply: cannot parse the request");
	return 0;
}

/* A file that could make the agent wait, as a pipe, is none that `edgebucket` sends. */
static int read_text(int file, struct order *order, char **error)
{
	struct stat st;
	int err = file < 0 || fstat(file, &st) || !S_ISREG(st.st_mode) ? -EINVAL : 0;

	if (!err)
		err = eb_input_read_fd(file, EB_YAML_SIZE_MAX, &order->text, &order->size);
	if (err)
		eb_fail(err, error, "%s: was not sent with the request: %s", order->path, strerror(-err));
	return err;
}

/* What a store still has of rules that a trial leaves out, or gives smaller bursts, would be lost to those that come
 * back after it. */
static int check_restored(const struct eb_agent *agent, const struct order *order, char **error)
{
	if (!order->confirm_ns || !eb_persist_is_restoring(agent->persist))
		return 0;
	return eb_fail(-EAGAIN, error,
		       "no trial before the buckets are restored: buckets of rules that it omits would be full "
		       "afterwards; \"edgebucket status\" shows the restore");
}

/* A trial of what the agent's file says already could not be ended by a restart. */
static int check_own(const struct eb_agent *agent, struct order *order, char **error)
{
	size_t size;
	char *own;
	int err = eb_replace_file_check(agent->config_path, error);

	if (err)
		return err;
	err = eb_input_read(agent->config_path, EB_YAML_SIZE_MAX, NULL, &own, &size);
	if (err)
		return eb_fail(err, error, "%s: cannot be read: %s", agent->config_path, strerror(-err));
	order->is_own = size == order->size && memcmp(own, order->text, size) == 0;
	eb_input_free(own, size);
	if (order->is_own && order->confirm_ns)
		return eb_fail(-EEXIST, error,
			       "%s has the same content as %s: a restart would put it into force, confirmed or not; "
			       "change a copy and apply that", order->path, agent->config_path);
	return 0;
}

/* With what it was read from, which is kept once it is confirmed. */
static int parse_text(const struct eb_agent *agent, const struct order *order, struct eb_config **out, char **error)
{
	struct eb_inputs *inputs = eb_inputs_new();

	if (!inputs || eb_inputs_add(inputs, agent->config_path, S_IRUSR, order->text, order->size)) {
		eb_inputs_free(inputs);
		return eb_fail(-ENOMEM, error, "out of memory");
	}
	return eb_config_parse_for(agent->config_path, order->text, order->size, order->path, agent->redis_path,
				   inputs, out, error);
}

/* An agent that is killed during a trial would restore from the Redis before, which was left for the one on trial. */
static int check_redis(const struct eb_agent *agent, const struct order *order, const struct eb_config *config,
		       char **error)
{
	if (!order->confirm_ns || eb_redis_config_equal(agent->config->redis, config->redis))
		return 0;
	return eb_fail(-EINVAL, error,
		       "%s: redis cannot change on trial: apply without --confirm, or change redis and the rules "
		       "separately", order->path);
}

static int set_timer(struct eb_apply *apply, uint64_t confirm_ns)
{
	uint64_t deadline_us = eb_monotonic_us() + confirm_ns / 1000;
	sd_event_source *timer;
	int err = sd_event_add_time(apply->agent->loop, &timer, CLOCK_MONOTONIC, deadline_us, 1, on_deadline, apply);

	if (err < 0)
		return err;
	sd_event_source_disable_unref(apply->timer);
	apply->timer = timer;
	apply->deadline_us = deadline_us;
	return 0;
}

/* The configuration is in force, in place of `before`. One that awaited its confirmation until now is forgotten: what
 * goes back into force is what was confirmed last. */
static int begin_trial(struct eb_apply *apply, struct order *order, struct eb_config *before)
{
	int err = set_timer(apply, order->confirm_ns);

	if (err)
		return err;
	eb_input_free(apply->text, apply->size);
	apply->text = order->text;
	apply->size = order->size;
	order->text = NULL;
	if (apply->before) {
		eb_info("a trial is replaced by another", eb_str("file", before->path), eb_str("next", order->path));
		eb_config_free(before);
		return 0;
	}
	apply->before = before;
	apply->was_detached = apply->agent->interfaces.detached;
	apply->agent->pending = true;
	return 0;
}

static int make_permanent(struct eb_apply *apply, const struct order *order, struct eb_config *before, char **error)
{
	struct eb_agent *agent = apply->agent;
	int err = order->is_own ? 0 : eb_replace_file(agent->config_path, order->text, order->size, error);

	if (err)
		return err;
	settle(apply);
	become_file(agent);
	eb_config_free(before);
	return 0;
}

/* Puts `config` in place of *before, which the agent then owns no more. On failure all is as it was. */
static int replace(const struct eb_apply *apply, struct order *order, struct eb_config *config,
		   struct eb_config **before, char **error)
{
	struct eb_agent *agent = apply->agent;
	int err = check_redis(agent, order, config, error);

	if (err)
		return err;
	err = eb_lists_inherit(config, agent->config);
	if (err)
		return err;
	eb_lists_measure(agent->config, &order->before);
	return eb_agent_replace(agent, config, before, error);
}

/* Owns `config` from here on. On failure all is as it was. */
static int put_into_force(struct eb_apply *apply, struct order *order, struct eb_config *config, char **error)
{
	struct eb_agent *agent = apply->agent;
	struct eb_config *before, *tried;
	char *nested = NULL;
	int err = replace(apply, order, config, &before, error);

	if (err) {
		eb_config_free(config);
		return err;
	}
	err = order->confirm_ns ? begin_trial(apply, order, before) : make_permanent(apply, order, before, error);
	if (!err) {
		agent->interfaces.detached = false;
		if (!order->confirm_ns)
			eb_interfaces_stay_no_more(agent);
		eb_interfaces_attach_all(agent);
		return 0;
	}
	if (!*error)
		eb_fail(err, error, "%s", strerror(-err));
	if (eb_agent_replace(agent, before, &tried, &nested)) {
		eb_error("cannot put the previous rules into force; reload, or restart the agent",
			 eb_str("error", nested ? nested : "out of memory"));
		tried = before;
	}
	eb_config_free(tried);
	free(nested);
	eb_interfaces_attach_all(agent);
	return err;
}

static json_t *list_warnings(const struct eb_config *config)
{
	json_t *list = json_array();

	for (size_t i = 0; i < config->warning_count; i++) {
		eb_warning("the configuration is valid, but might not do what you intend",
			   eb_str("reason", config->warnings[i]));
		json_array_append_new(list, eb_printable_json(config->warnings[i]));
	}
	return list;
}

static json_t *reply_applied(const struct eb_apply *apply, const struct order *order)
{
	const struct eb_config *config = apply->agent->config;
	uint64_t seconds = order->confirm_ns ? seconds_left(apply) : 0;
	char *message = NULL;
	json_t *reply;

	if (order->confirm_ns)
		eb_fail(0, &message, "%s: %zu rules in force for %" PRIu64 "s, then rolled back, unless \"edgebucket "
			"confirm\" comes before", order->path, config->rule_count, seconds);
	else
		eb_fail(0, &message, order->is_own ? "%s: %zu rules in force" : "%s: %zu rules in force" SAVED,
			order->path, config->rule_count, config->path, config->path);
	reply = json_pack("{s:b, s:o, s:i, s:o, s:o, s:o, s:o}", "ok", 1, "file", eb_printable_json(order->path),
			  "rules", (int)config->rule_count, "confirm_seconds",
			  order->confirm_ns ? json_integer(seconds) : json_null(), "warnings", list_warnings(config),
			  "prefixes", eb_lists_compare(config, &order->before), "message", eb_printable_json(message));
	eb_info("applied", eb_str("file", order->path), eb_num("rules", config->rule_count),
		eb_num("confirm_seconds", seconds));
	free(message);
	return reply;
}

/* The caller frees what *order got, also on failure. */
static int carry_out(struct eb_apply *apply, const char *arguments, int file, struct order *order, char **error)
{
	struct eb_agent *agent = apply->agent;
	struct eb_config *config;
	int err = parse_order(arguments, order, error);

	if (err)
		return err;
	err = check_restored(agent, order, error);
	if (err)
		return err;
	err = read_text(file, order, error);
	if (err)
		return err;
	err = check_own(agent, order, error);
	if (err)
		return err;
	err = parse_text(agent, order, &config, error);
	return err ? err : put_into_force(apply, order, config, error);
}

json_t *eb_apply_request(struct eb_apply *apply, const char *arguments, int file)
{
	struct order order = { .text = NULL };
	char *error = NULL;
	int err = carry_out(apply, arguments, file, &order, &error);

	eb_input_free(order.text, order.size);
	if (err) {
		eb_error("apply refused, the rules stay as they are", eb_str("error", error ? error : strerror(-err)));
		return refuse(error);
	}
	free(apply->expired);
	apply->expired = NULL;
	return reply_applied(apply, &order);
}

json_t *eb_apply_status(const struct eb_apply *apply)
{
	const struct eb_config *config = apply->agent->config;

	if (!apply->before)
		return json_null();
	return json_pack("{s:o, s:i, s:I, s:o}", "file", eb_printable_json(config->path), "rules",
			 (int)config->rule_count, "seconds_left", (json_int_t)seconds_left(apply), "problem",
			 eb_printable_json(apply->problem));
}

int eb_apply_check_reload(const struct eb_apply *apply, char **error)
{
	if (!apply->before)
		return 0;
	return eb_fail(-EBUSY, error,
		       "no reload while %s awaits its confirmation, for another %" PRIu64 "s: \"edgebucket confirm\" "
		       "or \"edgebucket rollback\" first", apply->agent->config->path, seconds_left(apply));
}

struct eb_apply *eb_apply_new(struct eb_agent *agent)
{
	struct eb_apply *apply = calloc(1, sizeof(*apply));

	if (apply)
		apply->agent = agent;
	return apply;
}

void eb_apply_free(struct eb_apply *apply)
{
	if (!apply)
		return;
	settle(apply);
	free(apply->expired);
	free(apply);
}
