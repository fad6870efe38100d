/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The compiled BPF object inside these programs: opening it, and what can be made of it without loading the program.
 * dataplane.c and loaded_programs.c use it, nobody else.
 */
#ifndef EB_BPF_OBJECT_H
#define EB_BPF_OBJECT_H

#include <stdbool.h>

#include "maps/maps.h"

struct btf;
struct edgebucket_bpf;

/* Opens the object. Maps that are open in *maps are reused, others will be made, with bucket tables of `sets` sets.
 * Returns 0 and a skeleton for edgebucket_bpf__destroy(), or negative errno. */
int eb_bpf_object_open(const struct eb_maps *maps, __u32 sets, struct edgebucket_bpf **out);

/* Makes those of *maps that are not open. Returns 0 or negative errno; what was made by then is open. */
int eb_bpf_object_make_maps(struct eb_maps *maps, __u32 sets);

/* Whether these maps are what eb_bpf_object_make_maps() would make, and of one set: made together. Those of bans can be
 * of a set before. */
bool eb_bpf_object_fits(const struct eb_maps *maps, __u32 sets);

/* The same of the maps of bans alone. */
bool eb_bpf_object_fits_bans(const struct eb_maps *maps);

/* The object's types, loaded into the kernel, so that bpftool shows names in maps made by hand. Returns 0 and an object
 * for btf__free(), or negative errno. */
int eb_bpf_object_types(struct btf **out);

/* Sends what libbpf and libxdp have to say to the debug log: it is detail behind the one line that we log ourselves. */
void eb_bpf_object_quiet(void);

#endif
