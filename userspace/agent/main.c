// SPDX-License-Identifier: GPL-2.0-only
/* edgebucketd: options, the order of start and stop, signals. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "agent.h"
#include "control_server.h"
#include "links.h"
#include "lock.h"
#include "log.h"

#define SWEEP_US (24 * 3600 * 1000000ULL)

struct options {
	const char *config_path;
	const char *redis_path;
	bool check;
};

static const char usage[] =
	"Usage: edgebucketd [-c FILE] [--redis-config FILE] [--check] [--log-level LEVEL]\n"
	"Limits traffic per source at the network card.\n"
	"\n"
	"  -c, --config FILE      configuration (default " EB_DEFAULT_CONFIG_PATH ")\n"
	"      --redis-config F   the redis part of the configuration, as JSON\n"
	"      --check            check the configuration and exit\n"
	"      --log-level LEVEL  error, warning, info (default) or debug\n"
	"      --version          print the version and exit\n"
	"      --help             print this and exit\n"
	"\n"
	"Signals: TERM, INT stop; HUP reloads; USR1 flushes. See edgebucketd(8).\n";

enum { EXIT_MISUSE = 2 };
enum { OPT_REDIS = 256, OPT_CHECK, OPT_LOG_LEVEL, OPT_VERSION, OPT_HELP };

/* Returns -1 to go on, or the exit code. */
static int parse_options(int argc, char **argv, struct options *out)
{
	static const struct option long_options[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "redis-config", required_argument, NULL, OPT_REDIS },
		{ "check", no_argument, NULL, OPT_CHECK },
		{ "log-level", required_argument, NULL, OPT_LOG_LEVEL },
		{ "version", no_argument, NULL, OPT_VERSION },
		{ "help", no_argument, NULL, OPT_HELP },
		{ NULL, 0, NULL, 0 },
	};
	enum eb_log_level level;
	int option;

	*out = (struct options){ .config_path = EB_DEFAULT_CONFIG_PATH };
	while ((option = getopt_long(argc, argv, "c:", long_options, NULL)) != -1) {
		switch (option) {
		case 'c':
			out->config_path = optarg;
			break;
		case OPT_REDIS:
			out->redis_path = optarg;
			break;
		case OPT_CHECK:
			out->check = true;
			break;
		case OPT_LOG_LEVEL:
			if (eb_log_parse_level(optarg, &level)) {
				fprintf(stderr, "edgebucketd: no log level %s: error, warning, info or debug\n", optarg);
				return EXIT_MISUSE;
			}
			eb_log_set_level(level);
			break;
		case OPT_VERSION:
			puts("edgebucketd " EB_VERSION);
			return EXIT_SUCCESS;
		case OPT_HELP:
			fputs(usage, stdout);
			return EXIT_SUCCESS;
		default:
			fputs(usage, stderr);
			return EXIT_MISUSE;
		}
	}
	if (optind == argc)
		return -1;
	fprintf(stderr, "edgebucketd: unexpected argument %s\n", argv[optind]);
	return EXIT_MISUSE;
}

/* ---- what the loop calls ---- */

static void on_link(const char *name, void *arg)
{
	if (name)
		eb_agent_check_interface(arg, name);
	else
		eb_agent_attach_all(arg);
}

static int on_stop(sd_event_source *source, const struct signalfd_siginfo *info, void *arg)
{
	(void)arg;
	eb_info("stopping: signal %s", strsignal(info->ssi_signo));
	return sd_event_exit(sd_event_source_get_event(source), 0);
}

static int reload(struct eb_agent *agent, char **error)
{
	int err;

	(void)sd_notify(0, "RELOADING=1");
	err = eb_agent_reload(agent, error);
	(void)sd_notify(0, "READY=1");
	return err;
}

static int on_hangup(sd_event_source *source, const struct signalfd_siginfo *info, void *arg)
{
	char *error = NULL;

	(void)source;
	(void)info;
	(void)reload(arg, &error);
	free(error);
	return 0;
}

