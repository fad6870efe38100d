// SPDX-License-Identifier: GPL-2.0-only
/*
 * Packets that one core receives per second: one CPU sends over a veth as fast as it can, and the thread of the
 * receiving end, on another CPU, hands every frame to the contestant. Prints: flood, label, sources, millions of
 * packets per second, ns of the receiving CPU per packet, share of the time that it was busy, ns that a cache line
 * takes from CPU to CPU.
 */
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "bench.h"
#include "contestant.h"
#include "cpu.h"
#include "distance.h"
#include "receiver.h"
#include "sender.h"
#include "traffic.h"

/* After the first packets, until caches and clock frequency have settled. */
#define SETTLE_SECONDS 0.3

/* Refuses nearly everything from a source that is seen more than once. */
static const struct contestant_limit strict = {
	.table_size = BENCH_TABLE_SIZE,
	.rate = 1,
	.burst = 5,
	.new_sources = BENCH_TABLE_SIZE / 10,
};

static int measure(const struct receiver *receiver, double seconds, struct receiver_reading *first,
		   struct receiver_reading *last)
{
	int err;

	usleep(SETTLE_SECONDS * 1e6);
	err = receiver_read(receiver, first);
	usleep(seconds * 1e6);
	return err ? err : receiver_read(receiver, last);
}

static void report(const char *label, const char *sources, const struct receiver_reading *first,
		   const struct receiver_reading *last, double distance)
{
	double packets = last->packets - first->packets;
	double ns = last->time_ns - first->time_ns;
	double busy = last->busy_ns - first->busy_ns;

	printf("flood\t%s\t%s\t%.3f\t%.1f\t%.2f\t%.0f\n", label, sources, packets / ns * 1e3,
	       packets ? busy / packets : 0, busy / ns, distance);
}

static int send_and_measure(const char *label, const char *sources, double seconds, const char *from,
			    struct receiver *receiver, const struct bench_cpus *cpus)
{
	struct receiver_reading first, last;
	struct pattern pattern;
	struct traffic traffic;
	double before, after;
	pid_t sender;
	int err = traffic_pattern(sources, &pattern);

	if (!err)
		err = cpu_take(cpus->send);
	if (!err)
		err = receiver_pin(receiver, cpus->receive);
	if (!err)
		err = traffic_init(&pattern, receiver->mac, &traffic);
	if (err)
		return err;
	before = distance_to(cpus->receive);
	sender = sender_start(&traffic, if_nametoindex(from), cpus->send);
	err = sender < 0 ? sender : measure(receiver, seconds, &first, &last);
	sender_stop(sender);
	after = distance_to(cpus->receive);
	traffic_done(&traffic);
	if (!err)
		report(label, sources, &first, &last, before > after ? before : after);
	return err;
}

int bench_flood(const struct bench_cpus *cpus, char **args)
{
	const char *label = args[2], *sources = args[3], *from = args[5];
	struct contestant_limit limit = strict;
	struct contestant contestant;
	struct receiver receiver;
	int err = receiver_find(args[6], &receiver);

	contestant_set_rules(args[1], &limit);
	if (!err)
		err = contestant_load(args[0], &limit, &contestant);
	if (err)
		return err;
	err = contestant_attach(&contestant, receiver.ifindex);
	if (!err)
		err = send_and_measure(label, sources, atof(args[4]), from, &receiver, cpus);
	contestant_detach(&contestant, receiver.ifindex);
	contestant_unload(&contestant);
	return err;
}
