// SPDX-License-Identifier: GPL-2.0-only
/*
 * A flood of one source, looked at again and again, to see what else on the machine does to it. Sender and receiver
 * share the receiver's CPU, so that the other one is free for whatever that is. Prints for each window: its first and
 * its last moment in seconds (CLOCK_REALTIME), packets received, ns of CPU time that the receiver took for them.
 */
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"
#include "receiver.h"
#include "sender.h"
#include "traffic.h"

#define WINDOW_US 50000
#define SETTLE_US 300000

static double wall_time(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}

static int look(const struct receiver *receiver, double seconds)
{
	struct receiver_reading before, after;
	double start, end, last;
	int err;

	usleep(SETTLE_US);
	start = wall_time();
	last = start + seconds;
	err = receiver_read(receiver, &before);
	for (; !err && start < last; start = end, before = after) {
		usleep(WINDOW_US);
		end = wall_time();
		err = receiver_read(receiver, &after);
		if (!err)
			printf("%.6f\t%.6f\t%lu\t%lu\n", start, end, after.packets - before.packets,
			       after.busy_ns - before.busy_ns);
		(void)fflush(stdout);
	}
	return err;
}

int bench_windows(const struct bench_cpus *cpus, char **args)
{
	struct receiver receiver;
	struct pattern pattern;
	struct traffic traffic;
	pid_t sender;
	int err = receiver_find(args[2], &receiver);

	if (!err)
		err = traffic_pattern("one", &pattern);
	if (!err)
		err = receiver_pin(&receiver, cpus->receive);
	if (!err)
		err = traffic_init(&pattern, receiver.mac, &traffic);
	if (err)
		return err;
	sender = sender_start(&traffic, if_nametoindex(args[1]), cpus->receive);
	err = sender < 0 ? sender : look(&receiver, atof(args[0]));
	sender_stop(sender);
	traffic_done(&traffic);
	return err;
}
