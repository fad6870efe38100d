// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "agent/agent.h"
#include "agent/lists.h"
#include "agent/watch.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/privileges.h"
#include "ipc/detach_note.h"
#include "netlink/layers.h"

/* An attempt that failed is repeated after this long, if no notification comes first. */
#define RETRY_US (5 * 1000000ULL)

/* How long the loop stands still for libxdp. It takes tenths of a second, unless another process holds its lock. */
#define LIBXDP_PATIENCE_MS 1000

/* ---- rules ---- */

static int apply_rules(struct eb_agent *agent, const struct eb_config *config, char **error)
{
	struct eb_policy *previous = calloc(1, sizeof(*previous));
	struct eb_ruleset *ruleset = NULL;
	int err;

	if (!previous)
		return eb_fail(-ENOMEM, error, "out of memory");
	err = eb_maps_policy(eb_dataplane_maps(agent->dataplane), previous);
	if (err)
		eb_fail(err, error, "cannot read the rules in force: %s", strerror(-err));
	else
		err = eb_rules_compile(config, previous, &ruleset, error);
	if (!err && agent->monitor)
		eb_rules_monitor(ruleset);
	if (!err)
		err = eb_dataplane_apply(agent->dataplane, ruleset, error);
	eb_rules_free(ruleset);
	free(previous);
	return err;
}

/* ---- interfaces ---- */

static void watch_job(struct eb_agent *agent);

static int on_retry(sd_event_source *source, uint64_t usec, void *arg)
{
	struct eb_agent *agent = arg;

	(void)source;
	(void)usec;
	agent->retry = sd_event_source_unref(agent->retry);
	for (size_t i = 0; i < agent->interface_count; i++)
		agent->interfaces[i].put_off = false;
	eb_agent_attach_all(agent);
	return 0;
}

static void schedule_retry(struct eb_agent *agent)
{
	int err;

	if (agent->retry)
		return;
	err = sd_event_add_time_relative(agent->loop, &agent->retry, CLOCK_MONOTONIC, RETRY_US, 0, on_retry, agent);
	if (err < 0)
		eb_error("cannot set a timer, attaching is not tried again by itself", eb_err(err),
			 eb_str("hint", "edgebucket reload tries again"));
}

/* Whether it is another problem than the last time: it is logged once, not at every attempt. Takes over `problem`. */
static bool note_problem(struct eb_interface *interface, char *problem)
{
	bool is_new = problem && (!interface->problem || strcmp(problem, interface->problem) != 0);

	free(interface->problem);
	interface->problem = problem;
	return is_new;
}

static void note_attached(struct eb_agent *agent, struct eb_interface *interface, const struct eb_attachment *now)
{
	const struct eb_attachment *before = &interface->attachment;

	if (!before->attached || before->prog_id != now->prog_id || strcmp(before->mode, now->mode) != 0) {
		eb_info("attached", eb_str("interface", interface->name), eb_str("mode", now->mode),
			eb_num("program", now->prog_id), eb_str("dispatcher", now->dispatcher ? "yes" : "no"));
		eb_intake_begin(&interface->intake, eb_dataplane_maps(agent->dataplane), interface->ifindex,
				eb_monotonic_ns());
	}
	interface->attachment = *now;
	(void)note_problem(interface, NULL);
}

static void note_missing(struct eb_interface *interface)
{
	char *problem = NULL;

	interface->attachment = (struct eb_attachment){ .mode = "" };
	eb_fail(0, &problem, "%s: no such interface yet, waiting for it", interface->name);
	if (note_problem(interface, problem))
		eb_warning("no such interface yet, waiting for it", eb_str("interface", interface->name),
			   eb_str("hint", "if it is not to come, correct interfaces: and reload"));
}

/* libxdp is at work: on_job() goes on where it is done. */
static void note_waiting(struct eb_interface *interface, char *error)
{
	if (note_problem(interface, error))
		eb_warning("not attached yet", eb_str("interface", interface->name), eb_str("reason", error));
}

