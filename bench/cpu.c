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
	FILE *group;

	(void)setpriority(PRIO_PROCESS, 0, -20);
	(void)setsid();
	group = fopen("/proc/self/autogroup", "we");
	if (!group)
		return;
	fputs("-20", group);
	(void)fclose(group);
}

int cpu_take(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		return -errno;
	take_precedence();
	return 0;
}
