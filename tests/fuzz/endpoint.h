/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A unix socket of the agent's and hostile clients of it, for the fuzzers of what listens: a directory, a loop that is
 * run until nobody has anything to do, and clients that are driven by an input.
 *
 * An input is steps that begin with '~', each with the number of a client, 0 to 7, which connects when it is first
 * named:
 *
 *   0TEXT  client 0 sends TEXT
 *   f0TEXT the same with a file, as unix(7) has it; g0TEXT with three
 *   x0     client 0 hangs up
 *   h0     client 0 sends no more
 *   r0     client 0 reads what has come
 */
#ifndef EB_FUZZ_ENDPOINT_H
#define EB_FUZZ_ENDPOINT_H

#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

/* A directory of the process, removed at its end. */
const char *endpoint_dir(void);

sd_event *endpoint_loop(void);

/* Runs the steps against the socket `name` in the directory; `type` as for socket(). What clients read goes to
 * `received`. Afterwards nobody is connected. */
void endpoint_run(const char *name, int type, const uint8_t *data, size_t size,
		  void (*received)(const char *text, size_t len));

#endif
