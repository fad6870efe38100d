// SPDX-License-Identifier: GPL-2.0-only
/*
 * What honest clients notice of a flood: 1000 requests a second over UDP, from 2000 addresses in turn, to a server
 * behind the contestant, whose port the flood aims at too. The clients are known before the flood begins. Prints:
 * survive, label, sources, packets of the flood and of clients handled a second (in millions), requests, answers, and
 * microseconds to the answer: median, 99th percentile.
 *
 * The sender and the clients share one CPU, the clients first; the receiving interface's thread and the server the
 * other one.
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
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"
#include "contestant.h"
#include "cpu.h"
#include "receiver.h"
#include "sender.h"
#include "traffic.h"

/* Of the frames of traffic.c. */
#define SERVER_ADDR 0xc0000201
#define SERVER_PORT 53

#define FIRST_CLIENT 0xc6120000 /* 198.18.0.0 */
#define CLIENTS 2000
#define REQUESTS_PER_SECOND 1000
#define INTERVAL_NS (1000000000ULL / REQUESTS_PER_SECOND)

/* Twice what a client sends, so that they may; what sources of the flood get in passes too. */
#define CLIENT_RATE ((double)REQUESTS_PER_SECOND / CLIENTS)
static const struct contestant_limit limit_of_all = {
	.table_size = BENCH_TABLE_SIZE,
	.rate = 2 * CLIENT_RATE,
	.burst = 5,
	.new_sources = BENCH_TABLE_SIZE / 10,
};

/* After the flood began: until its sources have spent their bursts. */
#define SETTLE_SECONDS 1

/* For the last answers. */
#define GRACE_NS 200000000ULL

struct request {
	uint64_t number;
	uint64_t sent_ns;
};

/* Shared with the process that makes the requests. */
struct clients {
	uint64_t sent;
	uint64_t answered;
	uint32_t answer_us[]; /* in the order in which they came */
};

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

static int run_on(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set) ? -errno : 0;
}

/* ---- server ---- */

static int open_server(void)
{
	struct sockaddr_in self = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(SERVER_ADDR),
		.sin_port = htons(SERVER_PORT),
	};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&self, sizeof(self)))
		return -errno;
	return fd;
}

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
	int fd = open_server();
	pid_t pid;

	if (fd < 0)
		return fd;
	pid = fork();
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)cpu_take(cpu);
		serve(fd);
	}
	close(fd);
	return pid < 0 ? -errno : pid;
}

/* ---- clients ---- */

/* One socket for all of them; the address to send from goes with each request. */
static ssize_t send_request(int fd, const struct request *request)
{
	struct sockaddr_in server = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(SERVER_ADDR),
		.sin_port = htons(SERVER_PORT),
	};
	struct in_pktinfo from = { .ipi_spec_dst.s_addr = htonl(FIRST_CLIENT + request->number % CLIENTS) };
	char control[CMSG_SPACE(sizeof(from))] = {};
	struct iovec data = { .iov_base = (void *)request, .iov_len = sizeof(*request) };
	struct msghdr message = {
		.msg_name = &server,
		.msg_namelen = sizeof(server),
		.msg_iov = &data,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	header->cmsg_level = IPPROTO_IP;
	header->cmsg_type = IP_PKTINFO;
	header->cmsg_len = CMSG_LEN(sizeof(from));
	memcpy(CMSG_DATA(header), &from, sizeof(from));
	return sendmsg(fd, &message, 0);
}

static void take_answers(int fd, struct clients *clients)
{
	struct request request;

	while (recv(fd, &request, sizeof(request), MSG_DONTWAIT) == sizeof(request))
		clients->answer_us[clients->answered++] = (now_ns() - request.sent_ns) / 1000;
}

static void take_answers_until(int fd, struct clients *clients, uint64_t end_ns)
{
	struct pollfd wanted = { .fd = fd, .events = POLLIN };
	uint64_t now;

	while ((now = now_ns()) < end_ns) {
		struct timespec left = { .tv_nsec = end_ns - now };

		if (ppoll(&wanted, 1, &left, NULL) > 0)
			take_answers(fd, clients);
	}
}

static int send_requests(struct clients *clients, uint64_t count)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	uint64_t due_ns = now_ns();

	if (fd < 0)
		return -errno;
	for (uint64_t i = 0; i < count; i++) {
		struct request request = { .number = i, .sent_ns = now_ns() };

		clients->sent += send_request(fd, &request) == sizeof(request);
		due_ns += INTERVAL_NS;
		take_answers_until(fd, clients, due_ns);
	}
	take_answers_until(fd, clients, due_ns + GRACE_NS);
	close(fd);
	return 0;
}

