// SPDX-License-Identifier: GPL-2.0-only
/* edgebucket watch: refused packets as they are refused, a sample of them; as text, JSON or a capture file. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include <bpf/libbpf.h>

#include "base/clock.h"
#include "cli/evidence.h"
#include "cli/options.h"
#include "cli/print.h"
#include "cli/session.h"
#include "cli/signals.h"
#include "config/prefix.h"
#include "config/protocol.h"
#include "policy/rules.h"

#define NS_PER_S 1000000000LL

#define SNAPLEN_DEFAULT 128

/* Returned by the callback to end the consumption; any negative number does. */
#define ENOUGH (-ECANCELED)

struct watch {
	struct session session;
	const char *rule; /* NULL for all */
	struct eb_prefix within; /* sources; family 0 for all */
	struct evidence *evidence; /* where frames go; NULL prints events */
	bool json;
	uint64_t started_at;   /* CLOCK_MONOTONIC */
	int64_t to_real_time;  /* what to add to CLOCK_MONOTONIC */
	uint64_t left;         /* events to show; 0 for any number */
	uint64_t written;      /* frames */
	int err;               /* of writing */
};

/* The rule of a slot; -1 for one that is no longer in force. */
static int find_slot(const struct session *session, uint32_t slot)
{
	for (int i = 0; i < session_rule_count(session); i++)
		if (session->policy.rules[i].slot == slot)
			return i;
	return -1;
}

static struct text time_text(const struct watch *watch, const struct eb_event *event, const char *format)
{
	int64_t ns = event->time_ns + watch->to_real_time;
	time_t seconds = ns / NS_PER_S;
	struct text text;
	struct tm tm;
	size_t len;

	if (watch->json)
		gmtime_r(&seconds, &tm);
	else
		localtime_r(&seconds, &tm);
	len = strftime(text.s, sizeof(text.s), format, &tm);
	snprintf(text.s + len, sizeof(text.s) - len, ".%03d%s", (int)(ns % NS_PER_S / 1000000), watch->json ? "Z" : "");
	return text;
}

/* What the rule limits: the part of the address that makes a source. */
static struct text source_text(const struct session *session, int rule, const struct eb_event *event)
{
	const struct eb_rule *limit = &session->policy.rules[rule];
	struct eb_source source = session_source(limit, event->family, event->saddr, event->daddr, event->dport);

	return session_source_text(limit, &source);
}

static int print_event_json(const struct watch *watch, const struct eb_event *event, int rule)
{
	char proto[EB_PROTOCOL_NAME_MAX];
	json_t *object;

	object = json_pack("{s:s, s:o, s:o, s:s, s:s, s:o, s:s, s:s, s:o, s:i}", "time",
			   time_text(watch, event, "%Y-%m-%dT%H:%M:%S").s, "rule",
			   rule < 0 ? json_null() : json_string(session_rule_name(&watch->session.policy, rule).s),
			   "level", rule < 0 ? json_null() : print_json_level(&watch->session.policy.rules[rule]),
			   "verdict", eb_verdict_name(event->verdict), "address",
			   print_address(event->family, event->saddr).s, "source",
			   rule < 0 ? json_null() : json_string(source_text(&watch->session, rule, event).s), "dst",
			   print_address(event->family, event->daddr).s, "proto",
			   eb_protocol_print(event->proto, proto), "dport",
			   event->dport ? json_integer(event->dport) : json_null(), "length", (int)event->len);
	return print_json_line(object);
}

static int print_event(const struct watch *watch, const struct eb_event *event, int rule)
{
	enum colour colour = event->verdict == EB_WOULD_DROP ? COLOUR_YELLOW : COLOUR_RED;
	char proto[EB_PROTOCOL_NAME_MAX], port[8] = "";
	int printed;

	if (event->dport)
		snprintf(port, sizeof(port), "/%u", event->dport);
	printed = printf("%s  %s%-10s%s  %-12s  %s > %s  %s%s  %s\n", time_text(watch, event, "%H:%M:%S").s,
			 print_colour(colour), eb_verdict_name(event->verdict), print_colour_end(colour),
			 rule < 0 ? "-" : session_limit_name(&watch->session.policy, rule).s,
			 print_address(event->family, event->saddr).s, print_address(event->family, event->daddr).s,
			 eb_protocol_print(event->proto, proto), port, print_size(event->len).s);
	return printed < 0 ? -errno : 0;
}

