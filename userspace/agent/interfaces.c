// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "agent/agent.h"
#include "agent/interfaces.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/privileges.h"
#include "ipc/detach_note.h"
#include "netlink/layers.h"

/* An attempt that failed is repeated after this long, if no notification comes first. */
#define RETRY_US (5 * 1000000ULL)

static void watch_job(struct eb_agent *agent);

static int on_retry(sd_event_source *source, uint64_t usec, void *arg)
{
	struct eb_agent *agent = arg;

	(void)source;
	(void)usec;
	agent->interfaces.retry = sd_event_source_unref(agent->interfaces.retry);
	for (size_t i = 0; i < agent->interfaces.count; i++)
		agent->interfaces.list[i].put_off = false;
	eb_interfaces_attach_all(agent);
	return 0;
}

static void schedule_retry(struct eb_agent *agent)
{
	int err;

	if (agent->interfaces.retry)
		return;
	err = sd_event_add_time_relative(agent->loop, &agent->interfaces.retry, CLOCK_MONOTONIC, RETRY_US, 0, on_retry,
					 agent);
	if (err < 0)
		eb_error("cannot set a timer, the agent does not retry to attach by itself", eb_err(err),
			 eb_str("hint", "edgebucket reload retries"));
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
			   eb_str("hint", "if it will not appear, correct interfaces: and reload"));
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
	eb_warning("cannot read which interfaces lie on others", eb_err(err));
	return NULL;
}

static struct eb_interface *find_interface(struct eb_agent *agent, int ifindex)
{
	for (size_t i = 0; i < agent->interfaces.count; i++)
		if (agent->interfaces.list[i].ifindex == ifindex)
			return &agent->interfaces.list[i];
	return NULL;
}

/* The indexes of our interfaces that are there, those below before what lies on them. Returns their number. */
static int list_present(const struct eb_agent *agent, const struct eb_layers *layers, int out[EB_INTERFACES_MAX])
{
	int count = 0;

	for (size_t i = 0; i < agent->interfaces.count; i++)
		if (agent->interfaces.list[i].ifindex)
			out[count++] = agent->interfaces.list[i].ifindex;
	eb_layers_sort(layers, out, count);
	return count;
}

/* The configuration is checked for two names of one interface, but may be older than the interface or its names. */
static void note_double(struct eb_interface *interface, const struct eb_interface *other)
{
	char *problem = NULL;

	interface->ifindex = 0;
	interface->attachment = (struct eb_attachment){ .mode = "" };
	eb_fail(0, &problem, "%s: is another name of %s, which is also configured: leave one out", interface->name,
		other->name);
	if (note_problem(interface, problem))
		eb_error("two names of one interface", eb_str("interface", interface->name),
			 eb_str("other", other->name), eb_str("hint", "leave one out of interfaces: and reload"));
}

/* Looks which interface has each name now. */
static void find_all(struct eb_agent *agent)
{
	int err = eb_dataplane_find_interfaces(agent->dataplane);

	if (err)
		eb_warning("cannot tell the program which interface is which", eb_err(err));
	for (size_t i = 0; i < agent->interfaces.count; i++)
		agent->interfaces.list[i].ifindex = 0;
	for (size_t i = 0; i < agent->interfaces.count; i++) {
		struct eb_interface *interface = &agent->interfaces.list[i];
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
	for (size_t i = 0; i < agent->interfaces.count; i++)
		if (eb_layers_is_on(layers, agent->interfaces.list[i].ifindex, ifindex))
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

/* Takes our program off what lies on an interface, from above; eb_interfaces_attach_all() puts it back. False where it
 * was on nothing there. */
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
			   eb_str("hint", "edgebucket detach --stay detaches it permanently"));
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
		agent->interfaces.leaving = true;
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

	agent->interfaces.leaving = false;
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
	for (size_t i = 0; i < agent->interfaces.count; i++)
		if (agent->interfaces.list[i].ifindex && !agent->interfaces.list[i].attachment.attached)
			return false;
	return true;
}

