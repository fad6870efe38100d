/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which interfaces lie on which others: a VLAN, macvlan or VXLAN device on its card, a bridge or bond on its ports.
 * While an upper interface has an XDP program, the kernel refuses to attach, replace or detach a program on the
 * interfaces below it.
 */
#ifndef EB_LAYERS_H
#define EB_LAYERS_H

#include <stdbool.h>

struct eb_layers; /* opaque: a snapshot */

/* Asks the kernel. Returns 0 and a snapshot for eb_layers_free(), or negative errno. */
int eb_layers_read(struct eb_layers **out);

/* Accepts NULL. */
void eb_layers_free(struct eb_layers *layers);

/* Whether the interface with index `upper` lies on the one with index `lower`, directly or with others in between. An
 * interface does not lie on itself. False if `layers` is NULL. */
bool eb_layers_is_on(const struct eb_layers *layers, int upper, int lower);

/*
 * Sorts `count` interface indexes so that each interface comes before those that lie on it. Attach in this order, and
 * detach in the reverse order. Leaves the order unchanged if `layers` is NULL.
 */
void eb_layers_sort(const struct eb_layers *layers, int *ifindexes, int count);

#endif
