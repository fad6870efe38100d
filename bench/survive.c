// SPDX-License-Identifier: GPL-2.0-only
/*
 * What honest clients notice of a flood: 1000 requests a second over UDP, from 2000 addresses in turn, to a server
 * behind the contestant, whose port the flood aims at too. Requests are packets of the flood's own sender, so they wait
 * in the same queue and are lost on the same terms. The clients are known before the flood begins. Prints: survive,
 * label, sources, packets sent and packets handled a second (in millions), share of the time that the receiver was
 * busy, ns that a cache line takes from CPU to CPU, requests, answers, and microseconds to the answer: median, 99th
 * percentile.
 *
 * The sender and who waits for answers share one CPU, the receiving interface's thread and the server the other one.
 * All but the sender run in real time, so that other work on the machine delays none of them: a queue of 256 packets is
 * full in an eighth of a millisecond. The server goes before the thread, or a thread that is busy all the time would
 * leave it nothing; that favours slow contestants.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"
#include "contestant.h"
#include "cpu.h"
#include "distance.h"
#include "receiver.h"
#include "sender.h"
#include "traffic.h"

#define FIRST_CLIENT 0xc6120000 /* 198.18.0.0 */
#define CLIENTS 2000
#define REQUESTS_PER_SECOND 1000

/* Real-time priorities. */
enum { RECEIVER_PRIORITY = 1, SERVER_PRIORITY = 2, CLIENT_PRIORITY = 1 };

/* Twice what a client sends, so that they may; what sources of the flood get in passes too. */
#define CLIENT_RATE ((double)REQUESTS_PER_SECOND / CLIENTS)
static const struct contestant_limit limit_of_all = {
	.table_size = BENCH_TABLE_SIZE,
	.rate = 2 * CLIENT_RATE,
	.burst = 2,
	.new_sources = BENCH_TABLE_SIZE / 10,
};

/* One request of each client before the flood. */
#define KNOWN_PER_SECOND 10000
#define KNOWN_SECONDS_MAX 10

/* After the flood began: until its sources have spent their bursts. */
#define SETTLE_SECONDS 2

/* For the last answers. */
#define GRACE_SECONDS 0.2

/* Many more than come, where the sender keeps its pace. */
#define ANSWERS_PER_SECOND_MAX (2 * REQUESTS_PER_SECOND)

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

static int open_port(uint32_t address, uint16_t port)
{
	struct sockaddr_in self = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(address),
		.sin_port = htons(port),
	};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (bind(fd, (struct sockaddr *)&self, sizeof(self)) == 0)
		return fd;
	close(fd);
	return -errno;
}

/* ---- server ---- */

/* Answers whoever asks with what he sent, until killed. */
static void serve(int fd)
{
	for (;;) {
		struct sockaddr_in peer;
		socklen_t peer_len = sizeof(peer);
		char data[64];
		ssize_t len = recvfrom(fd, data, sizeof(data), 0, (struct sockaddr *)&peer, &peer_len);

		if (len >= 0)
			(void)sendto(fd, data, len, MSG_DONTWAIT, (struct sockaddr *)&peer, peer_len);
	}
}

static pid_t start_server(int cpu)
{
	int fd = open_port(TRAFFIC_SERVER, TRAFFIC_SERVER_PORT), err;
	pid_t pid;

	if (fd < 0)
		return fd;
	pid = fork();
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		serve(fd);
	}
	close(fd);
	if (pid < 0)
		return -errno;
	err = cpu_own(pid, cpu, SERVER_PRIORITY);
	if (err)
		sender_stop(pid);
	return err ? err : pid;
}

/* ---- clients ---- */

/* Where the flood and the clients come from. */
struct far_end {
	int own_netns, netns;
	int interface;
	int cpu;
};

static int enter(int netns)
{
	return setns(netns, CLONE_NEWNET) ? -errno : 0;
}

