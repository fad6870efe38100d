// SPDX-License-Identifier: GPL-2.0-only
/* edgebucketd: the order of start and stop, signals. */
#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/apply.h"
#include "agent/control_server.h"
#include "agent/health.h"
#include "agent/lists.h"
#include "agent/metrics.h"
#include "agent/options.h"
#include "base/error.h"
#include "base/log.h"
#include "base/printable.h"
#include "base/privileges.h"
#include "config/kept.h"
#include "ipc/control.h"
#include "ipc/lock.h"
#include "netlink/link_watch.h"

#define SWEEP_US (24 * 3600 * 1000000ULL)
#define CHECK_US 1000000ULL

/* How long a stop waits for the stores: longer than they need to give up by themselves, shorter than a supervisor's
 * patience. */
#define STOP_DEADLINE_US (8 * 1000000ULL)

/* How long a start waits for an agent that is stopping, as it does in a rolling update whose old container was told to
 * end but has not; and how often it looks. */
#define LOCK_PATIENCE_US (STOP_DEADLINE_US + 2 * 1000000ULL)
#define LOCK_PAUSE_US 50000ULL

#define WAITING_MAX 16

/* Blocks of this size and more, of which a reload makes some for the rules, are mapped, and given back when they are
 * freed. glibc raises the limit (DEFAULT_MMAP_THRESHOLD, 128 KiB) to what was freed last, up to 32 MiB; then these are
 * of the heap, where one small block that outlives them keeps them all. */
#define MAPPED_BLOCK (128 * 1024)

/* Clients whose request is not done yet. */
struct waiting {
	eb_control_client clients[WAITING_MAX];
	size_t count;
};

/* The agent with what main() alone needs. */
struct program {
	struct eb_agent agent;
	struct eb_control_server *control;
	struct eb_metrics *metrics;
	struct eb_apply *apply;
	int lock;
	bool stopping;
	struct waiting attaching, detaching; /* who waits for libxdp */
	struct waiting flushing, next; /* who waits for the flush under way, and for the one after it */
};

/* ---- replies ---- */

static json_t *reply_error(const char *text)
{
	return json_pack("{s:b, s:o}", "ok", 0, "error", eb_printable_json(text ? text : "out of memory"));
}