/* The ring might hold events from before this command began. */
static bool is_wanted(const struct watch *watch, const struct eb_event *event, int rule)
{
	if (event->time_ns < watch->started_at)
		return false;
	if (watch->within.family && !eb_prefix_overlaps(event->family, event->saddr,
							event->family == 4 ? 32 : 128, &watch->within))
		return false;
	return !watch->rule || (rule >= 0 && !strcmp(session_rule_name(&watch->session.policy, rule).s, watch->rule));
}

/* Looks at the policy again for an event of a rule that it does not have: there was a reload. */
static int event_rule(struct watch *watch, const struct eb_event *event)
{
	int rule = find_slot(&watch->session, event->slot);

	if (rule < 0 && !eb_maps_policy(&watch->session.maps, &watch->session.policy))
		rule = find_slot(&watch->session, event->slot);
	return rule;
}

/* The comment of a frame: which bucket refused it. */
static void expect_frame(const struct watch *watch, const struct eb_event *event, int rule)
{
	const struct eb_policy *policy = &watch->session.policy;
	char comment[192], level[EB_LEVEL_TEXT_MAX] = "";

	if (rule >= 0)
		(void)eb_rules_level_text(&policy->rules[rule], level);
	snprintf(comment, sizeof(comment), "rule=%.32s%s%s verdict=%.16s%s%.64s",
		 rule < 0 ? "-" : session_rule_name(policy, rule).s, *level ? " level=" : "", level,
		 eb_verdict_name(event->verdict), rule < 0 ? "" : " source=",
		 rule < 0 ? "" : source_text(&watch->session, rule, event).s);
	evidence_expect(watch->evidence, event, comment);
}

/* Returns whether the event was shown, or negative errno. */
static int handle_event(struct watch *watch, const struct eb_event *event)
{
	int rule = event->verdict < EB_VERDICTS ? event_rule(watch, event) : -1, err;

	if (event->verdict >= EB_VERDICTS || !is_wanted(watch, event, rule))
		return 0;
	if (watch->evidence) {
		expect_frame(watch, event, rule);
		return 0;
	}
	err = watch->json ? print_event_json(watch, event, rule) : print_event(watch, event, rule);
	if (!err && fflush(stdout))
		err = -errno;
	return err ? err : 1;
}

static int handle_frame(struct watch *watch, const struct eb_frame_sample *sample)
{
	int ret = watch->evidence ? evidence_add(watch->evidence, sample, watch->to_real_time) : 0;

	watch->written += ret == 1;
	return ret;
}

static int handle_record(void *arg, void *data, size_t size)
{
	struct watch *watch = arg;
	int ret = 0;

	if (size == sizeof(struct eb_event))
		ret = handle_event(watch, data);
	else if (size == sizeof(struct eb_frame_sample))
		ret = handle_frame(watch, data);
	watch->err = ret < 0 ? ret : 0;
	if (watch->err)
		return ENOUGH;
	return ret && watch->left && --watch->left == 0 ? ENOUGH : 0;
}

/* Runs until a signal, the count, or the end of whoever reads. Returns 0 or negative errno. */
static int follow(struct ring_buffer *ring, int signals)
{
	struct pollfd fds[] = {
		{ .fd = ring_buffer__epoll_fd(ring), .events = POLLIN },
		{ .fd = signals, .events = POLLIN },
		{ .fd = STDOUT_FILENO }, /* POLLERR once a pipe has no reader */
	};
	int ret;

	while (!fds[1].revents && !(fds[2].revents & POLLERR)) {
		ret = ring_buffer__consume(ring);
		if (ret == ENOUGH)
			return 0;
		if (ret < 0)
			return ret;
		if (poll(fds, 3, -1) < 0 && errno != EINTR)
			return -errno;
	}
	return 0;
}

/* A watcher that was killed can have left the program copying frames; the next one sets what it wants itself. */
static int run_ring(struct watch *watch, int signals, uint32_t snaplen)
{
	int err = eb_maps_set_snaplen(&watch->session.maps, snaplen);
	struct ring_buffer *ring;

	if (err)
		return err;
	ring = ring_buffer__new(watch->session.maps.fd[EB_MAP_EVENTS], handle_record, watch, NULL);
	err = ring ? follow(ring, signals) : -errno;
	ring_buffer__free(ring);
	if (snaplen)
		(void)eb_maps_set_snaplen(&watch->session.maps, 0);
	return err;
}

