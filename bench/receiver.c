// SPDX-License-Identifier: GPL-2.0-only
#include "receiver.h"

#include <dirent.h>
#include <errno.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define COUNTER "rx_queue_0_xdp_packets"

static int ask(const char *name, unsigned long request, struct ifreq *ifr)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), err = 0;

	if (fd < 0)
		return -errno;
	snprintf(ifr->ifr_name, sizeof(ifr->ifr_name), "%s", name);
	if (ioctl(fd, request, ifr) < 0)
		err = -errno;
	close(fd);
	return err;
}

int receiver_find(const char *name, struct receiver *out)
{
	struct receiver receiver = { .ifindex = if_nametoindex(name) };
	struct ifreq ifr = {};
	int err;

	if (!receiver.ifindex)
		return -errno;
	err = ask(name, SIOCGIFHWADDR, &ifr);
	if (err)
		return err;
	memcpy(receiver.mac, ifr.ifr_hwaddr.sa_data, ETH_ALEN);
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
	cpu_set_t set;

	receiver->thread = find_thread(receiver->name);
	if (!receiver->thread)
		return -ESRCH;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(receiver->thread, sizeof(set), &set))
		return -errno;
	return setpriority(PRIO_PROCESS, receiver->thread, -20) ? -errno : 0;
}

static int counter_index(const char *interface, uint32_t count)
{
	struct ethtool_gstrings *names = calloc(1, sizeof(*names) + count * ETH_GSTRING_LEN);
	struct ifreq ifr = { .ifr_data = (void *)names };
	int index = -ENOENT;

	if (!names)
		return -ENOMEM;
	names->cmd = ETHTOOL_GSTRINGS;
	names->string_set = ETH_SS_STATS;
	names->len = count;
	if (ask(interface, SIOCETHTOOL, &ifr) == 0)
		for (uint32_t i = 0; i < count && index < 0; i++)
			if (strncmp((char *)names->data + i * ETH_GSTRING_LEN, COUNTER, ETH_GSTRING_LEN) == 0)
				index = i;
	free(names);
	return index;
}

static int read_counter(const char *interface, uint64_t *out)
{
	struct ethtool_drvinfo info = { .cmd = ETHTOOL_GDRVINFO };
	struct ifreq ifr = { .ifr_data = (void *)&info };
	struct ethtool_stats *stats;
	int index, err = ask(interface, SIOCETHTOOL, &ifr);

	if (err)
		return err;
	index = counter_index(interface, info.n_stats);
	if (index < 0)
		return index;
	stats = calloc(1, sizeof(*stats) + info.n_stats * sizeof(stats->data[0]));
	if (!stats)
		return -ENOMEM;
	stats->cmd = ETHTOOL_GSTATS;
	stats->n_stats = info.n_stats;
	ifr.ifr_data = (void *)stats;
	err = ask(interface, SIOCETHTOOL, &ifr);
	if (!err)
		*out = stats->data[index];
	free(stats);
	return err;
}

static int read_busy(pid_t thread, uint64_t *out)
{
	char path[64];
	FILE *file;
	int fields;

	snprintf(path, sizeof(path), "/proc/%d/schedstat", thread);
	file = fopen(path, "re");
	if (!file)
		return -errno;
	fields = fscanf(file, "%lu", out);
	fclose(file);
	return fields == 1 ? 0 : -EINVAL;
}

int receiver_read(const struct receiver *receiver, struct receiver_reading *out)
{
	struct receiver_reading reading;
	struct timespec now;
	int err;

	clock_gettime(CLOCK_MONOTONIC, &now);
	reading.time_ns = now.tv_sec * 1000000000ULL + now.tv_nsec;
	err = read_counter(receiver->name, &reading.packets);
	if (!err)
		err = read_busy(receiver->thread, &reading.busy_ns);
	if (!err)
		*out = reading;
	return err;
}
