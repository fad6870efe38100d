/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Attaches a program to an interface with a BPF link, which is pinned in PIN_DIR-links. The program of a link can be
 * replaced even while interfaces above this one have programs, and other processes cannot detach it (ip link says
 * "Can't replace active BPF XDP link"). attach.c and attachment.c use it.
 *
 * The pins are not in PIN_DIR itself, so that the program stays attached if the pins of the maps are removed.
 */
#ifndef EB_XDP_LINK_H
#define EB_XDP_LINK_H

#include <linux/types.h>

/* Opens the link of an interface. Returns a descriptor that the caller closes, -ENOENT if there is no link, or another
 * negative errno. */
int eb_xdp_link_open(const char *pin_dir, int ifindex);

/* Attaches a program to an interface that has none, in the mode of `flags` (XDP_FLAGS_*_MODE). Returns 0, -EEXIST if an
 * interface above it has a program, or another negative errno. */
int eb_xdp_link_make(const char *pin_dir, int ifindex, int prog_fd, __u32 flags);

/* Detaches the program, and removes the pin. Returns 0 or negative errno. */
int eb_xdp_link_remove(const char *pin_dir, int ifindex);

/* Removes the pins of links whose interfaces no longer exist, and the directory if it is empty. */
void eb_xdp_link_sweep(const char *pin_dir);

#endif
