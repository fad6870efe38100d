// SPDX-License-Identifier: GPL-2.0-only
#include "receiver.h"

#include <dirent.h>
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "cpu.h"

#define IDLE_NS_MAX 10000000000ULL

static int find_mac(const char *name, uint8_t mac[ETH_ALEN])
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), err = 0;
	struct ifreq ifr = {};

	if (fd < 0)
		return -errno;
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	if (ioctl(fd, SIOCGIFHWADDR, &ifr) < 0)
		err = -errno;
	close(fd);
	if (!err)
		memcpy(mac, ifr.ifr_hwaddr.sa_data, ETH_ALEN);
	return err;
}

int receiver_find(const char *name, struct receiver *out)
{
	struct receiver receiver = { .ifindex = if_nametoindex(name) };
	int err;

	if (!receiver.ifindex)
		return -errno;
	err = find_mac(name, receiver.mac);
	if (err)
		return err;
	snprintf(receiver.name, sizeof(receiver.name), "%s", name);
	*out = receiver;
	return 0;
}

static int thread_is_named(const char *pid, const char *prefix)
{
	char path[300], name[64] = "";
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%s/comm", pid);
	file = fopen(path, "re");
	if (!file)
		return 0;
	if (!fgets(name, sizeof(name), file))
		name[0] = 0;
	fclose(file);
	return strncmp(name, prefix, strlen(prefix)) == 0;
}

static pid_t find_thread(const char *interface)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	char prefix[32];
	pid_t found = 0;

	snprintf(prefix, sizeof(prefix), "napi/%s-", interface);
	while (proc && !found && (entry = readdir(proc)))
		if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9' && thread_is_named(entry->d_name, prefix))
			found = atoi(entry->d_name);
	if (proc)
		closedir(proc);
	return found;
}

int receiver_pin(struct receiver *receiver, int cpu)
{
	int err;

	receiver->thread = find_thread(receiver->name);
	if (!receiver->thread)
		return -ESRCH;
	err = cpu_bind(receiver->thread, cpu);
	if (err)
		return err;
	return setpriority(PRIO_PROCESS, receiver->thread, -20) ? -errno : 0;
}

/* Reads the first number of a file. */
static int read_number(const char *path, uint64_t *out)
{
	FILE *file = fopen(path, "re");
	int fields;

	if (!file)
		return -errno;
	fields = fscanf(file, "%lu", out);
	fclose(file);
	return fields == 1 ? 0 : -EINVAL;
}

/* Not by ethtool, which waits for a lock of the whole machine. */
static int read_packets(const char *interface, uint64_t *out)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/class/net/%s/statistics/rx_packets", interface);
	return read_number(path, out);
}

static int read_busy(pid_t thread, uint64_t *out)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/schedstat", thread);
	return read_number(path, out);
}

int receiver_read(const struct receiver *receiver, struct receiver_reading *out)
{
	struct receiver_reading reading;
	struct timespec now;
	int err;

	clock_gettime(CLOCK_MONOTONIC, &now);
	reading.time_ns = now.tv_sec * 1000000000ULL + now.tv_nsec;
	err = read_packets(receiver->name, &reading.packets);
	if (!err)
		err = read_busy(receiver->thread, &reading.busy_ns);
	if (!err)
		*out = reading;
	return err;
}

bool receiver_was_idle(const struct receiver_reading *first, const struct receiver_reading *last)
{
	bool has_worked = last->packets > first->packets && last->busy_ns > first->busy_ns;

	return !has_worked && last->time_ns - first->time_ns < IDLE_NS_MAX;
}
