// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent.h"
#include "config_redis.h"
#include "log.h"
#include "privileges.h"
#include "text.h"

/* An attempt that failed is repeated after this long, if no notification comes first. */
#define RETRY_US (5 * 1000000ULL)

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

static int on_retry(sd_event_source *source, uint64_t usec, void *arg)
{
	struct eb_agent *agent = arg;

	(void)source;
	(void)usec;
	agent->retry = sd_event_source_unref(agent->retry);
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

static void note_attached(struct eb_interface *interface, const struct eb_attachment *now)
{
	const struct eb_attachment *before = &interface->attachment;

	if (!before->attached || before->prog_id != now->prog_id || strcmp(before->mode, now->mode) != 0)
		eb_info("attached", eb_str("interface", interface->name), eb_str("mode", now->mode),
			eb_num("program", now->prog_id), eb_str("dispatcher", now->dispatcher ? "yes" : "no"));
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

static void attach_interface(struct eb_agent *agent, struct eb_interface *interface)
{
	struct eb_attachment now;
	char *error = NULL;
	int err = eb_attach_status(interface->name, eb_dataplane_programs(agent->dataplane), &now);

	interface->ifindex = if_nametoindex(interface->name);
	if (err == -ENODEV) {
		note_missing(interface);
		return;
	}
	if (!err && !now.attached && interface->attachment.attached) {
		eb_warning("somebody took the program off, attaching again", eb_str("interface", interface->name),
			   eb_str("hint", "edgebucket detach takes it off for good"));
		(void)eb_persist_fault(agent->persist, EB_PASS_DETACHED);
	}
	if (!err && !now.attached)
		interface->attachment = now;
	err = eb_attach_program(eb_dataplane_programs(agent->dataplane), interface->name, agent->config->attach, &now,
				&error);
	if (!err) {
		note_attached(interface, &now);
		return;
	}
	if (err == -ENODEV) {
		free(error);
		note_missing(interface);
		return;
	}
	if (note_problem(interface, error))
		eb_error("cannot attach, packets are not limited; trying again", eb_str("interface", interface->name),
			 eb_str("error", error));
	schedule_retry(agent);
}

static bool has_interface(const struct eb_config *config, const char *name)
{
	for (size_t i = 0; i < config->interface_count; i++)
		if (strcmp(config->interfaces[i], name) == 0)
			return true;
	return false;
}

static void leave_interface(struct eb_agent *agent, const char *name)
{
	char *error = NULL;
	int err = eb_attach_remove(name, eb_dataplane_programs(agent->dataplane), &error);

	if (!err)
		eb_info("detached, no longer configured", eb_str("interface", name));
	else if (err != -ENODEV)
		eb_warning("cannot detach from what is no longer configured, its packets are still limited",
			   eb_str("interface", name), eb_str("error", error),
			   eb_str("hint", "take the program off with ip link or xdp-loader"));
	free(error);
}

/* An agent that was killed while it tried a configuration, or whose file changed while none ran, had other ones. */
static void leave_others(struct eb_agent *agent)
{
	const struct eb_programs *programs = eb_dataplane_programs(agent->dataplane);
	struct if_nameindex *all = if_nameindex();
	struct eb_attachment now;

	for (struct if_nameindex *interface = all; interface && interface->if_name; interface++)
		if (!has_interface(agent->config, interface->if_name) &&
		    eb_attach_status(interface->if_name, programs, &now) == 0 && now.attached)
			leave_interface(agent, interface->if_name);
	if (all)
		if_freenameindex(all);
}

/*
 * Once every interface that is there has its program, and none shares it, nothing is looked for by its number any more:
 * a program of the agent before was replaced, and libxdp is not asked again.
 */
static void drop_privileges(const struct eb_agent *agent)
{
	bool keep = !eb_programs_are_alone(eb_dataplane_programs(agent->dataplane));

	for (size_t i = 0; i < agent->interface_count; i++)
		keep |= agent->interfaces[i].ifindex && !agent->interfaces[i].attachment.attached;
	eb_privileges_settle(keep);
}

void eb_agent_attach_all(struct eb_agent *agent)
{
	if (agent->detached || !agent->enforcing)
		return;
	for (size_t i = 0; i < agent->interface_count; i++)
		attach_interface(agent, &agent->interfaces[i]);
	eb_dataplane_settle(agent->dataplane);
	drop_privileges(agent);
}

void eb_agent_enforce(struct eb_agent *agent)
{
	agent->enforcing = true;
	leave_others(agent); /* first: this takes CAP_SYS_ADMIN */
	eb_agent_attach_all(agent);
}

void eb_agent_check_interface(struct eb_agent *agent, const char *name, int ifindex, bool running)
{
	for (size_t i = 0; i < agent->interface_count; i++) {
		struct eb_interface *interface = &agent->interfaces[i];

		/* An interface that was renamed is known by its index. */
		if (strcmp(interface->name, name) != 0 && interface->ifindex != ifindex)
			continue;
		if (interface->running && !running)
			(void)eb_persist_fault(agent->persist, EB_PASS_LINK_DOWN);
		interface->running = running;
		if (agent->detached || !agent->enforcing)
			continue;
		attach_interface(agent, interface);
		drop_privileges(agent);
	}
}

void eb_agent_check_pressure(struct eb_agent *agent)
{
	struct eb_frame_counter frames[EB_FRAME_KINDS];

	if (eb_maps_frames(eb_dataplane_maps(agent->dataplane), frames))
		return;
	if (frames[EB_TABLE_FULL].packets > agent->table_full) {
		eb_warning("the table is full, packets of new sources found no room",
			   eb_num("packets", frames[EB_TABLE_FULL].packets - agent->table_full),
			   eb_num("table_size", agent->config->table_size),
			   eb_str("hint", "raise table_size or lower bursts"));
		(void)eb_persist_fault(agent->persist, EB_PASS_TABLE_PRESSURE);
	}
	agent->table_full = frames[EB_TABLE_FULL].packets;
}

int eb_agent_detach_all(struct eb_agent *agent, bool pause, char **error)
{
	int ret = 0;

	agent->detached = pause;
	for (size_t i = 0; i < agent->interface_count; i++) {
		struct eb_interface *interface = &agent->interfaces[i];
		char *text = NULL;
		int err = eb_attach_remove(interface->name, eb_dataplane_programs(agent->dataplane), &text);

		if (err && err != -ENODEV) {
			ret = err;
			free(*error);
			*error = text;
			continue;
		}
		free(text);
		if (interface->attachment.attached)
			eb_info("detached", eb_str("interface", interface->name));
		interface->attachment = (struct eb_attachment){ .mode = "" };
	}
	return ret;
}

static void free_interfaces(struct eb_interface *interfaces, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(interfaces[i].problem);
	free(interfaces);
}

/* Moves what is known of an interface that stays from the old list to the new one. */
static void inherit(struct eb_agent *agent, struct eb_interface *interface)
{
	for (size_t i = 0; i < agent->interface_count; i++) {
		if (strcmp(agent->interfaces[i].name, interface->name) != 0)
			continue;
		*interface = agent->interfaces[i];
		agent->interfaces[i].problem = NULL;
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

	for (size_t i = 0; i < agent->interface_count; i++)
		if (!has_interface(config, agent->interfaces[i].name))
			leave_interface(agent, agent->interfaces[i].name);
	for (size_t i = 0; i < config->interface_count; i++)
		inherit(agent, &interfaces[i]);
	free_interfaces(agent->interfaces, agent->interface_count);
	agent->interfaces = interfaces;
	agent->interface_count = config->interface_count;
	agent->config = config;
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
	struct eb_buckets *buckets = eb_dataplane_buckets(agent->dataplane);
	struct eb_policy *policy = calloc(1, sizeof(*policy));
	struct eb_bucket_count count;
	uint64_t mended = 0;

	if (policy && eb_maps_policy(eb_dataplane_maps(agent->dataplane), policy) == 0)
		mended = eb_buckets_mend(buckets, policy);
	free(policy);
	eb_buckets_count(buckets, 0, &count);
	eb_info("adopted the pinned maps", eb_str("pin_dir", agent->config->pin_dir), eb_num("buckets", count.in_use),
		eb_num("in_debt", count.in_debt), eb_num("mended", mended));
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
	if (agent->monitor)
		eb_warning("--monitor: nothing is dropped; rules count what they would drop");
	err = make_interfaces(config, &agent->interfaces);
	if (err)
		return eb_fail(err, error, "out of memory");
	agent->interface_count = config->interface_count;
	err = eb_dataplane_open(config, &agent->dataplane, error);
	if (err)
		return err;
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
	if (!eb_redis_config_equal(old->redis, new->redis))
		return eb_fail(
		    -EINVAL, error,
		    "%s: the redis part cannot change in a running agent: restart edgebucketd, the buckets are kept",
		    new->path);
	if (old->table_size != new->table_size)
		return eb_fail(
		    -EINVAL, error,
		    "%s: table_size cannot change from %u to %u in a running agent: restart edgebucketd, the buckets "
		    "are kept",
		    new->path, old->table_size, new->table_size);
	return 0;
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
	err = apply_rules(agent, config, error);
	if (err) {
		free(interfaces);
		return err;
	}
	*before = adopt_config(agent, config, interfaces);
	(void)eb_persist_reloaded(agent->persist, config);
	return 0;
}

static int try_reload(struct eb_agent *agent, char **error)
{
	struct eb_config *config, *before;
	int err = eb_config_read(agent->config_path, agent->redis_path, &config, error);

	if (err)
		return err;
	err = eb_agent_replace(agent, config, &before, error);
	if (err) {
		eb_config_free(config);
		return err;
	}
	eb_config_free(before);
	log_warnings(config);
	agent->detached = false;
	eb_agent_attach_all(agent);
	return 0;
}

int eb_agent_reload(struct eb_agent *agent, char **error)
{
	int err = try_reload(agent, error);

	free(agent->reload_error);
	agent->reload_error = NULL;
	if (err) {
		agent->reload_failures++;
		agent->reload_error = *error ? strdup(*error) : NULL;
		eb_error("reload refused, the old rules stay in force", eb_str("config", agent->config_path),
			 eb_str("error", *error ? *error : strerror(-err)));
		return err;
	}
	agent->reloads++;
	eb_info("reloaded", eb_num("rules", agent->config->rule_count), eb_str("config", agent->config->path));
	return 0;
}

void eb_agent_done(struct eb_agent *agent)
{
	sd_event_source_unref(agent->retry);
	eb_persist_free(agent->persist);
	eb_dataplane_close(agent->dataplane);
	free_interfaces(agent->interfaces, agent->interface_count);
	eb_config_free(agent->config);
	free(agent->reload_error);
}
