/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A world for the Redis client: an event loop in the place of libsystemd's, sockets whose other ends the fuzzer holds,
 * a resolver, and a clock that moves only when it is told to. Nothing in it depends on the machine, so that an input
 * does the same each time, timeouts and retries of many seconds included; and nothing is a system call.
 *
 * The client is linked as it is shipped: sd_event_*() are defined here, the C library's functions come in by the
 * linker's --wrap (WORLD_WRAPS in the Makefile). One world for the process; world_begin() makes it new.
 */
#ifndef EB_FUZZ_WORLD_H
#define EB_FUZZ_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

enum world_connecting { WORLD_ACCEPTS, WORLD_REFUSES, WORLD_SAYS_NOTHING };

/* `piece`: bytes that one recv() gives at most. */
void world_begin(size_t piece);

/* Aborts when a socket, an event source or a look-up is left. */
void world_end(void);

/* For whom the client passes it on to; it is never looked into. */
sd_event *world_loop(void);

/* What becomes of connections and of look-ups that begin from now on. */
void world_set_connecting(enum world_connecting connecting);
void world_set_resolving(bool works);

/* The connected sockets, in the order in which they were made; `index` counts round them. Without any, nothing happens.
 * What is delivered is read by world_run(). */
void world_deliver(unsigned int index, const void *bytes, size_t len);
void world_hang_up(unsigned int index, bool reset);
void world_set_taking(unsigned int index, bool takes); /* what the client sends */

/* Calls back until nobody has anything to do. Aborts when that does not end. */
void world_run(void);

/* Lets time pass, and calls back what falls into it. */
void world_pass(uint64_t ns);

#endif