static void note_failed(struct eb_agent *agent, struct eb_interface *interface, char *error)
{
	if (note_problem(interface, error))
		eb_error("cannot attach, packets are not limited; trying again", eb_str("interface", interface->name),
			 eb_str("error", error));
	schedule_retry(agent);
}

/* NULL where they cannot be read: each interface is taken for one that lies on none. */
static struct eb_layers *read_layers(void)
{
	struct eb_layers *layers;
	int err = eb_layers_read(&layers);

	if (!err)
		return layers;
	eb_warning("cannot tell which interfaces lie on which", eb_err(err));
	return NULL;
}

static struct eb_interface *find_interface(struct eb_agent *agent, int ifindex)
{
	for (size_t i = 0; i < agent->interface_count; i++)
		if (agent->interfaces[i].ifindex == ifindex)
			return &agent->interfaces[i];
	return NULL;
}

/* The indexes of our interfaces that are there, those below before what lies on them. Returns their number. */
static int list_present(const struct eb_agent *agent, const struct eb_layers *layers, int out[EB_INTERFACES_MAX])
{
	int count = 0;

	for (size_t i = 0; i < agent->interface_count; i++)
		if (agent->interfaces[i].ifindex)
			out[count++] = agent->interfaces[i].ifindex;
	eb_layers_sort(layers, out, count);
	return count;
}

/* The configuration is checked for two names of one interface, but may be older than the interface or its names. */
static void note_double(struct eb_interface *interface, const struct eb_interface *other)
{
	char *problem = NULL;

	interface->ifindex = 0;
	interface->attachment = (struct eb_attachment){ .mode = "" };
	eb_fail(0, &problem, "%s: is another name of %s, which is configured too: leave one out", interface->name,
		other->name);
	if (note_problem(interface, problem))
		eb_error("two names of one interface", eb_str("interface", interface->name),
			 eb_str("other", other->name), eb_str("hint", "leave one out of interfaces: and reload"));
}

/* Looks which interface has each name now. */
static void find_all(struct eb_agent *agent)
{
	for (size_t i = 0; i < agent->interface_count; i++)
		agent->interfaces[i].ifindex = 0;
	for (size_t i = 0; i < agent->interface_count; i++) {
		struct eb_interface *interface = &agent->interfaces[i];
		int ifindex = if_nametoindex(interface->name);
		const struct eb_interface *other = ifindex ? find_interface(agent, ifindex) : NULL;

		if (!ifindex)
			note_missing(interface);
		else if (other)
			note_double(interface, other);
		else
			interface->ifindex = ifindex;
	}
}

/* Another interface of ours lies on it. */
static bool is_below(const struct eb_agent *agent, const struct eb_layers *layers, int ifindex)
{
	for (size_t i = 0; i < agent->interface_count; i++)
		if (eb_layers_is_on(layers, agent->interfaces[i].ifindex, ifindex))
			return true;
	return false;
}

static bool is_attached(const struct eb_agent *agent, const char *name)
{
	struct eb_attachment now;

	return eb_attach_status(name, eb_dataplane_programs(agent->dataplane), &now) == 0 && now.attached;
}

/* Takes our program off one interface for a moment. */
static bool lift(struct eb_agent *agent, struct eb_interface *interface, const char *lower)
{
	char *error = NULL;
	int err = eb_attach_remove(interface->name, eb_dataplane_programs(agent->dataplane), &error);

	if (!err) {
		interface->attachment = (struct eb_attachment){ .mode = "" };
		eb_info("detached for a moment, because the kernel changes nothing below an interface with a program",
			eb_str("interface", interface->name), eb_str("below", lower));
	}
	free(error);
	return !err;
}

/* Takes our program off what lies on an interface, from above; eb_agent_attach_all() puts it back. False where it was
 * on nothing there. */
static bool clear_above(struct eb_agent *agent, const struct eb_layers *layers, const char *lower, int ifindex)
{
	int order[EB_INTERFACES_MAX];
	bool is_cleared = false;

	for (int i = list_present(agent, layers, order) - 1; i >= 0; i--) {
		struct eb_interface *interface = find_interface(agent, order[i]);

		if (eb_layers_is_on(layers, order[i], ifindex) && is_attached(agent, interface->name))
			is_cleared |= lift(agent, interface, lower);
	}
	return is_cleared;
}

