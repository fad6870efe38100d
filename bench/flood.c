// SPDX-License-Identifier: GPL-2.0-only
/*
 * Packets that one core receives per second: one CPU sends over a veth as fast as it can, and the thread of the
 * receiving end, on another CPU, hands every frame to the contestant. Prints: flood, label, refused or admitted,
 * sources, millions of packets per second, ns of the receiving CPU per packet, share of the time that it was busy, ns
 * that a cache line takes from CPU to CPU.
 */
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"
#include "contestant.h"
#include "cpu.h"
#include "distance.h"
#include "receiver.h"
#include "sender.h"
#include "traffic.h"

/* After the first packets, until caches and clock frequency have settled; and until nearly all of a million sources
 * have a bucket. */
#define SETTLE_SECONDS 0.3
#define SETTLE_SECONDS_MILLION 2

/* Where all sources are new: what an operator would have. */
#define NEW_SOURCES (BENCH_TABLE_SIZE / 10)

static int measure(const struct receiver *receiver, double settle, double seconds, struct receiver_reading *first,
		   struct receiver_reading *last)
{
	int err;

	usleep(settle * 1e6);
	err = receiver_read(receiver, first);
	do {
		usleep(seconds * 1e6);
		err = err ? err : receiver_read(receiver, last);
	} while (!err && receiver_was_idle(first, last));
	return err;
}

static void report(char **args, const struct receiver_reading *first, const struct receiver_reading *last,
		   double distance)
{
	double packets = last->packets - first->packets;
	double ns = last->time_ns - first->time_ns;
	double busy = last->busy_ns - first->busy_ns;

	printf("flood\t%s\t%s\t%s\t%.3f\t%.1f\t%.2f\t%.0f\n", args[2], args[3], args[4], packets / ns * 1e3,
	       packets ? busy / packets : 0, busy / ns, distance);
}

static int send_and_measure(char **args, struct receiver *receiver, const struct bench_cpus *cpus)
{
	double settle = strcmp(args[4], "million") == 0 ? SETTLE_SECONDS_MILLION : SETTLE_SECONDS;
	struct receiver_reading first, last;
	struct pattern pattern;
	struct traffic traffic;
	double before, after;
	pid_t sender;
	int err = traffic_pattern(args[4], &pattern);

	if (!err)
		err = cpu_own(0, cpus->send, 1);
	if (!err)
		err = receiver_pin(receiver, cpus->receive);
	if (!err)
		err = traffic_init(&pattern, receiver->mac, &traffic);
	if (err)
		return err;
	before = distance_to(cpus->receive);
	sender = sender_start(&traffic, if_nametoindex(args[6]), cpus->send);
	err = sender < 0 ? sender : measure(receiver, settle, atof(args[5]), &first, &last);
	sender_stop(sender);
	after = distance_to(cpus->receive);
	traffic_done(&traffic);
	if (!err)
		report(args, &first, &last, before > after ? before : after);
	return err;
}

int bench_flood(const struct bench_cpus *cpus, char **args)
{
	struct contestant_limit limit;
	struct contestant contestant;
	struct receiver receiver;
	int err = receiver_find(args[7], &receiver);

	if (!err)
		err = contestant_limit_of(args[3], &limit);
	if (err)
		return err;
	contestant_set_rules(args[1], &limit);
	if (strcmp(args[4], "new") == 0)
		limit.new_sources = NEW_SOURCES;
	err = contestant_load(args[0], &limit, &contestant);
	if (err)
		return err;
	err = contestant_attach(&contestant, receiver.ifindex);
	if (!err)
		err = send_and_measure(args, &receiver, cpus);
	contestant_detach(&contestant, receiver.ifindex);
	contestant_unload(&contestant);
	return err;
}
