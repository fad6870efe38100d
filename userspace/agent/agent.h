/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The agent's one object: the configuration in force, the kernel side, and what each interface is doing. main.c makes
 * it in the order that matters; link_watch.c and control_server.c call it when something happens.
 */
#ifndef EB_AGENT_H
#define EB_AGENT_H

#include <stdbool.h>
#include <systemd/sd-event.h>

#include "agent/intake.h"
#include "agent/keep.h"
#include "agent/persist.h"
#include "attach/dataplane.h"
#include "config/config.h"

struct eb_interface {
	char name[IF_NAMESIZE];
	struct eb_attachment attachment;
	int ifindex;   /* 0 while there is none of that name */
	bool running;  /* as last notified */
	bool put_off;  /* libxdp took long and failed: until the next attempt */
	char *problem; /* why it is not attached, as logged; NULL when it is */
	struct eb_intake intake;
};

struct eb_agent {
	const char *config_path;
	const char *redis_path; /* NULL for none */
	bool monitor; /* drops nothing, whatever the configuration says */
	sd_event *loop;
	struct eb_config *config;
	struct eb_dataplane *dataplane;
	struct eb_persist *persist;
	bool enforcing; /* the restore was decided */
	struct eb_interface *interfaces;
	size_t interface_count;
	sd_event_source *retry; /* runs while an interface could not be attached */
	sd_event_source *job;   /* while libxdp is at work */
	bool leaving;           /* an interface is still to be left, which waits for libxdp */
	/* How it ended, after eb_agent_attach() or eb_agent_detach_all() said -EINPROGRESS; -ECANCELED when the agent
	 * did the other one instead. */
	void (*attach_done)(int err, const char *error, void *arg);
	void (*detach_done)(int err, const char *error, void *arg);
	void *done_arg;
	bool detached;          /* an operator asked for it; until a reload or `edgebucket attach` */
	bool stays;             /* and for restarts too (detach_note.h) */
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

/* Attaches to all interfaces that are there; the others are waited for. */
void eb_agent_attach_all(struct eb_agent *agent);

/* Looks at one interface, and attaches if it should be and is not. Name and index may be any interface's. */
void eb_agent_check_interface(struct eb_agent *agent, const char *name, int ifindex, bool running);

/* Looks whether new sources find no room / whether interfaces see anything to limit; to be called about every second.
 */
void eb_agent_check_pressure(struct eb_agent *agent);
void eb_agent_check_intake(struct eb_agent *agent);

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

/* Puts the program on again after an operator's detach. -EBUSY with *error where an interface that is there did not get
 * it, which is tried again. -EINPROGRESS where that takes longer: attach_done tells how it ended. */
int eb_agent_attach(struct eb_agent *agent, char **error);

/* An operator's detach holds over restarts, or does not any more. The first returns 0 or negative errno with *error;
 * the second logs a failure. */
int eb_agent_stay(struct eb_agent *agent, char **error);
void eb_agent_stay_no_more(struct eb_agent *agent);

/* Takes the program off all interfaces. `pause`: and leaves it off until a reload or `edgebucket attach`. -EINPROGRESS
 * where that takes longer: detach_done tells how it ended. */
int eb_agent_detach_all(struct eb_agent *agent, bool pause, char **error);

/* Frees everything; whether programs stay attached was decided before. */
void eb_agent_done(struct eb_agent *agent);

#endif
