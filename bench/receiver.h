/* SPDX-License-Identifier: GPL-2.0-only */
/* Owns what is known of the receiving interface: its counters, and the kernel thread that works for it. */
#ifndef EB_BENCH_RECEIVER_H
#define EB_BENCH_RECEIVER_H

#include <linux/if_ether.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct receiver {
	char name[16];
	int ifindex;
	uint8_t mac[ETH_ALEN];
	pid_t thread; /* of its threaded NAPI */
};

struct receiver_reading {
	uint64_t time_ns;
	uint64_t packets; /* that the NAPI thread has worked on, whatever became of them */
	uint64_t busy_ns; /* CPU time of the thread */
};

/* Returns 0 or negative errno, as all of these do. */
int receiver_find(const char *name, struct receiver *out);

/* Finds the thread and gives it a CPU, ahead of ordinary processes there. Whenever a program is attached or detached,
 * the interface has another thread. */
int receiver_pin(struct receiver *receiver, int cpu);

int receiver_read(const struct receiver *receiver, struct receiver_reading *out);

/* Whether a measurement has to go on: nothing was received, as on a busy machine nobody ran. Not for ever. */
bool receiver_was_idle(const struct receiver_reading *first, const struct receiver_reading *last);

#endif