static int put_program(struct eb_agent *agent, const struct eb_layers *layers, const struct eb_interface *interface,
		       struct eb_attachment *now, char **error)
{
	return eb_attach_program(eb_dataplane_programs(agent->dataplane), interface->name,
				 is_below(agent, layers, interface->ifindex), agent->config->attach, now, error);
}

static void attach_interface(struct eb_agent *agent, const struct eb_layers *layers, struct eb_interface *interface)
{
	struct eb_attachment now;
	char *error = NULL;
	int err = eb_attach_status(interface->name, eb_dataplane_programs(agent->dataplane), &now);

	if (!err && !now.attached && interface->attachment.attached) {
		eb_warning("another process detached the program, attaching again",
			   eb_str("interface", interface->name),
			   eb_str("hint", "edgebucket detach --stay takes it off for good"));
		(void)eb_persist_fault(agent->persist, EB_PASS_DETACHED);
	}
	if (!err && !now.attached)
		interface->attachment = now;
	err = put_program(agent, layers, interface, &now, &error);
	if (err == -EEXIST && clear_above(agent, layers, interface->name, interface->ifindex)) {
		free(error);
		error = NULL;
		err = put_program(agent, layers, interface, &now, &error);
	}
	if (!err) {
		note_attached(agent, interface, &now);
		return;
	}
	if (err == -ENODEV) {
		free(error);
		note_missing(interface);
	} else if (err == -EINPROGRESS) {
		note_waiting(interface, error);
	} else {
		note_failed(agent, interface, error);
	}
}

static bool has_interface(const struct eb_config *config, const char *name, int ifindex)
{
	for (size_t i = 0; i < config->interface_count; i++)
		if (strcmp(config->interfaces[i], name) == 0 ||
		    (ifindex && (int)if_nametoindex(config->interfaces[i]) == ifindex))
			return true;
	return false;
}

/* `layers` may be NULL. */
static void leave_interface(struct eb_agent *agent, const struct eb_layers *layers, const char *name)
{
	struct eb_programs *programs = eb_dataplane_programs(agent->dataplane);
	char *error = NULL;
	int err = eb_attach_remove(name, programs, &error);

	if (err == -EEXIST && clear_above(agent, layers, name, if_nametoindex(name))) {
		free(error);
		error = NULL;
		err = eb_attach_remove(name, programs, &error);
	}
	if (!err)
		eb_info("detached, no longer configured", eb_str("interface", name));
	else if (err == -EINPROGRESS)
		agent->leaving = true;
	else if (err != -ENODEV)
		eb_warning("cannot detach from an interface no longer configured, its packets are still limited",
			   eb_str("interface", name), eb_str("error", error),
			   eb_str("hint", "take the program off with ip link or xdp-loader"));
	free(error);
}

/* Leaves those of the interfaces that have our program and are not configured, from above. */
static void leave_unknown(struct eb_agent *agent, const struct eb_layers *layers, int *ifindexes, int count)
{
	char name[IF_NAMESIZE];

	eb_layers_sort(layers, ifindexes, count);
	for (int i = count - 1; i >= 0; i--)
		if (if_indextoname(ifindexes[i], name) && !has_interface(agent->config, name, ifindexes[i]) &&
		    is_attached(agent, name))
			leave_interface(agent, layers, name);
}

/* An agent that was killed while it tried a configuration, or whose file changed while none ran, had other ones. */
static void leave_others(struct eb_agent *agent)
{
	struct if_nameindex *all = if_nameindex();
	struct eb_layers *layers = read_layers();
	int *ifindexes = NULL, count = 0;

	agent->leaving = false;
	while (all && all[count].if_index)
		count++;
	ifindexes = calloc(count ? count : 1, sizeof(*ifindexes));
	for (int i = 0; ifindexes && i < count; i++)
		ifindexes[i] = all[i].if_index;
	if (ifindexes)
		leave_unknown(agent, layers, ifindexes, count);
	free(ifindexes);
	eb_layers_free(layers);
	if (all)
		if_freenameindex(all);
}

