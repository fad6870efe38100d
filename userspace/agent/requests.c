// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "agent/ban_requests.h"
#include "agent/control_server.h"
#include "agent/health.h"
#include "agent/line_server.h"
#include "agent/lists.h"
#include "agent/requests.h"
#include "base/error.h"
#include "base/log.h"
#include "base/printable.h"
#include "config/targets_json.h"
#include "ipc/control.h"

#define WAITING_MAX 16

/* Clients whose request is not done yet. */
struct waiting {
	eb_control_client clients[WAITING_MAX];
	size_t count;
};

struct eb_requests {
	struct eb_agent *agent;
	struct eb_apply *apply;
	const struct eb_metrics *metrics;
	struct eb_control_server *server;
	struct eb_line_server *lines;
	struct eb_ban_requests *bans;
	bool stopping;
	struct waiting attaching, detaching; /* who waits for libxdp */
	struct waiting flushing, next; /* who waits for the flush under way, and for the one after it */
};

/* ---- replies ---- */

static json_t *reply_error(const char *text)
{
	return json_pack("{s:b, s:o}", "ok", 0, "error", eb_printable_json(text ? text : "out of memory"));
}

int eb_requests_reload(struct eb_requests *requests, char **error)
{
	int err = eb_apply_check_reload(requests->apply, error);

	if (err) {
		eb_warning("reload refused", eb_str("error", *error ? *error : strerror(-err)));
		return err;
	}
	(void)sd_notify(0, "RELOADING=1");
	err = eb_agent_reload(requests->agent, error);
	(void)sd_notify(0, "READY=1");
	return err;
}

static json_t *warnings_json(const struct eb_config *config)
{
	json_t *list = json_array();

	for (size_t i = 0; i < config->warning_count; i++)
		json_array_append_new(list, eb_printable_json(config->warnings[i]));
	return list;
}

static json_t *answer_reload(struct eb_requests *requests)
{
	const struct eb_agent *agent = requests->agent;
	struct eb_list_sizes before;
	char *error = NULL;
	json_t *reply;

	eb_lists_measure(agent->config, &before);
	if (eb_requests_reload(requests, &error) == 0)
		return json_pack("{s:b, s:i, s:o, s:o, s:o}", "ok", 1, "rules", (int)agent->config->rule_count,
				 "config", eb_printable_json(agent->config->path), "warnings",
				 warnings_json(agent->config), "prefixes", eb_lists_compare(agent->config, &before));
	reply = reply_error(error);
	free(error);
	return reply;
}

/* Keeps a client whose answer comes later. False where too many wait already. */
static bool let_wait(struct waiting *waiting, eb_control_client client)
{
	if (waiting->count == WAITING_MAX)
		return false;
	waiting->clients[waiting->count++] = client;
	return true;
}

static json_t *reply_outcome(int err, const char *error)
{
	return err ? reply_error(error) : json_pack("{s:b}", "ok", 1);
}

/* False where the answer comes later. */
static bool answer_attach(struct eb_requests *requests, eb_control_client client, json_t **reply)
{
	char *error = NULL;
	int err = eb_interfaces_attach(requests->agent, &error);

	if (err == -EINPROGRESS && let_wait(&requests->attaching, client))
		return false;
	*reply = reply_outcome(err, error);
	free(error);
	return true;
}

/* False where the answer comes later. */
static bool answer_detach(struct eb_requests *requests, bool stay, eb_control_client client, json_t **reply)
{
	char *error = NULL;
	int noted = stay ? eb_interfaces_stay(requests->agent, &error) : 0;
	int err = eb_interfaces_detach_all(requests->agent, true, &error);

	err = err ? err : noted;
	if (err == -EINPROGRESS && let_wait(&requests->detaching, client)) {
		free(error);
		return false;
	}
	*reply = reply_outcome(err, error);
	free(error);
	return true;
}

static void tell_waiting(struct eb_requests *requests, struct waiting *waiting, int err, const char *error)
{
	struct waiting told = *waiting;

	waiting->count = 0;
	for (size_t i = 0; i < told.count; i++)
		eb_control_reply(requests->server, told.clients[i], reply_outcome(err, error));
}

static void on_attach_done(int err, const char *error, void *arg)
{
	struct eb_requests *requests = arg;

	tell_waiting(requests, &requests->attaching, err, err == -ECANCELED ? "detached in the meantime" : error);
}

static void on_detach_done(int err, const char *error, void *arg)
{
	struct eb_requests *requests = arg;

	tell_waiting(requests, &requests->detaching, err, err == -ECANCELED ? "attached again in the meantime" : error);
}

/* False where the answer comes later. A flush that is under way may have passed a bucket that changed since: who comes
 * later waits for another one. */
static bool answer_flush(struct eb_requests *requests, eb_control_client client, json_t **reply)
{
	bool first = requests->flushing.count == 0;
	struct waiting *waiting = first ? &requests->flushing : &requests->next;

	/* Before the pass, which may end at once. */
	if (!let_wait(waiting, client)) {
		*reply = reply_error("too many flushes at once");
		return true;
	}
	if (!first || eb_persist_fault(requests->agent->persist, EB_PASS_FLUSH))
		return false;
	waiting->count = 0;
	*reply = reply_error(requests->agent->enforcing ? "there is no store to write to" : "still restoring");
	return true;
}

