/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The programs that this process has loaded: those without a dispatcher, and the one behind the dispatcher of each
 * interface. Only attach.c and attachment.c use it.
 */
#ifndef EB_LOADED_PROGRAMS_H
#define EB_LOADED_PROGRAMS_H

#include <stdbool.h>
#include <stdint.h>

#include "maps/maps.h"

struct edgebucket_bpf;
struct chained;

/* A program without a dispatcher: one for all interfaces whose frames begin with the same header. */
struct eb_direct_program {
	bool ethernet; /* frames begin with an Ethernet header; false: with an IP header */
	int fd;        /* -1 until it is loaded */
	uint32_t id;
};

struct eb_loaded_programs {
	const struct eb_maps *maps;
	const char *pin_dir;
	struct eb_direct_program direct[2]; /* by `ethernet` */
	struct chained *chained;            /* list of the programs behind dispatchers */
};

/* `maps` are pinned in `pin_dir`; `maps` and the string must outlive the object. */
void eb_loaded_init(struct eb_loaded_programs *loaded, const struct eb_maps *maps, const char *pin_dir);

/* Programs stay attached. */
void eb_loaded_done(struct eb_loaded_programs *loaded);

/* The id of a program; 0 if it cannot be read. */
uint32_t eb_program_id(int fd);

/* Opens a program by its id. Returns a descriptor that the caller closes, or negative errno. Requires CAP_SYS_ADMIN
 * only for a program that this process did not load. */
int eb_loaded_open_id(const struct eb_loaded_programs *loaded, uint32_t id);

/* Opens the program, so that it can be loaded; on kernels before 5.18, without the features that they do not support.
 * Returns 0 and a skeleton for edgebucket_bpf__destroy(), or negative errno. */
int eb_loaded_open_object(const struct eb_loaded_programs *loaded, bool ethernet, bool multi_buffer,
			  struct edgebucket_bpf **out);

/* Loads a program without a dispatcher, unless it is loaded. Returns 0 or negative errno. */
int eb_loaded_load(const struct eb_loaded_programs *loaded, struct eb_direct_program *direct);

/* Takes over the descriptor of a program that other code loaded. */
void eb_loaded_keep(struct eb_direct_program *direct, int fd);

/* Records the program that is now behind the dispatcher of an interface. Returns 0 or -ENOMEM. */
int eb_loaded_note_chained(struct eb_loaded_programs *loaded, int ifindex, bool ethernet, uint32_t prog_id);

/* Whether the program `id` is `direct`, or the equivalent program behind a dispatcher. */
bool eb_loaded_is_current(const struct eb_loaded_programs *loaded, const struct eb_direct_program *direct, uint32_t id);

#endif
