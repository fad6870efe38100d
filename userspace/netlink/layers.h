/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which interfaces lie on which: a VLAN, macvlan or VXLAN device on its card, a bridge or bond on its ports. The kernel
 * puts no program on an interface, takes none off and replaces none, while one that lies on it has a program.
 */
#ifndef EB_LAYERS_H
#define EB_LAYERS_H

#include <stdbool.h>

struct eb_layers; /* opaque: as it was at one moment */

/* Asks the kernel. Returns 0 and an object for eb_layers_free(), or negative errno. */
int eb_layers_read(struct eb_layers **out);

/* Accepts NULL. */
void eb_layers_free(struct eb_layers *layers);

/* Whether one interface lies on another, with any number of others between them. Both by their index; an interface does
 * not lie on itself. False where `layers` is NULL. */
bool eb_layers_is_on(const struct eb_layers *layers, int upper, int lower);

/*
 * Sorts indexes of interfaces: lower ones come before what lies on them. That is the order to attach in, and the
 * reverse the one to detach in. Leaves them as they are where `layers` is NULL.
 */
void eb_layers_sort(const struct eb_layers *layers, int *ifindexes, int count);

#endif
