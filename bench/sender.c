// SPDX-License-Identifier: GPL-2.0-only
#include "sender.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cpu.h"
#include "traffic.h"

static void send_for_life(struct traffic *traffic, int ifindex, int cpu)
{
	int err;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	err = cpu_take(cpu);
	if (!err)
		err = traffic_send(traffic, ifindex);
	fprintf(stderr, "bench: cannot send: %s\n", strerror(-err));
}

pid_t sender_start(struct traffic *traffic, int ifindex, int cpu)
{
	pid_t sender = fork();

	if (sender < 0)
		return -errno;
	if (sender > 0)
		return sender;
	send_for_life(traffic, ifindex, cpu);
	_exit(1);
}

void sender_stop(pid_t sender)
{
	if (sender <= 0)
		return;
	(void)kill(sender, SIGKILL);
	(void)waitpid(sender, NULL, 0);
}
