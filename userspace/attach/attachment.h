/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The XDP state of an interface, read from the kernel: whose program is attached, in which mode, beside which others.
 */
#ifndef EB_ATTACHMENT_H
#define EB_ATTACHMENT_H

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

#include "attach/dispatcher.h"

struct eb_loaded_programs;

struct eb_attachment {
	bool attached;       /* a program that uses our maps is attached */
	const char *mode;    /* of the attached program, ours or not: "native", "generic", "offload"; "" for none */
	uint32_t prog_id;    /* of our program; of several copies, the last to run; 0 if not attached */
	bool linked;         /* our program is attached by a link of ours (xdp_link.h) */
	bool dispatcher;     /* the dispatcher of libxdp is attached; our program, if attached, is behind it */
	unsigned int copies; /* of our program: more than one only while it is replaced behind a dispatcher */
	uint32_t prog_ids[EB_DISPATCHER_MAX]; /* of the copies */
	unsigned int others; /* programs of other owners behind the dispatcher */
	bool foreign;        /* a program of another owner is attached that does not share the interface */
	bool unseen;         /* `foreign` is an assumption, because inspecting the program requires CAP_SYS_ADMIN */
};

/* Reads the state of an interface. A program is ours if it uses our map `state`, or the one that our map replaced.
 * Returns 0, -ENODEV if the interface does not exist, or another negative errno. */
int eb_attachment_read(int ifindex, const struct eb_loaded_programs *loaded, struct eb_attachment *out);

/* As eb_programs_find_before(). */
int eb_attachment_find_before(const struct eb_loaded_programs *loaded, char ifname[IF_NAMESIZE]);

#endif