static void reply_to_flushers(struct eb_requests *requests, uint64_t fields_set, uint64_t fields_deleted,
			      const char *text)
{
	struct waiting waiting = requests->flushing;

	requests->flushing.count = 0;
	for (size_t i = 0; i < waiting.count; i++)
		eb_control_reply(requests->server, waiting.clients[i],
				 text[0] ? reply_error(text)
					 : json_pack("{s:b, s:I, s:I}", "ok", 1, "set", (json_int_t)fields_set,
						     "deleted", (json_int_t)fields_deleted));
}

void eb_requests_flush_done(struct eb_requests *requests, uint64_t fields_set, uint64_t fields_deleted,
			    const char *text)
{
	reply_to_flushers(requests, fields_set, fields_deleted, text);
	requests->flushing = requests->next;
	requests->next.count = 0;
	if (requests->flushing.count && !eb_persist_fault(requests->agent->persist, EB_PASS_FLUSH))
		reply_to_flushers(requests, 0, 0, "there is no store to write to");
}

/* What was reset leaves the store at once: a reboot would bring its debt back. */
static bool answer_reset(struct eb_requests *requests, eb_control_client client, json_t **reply)
{
	const struct eb_config *config = requests->agent->config;

	if (config->redis || config->state_dir[0])
		return answer_flush(requests, client, reply);
	*reply = json_pack("{s:b}", "ok", 1);
	return true;
}

static json_t *answer_status(const struct eb_requests *requests)
{
	const struct eb_agent *agent = requests->agent;
	json_t *interfaces = json_array(), *status;

	for (size_t i = 0; i < agent->interfaces.count; i++) {
		const struct eb_interface *interface = &agent->interfaces.list[i];

		json_array_append_new(interfaces,
				      json_pack("{s:s, s:s, s:b, s:o, s:b}", "name", interface->name, "mode",
						interface->attachment.mode, "attached", interface->attachment.attached,
						"problem", eb_printable_json(interface->problem), "mostly_not_ip",
						interface->intake.is_mostly_not_ip));
	}
	status = json_pack("{s:b, s:i, s:s, s:s, s:o, s:b, s:b, s:b, s:i, s:i, s:o, s:o}", "ok", 1, "pid",
			   (int)getpid(), "version", EB_VERSION, "node", agent->config->node, "config",
			   eb_printable_json(agent->config->path), "enforcing", agent->enforcing, "detached",
			   agent->interfaces.detached, "monitor", agent->monitor, "reloads", (int)agent->reloads,
			   "reload_failures", (int)agent->reload_failures, "reload_error",
			   eb_printable_json(agent->reload_error), "interfaces", interfaces);
	json_object_set_new(status, "patterns", eb_targets_json(agent->config, &agent->interfaces.targets));
	json_object_set_new(status, "pins", json_pack("{s:o}", "problem", eb_printable_json(agent->pins_problem)));
	json_object_set_new(status, "config_refused", eb_printable_json(agent->refused));
	json_object_set_new(status, "stays", json_boolean(agent->interfaces.stays));
	json_object_set_new(status, "metrics", eb_metrics_status(requests->metrics));
	json_object_set_new(status, "pending", eb_apply_status(requests->apply));
	json_object_set_new(status, "bans", eb_ban_keeper_status(agent->bans, agent->config->bans_max));
	json_object_set_new(json_object_get(status, "bans"), "stored", eb_persist_ban_status(agent->persist));
	json_object_set_new(json_object_get(status, "bans"), "fleet", eb_ban_fleet_status(agent->ban_fleet));
	json_object_set_new(status, "fleet", eb_fleet_status(agent->fleet));
	json_object_update_new(status, eb_persist_status(agent->persist));
	return status;
}

/* As the page of this name, see metrics.c. */
static json_t *answer_probe(const struct eb_agent *agent, bool (*is_well)(const struct eb_agent *agent, FILE *out))
{
	char *text = NULL, *rest;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	bool well = out && is_well(agent, out);
	json_t *reasons = json_array();

	if (out && fclose(out) == 0) {
		rest = text;
		for (char *line; (line = strsep(&rest, "\n"));)
			if (*line)
				json_array_append_new(reasons, eb_printable_json(line));
	}
	free(text);
	return json_pack("{s:b, s:b, s:o}", "ok", 1, "well", well, "reasons", reasons);
}

static json_t *answer_owed(const struct eb_agent *agent, const char *limit)
{
	uint64_t debt_ns;
	int err = eb_fleet_own_debt(agent->fleet, limit, &debt_ns);

	return err ? reply_error(strerror(-err)) : json_pack("{s:b, s:I}", "ok", 1, "own_ns", (json_int_t)debt_ns);
}

