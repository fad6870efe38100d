/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A program that is on an interface by a BPF link, pinned in PIN_DIR-links. The kernel lets its program be replaced
 * also while interfaces that lie on this one have programs, and lets nobody else take it off (ip link says "Can't
 * replace active BPF XDP link"). attach.c and attachment.c use it.
 *
 * The pins are not in PIN_DIR itself: the program is to stay where somebody removes those of the maps.
 */
#ifndef EB_XDP_LINK_H
#define EB_XDP_LINK_H

#include <linux/types.h>

/* Opens the link of an interface. A descriptor for the caller to close; -ENOENT when there is none, or other negative
 * errno. */
int eb_xdp_link_open(const char *pin_dir, int ifindex);

/* Puts a program on an interface that has none, in the mode that `flags` say (XDP_FLAGS_*_MODE). 0 or negative errno;
 * -EEXIST where an interface that lies on it has a program. */
int eb_xdp_link_make(const char *pin_dir, int ifindex, int prog_fd, __u32 flags);

/* Takes the program off, and removes the pin. 0 or negative errno. */
int eb_xdp_link_remove(const char *pin_dir, int ifindex);

/* Removes the pins of links whose interfaces are gone, and the directory if nothing is left in it. */
void eb_xdp_link_sweep(const char *pin_dir);

#endif
