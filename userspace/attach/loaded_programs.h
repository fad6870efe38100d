/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The programs that this process has loaded: those that need no dispatcher, and which one it put behind the dispatcher
 * of each interface. attach.c and attachment.c use it, nobody else.
 */
#ifndef EB_LOADED_PROGRAMS_H
#define EB_LOADED_PROGRAMS_H

#include <stdbool.h>
#include <stdint.h>

#include "maps/maps.h"

struct edgebucket_bpf;
struct chained;

/* A program that needs no dispatcher: one for all interfaces whose frames begin alike. */
struct eb_direct_program {
	bool ethernet; /* what they begin with; else with IP */
	int fd;        /* -1 until it is loaded */
	uint32_t id;
};

struct eb_loaded_programs {
	const struct eb_maps *maps;
	const char *pin_dir;
	struct eb_direct_program direct[2]; /* by `ethernet` */
	struct chained *chained;            /* behind dispatchers: a list */
};

/* `maps`, pinned in `pin_dir`, and that string must outlive it. */
void eb_loaded_init(struct eb_loaded_programs *loaded, const struct eb_maps *maps, const char *pin_dir);

/* Programs stay attached. */
void eb_loaded_done(struct eb_loaded_programs *loaded);

/* The id of a program; 0 when it cannot be read. */
uint32_t eb_program_id(int fd);

/* A descriptor to be closed, or negative errno. Only a program that this process did not load takes CAP_SYS_ADMIN. */
int eb_loaded_open_id(const struct eb_loaded_programs *loaded, uint32_t id);

/* Opens the program, ready to be loaded: on kernels before 5.18 without what they do not know. Returns 0 and a skeleton
 * for edgebucket_bpf__destroy(), or negative errno. */
int eb_loaded_open_object(const struct eb_loaded_programs *loaded, bool ethernet, bool multi_buffer,
			  struct edgebucket_bpf **out);

/* Loads a program that needs no dispatcher, unless it is loaded. Returns 0 or negative errno. */
int eb_loaded_load(const struct eb_loaded_programs *loaded, struct eb_direct_program *direct);

/* Takes over the descriptor of a program that was loaded elsewhere. */
void eb_loaded_keep(struct eb_direct_program *direct, int fd);

/* Remembers the program that is behind the dispatcher of an interface now. Returns 0 or -ENOMEM. */
int eb_loaded_note_chained(struct eb_loaded_programs *loaded, int ifindex, bool ethernet, uint32_t prog_id);

/* Whether a program is this one, or as good behind a dispatcher. */
bool eb_loaded_is_current(const struct eb_loaded_programs *loaded, const struct eb_direct_program *direct, uint32_t id);

#endif