static enum cli_result run_until_signal(struct watch *watch, uint32_t snaplen)
{
	int signals = signals_open(), err;

	if (signals < 0)
		return cli_fail("cannot handle signals: %s", strerror(errno));
	err = run_ring(watch, signals, snaplen);
	close(signals);
	if (err)
		return cli_fail("%s: %s", watch->session.paths.pin_dir, strerror(-err));
	if (watch->err == -EPIPE)
		clearerr(stdout); /* the reader has seen enough, which is a good end */
	else if (watch->err)
		return cli_fail("standard output: %s", strerror(-watch->err));
	return CLI_DONE;
}

/* The ring gives each event once: a second watcher would take half of them. The directory of the pins is locked, as it
 * is always there, and the same for all who would share the ring. */
static enum cli_result run_alone(struct watch *watch, uint32_t snaplen)
{
	enum cli_result result;
	int lock = open(watch->session.paths.pin_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (lock < 0)
		return cli_fail("%s: %s", watch->session.paths.pin_dir, strerror(errno));
	if (flock(lock, LOCK_EX | LOCK_NB))
		result = errno == EWOULDBLOCK ? cli_fail("another watcher is connected") :
						cli_fail("%s: %s", watch->session.paths.pin_dir, strerror(errno));
	else
		result = run_until_signal(watch, snaplen);
	close(lock);
	return result;
}

/* Frames are copied by a helper of Linux 5.18. */
static enum cli_result check_kernel(void)
{
	if (libbpf_probe_bpf_helper(BPF_PROG_TYPE_XDP, BPF_FUNC_xdp_load_bytes, NULL) == 1)
		return CLI_DONE;
	return cli_fail("-w needs Linux 5.18 or later, and the rights of root");
}

static enum cli_result run_to_file(struct watch *watch, const char *path, uint32_t snaplen)
{
	enum cli_result result = check_kernel();
	int err;

	if (!result)
		result = evidence_open(path, snaplen, &watch->evidence);
	if (result)
		return result;
	result = run_alone(watch, snaplen);
	err = evidence_close(watch->evidence);
	if (result || (err && err != -EPIPE))
		return result ? result : cli_fail("%s: %s", path, strerror(-err));
	if (strcmp(path, "-"))
		cli_note("%llu packets written to %s", (unsigned long long)watch->written, path);
	return CLI_DONE;
}

static enum cli_result check_options(const struct cli *cli, const char *path, int64_t snaplen)
{
	if (path && cli->json)
		return cli_misuse(cli, "-w writes packets, --json prints events; choose one");
	if (!path && snaplen >= 0)
		return cli_misuse(cli, "--snaplen is for -w FILE");
	if (snaplen == 0)
		return cli_misuse(cli, "--snaplen: write a number of bytes from 1 to %d", EB_SNAPLEN_MAX);
	return CLI_DONE;
}

enum cli_result cmd_watch(struct cli *cli, int argc, char **argv)
{
	struct watch watch = { .left = 0 };
	const char *path = NULL, *within = NULL;
	int64_t count = 0, snaplen = -1;
	const struct option_spec specs[] = {
		{ "rule", 'r', OPTION_TEXT, &watch.rule, 0 },
		{ "src", 's', OPTION_TEXT, &within, 0 },
		{ "count", 'n', OPTION_NUMBER, &count, INT64_MAX },
		{ "write", 'w', OPTION_TEXT, &path, 0 },
		{ "snaplen", 0, OPTION_NUMBER, &snaplen, EB_SNAPLEN_MAX },
	};
	enum cli_result result;
	int rule;

	if (options_parse(cli, argc, argv, specs, sizeof(specs) / sizeof(specs[0]), 0) ||
	    check_options(cli, path, snaplen) || (within && session_parse_prefix(cli, within, &watch.within)))
		return CLI_MISUSED;
	watch.json = cli->json;
	watch.left = count;
	watch.started_at = eb_monotonic_ns();
	watch.to_real_time = eb_wallclock_ns() - watch.started_at;
	result = session_open(cli, SESSION_MAPS, &watch.session);
	if (!result)
		result = session_option_rule(&watch.session, watch.rule, &rule);
	if (!result)
		result = path ? run_to_file(&watch, path, snaplen < 0 ? SNAPLEN_DEFAULT : snaplen)
			      : run_alone(&watch, 0);
	session_close(&watch.session);
	return result;
}