/* Where the flood and the clients come from, and what the two processes share. */
struct far_end {
	int own_netns, netns;
	int interface;
	int cpu;
};

static int enter(int netns)
{
	return setns(netns, CLONE_NEWNET) ? -errno : 0;
}

/* Ahead of the sender: real-time. */
static int run_clients(const struct far_end *far, struct clients *clients, uint64_t count)
{
	struct sched_param priority = { .sched_priority = 1 };
	int err = run_on(far->cpu);

	if (!err && sched_setscheduler(0, SCHED_FIFO, &priority))
		err = -errno;
	if (!err)
		err = enter(far->netns);
	return err ? err : send_requests(clients, count);
}

/* In a process of its own, which ends with the last answer. */
static int ask(const struct far_end *far, struct clients *clients, uint64_t count)
{
	pid_t pid = fork();
	int status;

	if (pid < 0)
		return -errno;
	if (pid == 0)
		_exit(-run_clients(far, clients, count));
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) ? -WEXITSTATUS(status) : -ECANCELED;
}

static struct clients *share(uint64_t requests)
{
	size_t size = sizeof(struct clients) + requests * sizeof(uint32_t);
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

/* ---- the measurement ---- */

static int open_far_end(const char *netns, const char *interface, int cpu, struct far_end *out)
{
	int err;

	out->cpu = cpu;
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

static pid_t start_flood(const struct far_end *far, struct traffic *traffic)
{
	int err = enter(far->netns);
	pid_t sender = err ? err : sender_start(traffic, far->interface, far->cpu);

	if (!err)
		err = enter(far->own_netns);
	sleep(SETTLE_SECONDS);
	return err ? err : sender;
}

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static void report(const char *label, const char *sources, struct clients *clients,
		   const struct receiver_reading *first, const struct receiver_reading *last)
{
	uint64_t count = clients->answered;

	qsort(clients->answer_us, count, sizeof(uint32_t), compare);
	printf("survive\t%s\t%s\t%.3f\t%lu\t%lu", label, sources,
	       (double)(last->packets - first->packets) / (last->time_ns - first->time_ns) * 1e3, clients->sent, count);
	if (count)
		printf("\t%u\t%u\n", clients->answer_us[count / 2], clients->answer_us[count * 99 / 100]);
	else
		printf("\t-\t-\n");
}

/* The first requests make the clients known; those that count come when the flood has settled. */
static int measure(const char *label, const char *sources, double seconds, struct traffic *flood,
		   const struct far_end *far, const struct receiver *receiver)
{
	uint64_t count = seconds * REQUESTS_PER_SECOND;
	struct clients *known = share(CLIENTS), *clients = share(count);
	struct receiver_reading first, last;
	pid_t sender = 0;
	int err = known && clients ? ask(far, known, CLIENTS) : -ENOMEM;

	if (!err && flood) {
		sender = start_flood(far, flood);
		err = sender < 0 ? sender : 0;
	}
	if (!err)
		err = receiver_read(receiver, &first);
	if (!err)
		err = ask(far, clients, count);
	if (!err)
		err = receiver_read(receiver, &last);
	sender_stop(sender);
	if (!err)
		report(label, sources, clients, &first, &last);
	return err;
}

static int run(const struct bench_cpus *cpus, char **args, const struct receiver *receiver)
{
	bool is_flood = strcmp(args[3], "nobody") != 0;
	struct pattern pattern = {};
	struct traffic traffic;
	struct far_end far;
	int err = open_far_end(args[8], args[6], cpus->send, &far);

	if (!err && is_flood)
		err = traffic_pattern(args[3], &pattern);
	traffic_pattern_pace(&pattern, atof(args[5]));
	if (!err && is_flood)
		err = traffic_init(&pattern, receiver->mac, &traffic);
	if (err)
		return err;
	err = measure(args[2], args[3], atof(args[4]), is_flood ? &traffic : NULL, &far, receiver);
	if (is_flood)
		traffic_done(&traffic);
	return err;
}

int bench_survive(const struct bench_cpus *cpus, char **args)
{
	struct contestant_limit limit = limit_of_all;
	struct contestant contestant;
	struct receiver receiver;
	pid_t server = 0;
	int err = receiver_find(args[7], &receiver);

	contestant_set_rules(args[1], &limit);
	if (!err)
		err = contestant_load(args[0], &limit, &contestant);
	if (err)
		return err;
	err = contestant_attach(&contestant, receiver.ifindex);
	if (!err)
		err = receiver_pin(&receiver, cpus->receive);
	if (!err) {
		server = start_server(cpus->receive);
		err = server < 0 ? server : run(cpus, args, &receiver);
	}
	sender_stop(server);
	contestant_detach(&contestant, receiver.ifindex);
	contestant_unload(&contestant);
	return err;
}