/* What is answered at once. */
static json_t *answer(struct eb_requests *requests, const char *request, int file)
{
	if (strcmp(request, "status") == 0)
		return answer_status(requests);
	if (strcmp(request, "lists") == 0)
		return json_pack("{s:b, s:o}", "ok", 1, "lists", eb_lists_status(requests->agent->config));
	if (strcmp(request, "healthz") == 0)
		return answer_probe(requests->agent, eb_health_is_enforced);
	if (strcmp(request, "readyz") == 0)
		return answer_probe(requests->agent, eb_health_is_ready);
	if (strcmp(request, "reload") == 0)
		return answer_reload(requests);
	if (strncmp(request, EB_CONTROL_OWED, strlen(EB_CONTROL_OWED)) == 0)
		return answer_owed(requests->agent, request + strlen(EB_CONTROL_OWED));
	if (strncmp(request, EB_CONTROL_APPLY, strlen(EB_CONTROL_APPLY)) == 0 && requests->stopping)
		return reply_error("the agent is stopping and could not roll it back; apply it once the next agent "
				   "runs");
	if (strncmp(request, EB_CONTROL_APPLY, strlen(EB_CONTROL_APPLY)) == 0)
		return eb_apply_request(requests->apply, request + strlen(EB_CONTROL_APPLY), file);
	if (strcmp(request, "confirm") == 0)
		return eb_apply_confirm(requests->apply);
	if (strcmp(request, "rollback") == 0)
		return eb_apply_rollback(requests->apply);
	return reply_error("unknown request");
}

static void answer_edgebucket(uint64_t client, json_t *reply, void *arg)
{
	struct eb_requests *requests = arg;

	eb_control_reply(requests->server, client, reply);
}

/* False where it is none of bans; else the answer comes when it is done, however long a list is. */
static bool begin_bans(struct eb_requests *requests, const char *request, int file, eb_control_client client)
{
	const struct eb_ban_asker asker = { .answer = answer_edgebucket, .client = client, .arg = requests };
	bool bans = strcmp(request, EB_CONTROL_BAN) == 0, lifts = strcmp(request, EB_CONTROL_UNBAN) == 0;
	bool lifts_all = strcmp(request, EB_CONTROL_UNBAN_ALL) == 0;

	if (!bans && !lifts && !lifts_all)
		return false;
	eb_control_be_patient(requests->server, client);
	if (lifts_all)
		eb_ban_requests_lift_all(requests->bans, &asker);
	else
		eb_ban_requests_list(requests->bans, requests->agent->config->bans_max, lifts, file, &asker);
	return true;
}

static bool on_request(const char *request, int file, eb_control_client client, void *arg, json_t **reply)
{
	struct eb_requests *requests = arg;

	if (begin_bans(requests, request, file, client))
		return false;

	if (strcmp(request, "flush") == 0)
		return answer_flush(requests, client, reply);
	if (strcmp(request, "reset") == 0)
		return answer_reset(requests, client, reply);
	if (strcmp(request, "attach") == 0)
		return answer_attach(requests, client, reply);
	if (strcmp(request, "detach") == 0 || strcmp(request, EB_CONTROL_STAY) == 0)
		return answer_detach(requests, strcmp(request, EB_CONTROL_STAY) == 0, client, reply);
	*reply = answer(requests, request, file);
	return true;
}

static void answer_line(uint64_t client, json_t *reply, void *arg)
{
	struct eb_requests *requests = arg;

	eb_line_server_reply(requests->lines, client, reply);
}

static void on_line(const char *line, eb_line_client client, void *arg)
{
	struct eb_requests *requests = arg;
	const struct eb_ban_asker asker = { .answer = answer_line, .client = client, .arg = requests };

	eb_ban_requests_json(requests->bans, requests->agent->config->bans_max, line, &asker);
}

/* ---- life ---- */

void eb_requests_refuse_trials(struct eb_requests *requests)
{
	requests->stopping = true;
}

int eb_requests_open(struct eb_agent *agent, struct eb_apply *apply, const struct eb_metrics *metrics,
		     struct eb_requests **out)
{
	struct eb_requests *requests = calloc(1, sizeof(*requests));
	int err;

	if (!requests)
		return -ENOMEM;
	requests->agent = agent;
	requests->apply = apply;
	requests->metrics = metrics;
	err = eb_ban_requests_new(agent->loop, eb_ban_keeper_bans(agent->bans), &requests->bans);
	if (!err)
		err = eb_control_server_open(agent->loop, agent->config->run_dir, on_request, requests,
					     &requests->server);
	if (!err)
		err = eb_line_server_open(agent->loop, agent->config->run_dir, agent->config->control_group, on_line,
					  requests, &requests->lines);
	if (err) {
		eb_control_server_close(requests->server);
		eb_ban_requests_free(requests->bans);
		free(requests);
		return err;
	}
	agent->interfaces.attach_done = on_attach_done;
	agent->interfaces.detach_done = on_detach_done;
	agent->interfaces.done_arg = requests;
	*out = requests;
	return 0;
}

void eb_requests_close(struct eb_requests *requests)
{
	if (!requests)
		return;
	requests->agent->interfaces.attach_done = requests->agent->interfaces.detach_done = NULL;
	eb_line_server_close(requests->lines);
	eb_control_server_close(requests->server);
	eb_ban_requests_free(requests->bans);
	free(requests);
}