/* Every interface that is there has its program. */
static bool is_everywhere(const struct eb_agent *agent)
{
	for (size_t i = 0; i < agent->interface_count; i++)
		if (agent->interfaces[i].ifindex && !agent->interfaces[i].attachment.attached)
			return false;
	return true;
}

/* Whether no program of the agent before charges other maps any more. Tries again by itself. */
static bool settle_buckets(struct eb_agent *agent)
{
	int err = agent->job ? -EINPROGRESS : eb_dataplane_settle(agent->dataplane);

	if (err && err != -EINPROGRESS && err != -EBUSY)
		eb_error("cannot copy what the old program charged last, trying again", eb_err(err));
	if (err && err != -EINPROGRESS)
		schedule_retry(agent);
	return !err;
}

/* Once it is everywhere, and no program of the agent before anywhere, nor another one beside it, nothing is looked for
 * by its number any more, and libxdp is not asked again. */
static void settle(struct eb_agent *agent)
{
	bool is_settled = settle_buckets(agent) && is_everywhere(agent);

	eb_privileges_settle(!is_settled || !eb_programs_are_alone(eb_dataplane_programs(agent->dataplane)));
}

void eb_agent_attach_all(struct eb_agent *agent)
{
	int order[EB_INTERFACES_MAX], count;
	struct eb_layers *layers;

	find_all(agent);
	if (!agent->enforcing)
		return;
	if (agent->detached) {
		(void)settle_buckets(agent);
		return;
	}
	layers = read_layers();
	count = list_present(agent, layers, order);
	for (int i = 0; i < count; i++)
		if (!find_interface(agent, order[i])->put_off)
			attach_interface(agent, layers, find_interface(agent, order[i]));
	eb_layers_free(layers);
	watch_job(agent);
	settle(agent);
}

/* -EBUSY with *error where an interface that is there has no program. */
static int check_attached(const struct eb_agent *agent, char **error)
{
	for (size_t i = 0; i < agent->interface_count; i++) {
		const struct eb_interface *interface = &agent->interfaces[i];

		if (interface->ifindex && !interface->attachment.attached)
			return eb_fail(-EBUSY, error, "%s",
				       interface->problem ? interface->problem : interface->name);
	}
	return 0;
}

/* Goes on where it stopped for libxdp. */
static void go_on(struct eb_agent *agent)
{
	int attached = -ECANCELED, detached = -ECANCELED;
	char *error = NULL;

	if (agent->leaving)
		leave_others(agent);
	if (agent->detached) {
		detached = eb_agent_detach_all(agent, true, &error);
	} else {
		eb_agent_attach_all(agent);
		attached = agent->job ? -EINPROGRESS : check_attached(agent, &error);
	}
	if (attached != -EINPROGRESS && agent->attach_done)
		agent->attach_done(attached, error, agent->done_arg);
	if (detached != -EINPROGRESS && agent->detach_done)
		agent->detach_done(detached, error, agent->done_arg);
	free(error);
}

static int on_job(sd_event_source *source, int fd, uint32_t events, void *arg)
{
	struct eb_agent *agent = arg;
	struct eb_interface *interface;
	int ifindex, err;

	(void)source;
	(void)fd;
	(void)events;
	agent->job = sd_event_source_disable_unref(agent->job);
	err = eb_programs_finish(eb_dataplane_programs(agent->dataplane), &ifindex);
	interface = err && ifindex ? find_interface(agent, ifindex) : NULL;
	if (interface) {
		char *problem = NULL;

		eb_fail(err, &problem, "%s: cannot attach: %s", interface->name, strerror(-err));
		note_failed(agent, interface, problem);
		interface->put_off = true; /* others first */
	}
	go_on(agent);
	return 0;
}