static int open_far_end(const char *netns, const char *interface, struct far_end *out)
{
	int err;

	out->own_netns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	out->netns = open(netns, O_RDONLY | O_CLOEXEC);
	if (out->own_netns < 0 || out->netns < 0)
		return -errno;
	err = enter(out->netns);
	out->interface = if_nametoindex(interface);
	if (!err)
		err = enter(out->own_netns);
	return err || out->interface ? err : -ENODEV;
}

static pid_t start_sender(const struct far_end *far, struct traffic *traffic)
{
	int err = enter(far->netns);
	pid_t sender = err ? err : sender_start(traffic, far->interface, far->cpu);

	if (!err)
		err = enter(far->own_netns);
	return err ? err : sender;
}

/* One socket for all clients. */
static int open_clients(const struct far_end *far)
{
	int err = enter(far->netns), back;
	int fd = err ? err : open_port(INADDR_ANY, TRAFFIC_CLIENT_PORT);

	back = enter(far->own_netns);
	return back ? back : fd;
}

/* Answers to requests of numbers within (first, last]. */
struct answers {
	uint64_t first, last;
	uint32_t count, room;
	uint32_t *us;
};

static void take_answers(int fd, struct answers *answers)
{
	struct mark mark;

	while (recv(fd, &mark, sizeof(mark), MSG_DONTWAIT) == sizeof(mark))
		if (mark.number > answers->first && mark.number <= answers->last && answers->count < answers->room)
			answers->us[answers->count++] = (now_ns() - mark.made_ns) / 1000;
}

static void take_answers_for(double seconds, int fd, struct answers *answers)
{
	struct pollfd wanted = { .fd = fd, .events = POLLIN };
	uint64_t end = now_ns() + seconds * 1e9, now;

	while ((now = now_ns()) < end) {
		struct timespec left = { (end - now) / 1000000000, (end - now) % 1000000000 };

		if (ppoll(&wanted, 1, &left, NULL) > 0)
			take_answers(fd, answers);
	}
}

/* ---- the measurement ---- */

struct reading {
	struct progress sent;
	struct receiver_reading received;
};

struct outcome {
	struct reading first, last;
	struct answers answers; /* to requests that were made between the two */
	double distance;
};

static int read_all(const struct traffic *traffic, const struct receiver *receiver, struct reading *out)
{
	int err = receiver_read(receiver, &out->received);

	return err ? err : traffic_progress(traffic, &out->sent);
}

/* Nothing counts before the flood has settled. */
static int take_part(const struct traffic *traffic, const struct receiver *receiver, double seconds, int fd,
		     struct outcome *out)
{
	int err;

	take_answers_for(SETTLE_SECONDS, fd, &out->answers);
	err = read_all(traffic, receiver, &out->first);
	out->answers.first = out->first.sent.marked;
	out->answers.last = UINT64_MAX;
	take_answers_for(seconds, fd, &out->answers);
	if (!err)
		err = read_all(traffic, receiver, &out->last);
	out->answers.last = out->last.sent.marked;
	take_answers_for(GRACE_SECONDS, fd, &out->answers);
	return err;
}

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static void report(const char *label, const char *sources, uint32_t mix, struct outcome *outcome)
{
	const struct receiver_reading *first = &outcome->first.received, *last = &outcome->last.received;
	double ns = last->time_ns - first->time_ns;
	struct answers *answers = &outcome->answers;
	uint64_t requests = answers->last - answers->first;
	uint32_t count = answers->count;

	qsort(answers->us, count, sizeof(*answers->us), compare);
	printf("survive\t%s\t%s\t%.3f\t%.3f\t%.2f\t%.0f\t%lu\t%u", label, sources, (double)(requests * mix) / ns * 1e3,
	       (double)(last->packets - first->packets) / ns * 1e3, (double)(last->busy_ns - first->busy_ns) / ns,
	       outcome->distance, requests, count);
	if (count)
		printf("\t%u\t%u\n", answers->us[count / 2], answers->us[count * 99ULL / 100]);
	else
		printf("\t-\t-\n");
}

