/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The interfaces of the configuration: owns the state of each, attaches the program, keeps it attached, and detaches
 * it. The agent retries failed attempts. It waits for libxdp in the event loop.
 */
#ifndef EB_INTERFACES_H
#define EB_INTERFACES_H

#include <net/if.h>
#include <stdbool.h>
#include <systemd/sd-event.h>

#include "agent/intake.h"
#include "attach/attach.h"
#include "config/config.h"
#include "config/targets.h"
#include "netlink/default_routes.h"

struct eb_agent;

struct eb_interface {
	char name[IF_NAMESIZE];
	char other[IF_NAMESIZE]; /* the configured name that already stands for this interface; "" if there is none */
	struct eb_attachment attachment;
	int ifindex;   /* 0 while no interface has this name, or `other` stands for it */
	bool running;  /* according to the last notification */
	bool put_off;  /* libxdp took long and failed: wait for the next retry */
	char *problem; /* why the program is not attached, as logged; NULL if it is attached */
	struct eb_intake intake;
};

struct eb_interfaces {
	struct eb_interface *list; /* those that are to have the program, and names that are waited for */
	size_t count;              /* with ifindex: at most EB_INTERFACES_MAX */
	struct eb_targets targets; /* also those that are left out */
	struct eb_default_routes routes; /* the last ones that there were: see eb_interfaces_plan() */
	sd_event_source *retry; /* enabled while the program could not be attached to some interface */
	sd_event_source *job;   /* exists while libxdp is working */
	bool leaving;           /* an interface must still be detached, which waits for libxdp */
	bool detached;          /* by an operator, until a reload or `edgebucket attach` */
	bool stays;             /* also over restarts (detach_note.h) */
	/* The result, after eb_interfaces_attach() or eb_interfaces_detach_all() returned -EINPROGRESS; -ECANCELED if
	 * the opposite was requested in the meantime. */
	void (*attach_done)(int err, const char *error, void *arg);
	void (*detach_done)(int err, const char *error, void *arg);
	void *done_arg;
};

/* The interfaces that a configuration stands for, as they are now. */
struct eb_interface_plan {
	struct eb_targets targets;
	struct eb_interface *list;
	size_t count;
};

/*
 * Looks which interfaces the configuration stands for, for eb_interfaces_change() or eb_interfaces_drop(). While there
 * is no default route at all, `default` stands for the interfaces that had the last one: a card that is reset when it
 * gets a program can lose its route for that moment. Returns 0, or negative errno with a malloc'ed line in *error.
 */
int eb_interfaces_plan(struct eb_agent *agent, const struct eb_config *config, struct eb_interface_plan *out,
		       char **error);

void eb_interfaces_drop(struct eb_interface_plan *plan);

/* Call this once the agent has decided what to restore. Attaches the program from then on, unless an operator detached
 * it, and detaches it from interfaces that only a previous agent served. */
void eb_interfaces_enforce(struct eb_agent *agent);

/* Attaches to all interfaces that exist, and waits for the others. */
void eb_interfaces_attach_all(struct eb_agent *agent);

/* Checks one interface, and attaches the program if it should be attached and is not. `name` and `ifindex` can be those
 * of any interface; those that the configuration does not stand for are ignored. */
void eb_interfaces_check(struct eb_agent *agent, const char *name, int ifindex, bool running);

/* Checks whether the interfaces receive IP frames at all; must be called about every second. */
void eb_interfaces_check_intake(struct eb_agent *agent);

/* Attaches the program again after a detach by an operator. Returns 0; -EBUSY with a malloc'ed line in *error if it
 * could not be attached to an interface that exists, which the agent retries; or -EINPROGRESS if it takes longer:
 * attach_done then gets the result. */
int eb_interfaces_attach(struct eb_agent *agent, char **error);

/* Make a detach by an operator hold over restarts, or end that. The first returns 0, or negative errno with a malloc'ed
 * line in *error; the second logs a failure. */
int eb_interfaces_stay(struct eb_agent *agent, char **error);
void eb_interfaces_stay_no_more(struct eb_agent *agent);

/* Detaches the program from all interfaces. With `pause`, it stays detached until a reload or `edgebucket attach`.
 * Returns 0; -EINPROGRESS if it takes longer: detach_done then gets the result; or another negative errno with a
 * malloc'ed line in *error. */
int eb_interfaces_detach_all(struct eb_agent *agent, bool pause, char **error);

/* Detaches from the interfaces that are not in `plan`, which is of `config`, and takes the plan over. Does not attach
 * to new interfaces yet. */
void eb_interfaces_change(struct eb_agent *agent, const struct eb_config *config, struct eb_interface_plan *plan);

/* Frees everything; programs stay attached. */
void eb_interfaces_done(struct eb_interfaces *interfaces);

#endif