static int reload(struct program *program, char **error)
{
	int err = eb_apply_check_reload(program->apply, error);

	if (err) {
		eb_warning("reload refused", eb_str("error", *error ? *error : strerror(-err)));
		return err;
	}
	(void)sd_notify(0, "RELOADING=1");
	err = eb_agent_reload(&program->agent, error);
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

static json_t *answer_reload(struct program *program)
{
	const struct eb_agent *agent = &program->agent;
	struct eb_list_sizes before;
	char *error = NULL;
	json_t *reply;

	eb_lists_measure(agent->config, &before);
	if (reload(program, &error) == 0)
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
static bool answer_attach(struct program *program, eb_control_client client, json_t **reply)
{
	char *error = NULL;
	int err = eb_agent_attach(&program->agent, &error);

	if (err == -EINPROGRESS && let_wait(&program->attaching, client))
		return false;
	*reply = reply_outcome(err, error);
	free(error);
	return true;
}

/* False where the answer comes later. */
static bool answer_detach(struct program *program, bool stay, eb_control_client client, json_t **reply)
{
	char *error = NULL;
	int noted = stay ? eb_agent_stay(&program->agent, &error) : 0;
	int err = eb_agent_detach_all(&program->agent, true, &error);

	err = err ? err : noted;
	if (err == -EINPROGRESS && let_wait(&program->detaching, client)) {
		free(error);
		return false;
	}
	*reply = reply_outcome(err, error);
	free(error);
	return true;
}

static void tell_waiting(struct program *program, struct waiting *waiting, int err, const char *error)
{
	struct waiting told = *waiting;

	waiting->count = 0;
	for (size_t i = 0; i < told.count; i++)
		eb_control_reply(program->control, told.clients[i], reply_outcome(err, error));
}

static void on_attach_done(int err, const char *error, void *arg)
{
	struct program *program = arg;

	tell_waiting(program, &program->attaching, err, err == -ECANCELED ? "detached meanwhile" : error);
}

static void on_detach_done(int err, const char *error, void *arg)
{
	struct program *program = arg;

	tell_waiting(program, &program->detaching, err, err == -ECANCELED ? "attached again meanwhile" : error);
}

/* False where the answer comes later. A flush that is under way may have passed a bucket that changed since: who comes
 * later waits for another one. */
static bool answer_flush(struct program *program, eb_control_client client, json_t **reply)
{
	bool first = program->flushing.count == 0;
	struct waiting *waiting = first ? &program->flushing : &program->next;

	/* Before the pass, which may end at once. */
	if (!let_wait(waiting, client)) {
		*reply = reply_error("too many flushes at once");
		return true;
	}
	if (!first || eb_persist_fault(program->agent.persist, EB_PASS_FLUSH))
		return false;
	waiting->count = 0;
	*reply = reply_error(program->agent.enforcing ? "there is no store to write to" : "still restoring");
	return true;
}

/* What was reset leaves the store at once: a reboot would bring its debt back. */
static bool answer_reset(struct program *program, eb_control_client client, json_t **reply)
{
	const struct eb_config *config = program->agent.config;

	if (config->redis || config->state_dir[0])
		return answer_flush(program, client, reply);
	*reply = json_pack("{s:b}", "ok", 1);
	return true;
}

static json_t *answer_status(const struct program *program)
{
	const struct eb_agent *agent = &program->agent;
	json_t *interfaces = json_array(), *status;

	for (size_t i = 0; i < agent->interface_count; i++) {
		const struct eb_interface *interface = &agent->interfaces[i];

		json_array_append_new(interfaces,
				      json_pack("{s:s, s:s, s:b, s:o, s:b}", "name", interface->name, "mode",
						interface->attachment.mode, "attached", interface->attachment.attached,
						"problem", eb_printable_json(interface->problem), "mostly_not_ip",
						interface->intake.is_mostly_not_ip));
	}
	status = json_pack("{s:b, s:i, s:s, s:s, s:o, s:b, s:b, s:b, s:i, s:i, s:o, s:o}", "ok", 1, "pid",
			   (int)getpid(), "version", EB_VERSION, "node", agent->config->node, "config",
			   eb_printable_json(agent->config->path), "enforcing", agent->enforcing, "detached",
			   agent->detached, "monitor", agent->monitor, "reloads", (int)agent->reloads,
			   "reload_failures", (int)agent->reload_failures, "reload_error",
			   eb_printable_json(agent->reload_error), "interfaces", interfaces);
	json_object_set_new(status, "pins", json_pack("{s:o}", "problem", eb_printable_json(agent->pins_problem)));
	json_object_set_new(status, "config_refused", eb_printable_json(agent->refused));
	json_object_set_new(status, "stays", json_boolean(agent->stays));
	json_object_set_new(status, "metrics", eb_metrics_status(program->metrics));
	json_object_set_new(status, "pending", eb_apply_status(program->apply));
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

/* What is answered at once. */
static json_t *answer(struct program *program, const char *request, int file)
{
	if (strcmp(request, "status") == 0)
		return answer_status(program);
	if (strcmp(request, "lists") == 0)
		return json_pack("{s:b, s:o}", "ok", 1, "lists", eb_lists_status(program->agent.config));
	if (strcmp(request, "healthz") == 0)
		return answer_probe(&program->agent, eb_health_is_enforced);
	if (strcmp(request, "readyz") == 0)
		return answer_probe(&program->agent, eb_health_is_ready);
	if (strcmp(request, "reload") == 0)
		return answer_reload(program);
	if (strncmp(request, EB_CONTROL_APPLY, strlen(EB_CONTROL_APPLY)) == 0 && program->stopping)
		return reply_error("the agent is stopping and could not roll it back; apply it to the next agent");
	if (strncmp(request, EB_CONTROL_APPLY, strlen(EB_CONTROL_APPLY)) == 0)
		return eb_apply_request(program->apply, request + strlen(EB_CONTROL_APPLY), file);
	if (strcmp(request, "confirm") == 0)
		return eb_apply_confirm(program->apply);
	if (strcmp(request, "rollback") == 0)
		return eb_apply_rollback(program->apply);
	return reply_error("unknown request");
}

static bool on_request(const char *request, int file, eb_control_client client, void *arg, json_t **reply)
{
	struct program *program = arg;

	if (strcmp(request, "flush") == 0)
		return answer_flush(program, client, reply);
	if (strcmp(request, "reset") == 0)
		return answer_reset(program, client, reply);
	if (strcmp(request, "attach") == 0)
		return answer_attach(program, client, reply);
	if (strcmp(request, "detach") == 0 || strcmp(request, EB_CONTROL_STAY) == 0)
		return answer_detach(program, strcmp(request, EB_CONTROL_STAY) == 0, client, reply);
	*reply = answer(program, request, file);
	return true;
}

/* ---- what the loop calls ---- */

static void on_link(const char *name, int ifindex, bool running, void *arg)
{
	struct program *program = arg;

	if (name)
		eb_agent_check_interface(&program->agent, name, ifindex, running);
	else
		eb_agent_attach_all(&program->agent);
}

static void on_restored(void *arg)
{
	struct program *program = arg;

	char *error = NULL;

	if (eb_dataplane_commit(program->agent.dataplane, &error)) {
		eb_error("cannot pin the maps, stopping", eb_str("pin_dir", program->agent.config->pin_dir),
			 eb_str("error", error ? error : "out of memory"));
		free(error);
		(void)sd_event_exit(program->agent.loop, -EIO);
		return;
	}
	eb_agent_enforce(&program->agent);
	if (!program->agent.refused && !program->agent.pending)
		eb_agent_settle(&program->agent);
	eb_log_limit_rates();
	(void)sd_notify(0, "READY=1");
}

static void reply_to_flushers(struct program *program, uint64_t fields_set, uint64_t fields_deleted, const char *text)
{
	struct waiting waiting = program->flushing;

	program->flushing.count = 0;
	for (size_t i = 0; i < waiting.count; i++)
		eb_control_reply(program->control, waiting.clients[i],
				 text[0] ? reply_error(text)
					 : json_pack("{s:b, s:I, s:I}", "ok", 1, "set", (json_int_t)fields_set,
						     "deleted", (json_int_t)fields_deleted));
}

static void on_fault_done(enum eb_pass_reason reason, uint64_t fields_set, uint64_t fields_deleted, const char *text,
			  void *arg)
{
	struct program *program = arg;

	if (program->stopping && reason == EB_PASS_SHUTDOWN)
		(void)sd_event_exit(program->agent.loop, 0);
	if (reason != EB_PASS_FLUSH)
		return;
	reply_to_flushers(program, fields_set, fields_deleted, text);
	program->flushing = program->next;
	program->next.count = 0;
	if (program->flushing.count && !eb_persist_fault(program->agent.persist, EB_PASS_FLUSH))
		reply_to_flushers(program, 0, 0, "there is no store to write to");
}

static int on_stop_deadline(sd_event_source *source, uint64_t usec, void *arg)
{
	(void)usec;
	(void)arg;
	eb_error("the stores did not take the buckets in time; they stay in the maps until the next reboot",
		 eb_str("hint", "start the agent again before that, while a store is there"));
	return sd_event_exit(sd_event_source_get_event(source), 0);
}

static int on_stop(sd_event_source *source, const struct signalfd_siginfo *info, void *arg)
{
	struct program *program = arg;
	sd_event *loop = sd_event_source_get_event(source);

	(void)eb_lock_announce_stop(program->lock, EB_VERSION); /* first: the next agent may be there already */
	eb_info("stopping", eb_str("signal", sigabbrev_np((int)info->ssi_signo)));
	(void)sd_notify(0, "STOPPING=1");
	if (program->stopping)
		return sd_event_exit(loop, 0);
	program->stopping = true;
	eb_apply_stop(program->apply);
	if (!eb_persist_fault(program->agent.persist, EB_PASS_SHUTDOWN))
		return sd_event_exit(loop, 0);
	return sd_event_add_time_relative(loop, NULL, CLOCK_MONOTONIC, STOP_DEADLINE_US, 0, on_stop_deadline, NULL);
}

static int on_hangup(sd_event_source *source, const struct signalfd_siginfo *info, void *arg)
{
	struct program *program = arg;
	char *error = NULL;

	(void)source;
	(void)info;
	(void)reload(program, &error);
	free(error);
	return 0;
}

static int on_flush_signal(sd_event_source *source, const struct signalfd_siginfo *info, void *arg)
{
	struct program *program = arg;

	(void)source;
	(void)info;
	if (!eb_persist_fault(program->agent.persist, EB_PASS_FLUSH))
		eb_warning("there is no store to flush to, or it was not read yet",
			   eb_str("hint", "edgebucket status tells of the stores"));
	return 0;
}

static int rearm(sd_event_source *source, uint64_t after_us)
{
	(void)sd_event_source_set_time_relative(source, after_us);
	return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

static int on_sweep(sd_event_source *source, uint64_t usec, void *arg)
{
	struct program *program = arg;

	(void)usec;
	eb_debug("cleared buckets that were full for a day",
		 eb_num("buckets", eb_buckets_sweep(eb_dataplane_buckets(program->agent.dataplane))));
	return rearm(source, SWEEP_US);
}

static int on_check_timer(sd_event_source *source, uint64_t usec, void *arg)
{
	struct program *program = arg;

	(void)usec;
	eb_agent_check_pressure(&program->agent);
	eb_agent_check_pins(&program->agent);
	eb_agent_check_intake(&program->agent);
	eb_log_catch_up();
	return rearm(source, CHECK_US);
}

/* ---- life ---- */

static int block_signals(void)
{
	static const int signals[] = { SIGTERM, SIGINT, SIGHUP, SIGUSR1 };
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		sigaddset(&set, signals[i]);
	return sigprocmask(SIG_BLOCK, &set, NULL) < 0 ? -errno : 0;
}

static int add_sources(struct program *program)
{
	sd_event *loop = program->agent.loop;
	int err = sd_event_add_signal(loop, NULL, SIGTERM, on_stop, program);

	if (err >= 0)
		err = sd_event_add_signal(loop, NULL, SIGINT, on_stop, program);
	if (err >= 0)
		err = sd_event_add_signal(loop, NULL, SIGHUP, on_hangup, program);
	if (err >= 0)
		err = sd_event_add_signal(loop, NULL, SIGUSR1, on_flush_signal, program);
	/* The first sweep soon: an agent may be restarted more often than daily. */
	if (err >= 0)
		err = sd_event_add_time_relative(loop, NULL, CLOCK_MONOTONIC, CHECK_US, 0, on_sweep, program);
	if (err >= 0)
		err = sd_event_add_time_relative(loop, NULL, CLOCK_MONOTONIC, CHECK_US, 0, on_check_timer,
						 program);
	return err < 0 ? err : 0;
}

static int start_persistence(struct program *program, char **error)
{
	struct eb_agent *agent = &program->agent;
	const struct eb_persist_events events = {
		.restored = on_restored,
		.fault_done = on_fault_done,
		.arg = program,
	};
	int err = eb_persist_new(agent->loop, agent->config, agent->dataplane, &events, &agent->persist, error);

	if (err)
		return err;
	err = eb_persist_start(agent->persist, eb_dataplane_is_new(agent->dataplane));
	return err ? eb_fail(err, error, "cannot begin the restore: %s", strerror(-err)) : 0;
}

/* Listening comes before attaching: what changes meanwhile is not missed. */
static int run_loop(struct program *program, struct eb_link_watch **links, char **error)
{
	struct eb_agent *agent = &program->agent;
	int err = eb_link_watch_open(agent->loop, on_link, program, links);

	if (err)
		return eb_fail(err, error, "cannot listen for changes of interfaces: %s", strerror(-err));
	err = start_persistence(program, error);
	if (err)
		return err;
	program->apply = eb_apply_new(agent);
	if (!program->apply)
		return eb_fail(-ENOMEM, error, "out of memory");
	err = eb_control_server_open(agent->loop, agent->config->run_dir, on_request, program, &program->control);
	if (err)
		return eb_fail(err, error, "cannot listen in %s: %s", agent->config->run_dir, strerror(-err));
	err = eb_metrics_open(agent, &program->metrics);
	if (err)
		return eb_fail(err, error, "cannot set up metrics: %s", strerror(-err));
	err = add_sources(program);
	if (err)
		return eb_fail(err, error, "cannot set up the event loop: %s", strerror(-err));
	(void)sd_event_set_watchdog(agent->loop, true);
	err = sd_event_loop(agent->loop);
	if (err == 0 && agent->config->detach_on_exit) {
		eb_programs_set_patience(eb_dataplane_programs(agent->dataplane), STOP_DEADLINE_US / 1000);
		err = eb_agent_detach_all(agent, true, error);
	}
	return err;
}

static void log_failure(const struct eb_agent *agent, const char *error)
{
	if (agent->enforcing)
		eb_error("ended by a failure, program and rules stay in force", eb_str("error", error));
	else
		eb_error("cannot start", eb_str("error", error));
}

/*
 * The pause is one for signals, which are blocked by now: the first process of a container does not end at one that it
 * does not ask for. Returns 1 at one that says stop.
 */
static int take_lock(const char *run_dir, int *out, char **error)
{
	const struct timespec pause = { .tv_nsec = LOCK_PAUSE_US * 1000 };
	sigset_t stops;
	int err, signo;

	sigemptyset(&stops);
	sigaddset(&stops, SIGTERM);
	sigaddset(&stops, SIGINT);
	for (uint64_t waited = 0;; waited += LOCK_PAUSE_US) {
		err = eb_lock_acquire(run_dir, EB_VERSION, out, error);
		if (err != -EAGAIN || waited >= LOCK_PATIENCE_US)
			return err;
		if (!waited)
			eb_info("waiting for another agent to stop", eb_str("reason", *error));
		free(*error);
		*error = NULL;
		signo = sigtimedwait(&stops, NULL, &pause);
		if (signo > 0) {
			eb_info("stopping", eb_str("signal", sigabbrev_np(signo)));
			return 1;
		}
	}
}

static int run(struct program *program, struct eb_config *config)
{
	struct eb_agent *agent = &program->agent;
	struct eb_link_watch *links = NULL;
	char *error = NULL;
	int err = block_signals();

	program->lock = -1;
	if (!err)
		err = take_lock(config->run_dir, &program->lock, &error);
	if (err) {
		eb_config_free(config);
	} else {
		err = sd_event_default(&agent->loop);
		if (err >= 0)
			err = eb_agent_start(agent, config, &error);
		if (!err)
			err = run_loop(program, &links, &error);
		eb_apply_free(program->apply);
		eb_metrics_close(program->metrics);
		eb_control_server_close(program->control);
		eb_link_watch_close(links);
		eb_agent_done(agent);
		sd_event_unref(agent->loop);
	}
	if (err < 0)
		log_failure(agent, error ? error : strerror(-err));
	free(error);
	if (program->lock >= 0)
		close(program->lock);
	return err;
}

/* What is not good is no reason to limit nothing: what was in force last is, until somebody corrects it. */
static int take_kept(struct eb_agent *agent, char *refused, struct eb_config **out)
{
	char *error = NULL;
	int err = eb_kept_read(agent->config_path, agent->redis_path, out, &error);

	if (!err) {
		eb_error("the configuration is refused, enforcing the last one that was in force",
			 eb_str("config", agent->config_path), eb_str("error", refused), eb_str("kept", (*out)->path),
			 eb_str("hint", "correct it and reload; edgebucketd --check checks it"));
		agent->refused = refused;
		return 0;
	}
	eb_error("cannot start, the configuration is refused", eb_str("config", agent->config_path),
		 eb_str("error", refused ? refused : "out of memory"),
		 eb_str("hint", "edgebucketd --check checks it"));
	if (err != -ENOENT)
		eb_error("the last configuration that was in force cannot take its place",
			 eb_str("error", error ? error : strerror(-err)));
	free(error);
	free(refused);
	return err;
}

static int read_config(struct eb_agent *agent, struct eb_config **out)
{
	struct eb_config *config;
	char *error = NULL;
	int err = eb_config_read(agent->config_path, agent->redis_path, &config, &error);

	if (err)
		return take_kept(agent, error, out);
	err = eb_rules_check(config, &error);
	if (!err) {
		*out = config;
		return 0;
	}
	eb_config_free(config);
	return take_kept(agent, error, out);
}

static int check_rules(const struct eb_config *config, char **error)
{
	struct eb_ruleset *ruleset;
	int err = eb_rules_compile(config, NULL, &ruleset, error);

	if (!err)
		eb_rules_free(ruleset);
	return err;
}

static int check(const struct eb_options *options)
{
	struct eb_config *config = NULL;
	char *error = NULL;
	int err = eb_config_read(options->config_path, options->redis_path, &config, &error);

	if (!err)
		err = check_rules(config, &error);
	if (err)
		fprintf(stderr, "edgebucketd: %s\n", error ? error : "out of memory");
	for (size_t i = 0; !err && i < config->warning_count; i++)
		fprintf(stderr, "edgebucketd: warning: %s\n", config->warnings[i]);
	if (!err)
		printf("%s: ok, %zu rules\n", config->path, config->rule_count);
	eb_config_free(config);
	free(error);
	return err ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* What is kept of a configuration is found by its path, wherever the agent is started. */
static void make_absolute(const char *path, char out[PATH_MAX])
{
	char dir[PATH_MAX];

	if (*path == '/' || !getcwd(dir, sizeof(dir)) ||
	    snprintf(out, PATH_MAX, "%s/%s", dir, path) >= PATH_MAX)
		snprintf(out, PATH_MAX, "%s", path);
}

int main(int argc, char **argv)
{
	struct program program = {};
	char config_path[PATH_MAX];
	struct eb_config *config;
	struct eb_options options;
	char *error = NULL;
	int code = eb_options_parse(argc, argv, &options);

	if (code >= 0)
		return code;
	(void)mallopt(M_MMAP_THRESHOLD, MAPPED_BLOCK);
	eb_log_open();
	/* Before the configuration is read, so that a reload can read what the start could, and the start what --check
	 * could. */
	if (eb_privileges_limit(&error) && !options.check) {
		eb_error("cannot start", eb_str("error", error));
		free(error);
		return EXIT_FAILURE;
	}
	free(error);
	if (options.check)
		return check(&options);
	make_absolute(options.config_path, config_path);
	program.agent.config_path = config_path;
	program.agent.redis_path = options.redis_path;
	program.agent.monitor = options.monitor;
	program.agent.attach_done = on_attach_done;
	program.agent.detach_done = on_detach_done;
	program.agent.done_arg = &program;
	code = read_config(&program.agent, &config) || run(&program, config) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
	eb_log_close();
	return code;
}
