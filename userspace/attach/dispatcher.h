/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Programs behind libxdp's dispatcher. What is there is read from the dispatcher's pins. To change it, libxdp works in
 * a child process, because in 1.3 (Debian 12) each of its calls leaves descriptors open, and an agent runs for years.
 */
#ifndef EB_DISPATCHER_H
#define EB_DISPATCHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a dispatcher has places for (MAX_DISPATCHER_ACTIONS in libxdp). */
#define EB_DISPATCHER_MAX 10

struct edgebucket_bpf;

/*
 * Opens the programs behind a dispatcher, to be closed by the caller. Returns their number, or -ENOENT when the program
 * `dispatcher_id` on the interface is no dispatcher, or no longer there.
 */
int eb_dispatcher_open(int ifindex, uint32_t dispatcher_id, int out[EB_DISPATCHER_MAX]);

/* What is to be attached. */
struct eb_dispatcher_order {
	int ifindex;
	bool native, generic; /* the modes to try, native first */
	/* Opens the program, ready to be loaded. Called in the child. */
	int (*open)(void *arg, bool multi_buffer, struct edgebucket_bpf **out);
	void *arg;
};

/* What a child says at its end. */
struct eb_dispatcher_result {
	int err;        /* 0 or negative errno */
	uint32_t id;    /* of the program that was attached */
	int native_err; /* why native mode failed, where generic mode was tried then; else 0 */
};

struct eb_dispatcher_job; /* opaque: a child at work. It may wait for libxdp's lock, so for another process. */

/*
 * Begin to attach a program, behind a dispatcher if the kernel can, alone if not; and to take programs out from behind
 * a dispatcher, in one step. Both return 0 and a job for eb_dispatcher_end(), or negative errno. Arguments may go at
 * once.
 */
int eb_dispatcher_attach(const struct eb_dispatcher_order *order, struct eb_dispatcher_job **out);
int eb_dispatcher_detach(int ifindex, const uint32_t *ids, size_t count, struct eb_dispatcher_job **out);

/* A descriptor that becomes readable when the child is done. The job's. */
int eb_dispatcher_fd(const struct eb_dispatcher_job *job);

/* Waits for the child; -1 for as long as it takes. Returns 0 and its result, -EINPROGRESS when it is not done by then,
 * or other negative errno when it ended without a result. */
int eb_dispatcher_wait(struct eb_dispatcher_job *job, int timeout_ms, struct eb_dispatcher_result *out);

/* Ends the child if it is still at work. libxdp pins first, and then changes the interface in one step: pins may be
 * left of what was not done. Accepts NULL. */
void eb_dispatcher_end(struct eb_dispatcher_job *job);

#endif