static void watch_job(struct eb_agent *agent)
{
	int fd = eb_programs_job(eb_dataplane_programs(agent->dataplane));

	if (fd < 0 || agent->job)
		return;
	if (sd_event_add_io(agent->loop, &agent->job, fd, EPOLLIN, on_job, agent) < 0)
		schedule_retry(agent);
}

static void begin_watch(struct eb_agent *agent)
{
	int err = eb_watch_new(agent, &agent->watch);

	if (err)
		eb_error("cannot watch the files of lists, changes come into force with a reload", eb_err(err));
}

/* An operator wants the limits off; the agent before may have been killed over it. */
static void stay_off(struct eb_agent *agent)
{
	char *error = NULL;
	int err = eb_agent_detach_all(agent, true, &error);

	if (err && err != -EINPROGRESS)
		eb_error("cannot detach, its packets are still limited; try edgebucket detach", eb_str("error", error));
	free(error);
}

void eb_agent_enforce(struct eb_agent *agent)
{
	agent->enforcing = true;
	leave_others(agent); /* first: this takes CAP_SYS_ADMIN */
	eb_programs_sweep(eb_dataplane_programs(agent->dataplane));
	if (agent->detached)
		stay_off(agent);
	else
		eb_agent_attach_all(agent);
	eb_agent_check_pins(agent);
	begin_watch(agent);
}

/* An interface that was renamed is known by its index; one that comes may have our name for another one of its own. */
static bool is_named(const struct eb_interface *interface, const char *name, int ifindex)
{
	if (interface->ifindex)
		return interface->ifindex == ifindex || strcmp(interface->name, name) == 0;
	return (int)if_nametoindex(interface->name) == ifindex;
}

void eb_agent_check_interface(struct eb_agent *agent, const char *name, int ifindex, bool running)
{
	bool is_ours = false;

	for (size_t i = 0; i < agent->interface_count; i++) {
		struct eb_interface *interface = &agent->interfaces[i];

		if (!is_named(interface, name, ifindex))
			continue;
		is_ours = true;
		if (interface->running && !running)
			(void)eb_persist_fault(agent->persist, EB_PASS_LINK_DOWN);
		interface->running = running;
	}
	if (is_ours)
		eb_agent_attach_all(agent);
}

void eb_agent_check_pressure(struct eb_agent *agent)
{
	struct eb_frame_counter frames[EB_FRAME_KINDS];
	bool is_first = !agent->is_watching_table;

	if (eb_maps_frames(eb_dataplane_maps(agent->dataplane), frames))
		return;
	agent->is_watching_table = true; /* what adopted maps counted before is over */
	if (!is_first && frames[EB_TABLE_FULL].packets > agent->table_full) {
		eb_warning("the table is full, packets of new sources found no room",
			   eb_num("packets", frames[EB_TABLE_FULL].packets - agent->table_full),
			   eb_num("table_size", agent->config->table_size),
			   eb_str("hint", "raise table_size or lower bursts"));
		(void)eb_persist_fault(agent->persist, EB_PASS_TABLE_PRESSURE);
	}
	agent->table_full = frames[EB_TABLE_FULL].packets;
}

static int detach_interface(struct eb_agent *agent, struct eb_interface *interface, char **error)
{
	char *text = NULL;
	int err = eb_attach_remove(interface->name, eb_dataplane_programs(agent->dataplane), &text);

	if (err && err != -ENODEV) {
		free(*error);
		*error = text;
		return err;
	}
	free(text);
	if (interface->attachment.attached)
		eb_info("detached", eb_str("interface", interface->name));
	interface->attachment = (struct eb_attachment){ .mode = "" };
	return 0;
}

void eb_agent_check_pins(struct eb_agent *agent)
{
	const char *pin_dir = agent->config->pin_dir, *problem;

	if (eb_dataplane_keep_pins(agent->dataplane))
		eb_warning("pins of the maps were removed, pinned them again", eb_str("pin_dir", pin_dir),
			   eb_str("hint", "edgebucket detach --maps removes them, once the agent is stopped"));
	problem = eb_dataplane_pins_problem(agent->dataplane);
	if (problem && (!agent->pins_problem || strcmp(problem, agent->pins_problem) != 0))
		eb_warning("the maps will not be found by the next agent", eb_str("pin_dir", pin_dir),
			   eb_str("reason", problem));
	free(agent->pins_problem);
	agent->pins_problem = problem ? strdup(problem) : NULL;
}

