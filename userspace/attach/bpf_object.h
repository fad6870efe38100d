/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The compiled BPF object, which is embedded in the programs: opening it, and creating its maps without loading it.
 * dataplane.c and loaded_programs.c use it, and no other module.
 */
#ifndef EB_BPF_OBJECT_H
#define EB_BPF_OBJECT_H

#include <stdbool.h>

#include "maps/maps.h"

struct btf;
struct edgebucket_bpf;

/* Opens the object. It will reuse the maps that are open in *maps, and create the others when it is loaded, with bucket
 * tables of `sets` sets. Returns 0 and a skeleton for edgebucket_bpf__destroy(), or negative errno. */
int eb_bpf_object_open(const struct eb_maps *maps, __u32 sets, struct edgebucket_bpf **out);

/* Creates the maps that are not open in *maps. Returns 0 or negative errno; on failure, the maps that were created stay
 * open. */
int eb_bpf_object_make_maps(struct eb_maps *maps, __u32 sets);

/* Whether these maps are what eb_bpf_object_make_maps() would make, and of one set: made together. Those of bans can be
 * of a set before. */
bool eb_bpf_object_fits(const struct eb_maps *maps, __u32 sets);

/* The same of the maps of bans alone. */
bool eb_bpf_object_fits_bans(const struct eb_maps *maps);

/* Loads the types of the object into the kernel, so that bpftool shows field names in maps that are created by hand.
 * Returns 0 and an object for btf__free(), or negative errno. */
int eb_bpf_object_types(struct btf **out);

/* Redirects the messages of libbpf and libxdp to the debug log: they are details of an error that we log ourselves. */
void eb_bpf_object_quiet(void);

#endif