/* Requests alone, until each client has made one. */
static int make_known(const struct far_end *far, const struct receiver *receiver)
{
	struct progress sent = {};
	struct pattern pattern = {};
	struct traffic traffic;
	pid_t sender;
	int err;

	traffic_pattern_mark(&pattern, 1, FIRST_CLIENT, CLIENTS);
	traffic_pattern_pace(&pattern, KNOWN_PER_SECOND);
	err = traffic_init(&pattern, receiver->mac, &traffic);
	if (err)
		return err;
	sender = start_sender(far, &traffic);
	err = sender < 0 ? sender : 0;
	for (uint64_t end = now_ns() + KNOWN_SECONDS_MAX * 1000000000ULL; !err && sent.marked < CLIENTS;) {
		usleep(10000);
		err = now_ns() < end ? traffic_progress(&traffic, &sent) : -ETIMEDOUT;
	}
	sender_stop(sender);
	traffic_done(&traffic);
	return err;
}

static int flood(const struct far_end *far, const struct receiver *receiver, struct traffic *traffic, double seconds,
		 struct outcome *out)
{
	int fd = open_clients(far), err = fd < 0 ? fd : 0;
	pid_t sender = err ? err : start_sender(far, traffic);

	if (!err)
		err = sender < 0 ? sender : take_part(traffic, receiver, seconds, fd, out);
	sender_stop(sender);
	if (fd >= 0)
		close(fd);
	return err;
}

/* The packets of `sources`, of which every mix'th is a request. */
static int make_pattern(const char *sources, double rate, struct pattern *out)
{
	bool is_flood = strcmp(sources, "nobody") != 0;
	int err = is_flood ? traffic_pattern(sources, out) : 0;

	traffic_pattern_mark(out, is_flood ? rate / REQUESTS_PER_SECOND : 1, FIRST_CLIENT, CLIENTS);
	traffic_pattern_pace(out, is_flood ? rate : REQUESTS_PER_SECOND);
	return err;
}

static int measure(char **args, const struct bench_cpus *cpus, const struct far_end *far,
		   const struct receiver *receiver)
{
	double seconds = atof(args[4]);
	struct outcome outcome = { .answers.room = seconds * ANSWERS_PER_SECOND_MAX };
	struct pattern pattern = {};
	struct traffic traffic;
	int err = make_pattern(args[3], atof(args[5]), &pattern);

	if (!err)
		err = traffic_init(&pattern, receiver->mac, &traffic);
	if (err)
		return err;
	outcome.answers.us = calloc(outcome.answers.room, sizeof(*outcome.answers.us));
	outcome.distance = distance_to(cpus->receive);
	err = outcome.answers.us ? make_known(far, receiver) : -ENOMEM;
	if (!err)
		err = flood(far, receiver, &traffic, seconds, &outcome);
	if (!err)
		report(args[2], args[3], pattern.mix, &outcome);
	free(outcome.answers.us);
	traffic_done(&traffic);
	return err;
}

/* With the contestant in place. */
static int run(const struct bench_cpus *cpus, char **args, struct receiver *receiver)
{
	struct far_end far = { .cpu = cpus->send };
	pid_t server;
	int err = open_far_end(args[8], args[6], &far);

	if (!err)
		err = receiver_pin(receiver, cpus->receive);
	if (!err)
		err = cpu_own(receiver->thread, cpus->receive, RECEIVER_PRIORITY);
	if (!err)
		err = cpu_own(0, cpus->send, CLIENT_PRIORITY);
	if (err)
		return err;
	server = start_server(cpus->receive);
	err = server < 0 ? server : measure(args, cpus, &far, receiver);
	sender_stop(server);
	return err;
}

int bench_survive(const struct bench_cpus *cpus, char **args)
{
	struct contestant_limit limit = limit_of_all;
	struct contestant contestant;
	struct receiver receiver;
	int err = receiver_find(args[7], &receiver);

	contestant_set_rules(args[1], &limit);
	if (!err)
		err = contestant_load(args[0], &limit, &contestant);
	if (err)
		return err;
	err = contestant_attach(&contestant, receiver.ifindex);
	if (!err)
		err = run(cpus, args, &receiver);
	contestant_detach(&contestant, receiver.ifindex);
	contestant_unload(&contestant);
	return err;
}