int eb_agent_detach_all(struct eb_agent *agent, bool pause, char **error)
{
	int order[EB_INTERFACES_MAX], ret = 0;
	struct eb_layers *layers = read_layers();

	agent->detached = pause;
	if (agent->job && agent->attach_done)
		agent->attach_done(-ECANCELED, NULL, agent->done_arg);
	agent->job = sd_event_source_disable_unref(agent->job); /* before its descriptor may go */
	eb_programs_cancel(eb_dataplane_programs(agent->dataplane));
	find_all(agent);
	for (int i = list_present(agent, layers, order) - 1; i >= 0; i--) {
		int err = detach_interface(agent, find_interface(agent, order[i]), error);

		if (ret != -EINPROGRESS)
			ret = err ? err : ret;
	}
	eb_layers_free(layers);
	watch_job(agent);
	(void)settle_buckets(agent);
	return ret;
}

int eb_agent_stay(struct eb_agent *agent, char **error)
{
	int err = eb_detach_note_set(agent->config->state_dir, agent->config->run_dir, error);

	agent->stays |= !err;
	return err;
}

void eb_agent_stay_no_more(struct eb_agent *agent)
{
	char *error = NULL;

	if (eb_detach_note_clear(agent->config->state_dir, agent->config->run_dir, &error))
		eb_error("cannot end a detach that holds over restarts", eb_str("error", error));
	free(error);
	agent->stays = false;
}

int eb_agent_attach(struct eb_agent *agent, char **error)
{
	agent->detached = false;
	eb_agent_stay_no_more(agent);
	eb_agent_attach_all(agent);
	if (!agent->enforcing)
		return eb_fail(-EAGAIN, error, "still restoring: the limits come into force after it");
	return agent->job ? -EINPROGRESS : check_attached(agent, error);
}

void eb_agent_check_intake(struct eb_agent *agent)
{
	const struct eb_maps *maps = eb_dataplane_maps(agent->dataplane);

	for (size_t i = 0; i < agent->interface_count; i++) {
		struct eb_interface *interface = &agent->interfaces[i];
		int ifindex = interface->attachment.attached ? interface->ifindex : 0;

		if (eb_intake_look(&interface->intake, maps, ifindex, eb_monotonic_ns()))
			eb_warning("nearly all frames are not IP, and pass without limits",
				   eb_str("interface", interface->name), eb_num("not_ip", interface->intake.not_ip),
				   eb_str("hint", "attach where they are IP: the ports behind a DSA conduit, the end "
						  "of a tunnel"));
	}
	eb_maps_forget_interfaces(maps);
}

static void free_interfaces(struct eb_interface *interfaces, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(interfaces[i].problem);
	free(interfaces);
}

/* Moves what is known of an interface that stays, perhaps by another name of it, from the old list to the new one. */
static void inherit(struct eb_agent *agent, struct eb_interface *interface)
{
	int ifindex = if_nametoindex(interface->name);

	for (size_t i = 0; i < agent->interface_count; i++) {
		struct eb_interface *old = &agent->interfaces[i];

		if (strcmp(old->name, interface->name) != 0 && (!ifindex || old->ifindex != ifindex))
			continue;
		free(interface->problem);
		memcpy(old->name, interface->name, sizeof(old->name));
		*interface = *old;
		old->problem = NULL;
	}
}

static int make_interfaces(const struct eb_config *config, struct eb_interface **out)
{
	struct eb_interface *interfaces = calloc(config->interface_count, sizeof(*interfaces));

	if (!interfaces)
		return -ENOMEM;
	for (size_t i = 0; i < config->interface_count; i++) {
		memcpy(interfaces[i].name, config->interfaces[i], sizeof(interfaces[i].name));
		interfaces[i].attachment.mode = "";
	}
	*out = interfaces;
	return 0;
}

