// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/agent.h"
#include "agent/lists.h"
#include "agent/watch.h"
#include "base/error.h"
#include "base/log.h"
#include "ipc/detach_note.h"

/* How long the loop stands still for libxdp. It takes tenths of a second, unless another process holds its lock. */
#define LIBXDP_PATIENCE_MS 1000

/* ---- rules ---- */

static int apply_rules(struct eb_agent *agent, const struct eb_config *config, const struct eb_targets *targets,
		       char **error)
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
		err = eb_dataplane_apply(agent->dataplane, ruleset, targets, error);
	eb_rules_free(ruleset);
	free(previous);
	return err;
}

/* ---- enforcing ---- */

static void begin_watch(struct eb_agent *agent)
{
	int err = eb_watch_new(agent, &agent->watch);

	if (err)
		eb_error("cannot watch the files of lists, changes come into force with a reload", eb_err(err));
}

static void begin_fleet(struct eb_agent *agent)
{
	int err = agent->config->fleet.name[0]
			  ? eb_fleet_new(agent->loop, agent->config, agent->dataplane, &agent->fleet)
			  : 0;

	if (err)
		eb_error("cannot share buckets with the fleet, this node limits alone", eb_err(err));
}

static void begin_ban_fleet(struct eb_agent *agent)
{
	int err = agent->config->bans_shared
			  ? eb_ban_fleet_new(agent->loop, agent->config, eb_ban_keeper_bans(agent->bans),
					     &agent->ban_fleet)
			  : 0;

	if (err)
		eb_error("cannot share bans with the fleet", eb_err(err));
}

static bool shares_bans_as(const struct eb_config *a, const struct eb_config *b)
{
	return a->bans_shared == b->bans_shared && a->bans_max == b->bans_max && eb_fleet_is_same(a, b);
}

void eb_agent_enforce(struct eb_agent *agent)
{
	agent->enforcing = true;
	eb_interfaces_enforce(agent);
	eb_agent_check_pins(agent);
	begin_watch(agent);
	begin_fleet(agent);
	begin_ban_fleet(agent);
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

/* Takes over a configuration whose rules are in force already. Returns the one before. */
static struct eb_config *adopt_config(struct eb_agent *agent, struct eb_config *config, struct eb_interface_plan *plan)
{
	struct eb_config *before = agent->config;

	eb_interfaces_change(agent, config, plan);
	agent->config = config;
	eb_ban_keeper_configure(agent->bans, config);
	if (agent->watch)
		eb_watch_follow(agent->watch);
	return before;
}

/* ---- life ---- */

static void log_warnings(const struct eb_config *config)
{
	for (size_t i = 0; i < config->warning_count; i++)
		eb_warning("the configuration is valid, but might not do what you intend",
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
	struct eb_interface_plan plan;
	int err;

	agent->config = config;
	eb_info("starting", eb_str("version", EB_VERSION), eb_str("node", config->node),
		eb_str("config", config->path));
	log_warnings(config);
	agent->interfaces.detached = eb_detach_note_is_set(config->state_dir, config->run_dir);
	agent->interfaces.stays = agent->interfaces.detached;
	if (agent->interfaces.detached)
		eb_warning("an operator detached with --stay: nothing is limited",
			   eb_str("hint", "edgebucket attach, or reload, attaches again"));
	if (agent->monitor)
		eb_warning("--monitor: nothing is dropped; rules count what they would drop");
	err = eb_interfaces_plan(agent, config, &plan, error);
	if (err)
		return err;
	eb_interfaces_change(agent, config, &plan);
	if (config->state_dir[0]) {
		err = eb_keep_new(agent->loop, config->state_dir, &agent->keep);
		if (err)
			return eb_fail(err, error, "cannot prepare to keep configurations: %s", strerror(-err));
	}
	err = eb_dataplane_open(config, &agent->dataplane, error);
	if (err)
		return err;
	eb_programs_set_patience(eb_dataplane_programs(agent->dataplane), LIBXDP_PATIENCE_MS);
	if (eb_dataplane_is_new(agent->dataplane))
		eb_info("created new maps", eb_str("pin_dir", config->pin_dir),
			eb_num("table_size", config->table_size));
	else if (!eb_dataplane_is_carrying(agent->dataplane))
		log_adopted(agent);
	err = apply_rules(agent, config, &agent->interfaces.targets, error);
	if (!err && eb_dataplane_is_carrying(agent->dataplane))
		log_carried(agent);
	if (err)
		return err;
	eb_info("rules in force", eb_num("rules", config->rule_count), eb_str("config", config->path));
	err = eb_ban_keeper_new(agent->loop, eb_dataplane_maps(agent->dataplane), &agent->bans);
	if (err)
		return eb_fail(err, error, "cannot read the bans: %s", strerror(-err));
	eb_ban_keeper_configure(agent->bans, config);
	return 0;
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
		{ "control_group", old->control_group ? old->control_group : "none",
		  new->control_group ? new->control_group : "none" },
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
	return apply_rules(agent, agent->config, &agent->interfaces.targets, error);
}

int eb_agent_replace(struct eb_agent *agent, struct eb_config *config, struct eb_config **before, char **error)
{
	struct eb_interface_plan plan;
	int err = check_fixed(agent->config, config, error);

	if (err)
		return err;
	err = eb_interfaces_plan(agent, config, &plan, error);
	if (err)
		return err;
	err = eb_persist_prepare(agent->persist, config, error);
	if (!err) {
		err = apply_rules(agent, config, &plan.targets, error);
		if (err)
			eb_persist_abandon(agent->persist);
	}
	if (err) {
		eb_interfaces_drop(&plan);
		return err;
	}
	*before = adopt_config(agent, config, &plan);
	(void)eb_persist_reloaded(agent->persist, config);
	if (strcmp((*before)->fleet.name, config->fleet.name) != 0) /* its nodes are others */
		(void)eb_maps_set_fleet_nodes(eb_dataplane_maps(agent->dataplane), 0);
	if (agent->enforcing && !eb_fleet_is_same(*before, config)) {
		eb_fleet_free(agent->fleet);
		agent->fleet = NULL;
		begin_fleet(agent);
	}
	if (agent->enforcing && !shares_bans_as(*before, config)) {
		eb_ban_fleet_free(agent->ban_fleet);
		agent->ban_fleet = NULL;
		begin_ban_fleet(agent);
	}
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
	agent->interfaces.detached = false;
	eb_interfaces_stay_no_more(agent);
	eb_interfaces_attach_all(agent);
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
	eb_watch_free(agent->watch);
	eb_fleet_free(agent->fleet);
	eb_persist_free(agent->persist);
	eb_ban_fleet_free(agent->ban_fleet);
	eb_ban_keeper_free(agent->bans);
	eb_dataplane_close(agent->dataplane);
	eb_interfaces_done(&agent->interfaces);
	eb_config_free(agent->config);
	eb_keep_free(agent->keep);
	free(agent->reload_error);
	free(agent->pins_problem);
	free(agent->refused);
}
