/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Programs behind libxdp's dispatcher. What is there is read from the dispatcher's pins. To change it, libxdp works in
 * a child process, because in 1.3 (Debian 12) each of its calls leaves descriptors open, and an agent runs for years.
 */
#ifndef EB_CHAIN_H
#define EB_CHAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a dispatcher has places for (MAX_DISPATCHER_ACTIONS in libxdp). */
#define EB_CHAIN_MAX 10

struct edgebucket_bpf;

/*
 * Opens the programs behind a dispatcher, to be closed by the caller. Returns their number, or -ENOENT when the program
 * `dispatcher_id` on the interface is no dispatcher, or no longer there.
 */
int eb_chain_open(int ifindex, uint32_t dispatcher_id, int out[EB_CHAIN_MAX]);

/*
 * Loads the program of an opened skeleton and attaches it, behind a dispatcher if the kernel can, alone if not. The
 * caller's skeleton is not loaded by that. *id is the program's.
 */
int eb_chain_attach(struct edgebucket_bpf *skeleton, int ifindex, bool generic, bool multi_buffer, uint32_t *id);

/* Takes programs out from behind a dispatcher, in one step. */
int eb_chain_detach(int ifindex, const uint32_t *ids, size_t count);

#endif
