/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The program on the interfaces: loads, attaches, replaces and removes it, beside other programs where the kernel can
 * chain them (dispatcher.h), alone where it cannot. What is attached stays when the process ends.
 */
#ifndef EB_ATTACH_H
#define EB_ATTACH_H

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

#include "attach/attachment.h"
#include "config/config.h"
#include "maps/maps.h"

struct eb_programs; /* opaque: what this process has loaded */

/* `maps`, pinned in `pin_dir`, and that string must outlive it. NULL when out of memory. */
struct eb_programs *eb_programs_new(const struct eb_maps *maps, const char *pin_dir);

/* Accepts NULL. Programs stay attached. */
void eb_programs_free(struct eb_programs *programs);

/*
 * libxdp works in a child, which may wait for a lock that another process holds. eb_attach_program() and
 * eb_attach_remove() wait for it at most so long, 10 s at first; then, and as long as it is at work, they return
 * -EINPROGRESS, and are to be called again once it is done.
 */
void eb_programs_set_patience(struct eb_programs *programs, int patience_ms);

/* A descriptor that is readable once the child is done; -1 while there is none. */
int eb_programs_job(const struct eb_programs *programs);

/* Takes over what a child did that is done. Returns 0, or why it failed; *ifindex is the interface that it was to
 * attach to, 0 when it was to detach. */
int eb_programs_finish(struct eb_programs *programs, int *ifindex);

/* Ends a child that is to attach. */
void eb_programs_cancel(struct eb_programs *programs);

/* Removes what is left of interfaces that are gone. */
void eb_programs_sweep(const struct eb_programs *programs);

/*
 * True once all programs that this process attached have their interface for themselves. Then it never asks libxdp for
 * a dispatcher again, and finds its programs without CAP_SYS_ADMIN.
 */
bool eb_programs_are_alone(const struct eb_programs *programs);

/*
 * Looks for an interface, configured or not, that still has the program of the maps before, or one that takes
 * CAP_SYS_ADMIN to look at. Returns 1 with its name, 0 when there is none, or negative errno.
 */
int eb_programs_find_before(const struct eb_programs *programs, char ifname[IF_NAMESIZE]);

/*
 * Attaches the program to an interface, or replaces an older one of ours, or one for other frames, without a gap. Where
 * the interface is of a type whose frames the program cannot read, it is taken off: -EPROTONOSUPPORT. Other owners'
 * programs stay: where there is no place beside them, or only in another mode, -EBUSY. *out says what became of it.
 *
 * `is_below` says that another interface that is to have the program lies on this one. Then a link holds it, which
 * takes a moment without a program where one was attached otherwise; beside other owners' programs there is none. Where
 * it takes that an interface that lies on this one has no program, and one has, -EEXIST.
 */
int eb_attach_program(struct eb_programs *programs, const char *ifname, bool is_below, enum eb_attach_mode mode,
		      struct eb_attachment *out, char **error);

/* Reads what is on an interface; no agent needed. -ENODEV when there is no such interface. */
int eb_attach_status(const char *ifname, const struct eb_programs *programs, struct eb_attachment *out);

/* Takes our program off an interface; 0 also when it was not there. Needs no agent. -EEXIST as above. */
int eb_attach_remove(const char *ifname, struct eb_programs *programs, char **error);

#endif