static int on_sweep(sd_event_source *source, uint64_t usec, void *arg)
{
	struct eb_agent *agent = arg;

	(void)usec;
	eb_debug("swept %lu entries", eb_buckets_sweep(eb_dataplane_buckets(agent->dataplane)));
	(void)sd_event_source_set_time_relative(source, SWEEP_US);
	return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

static json_t *reply_error(const char *text)
{
	return json_pack("{s:b, s:s}", "ok", 0, "error", text ? text : "out of memory");
}

static json_t *answer_reload(struct eb_agent *agent)
{
	char *error = NULL;
	json_t *reply;

	if (reload(agent, &error) == 0)
		return json_pack("{s:b, s:i, s:s}", "ok", 1, "rules", (int)agent->config->rule_count, "config",
				 agent->config->path);
	reply = reply_error(error);
	free(error);
	return reply;
}

static json_t *answer_detach(struct eb_agent *agent)
{
	char *error = NULL;
	json_t *reply;

	if (eb_agent_detach_all(agent, true, &error) == 0)
		return json_pack("{s:b}", "ok", 1);
	reply = reply_error(error);
	free(error);
	return reply;
}

static json_t *answer_status(const struct eb_agent *agent)
{
	json_t *interfaces = json_array();

	for (size_t i = 0; i < agent->interface_count; i++) {
		const struct eb_interface *interface = &agent->interfaces[i];

		json_array_append_new(interfaces,
				      json_pack("{s:s, s:s, s:b, s:s?}", "name", interface->name, "mode",
						interface->attachment.mode, "attached",
						interface->attachment.attached, "problem", interface->problem));
	}
	return json_pack("{s:b, s:i, s:s, s:s, s:s, s:b, s:i, s:i, s:s?, s:o}", "ok", 1, "pid", (int)getpid(),
			 "version", EB_VERSION, "node", agent->config->node, "config", agent->config->path, "detached",
			 agent->detached, "reloads", (int)agent->reloads, "reload_failures",
			 (int)agent->reload_failures, "reload_error", agent->reload_error, "interfaces", interfaces);
}

static json_t *on_request(const char *request, void *arg)
{
	if (strcmp(request, "status") == 0)
		return answer_status(arg);
	if (strcmp(request, "reload") == 0)
		return answer_reload(arg);
	if (strcmp(request, "detach") == 0)
		return answer_detach(arg);
	if (strcmp(request, "flush") == 0)
		return reply_error("there is no store to write to");
	return reply_error("unknown request");
}

/* ---- life ---- */

static int add_signals(struct eb_agent *agent)
{
	static const int signals[] = { SIGTERM, SIGINT, SIGHUP, SIGUSR1 };
	sigset_t set;
	int err;

	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		sigaddset(&set, signals[i]);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return -errno;
	err = sd_event_add_signal(agent->loop, NULL, SIGTERM, on_stop, agent);
	if (err >= 0)
		err = sd_event_add_signal(agent->loop, NULL, SIGINT, on_stop, agent);
	if (err >= 0)
		err = sd_event_add_signal(agent->loop, NULL, SIGHUP, on_hangup, agent);
	return err < 0 ? err : 0;
}

static int run_loop(struct eb_agent *agent)
{
	struct eb_control_server *control = NULL;
	struct eb_links *links = NULL;
	char *error = NULL;
	int err = eb_links_open(agent->loop, on_link, agent, &links);

	if (err) {
		eb_error("cannot listen for changes of interfaces: %s", strerror(-err));
		return err;
	}
	err = eb_control_server_open(agent->loop, agent->config->run_dir, on_request, agent, &control);
	if (err)
		eb_error("cannot listen in %s: %s", agent->config->run_dir, strerror(-err));
	if (!err)
		err = sd_event_add_time_relative(agent->loop, NULL, CLOCK_MONOTONIC, SWEEP_US, 0, on_sweep, agent);
	if (err >= 0) {
		/* Listening came first: what changes while we attach is not missed. */
		eb_agent_attach_all(agent);
		(void)sd_event_set_watchdog(agent->loop, true);
		(void)sd_notify(0, "READY=1");
		err = sd_event_loop(agent->loop);
	}
	(void)sd_notify(0, "STOPPING=1");
	if (err == 0 && agent->config->detach_on_exit && eb_agent_detach_all(agent, true, &error))
		eb_error("%s", error ? error : "cannot detach");
	free(error);
	eb_control_server_close(control);
	eb_links_close(links);
	return err;
}

static int run(struct eb_agent *agent, struct eb_config *config)
{
	char *error = NULL;
	int lock = -1, err;

	err = eb_lock_acquire(config->run_dir, EB_VERSION, &lock, &error);
	if (err) {
		eb_config_free(config);
	} else {
		err = sd_event_default(&agent->loop);
		if (err >= 0)
			err = add_signals(agent);
		if (err >= 0)
			err = eb_agent_start(agent, config, &error);
		if (!err)
			err = run_loop(agent);
		eb_agent_done(agent);
		sd_event_unref(agent->loop);
	}
	if (error)
		eb_error("%s", error);
	free(error);
	if (lock >= 0)
		close(lock);
	return err;
}

static int check(const struct eb_config *config)
{
	for (size_t i = 0; i < config->warning_count; i++)
		fprintf(stderr, "edgebucketd: warning: %s\n", config->warnings[i]);
	printf("%s: ok, %zu rules\n", config->path, config->rule_count);
	return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	struct eb_agent agent = {};
	struct eb_config *config;
	struct options options;
	char *error = NULL;
	int code = parse_options(argc, argv, &options);

	if (code >= 0)
		return code;
	if (eb_config_read(options.config_path, options.redis_path, &config, &error)) {
		fprintf(stderr, "edgebucketd: %s\n", error ? error : "out of memory");
		free(error);
		return EXIT_FAILURE;
	}
	if (options.check) {
		code = check(config);
		eb_config_free(config);
		return code;
	}
	agent.config_path = options.config_path;
	agent.redis_path = options.redis_path;
	return run(&agent, config) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