/* Whether no program of the agent before charges other maps any more. Tries again by itself. */
static bool settle_buckets(struct eb_agent *agent)
{
	int err = agent->interfaces.job ? -EINPROGRESS : eb_dataplane_settle(agent->dataplane);

	if (err && err != -EINPROGRESS && err != -EBUSY)
		eb_error("cannot copy the last charges of the old program, trying again", eb_err(err));
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

void eb_interfaces_attach_all(struct eb_agent *agent)
{
	int order[EB_INTERFACES_MAX], count;
	struct eb_layers *layers;

	find_all(agent);
	if (!agent->enforcing)
		return;
	if (agent->interfaces.detached) {
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
	for (size_t i = 0; i < agent->interfaces.count; i++) {
		const struct eb_interface *interface = &agent->interfaces.list[i];

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

	if (agent->interfaces.leaving)
		leave_others(agent);
	if (agent->interfaces.detached) {
		detached = eb_interfaces_detach_all(agent, true, &error);
	} else {
		eb_interfaces_attach_all(agent);
		attached = agent->interfaces.job ? -EINPROGRESS : check_attached(agent, &error);
	}
	if (attached != -EINPROGRESS && agent->interfaces.attach_done)
		agent->interfaces.attach_done(attached, error, agent->interfaces.done_arg);
	if (detached != -EINPROGRESS && agent->interfaces.detach_done)
		agent->interfaces.detach_done(detached, error, agent->interfaces.done_arg);
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
	agent->interfaces.job = sd_event_source_disable_unref(agent->interfaces.job);
	err = eb_programs_finish(eb_dataplane_programs(agent->dataplane), &ifindex);
	interface = err && ifindex ? find_interface(agent, ifindex) : NULL;
	if (interface) {
		char *problem = NULL;

		(void)eb_attach_explain(err, interface->name, &problem);
		note_failed(agent, interface, problem);
		interface->put_off = true; /* others first */
	}
	go_on(agent);
	return 0;
}

static void watch_job(struct eb_agent *agent)
{
	int fd = eb_programs_job(eb_dataplane_programs(agent->dataplane));

	if (fd < 0 || agent->interfaces.job)
		return;
	if (sd_event_add_io(agent->loop, &agent->interfaces.job, fd, EPOLLIN, on_job, agent) < 0)
		schedule_retry(agent);
}

/* An operator wants the limits off; the agent before may have been killed over it. */
static void stay_off(struct eb_agent *agent)
{
	char *error = NULL;
	int err = eb_interfaces_detach_all(agent, true, &error);

	if (err && err != -EINPROGRESS)
		eb_error("cannot detach, its packets are still limited; try edgebucket detach", eb_str("error", error));
	free(error);
}

void eb_interfaces_enforce(struct eb_agent *agent)
{
	leave_others(agent); /* first: this takes CAP_SYS_ADMIN */
	eb_programs_sweep(eb_dataplane_programs(agent->dataplane));
	if (agent->interfaces.detached)
		stay_off(agent);
	else
		eb_interfaces_attach_all(agent);
}

/* An interface that was renamed is known by its index; one that comes may have our name for another one of its own. */
static bool is_named(const struct eb_interface *interface, const char *name, int ifindex)
{
	if (interface->ifindex)
		return interface->ifindex == ifindex || strcmp(interface->name, name) == 0;
	return (int)if_nametoindex(interface->name) == ifindex;
}

void eb_interfaces_check(struct eb_agent *agent, const char *name, int ifindex, bool running)
{
	bool is_ours = false;

	for (size_t i = 0; i < agent->interfaces.count; i++) {
		struct eb_interface *interface = &agent->interfaces.list[i];

		if (!is_named(interface, name, ifindex))
			continue;
		is_ours = true;
		if (interface->running && !running)
			(void)eb_persist_fault(agent->persist, EB_PASS_LINK_DOWN);
		interface->running = running;
	}
	if (is_ours)
		eb_interfaces_attach_all(agent);
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

int eb_interfaces_detach_all(struct eb_agent *agent, bool pause, char **error)
{
	int order[EB_INTERFACES_MAX], ret = 0;
	struct eb_layers *layers = read_layers();

	agent->interfaces.detached = pause;
	if (agent->interfaces.job && agent->interfaces.attach_done)
		agent->interfaces.attach_done(-ECANCELED, NULL, agent->interfaces.done_arg);
	agent->interfaces.job = sd_event_source_disable_unref(agent->interfaces.job); /* before its descriptor may go */
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

int eb_interfaces_stay(struct eb_agent *agent, char **error)
{
	int err = eb_detach_note_set(agent->config->state_dir, agent->config->run_dir, error);

	agent->interfaces.stays |= !err;
	return err;
}

void eb_interfaces_stay_no_more(struct eb_agent *agent)
{
	char *error = NULL;

	if (eb_detach_note_clear(agent->config->state_dir, agent->config->run_dir, &error))
		eb_error("cannot remove the note of detach --stay, the next agent will not attach",
			 eb_str("error", error));
	free(error);
	agent->interfaces.stays = false;
}

int eb_interfaces_attach(struct eb_agent *agent, char **error)
{
	agent->interfaces.detached = false;
	eb_interfaces_stay_no_more(agent);
	eb_interfaces_attach_all(agent);
	if (!agent->enforcing)
		return eb_fail(-EAGAIN, error, "still restoring: the limits come into force afterwards");
	return agent->interfaces.job ? -EINPROGRESS : check_attached(agent, error);
}

void eb_interfaces_check_intake(struct eb_agent *agent)
{
	const struct eb_maps *maps = eb_dataplane_maps(agent->dataplane);

	for (size_t i = 0; i < agent->interfaces.count; i++) {
		struct eb_interface *interface = &agent->interfaces.list[i];
		int ifindex = interface->attachment.attached ? interface->ifindex : 0;

		if (eb_intake_look(&interface->intake, maps, ifindex, eb_monotonic_ns()))
			eb_warning("nearly all frames are not IP, and pass without limits",
				   eb_str("interface", interface->name), eb_num("not_ip", interface->intake.not_ip),
				   eb_str("hint", "attach where they are IP: the ports behind a DSA conduit, the end "
						  "of a tunnel"));
	}
	eb_maps_forget_interfaces(maps);
}

static void free_list(struct eb_interfaces *interfaces)
{
	for (size_t i = 0; i < interfaces->count; i++)
		free(interfaces->list[i].problem);
	free(interfaces->list);
}

/* Moves what is known of an interface that stays, perhaps by another name of it, from the old list to the new one. */
static void inherit(struct eb_agent *agent, struct eb_interface *interface)
{
	int ifindex = if_nametoindex(interface->name);

	for (size_t i = 0; i < agent->interfaces.count; i++) {
		struct eb_interface *old = &agent->interfaces.list[i];

		if (strcmp(old->name, interface->name) != 0 && (!ifindex || old->ifindex != ifindex))
			continue;
		free(interface->problem);
		memcpy(old->name, interface->name, sizeof(old->name));
		*interface = *old;
		old->problem = NULL;
	}
}

int eb_interfaces_list(const struct eb_config *config, struct eb_interface **out)
{
	struct eb_interface *list = calloc(config->interface_count, sizeof(*list));

	if (!list)
		return -ENOMEM;
	for (size_t i = 0; i < config->interface_count; i++) {
		memcpy(list[i].name, config->interfaces[i], sizeof(list[i].name));
		list[i].attachment.mode = "";
	}
	*out = list;
	return 0;
}

/* Leaves the interfaces that another configuration does not have, from above. */
static void leave_unconfigured(struct eb_agent *agent, const struct eb_config *config)
{
	struct eb_layers *layers = read_layers();
	int order[EB_INTERFACES_MAX];

	for (int i = list_present(agent, layers, order) - 1; i >= 0; i--) {
		const struct eb_interface *interface = find_interface(agent, order[i]);

		if (!has_interface(config, interface->name, interface->ifindex))
			leave_interface(agent, layers, interface->name);
	}
	eb_layers_free(layers);
}

void eb_interfaces_change(struct eb_agent *agent, const struct eb_config *config, struct eb_interface *list)
{
	leave_unconfigured(agent, config);
	for (size_t i = 0; i < config->interface_count; i++)
		inherit(agent, &list[i]);
	free_list(&agent->interfaces);
	agent->interfaces.list = list;
	agent->interfaces.count = config->interface_count;
}

void eb_interfaces_done(struct eb_interfaces *interfaces)
{
	sd_event_source_unref(interfaces->retry);
	sd_event_source_disable_unref(interfaces->job);
	free_list(interfaces);
}