/* Takes over a configuration whose rules are in force already. Returns the one before. */
static struct eb_config *adopt_config(struct eb_agent *agent, struct eb_config *config,
				      struct eb_interface *interfaces)
{
	struct eb_config *before = agent->config;
	struct eb_layers *layers = read_layers();
	int order[EB_INTERFACES_MAX];

	for (int i = list_present(agent, layers, order) - 1; i >= 0; i--) {
		const struct eb_interface *interface = find_interface(agent, order[i]);

		if (!has_interface(config, interface->name, interface->ifindex))
			leave_interface(agent, layers, interface->name);
	}
	eb_layers_free(layers);
	for (size_t i = 0; i < config->interface_count; i++)
		inherit(agent, &interfaces[i]);
	free_interfaces(agent->interfaces, agent->interface_count);
	agent->interfaces = interfaces;
	agent->interface_count = config->interface_count;
	agent->config = config;
	if (agent->watch)
		eb_watch_follow(agent->watch);
	return before;
}

/* ---- life ---- */

static void log_warnings(const struct eb_config *config)
{
	for (size_t i = 0; i < config->warning_count; i++)
		eb_warning("the configuration is valid, but perhaps not as it was meant",
			   eb_str("reason", config->warnings[i]));
}

static void log_adopted(struct eb_agent *agent)
{
	struct eb_bucket_count count;

	eb_buckets_count(eb_dataplane_buckets(agent->dataplane), 0, &count);
	eb_info("adopted the pinned maps", eb_str("pin_dir", agent->config->pin_dir), eb_num("buckets", count.in_use),
		eb_num("in_debt", count.in_debt));
}

static void log_carried(struct eb_agent *agent)
{
	struct eb_bucket_count count;

	eb_buckets_count(eb_dataplane_buckets(agent->dataplane), 0, &count);
	eb_info("carried the buckets over from maps of another layout", eb_str("pin_dir", agent->config->pin_dir),
		eb_num("buckets", count.in_use));
}

int eb_agent_start(struct eb_agent *agent, struct eb_config *config, char **error)
{
	int err;

	agent->config = config;
	eb_info("starting", eb_str("version", EB_VERSION), eb_str("node", config->node),
		eb_str("config", config->path));
	log_warnings(config);
	agent->stays = agent->detached = eb_detach_note_is_set(config->state_dir, config->run_dir);
	if (agent->detached)
		eb_warning("an operator detached with --stay: nothing is limited",
			   eb_str("hint", "edgebucket attach, or reload, attaches again"));
	if (agent->monitor)
		eb_warning("--monitor: nothing is dropped; rules count what they would drop");
	err = make_interfaces(config, &agent->interfaces);
	if (err)
		return eb_fail(err, error, "out of memory");
	agent->interface_count = config->interface_count;
	if (config->state_dir[0]) {
		err = eb_keep_new(agent->loop, config->state_dir, &agent->keep);
		if (err)
			return eb_fail(err, error, "cannot set up the keeping of configurations: %s", strerror(-err));
	}
	err = eb_dataplane_open(config, &agent->dataplane, error);
	if (err)
		return err;
	eb_programs_set_patience(eb_dataplane_programs(agent->dataplane), LIBXDP_PATIENCE_MS);
	if (eb_dataplane_is_new(agent->dataplane))
		eb_info("made new maps", eb_str("pin_dir", config->pin_dir), eb_num("table_size", config->table_size));
	else if (!eb_dataplane_is_carrying(agent->dataplane))
		log_adopted(agent);
	err = apply_rules(agent, config, error);
	if (!err && eb_dataplane_is_carrying(agent->dataplane))
		log_carried(agent);
	if (!err)
		eb_info("rules in force", eb_num("rules", config->rule_count), eb_str("config", config->path));
	return err;
}

