/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is on an interface, read from the kernel: whose program, in which mode, beside which others.
 */
#ifndef EB_ATTACHMENT_H
#define EB_ATTACHMENT_H

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

#include "attach/dispatcher.h"

struct eb_loaded_programs;

struct eb_attachment {
	bool attached;       /* a program that uses our maps is on it */
	const char *mode;    /* of whatever is there: "native", "generic", "offload"; "" for nothing */
	uint32_t prog_id;    /* our program's, the last to run of several; 0 when not attached */
	bool linked;         /* ours is there by a link of ours (xdp_link.h) */
	bool dispatcher;     /* libxdp's dispatcher is there; our program, if attached, behind it */
	unsigned int copies; /* of our program: more than one only while they are exchanged behind a dispatcher */
	uint32_t prog_ids[EB_DISPATCHER_MAX]; /* theirs */
	unsigned int others; /* programs of other owners behind the dispatcher */
	bool foreign;        /* a program of another owner is there that does not share the interface */
	bool unseen;         /* so it seems, but looking at it takes CAP_SYS_ADMIN */
};

/* Reads what is on an interface. A program is ours when it uses our map `state`, or the one that this replaced. -ENODEV
 * when there is no such interface. */
int eb_attachment_read(int ifindex, const struct eb_loaded_programs *loaded, struct eb_attachment *out);

/* As eb_programs_find_before(). */
int eb_attachment_find_before(const struct eb_loaded_programs *loaded, char ifname[IF_NAMESIZE]);

#endif
