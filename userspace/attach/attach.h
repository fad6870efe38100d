/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The program on the interfaces: loads, attaches, replaces and detaches it. If libxdp can chain programs on this kernel
 * (dispatcher.h), the program runs beside those of other owners, otherwise alone. Attached programs stay attached when
 * the process ends.
 */
#ifndef EB_ATTACH_H
#define EB_ATTACH_H

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

#include "attach/attachment.h"
#include "config/config.h"
#include "maps/maps.h"

struct eb_programs; /* opaque: the programs that this process has loaded */

/* `maps` are pinned in `pin_dir`; `maps` and the string must outlive the object. NULL if out of memory. */
struct eb_programs *eb_programs_new(const struct eb_maps *maps, const char *pin_dir);

/* Accepts NULL. Programs stay attached. */
void eb_programs_free(struct eb_programs *programs);

/*
 * libxdp runs in a child process, which might wait for a lock that another process holds. eb_attach_program() and
 * eb_attach_remove() wait for the child for at most `patience_ms` milliseconds; the initial value is 10 s. After that,
 * and while the child is running, they return -EINPROGRESS. Call them again once the child is done.
 */
void eb_programs_set_patience(struct eb_programs *programs, int patience_ms);

/* A descriptor that becomes readable when the child is done; -1 if there is no child. It belongs to `programs`. */
int eb_programs_job(const struct eb_programs *programs);

/* Takes over the result of a child that is done. Returns 0, or the negative errno of the child. *ifindex gets the
 * interface to which the child had to attach, or 0 if it had to detach. */
int eb_programs_finish(struct eb_programs *programs, int *ifindex);

/* Sets *error to what `err`, of an attempt to attach to this interface, means and what to do. Returns `err`. */
int eb_attach_explain(int err, const char *ifname, char **error);

/* Ends a child that is attaching a program. */
void eb_programs_cancel(struct eb_programs *programs);

/* Removes the pins of interfaces that no longer exist. */
void eb_programs_sweep(const struct eb_programs *programs);

/*
 * True once each program that this process attached is alone on its interface. From then on, this process does not ask
 * libxdp for a dispatcher any more, and finds its programs without CAP_SYS_ADMIN.
 */
bool eb_programs_are_alone(const struct eb_programs *programs);

/*
 * Looks for an interface, configured or not, that still has the program of the previous maps, or a program that only a
 * process with CAP_SYS_ADMIN can inspect. Returns 1 and its name, 0 if there is none, or negative errno.
 */
int eb_programs_find_before(const struct eb_programs *programs, char ifname[IF_NAMESIZE]);

/*
 * Attaches the program to an interface, or replaces an older version of it, or the variant for other frames, without a
 * gap. If the program cannot parse the frames of this type of interface, detaches it and returns -EPROTONOSUPPORT.
 * Programs of other owners stay attached; if there is no slot beside them, or only in another mode, returns -EBUSY.
 * *out gets the resulting state.
 *
 * `is_below` says that another interface lies on this one and also gets the program. Then a link attaches the program;
 * if it was attached without a link, it is detached for a moment. Beside programs of other owners, no link is used.
 * Returns -EEXIST if the change requires that interfaces above this one have no program, and one of them has. Returns
 * -EINPROGRESS as described above, or another negative errno. On failure *error is a malloc'ed line.
 */
int eb_attach_program(struct eb_programs *programs, const char *ifname, bool is_below, enum eb_attach_mode mode,
		      struct eb_attachment *out, char **error);

/* Reads the state of an interface; works without an agent. Returns 0, -ENODEV if the interface does not exist, or
 * another negative errno. */
int eb_attach_status(const char *ifname, const struct eb_programs *programs, struct eb_attachment *out);

/* Detaches our program from an interface; works without an agent. Returns 0, also if it was not attached, -EEXIST and
 * -EINPROGRESS as above, or another negative errno, with a malloc'ed line in *error. */
int eb_attach_remove(const char *ifname, struct eb_programs *programs, char **error);

#endif
