/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * view_v4 and view_v6 beside the pinned maps: BPF iterators, so that `cat` prints the buckets in use (bpf/view.bpf.c).
 */
#ifndef EB_VIEWS_H
#define EB_VIEWS_H

#include "maps/maps.h"

/* Pins the views of these maps in `pin_dir`, in place of those of an earlier agent. Returns 0, or negative errno with a
 * malloc'ed line in *error: -ENOTSUP where the kernel has no such iterators (before 5.9). Nothing else needs them. */
int eb_views_pin(const struct eb_maps *maps, const char *pin_dir, char **error);

#endif
