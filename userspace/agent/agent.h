/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The central object of the agent: the configuration in force, the kernel side, and the interfaces (interfaces.h).
 * main.c creates it and calls its functions in the required order; link_watch.c and requests.c call it on events.
 */
#ifndef EB_AGENT_H
#define EB_AGENT_H

#include <stdbool.h>
#include <systemd/sd-event.h>

#include "agent/ban_fleet.h"
#include "agent/bans.h"
#include "agent/fleet.h"
#include "agent/interfaces.h"
#include "agent/keep.h"
#include "agent/persist.h"
#include "attach/dataplane.h"
#include "config/config.h"

struct eb_agent {
	const char *config_path;
	const char *redis_path; /* of --redis-config; NULL if there is none */
	bool monitor; /* drop nothing, whatever the configuration says */
	sd_event *loop;
	struct eb_config *config;
	struct eb_dataplane *dataplane;
	struct eb_ban_keeper *bans;
	struct eb_ban_fleet *ban_fleet; /* NULL unless bans are shared */
	struct eb_persist *persist;
	struct eb_fleet *fleet; /* NULL where none is configured, and before the agent enforces */
	bool enforcing; /* the agent has decided what to restore */
	struct eb_interfaces interfaces;
	bool pending;           /* the configuration in force waits for its confirmation, see apply.h */
	unsigned int reloads, reload_failures;
	char *pins_problem;     /* the logged text of eb_dataplane_pins_problem(), or NULL */
	bool is_watching_table;
	uint64_t table_full;    /* number of packets so far for whose source the table had no room */
	struct eb_watch *watch; /* watches the files of lists; NULL before the agent enforces */
	char *reload_error;     /* of the last reload; NULL if it succeeded */
	char *refused;          /* why the agent started with the kept configuration; NULL once the file is in force */
	struct eb_keep *keep;   /* NULL without a state_dir */
};

/* Creates or adopts the maps, and puts the rules of the configuration into force. The agent takes over `config`, also
 * on failure. Returns 0, or negative errno with a malloc'ed line in *error. */
int eb_agent_start(struct eb_agent *agent, struct eb_config *config, char **error);

/* Call this once the agent has decided what to restore. From then on it attaches the program; it also detaches the
 * program from interfaces that only a previous agent served. */
void eb_agent_enforce(struct eb_agent *agent);

/* Checks whether the table has no room for new sources; must be called about every second. */
void eb_agent_check_pressure(struct eb_agent *agent);

/* Checks whether the maps are pinned, and pins them again if not; must be called about every second. */
void eb_agent_check_pins(struct eb_agent *agent);

/* Call this when the configuration in force is that of the agent's file: keeps a copy for a start that refuses its
 * configuration, and clears the error of the file. */
void eb_agent_settle(struct eb_agent *agent);

/* Reads the configuration again and puts it into force. Returns 0, or negative errno with a malloc'ed line in *error;
 * on failure the old configuration stays in force. */
int eb_agent_reload(struct eb_agent *agent, char **error);

/* Puts the rules of agent->config into force again, after its lists changed. Returns as eb_agent_reload(). */
int eb_agent_renew(struct eb_agent *agent, char **error);

/*
 * Puts another configuration into force, but does not attach to its interfaces yet. Refuses changes that require a
 * restart of the agent. Returns 0, or negative errno with a malloc'ed line in *error. On success, the agent owns
 * `config`, and *before is the previous configuration, which the caller frees or puts back.
 */
int eb_agent_replace(struct eb_agent *agent, struct eb_config *config, struct eb_config **before, char **error);

/* Frees everything. Does not detach any program. */
void eb_agent_done(struct eb_agent *agent);

#endif
