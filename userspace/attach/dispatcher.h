/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Programs behind the dispatcher of libxdp. This module reads from the pins of the dispatcher which programs are there.
 * To change them, it runs libxdp in a child process: in libxdp 1.3 (Debian 12), each call leaks descriptors, and an
 * agent runs for years.
 */
#ifndef EB_DISPATCHER_H
#define EB_DISPATCHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The number of slots of a dispatcher (MAX_DISPATCHER_ACTIONS in libxdp). */
#define EB_DISPATCHER_MAX 10

struct edgebucket_bpf;

/*
 * Opens the programs behind a dispatcher; the caller closes the descriptors. Returns their number, or -ENOENT if the
 * program `dispatcher_id` on the interface is not a dispatcher or not attached any more.
 */
int eb_dispatcher_open(int ifindex, uint32_t dispatcher_id, int out[EB_DISPATCHER_MAX]);

/* What is to be attached. */
struct eb_dispatcher_order {
	int ifindex;
	bool native, generic; /* the modes to try, native first */
	/* Opens the program, so that it can be loaded. Called in the child. */
	int (*open)(void *arg, bool multi_buffer, struct edgebucket_bpf **out);
	void *arg;
};

/* The result that a child reports when it ends. */
struct eb_dispatcher_result {
	int err;        /* 0 or negative errno */
	uint32_t id;    /* of the program that was attached */
	int native_err; /* why native mode failed, if generic mode was tried afterwards; else 0 */
};

struct eb_dispatcher_job; /* opaque: a running child, which might wait for the lock of libxdp */

/*
 * Start a child that attaches a program, behind a dispatcher if the kernel supports it and alone otherwise; or that
 * removes `count` programs from behind a dispatcher, in one step. Both return 0 and a job for eb_dispatcher_end(), or
 * negative errno. The arguments need not outlive the call.
 */
int eb_dispatcher_attach(const struct eb_dispatcher_order *order, struct eb_dispatcher_job **out);
int eb_dispatcher_detach(int ifindex, const uint32_t *ids, size_t count, struct eb_dispatcher_job **out);

/* A descriptor that becomes readable when the child is done. It belongs to the job. */
int eb_dispatcher_fd(const struct eb_dispatcher_job *job);

/* Waits for the child for at most `timeout_ms` milliseconds; -1 waits without a limit. Returns 0 and its result,
 * -EINPROGRESS if the child is not done by then, or another negative errno if it ended without a result. */
int eb_dispatcher_wait(struct eb_dispatcher_job *job, int timeout_ms, struct eb_dispatcher_result *out);

/* Kills the child if it is still running, and frees the job. libxdp first creates pins and then changes the interface
 * in one step, so a killed child might leave unused pins. Accepts NULL. */
void eb_dispatcher_end(struct eb_dispatcher_job *job);

#endif
