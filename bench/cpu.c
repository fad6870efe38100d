// SPDX-License-Identifier: GPL-2.0-only
#include "cpu.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

/* With CONFIG_SCHED_AUTOGROUP each session is a group, and only the group's nice value counts against others. */
static void take_precedence(void)
{
	const struct sched_param none = {};
	FILE *group;

	(void)sched_setscheduler(0, SCHED_OTHER, &none);
	(void)setpriority(PRIO_PROCESS, 0, -20);
	(void)setsid();
	group = fopen("/proc/self/autogroup", "we");
	if (!group)
		return;
	fputs("-20", group);
	(void)fclose(group);
}

int cpu_bind(pid_t process, int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return sched_setaffinity(process, sizeof(set), &set) ? -errno : 0;
}

int cpu_take(int cpu)
{
	int err = cpu_bind(0, cpu);

	if (!err)
		take_precedence();
	return err;
}

int cpu_own(pid_t process, int cpu, int priority)
{
	const struct sched_param realtime = { .sched_priority = priority };
	int err = cpu_bind(process, cpu);

	if (!err && sched_setscheduler(process, SCHED_FIFO, &realtime))
		err = -errno;
	return err;
}
