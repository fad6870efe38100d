/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The interfaces of the configuration: owns what each is doing, and puts the program on them, keeps it there, and takes
 * it off. An attempt that failed is repeated; libxdp is waited for in the loop.
 */
#ifndef EB_INTERFACES_H
#define EB_INTERFACES_H

#include <net/if.h>
#include <stdbool.h>
#include <systemd/sd-event.h>

#include "agent/intake.h"
#include "attach/attach.h"
#include "config/config.h"

struct eb_agent;

struct eb_interface {
	char name[IF_NAMESIZE];
	struct eb_attachment attachment;
	int ifindex;   /* 0 while there is none of that name */
	bool running;  /* as last notified */
	bool put_off;  /* libxdp took long and failed: until the next attempt */
	char *problem; /* why it is not attached, as logged; NULL when it is */
	struct eb_intake intake;
};

struct eb_interfaces {
	struct eb_interface *list;
	size_t count;
	sd_event_source *retry; /* runs while an interface could not be attached */
	sd_event_source *job;   /* while libxdp is at work */
	bool leaving;           /* an interface is still to be left, which waits for libxdp */
	bool detached;          /* an operator asked for it; until a reload or `edgebucket attach` */
	bool stays;             /* and for restarts too (detach_note.h) */
	/* How it ended, after eb_interfaces_attach() or eb_interfaces_detach_all() said -EINPROGRESS; -ECANCELED when
	 * the agent did the other one instead. */
	void (*attach_done)(int err, const char *error, void *arg);
	void (*detach_done)(int err, const char *error, void *arg);
	void *done_arg;
};

/* Makes a list of the configuration's interfaces, for eb_interfaces_change() or free(). Returns 0 or -ENOMEM. */
int eb_interfaces_list(const struct eb_config *config, struct eb_interface **out);

/* The restore was decided. Attaches from here on, unless an operator detached, and leaves the interfaces that only an
 * agent before had. */
void eb_interfaces_enforce(struct eb_agent *agent);

/* Attaches to all interfaces that are there; the others are waited for. */
void eb_interfaces_attach_all(struct eb_agent *agent);

/* Looks at one interface, and attaches if it should be and is not. Name and index may be any interface's. */
void eb_interfaces_check(struct eb_agent *agent, const char *name, int ifindex, bool running);

/* Looks whether interfaces see anything to limit; to be called about every second. */
void eb_interfaces_check_intake(struct eb_agent *agent);

/* Puts the program on again after an operator's detach. -EBUSY with *error where an interface that is there did not get
 * it, which is tried again. -EINPROGRESS where that takes longer: attach_done tells how it ended. */
int eb_interfaces_attach(struct eb_agent *agent, char **error);

/* An operator's detach holds over restarts, or does not any more. The first returns 0 or negative errno with *error;
 * the second logs a failure. */
int eb_interfaces_stay(struct eb_agent *agent, char **error);
void eb_interfaces_stay_no_more(struct eb_agent *agent);

/* Takes the program off all interfaces. `pause`: and leaves it off until a reload or `edgebucket attach`. -EINPROGRESS
 * where that takes longer: detach_done tells how it ended. */
int eb_interfaces_detach_all(struct eb_agent *agent, bool pause, char **error);

/* Leaves the interfaces that are not in `list`, which is of `config`, and goes on with that list, which it owns then.
 * Those that are new in it are not attached to yet. */
void eb_interfaces_change(struct eb_agent *agent, const struct eb_config *config, struct eb_interface *list);

/* Frees everything; programs stay where they are. */
void eb_interfaces_done(struct eb_interfaces *interfaces);

#endif
