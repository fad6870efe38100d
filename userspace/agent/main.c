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
#include "agent/metrics.h"
#include "agent/options.h"
#include "agent/requests.h"
#include "base/error.h"
#include "base/log.h"
#include "base/privileges.h"
#include "config/kept.h"
#include "ipc/lock.h"
#include "maps/demand.h"
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

/* Blocks of this size and more, of which a reload makes some for the rules, are mapped, and given back when they are
 * freed. glibc raises the limit (DEFAULT_MMAP_THRESHOLD, 128 KiB) to what was freed last, up to 32 MiB; then these are
 * of the heap, where one small block that outlives them keeps them all. */
#define MAPPED_BLOCK (128 * 1024)

/* The agent with what main() alone needs. */
struct program {
	struct eb_agent agent;
	struct eb_apply *apply;
	struct eb_metrics *metrics;
	struct eb_requests *requests;
	int lock;
	bool stopping;
};

/* ---- what the loop calls ---- */

static void on_link(const char *name, int ifindex, bool running, void *arg)
{
	struct program *program = arg;

	if (name)
		eb_interfaces_check(&program->agent, name, ifindex, running);
	else
		eb_interfaces_attach_all(&program->agent);
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

static void on_fault_done(enum eb_pass_reason reason, uint64_t fields_set, uint64_t fields_deleted, const char *text,
			  void *arg)
{
	struct program *program = arg;

	if (program->stopping && reason == EB_PASS_SHUTDOWN)
		(void)sd_event_exit(program->agent.loop, 0);
	if (reason != EB_PASS_FLUSH)
		return;
	eb_requests_flush_done(program->requests, fields_set, fields_deleted, text);
}

static int on_stop_deadline(sd_event_source *source, uint64_t usec, void *arg)
{
	(void)usec;
	(void)arg;
	eb_error("the stores did not accept the buckets in time; they stay in the maps until the next reboot",
		 eb_str("hint", "start the agent again before that, while a store is reachable"));
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
	eb_requests_refuse_trials(program->requests);
	eb_apply_stop(program->apply);
	eb_fleet_tell(program->agent.fleet);
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
	(void)eb_requests_reload(program->requests, &error);
	free(error);
	return 0;
}

static int on_flush_signal(sd_event_source *source, const struct signalfd_siginfo *info, void *arg)
{
	struct program *program = arg;

	(void)source;
	(void)info;
	if (!eb_persist_fault(program->agent.persist, EB_PASS_FLUSH))
		eb_warning("there is no store to flush to, or the agent has not read it yet",
			   eb_str("hint", "edgebucket status shows the stores"));
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
	eb_interfaces_check_intake(&program->agent);
	eb_demand_clean(eb_dataplane_maps(program->agent.dataplane));
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
	static const struct {
		int number;
		sd_event_signal_handler_t handler;
	} signals[] = {
		{ SIGTERM, on_stop }, { SIGINT, on_stop }, { SIGHUP, on_hangup }, { SIGUSR1, on_flush_signal },
	};
	/* The first sweep soon: an agent may be restarted more often than daily. */
	static const sd_event_time_handler_t timers[] = { on_sweep, on_check_timer };
	sd_event *loop = program->agent.loop;
	int err = 0;

	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]) && err >= 0; i++)
		err = sd_event_add_signal(loop, NULL, signals[i].number, signals[i].handler, program);
	for (size_t i = 0; i < sizeof(timers) / sizeof(timers[0]) && err >= 0; i++)
		err = sd_event_add_time_relative(loop, NULL, CLOCK_MONOTONIC, CHECK_US, 0, timers[i], program);
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
	int err = eb_persist_new(agent->loop, agent->config, agent->dataplane, eb_ban_keeper_bans(agent->bans), &events,
				 &agent->persist, error);

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
	err = eb_metrics_open(agent, &program->metrics);
	if (err)
		return eb_fail(err, error, "cannot set up metrics: %s", strerror(-err));
	err = eb_requests_open(agent, program->apply, program->metrics, &program->requests);
	if (err)
		return eb_fail(err, error, "cannot listen in %s: %s", agent->config->run_dir, strerror(-err));
	err = add_sources(program);
	if (err)
		return eb_fail(err, error, "cannot set up the event loop: %s", strerror(-err));
	(void)sd_event_set_watchdog(agent->loop, true);
	err = sd_event_loop(agent->loop);
	if (err == 0 && agent->config->detach_on_exit) {
		eb_programs_set_patience(eb_dataplane_programs(agent->dataplane), STOP_DEADLINE_US / 1000);
		err = eb_interfaces_detach_all(agent, true, error);
	}
	return err;
}

static void log_failure(const struct eb_agent *agent, const char *error)
{
	if (agent->enforcing)
		eb_error("stopped after a failure, program and rules stay in force", eb_str("error", error));
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
		eb_requests_close(program->requests);
		eb_metrics_close(program->metrics);
		eb_apply_free(program->apply);
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

/* A refused configuration must not end the limits: the last good one is in force until an operator corrects it. */
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
		eb_error("the last configuration that was in force cannot replace it",
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
	code = read_config(&program.agent, &config) || run(&program, config) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
	eb_log_close();
	return code;
}