/* What cannot change under a running agent. */
static int check_fixed(const struct eb_config *old, const struct eb_config *new, char **error)
{
	const struct {
		const char *key, *old, *new;
	} fixed[] = {
		{ "node", old->node, new->node },
		{ "pin_dir", old->pin_dir, new->pin_dir },
		{ "run_dir", old->run_dir, new->run_dir },
		{ "state_dir", old->state_dir, new->state_dir },
		{ "metrics", old->metrics ? old->metrics : "off", new->metrics ? new->metrics : "off" },
	};

	for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++)
		if (strcmp(fixed[i].old, fixed[i].new) != 0)
			return eb_fail(-EINVAL, error,
				       "%s: %s cannot change from %s to %s in a running agent: restart edgebucketd",
				       new->path, fixed[i].key, fixed[i].old, fixed[i].new);
	if (old->table_size != new->table_size)
		return eb_fail(
		    -EINVAL, error,
		    "%s: table_size cannot change from %u to %u in a running agent: restart edgebucketd, the buckets "
		    "are kept",
		    new->path, old->table_size, new->table_size);
	return 0;
}

int eb_agent_renew(struct eb_agent *agent, char **error)
{
	return apply_rules(agent, agent->config, error);
}

int eb_agent_replace(struct eb_agent *agent, struct eb_config *config, struct eb_config **before, char **error)
{
	struct eb_interface *interfaces;
	int err = check_fixed(agent->config, config, error);

	if (err)
		return err;
	err = make_interfaces(config, &interfaces);
	if (err)
		return eb_fail(err, error, "out of memory");
	err = eb_persist_prepare(agent->persist, config, error);
	if (!err) {
		err = apply_rules(agent, config, error);
		if (err)
			eb_persist_abandon(agent->persist);
	}
	if (err) {
		free(interfaces);
		return err;
	}
	*before = adopt_config(agent, config, interfaces);
	(void)eb_persist_reloaded(agent->persist, config);
	return 0;
}

void eb_agent_settle(struct eb_agent *agent)
{
	struct eb_inputs *inputs = agent->config->inputs;

	free(agent->reload_error);
	free(agent->refused);
	agent->reload_error = agent->refused = NULL;
	agent->config->inputs = NULL;
	if (inputs && agent->keep && !inputs->is_partial)
		eb_keep_inputs(agent->keep, inputs);
	else
		eb_inputs_free(inputs);
}

static int try_reload(struct eb_agent *agent, char **error)
{
	struct eb_config *config, *before;
	int err = eb_config_read(agent->config_path, agent->redis_path, &config, error);

	if (err)
		return err;
	err = eb_lists_inherit(config, agent->config);
	if (!err)
		err = eb_agent_replace(agent, config, &before, error);
	if (err) {
		eb_config_free(config);
		return err;
	}
	eb_config_free(before);
	log_warnings(config);
	agent->detached = false;
	eb_agent_stay_no_more(agent);
	eb_agent_attach_all(agent);
	return 0;
}

int eb_agent_reload(struct eb_agent *agent, char **error)
{
	int err = try_reload(agent, error);

	if (err) {
		free(agent->reload_error);
		agent->reload_failures++;
		agent->reload_error = *error ? strdup(*error) : NULL;
		eb_error("reload refused, the old rules stay in force", eb_str("config", agent->config_path),
			 eb_str("error", *error ? *error : strerror(-err)));
		return err;
	}
	agent->reloads++;
	eb_agent_settle(agent);
	eb_info("reloaded", eb_num("rules", agent->config->rule_count), eb_str("config", agent->config->path));
	return 0;
}

void eb_agent_done(struct eb_agent *agent)
{
	sd_event_source_unref(agent->retry);
	sd_event_source_disable_unref(agent->job);
	eb_watch_free(agent->watch);
	eb_persist_free(agent->persist);
	eb_dataplane_close(agent->dataplane);
	free_interfaces(agent->interfaces, agent->interface_count);
	eb_config_free(agent->config);
	eb_keep_free(agent->keep);
	free(agent->reload_error);
	free(agent->pins_problem);
	free(agent->refused);
}
