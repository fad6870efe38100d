// SPDX-License-Identifier: GPL-2.0-only
#include "paths.h"

#include <errno.h>
#include <net/if.h>
#include <string.h>

#include "sender.h"

static int find(const struct bench_cpus *cpus, char **names, struct path path[PATHS])
{
	int err = 0;

	memset(path, 0, PATHS * sizeof(*path));
	for (int i = 0; !err && i < PATHS; i++) {
		path[i].cpu = i ? cpus->receive : cpus->send;
		path[i].from = if_nametoindex(names[2 * i]);
		err = path[i].from ? receiver_find(names[2 * i + 1], &path[i].to) : -errno;
	}
	return err;
}

int paths_open(const struct bench_cpus *cpus, char **names, const char *contestant,
	       const struct contestant_limit *limit, struct path path[PATHS], struct contestant *out)
{
	int err = find(cpus, names, path);

	if (!err)
		err = contestant_load(contestant, limit, out);
	if (err)
		return err;
	for (int i = 0; !err && i < PATHS; i++)
		err = contestant_attach(out, path[i].to.ifindex);
	if (err)
		paths_close(path, out);
	return err;
}

void paths_close(const struct path path[PATHS], struct contestant *contestant)
{
	for (int i = 0; i < PATHS; i++)
		contestant_detach(contestant, path[i].to.ifindex);
	contestant_unload(contestant);
}

int paths_start(struct path path[PATHS], int count, const struct pattern *pattern)
{
	int err = 0;

	for (int i = 0; !err && i < count; i++)
		err = traffic_init(pattern, path[i].to.mac, &path[i].traffic);
	for (int i = 0; !err && i < count; i++) {
		path[i].sender = sender_start(&path[i].traffic, path[i].from, path[i].cpu);
		path[i].to.thread = path[i].sender;
		err = path[i].sender < 0 ? path[i].sender : 0;
	}
	return err;
}

void paths_stop(struct path path[PATHS])
{
	for (int i = 0; i < PATHS; i++) {
		sender_stop(path[i].sender);
		path[i].sender = 0;
	}
}

void paths_done(struct path path[PATHS])
{
	for (int i = 0; i < PATHS; i++)
		traffic_done(&path[i].traffic);
}
