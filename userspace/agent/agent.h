/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The agent's one object: the configuration in force, the kernel side, and the interfaces (interfaces.h). main.c makes
 * it in the order that matters; link_watch.c and requests.c call it when something happens.
 */
#ifndef EB_AGENT_H
#define EB_AGENT_H

#include <stdbool.h>
#include <systemd/sd-event.h>

#include "agent/bans.h"
#include "agent/interfaces.h"
#include "agent/keep.h"
#include "agent/persist.h"
#include "attach/dataplane.h"
#include "config/config.h"

struct eb_agent {
	const char *config_path;
	const char *redis_path; /* NULL for none */
	bool monitor; /* drops nothing, whatever the configuration says */
	sd_event *loop;
	struct eb_config *config;
	struct eb_dataplane *dataplane;
	struct eb_ban_keeper *bans;
	struct eb_persist *persist;
	bool enforcing; /* the restore was decided */
	struct eb_interfaces interfaces;
	bool pending;           /* what is in force awaits its confirmation, see apply.h */
	unsigned int reloads, reload_failures;
	char *pins_problem;     /* of eb_dataplane_pins_problem(), as logged; NULL */
	bool is_watching_table;
	uint64_t table_full;    /* packets so far whose source found no room */
	struct eb_watch *watch; /* of the files of lists; NULL before it enforces */
	char *reload_error;     /* of the last reload, NULL when it succeeded */
	char *refused; /* why the start took the configuration that was kept; NULL once the file is in force */
	struct eb_keep *keep;   /* NULL without a state_dir */
};

/* Makes or adopts the maps and puts the configuration's rules into force. The agent owns `config` from here on, also
 * on failure. Returns 0 or negative errno with a malloc'ed line in *error. */
int eb_agent_start(struct eb_agent *agent, struct eb_config *config, char **error);

/* The restore was decided. Attaches from here on, and leaves the interfaces that only an agent before had. */
void eb_agent_enforce(struct eb_agent *agent);

/* Looks whether new sources find no room; to be called about every second. */
void eb_agent_check_pressure(struct eb_agent *agent);

/* Looks whether the maps are pinned, and pins them again; to be called about every second. */
void eb_agent_check_pins(struct eb_agent *agent);

/* What is in force is what the agent's file says, and was not refused: keeps it for a start that finds no good one, and
 * forgets what was wrong with the file. */
void eb_agent_settle(struct eb_agent *agent);

/* Reads the configuration again and puts it into force; on failure the old one stays, and *error says why. */
int eb_agent_reload(struct eb_agent *agent, char **error);

/* Puts the rules of agent->config into force anew, after its lists changed. */
int eb_agent_renew(struct eb_agent *agent, char **error);

/*
 * Puts another configuration into force, whose interfaces are then still to be attached to; refuses what cannot change
 * under a running agent. On success the agent owns `config`, and *before is the one it had, for the caller to free or
 * to put back.
 */
int eb_agent_replace(struct eb_agent *agent, struct eb_config *config, struct eb_config **before, char **error);

/* Frees everything; whether programs stay attached was decided before. */
void eb_agent_done(struct eb_agent *agent);

#endif
