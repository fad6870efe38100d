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
static void note_double(struct eb_interface *interface)
{
	char *problem = NULL;

	eb_fail(0, &problem, "%s: is another name of %s, which is also configured: leave one out", interface->name,
		interface->other);
	if (note_problem(interface, problem))
		eb_error("two names of one interface", eb_str("interface", interface->name),
			 eb_str("other", interface->other),
			 eb_str("hint", "leave one out of interfaces: and reload"));
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
		eb_info("detached, no longer one of interfaces", eb_str("interface", name));
	else if (err == -EINPROGRESS)
		agent->interfaces.leaving = true;
	else if (err != -ENODEV)
		eb_warning("cannot detach from what is no longer one of interfaces, its packets are still limited",
			   eb_str("interface", name), eb_str("error", error),
			   eb_str("hint", "take the program off with ip link or xdp-loader"));
	free(error);
}

/* Leaves those of the interfaces that have our program and are not to have it, from above. */
static void leave_unknown(struct eb_agent *agent, const struct eb_layers *layers, int *ifindexes, int count)
{
	char name[IF_NAMESIZE];

	eb_layers_sort(layers, ifindexes, count);
	for (int i = count - 1; i >= 0; i--)
		if (!find_interface(agent, ifindexes[i]) && if_indextoname(ifindexes[i], name) &&
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

/* ---- which interfaces ---- */

static bool asks_for_default(const struct eb_config *config)
{
	for (size_t i = 0; i < config->entry_count; i++)
		if (config->entries[i].kind == EB_ENTRY_DEFAULT)
			return true;
	return false;
}

static void read_routes(struct eb_agent *agent)
{
	struct eb_default_routes now;
	int err = eb_default_routes_read(&now);

	if (err)
		eb_warning("cannot read the default routes, going by the last ones", eb_err(err));
	else if (now.count)
		agent->interfaces.routes = now;
}

static bool is_listed(const struct eb_target *target)
{
	return target->state == EB_TARGET_THERE || target->state == EB_TARGET_MISSING ||
	       target->state == EB_TARGET_DOUBLE;
}

static int make_list(struct eb_interface_plan *plan)
{
	plan->list = calloc(plan->targets.count + 1, sizeof(*plan->list));
	if (!plan->list)
		return -ENOMEM;
	for (size_t i = 0; i < plan->targets.count; i++) {
		const struct eb_target *target = &plan->targets.items[i];
		struct eb_interface *interface = &plan->list[plan->count];

		if (!is_listed(target))
			continue;
		memcpy(interface->name, target->name, sizeof(interface->name));
		memcpy(interface->other, target->other, sizeof(interface->other));
		interface->ifindex = target->ifindex;
		interface->attachment.mode = "";
		plan->count++;
	}
	return 0;
}

int eb_interfaces_plan(struct eb_agent *agent, const struct eb_config *config, struct eb_interface_plan *out,
		       char **error)
{
	struct eb_interface_plan plan = { .count = 0 };
	int err;

	if (asks_for_default(config))
		read_routes(agent);
	err = eb_targets_find(config, &agent->interfaces.routes, &plan.targets);
	if (!err)
		err = make_list(&plan);
	if (err) {
		eb_interfaces_drop(&plan);
		return eb_fail(err, error, "cannot read which interfaces there are: %s", strerror(-err));
	}
	*out = plan;
	return 0;
}

static void free_list(struct eb_interface *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(list[i].problem);
	free(list);
}

void eb_interfaces_drop(struct eb_interface_plan *plan)
{
	free_list(plan->list, plan->count);
	eb_targets_done(&plan->targets);
	*plan = (struct eb_interface_plan){ .count = 0 };
}

static struct eb_interface *find_planned(const struct eb_interface_plan *plan, int ifindex)
{
	for (size_t i = 0; i < plan->count; i++)
		if (plan->list[i].ifindex == ifindex)
			return &plan->list[i];
	return NULL;
}

/* Leaves the interfaces that are not in the plan, from above. */
static void leave_unplanned(struct eb_agent *agent, const struct eb_interface_plan *plan)
{
	struct eb_layers *layers = NULL;
	int order[EB_INTERFACES_MAX], count = list_present(agent, NULL, order), kept = 0;
	char name[IF_NAMESIZE];

	for (int i = 0; i < count; i++)
		kept += find_planned(plan, order[i]) != NULL;
	if (kept == count)
		return;
	layers = read_layers();
	for (int i = list_present(agent, layers, order) - 1; i >= 0; i--)
		if (!find_planned(plan, order[i]) && if_indextoname(order[i], name) && is_attached(agent, name))
			leave_interface(agent, layers, name);
	eb_layers_free(layers);
}

/* Moves what is known of an interface that stays, perhaps by another name of it, from the old list to the new one. */
static void inherit(struct eb_agent *agent, struct eb_interface *interface)
{
	for (size_t i = 0; i < agent->interfaces.count; i++) {
		struct eb_interface *old = &agent->interfaces.list[i];

		if (old->ifindex != interface->ifindex || (!old->ifindex && strcmp(old->name, interface->name) != 0))
			continue;
		memcpy(old->name, interface->name, sizeof(old->name));
		memcpy(old->other, interface->other, sizeof(old->other));
		*interface = *old;
		old->problem = NULL;
		return;
	}
}

static const struct eb_target *find_target(const struct eb_targets *targets, int ifindex)
{
	for (size_t i = 0; i < targets->count; i++)
		if (targets->items[i].ifindex == ifindex)
			return &targets->items[i];
	return NULL;
}

static void log_left_out(const struct eb_targets *before, const struct eb_targets *now)
{
	char reason[EB_TARGET_REASON_MAX];

	for (size_t i = 0; i < now->count; i++) {
		const struct eb_target *target = &now->items[i], *old = find_target(before, target->ifindex);

		if (eb_target_reason(target, reason) && (!old || old->state != target->state))
			eb_info("matches, but is left out", eb_str("interface", target->name),
				eb_str("reason", reason));
	}
}

static void log_waiting(const struct eb_config *before, const struct eb_targets *old, const struct eb_config *config,
			const struct eb_targets *now)
{
	for (size_t i = 0; i < config->interface_count; i++) {
		bool was_waiting = before == config && !eb_targets_count(old, i);

		if (config->entries[i].kind != EB_ENTRY_NAME && !eb_targets_count(now, i) && !was_waiting)
			eb_info("no interface matches yet, waiting for one",
				eb_str("pattern", config->entries[i].text));
	}
}

void eb_interfaces_change(struct eb_agent *agent, const struct eb_config *config, struct eb_interface_plan *plan)
{
	struct eb_interfaces *interfaces = &agent->interfaces;

	leave_unplanned(agent, plan);
	for (size_t i = 0; i < plan->count; i++)
		inherit(agent, &plan->list[i]);
	log_left_out(&interfaces->targets, &plan->targets);
	log_waiting(interfaces->list ? agent->config : NULL, &interfaces->targets, config, &plan->targets);
	free_list(interfaces->list, interfaces->count);
	eb_targets_done(&interfaces->targets);
	interfaces->list = plan->list;
	interfaces->count = plan->count;
	interfaces->targets = plan->targets;
	for (size_t i = 0; i < interfaces->count; i++) {
		struct eb_interface *interface = &interfaces->list[i];

		if (interface->other[0])
			note_double(interface);
		else if (!interface->ifindex)
			note_missing(interface);
	}
}

static bool is_as_planned(const struct eb_agent *agent, const struct eb_interface_plan *plan)
{
	if (agent->interfaces.count != plan->count)
		return false;
	for (size_t i = 0; i < plan->count; i++)
		if (agent->interfaces.list[i].ifindex != plan->list[i].ifindex)
			return false;
	return true;
}

/* Looks again which interfaces the configuration stands for. Returns whether they are others than before. */
static bool find_all(struct eb_agent *agent)
{
	struct eb_interface_plan plan = { .count = 0 };
	char *error = NULL;
	bool is_other;
	int err = eb_interfaces_plan(agent, agent->config, &plan, &error);

	if (err) {
		eb_warning("going by the interfaces that there were", eb_str("error", error));
		free(error);
		return false;
	}
	is_other = !is_as_planned(agent, &plan);
	err = eb_dataplane_set_interfaces(agent->dataplane, &plan.targets);
	if (err)
		eb_warning("cannot tell the program which interface is which", eb_err(err));
	eb_interfaces_change(agent, agent->config, &plan);
	return is_other;
}

/* ---- attaching to all ---- */

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

	(void)find_all(agent);
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
	(void)find_all(agent);
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
	if (is_ours || (eb_targets_have_patterns(agent->config) && find_all(agent)))
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
	(void)find_all(agent);
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

void eb_interfaces_done(struct eb_interfaces *interfaces)
{
	sd_event_source_unref(interfaces->retry);
	sd_event_source_disable_unref(interfaces->job);
	free_list(interfaces->list, interfaces->count);
	eb_targets_done(&interfaces->targets);
}
