// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the exchange of a fleet costs (docs/fleet.md): some nodes, which are the agent's module without its tables, tell
 * a real server of so many buckets a tick each, as fast as it answers. Prints one line, per node and tick: changed
 * buckets, milliseconds until all are answered, CPU milliseconds of the node and of the server, commands, bytes to and
 * from the server.
 *
 *   fleet_load PORT NODES SOURCES CHANGED TICKS
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <hiredis/hiredis.h>

#include "base/clock.h"
#include "config/config_redis.h"
#include "store/exchange.h"

#define NODES_MAX 64

struct load {
	struct eb_exchange *nodes[NODES_MAX];
	unsigned int node_count, ups;
	uint64_t answers;
};

struct figures {
	double client_ms, server_ms, commands, in, out;
};

static void on_up(void *arg)
{
	((struct load *)arg)->ups++;
}

static void on_down(const char *text, void *arg)
{
	(void)arg;
	fprintf(stderr, "fleet_load: %s\n", text);
	exit(1);
}

static void on_answered(unsigned int lane, const struct eb_exchange_item *items, unsigned int count, void *arg)
{
	(void)lane;
	(void)items;
	((struct load *)arg)->answers += count;
}

static void on_wants_views(unsigned int lane, const struct eb_exchange_item *items, unsigned int count, void *arg)
{
	(void)lane;
	(void)items;
	(void)count;
	on_down("the server lost what it was told", arg);
}

static double figure(const char *info, const char *name)
{
	const char *line = strstr(info, name);

	return line ? atof(line + strlen(name) + 1) : 0;
}

static void look(redisContext *server, struct figures *out)
{
	redisReply *reply = redisCommand(server, "INFO everything");
	struct rusage usage;

	if (!reply || !reply->str)
		on_down("the server does not answer", NULL);
	getrusage(RUSAGE_SELF, &usage);
	out->client_ms = (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e3 +
			 (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e3;
	out->server_ms = 1e3 * (figure(reply->str, "used_cpu_sys") + figure(reply->str, "used_cpu_user"));
	out->commands = figure(reply->str, "cmdstat_evalsha:calls");
	out->in = figure(reply->str, "total_net_input_bytes");
	out->out = figure(reply->str, "total_net_output_bytes");
	freeReplyObject(reply);
}

static void make_item(uint64_t source, struct eb_exchange_item *out)
{
	*out = (struct eb_exchange_item){ .amount_us = 200000 };
	snprintf(out->field, sizeof(out->field), "everyone|10.%d.%d.%d/32|p|0123abcd", (int)(source >> 16) & 255,
		 (int)(source >> 8) & 255, (int)source & 255);
}

static void wait_free(sd_event *loop, struct eb_exchange *node, unsigned int lane)
{
	while (!eb_exchange_is_free(node, lane))
		(void)sd_event_run(loop, UINT64_MAX);
}

/* One node's tick: as the agent does, it fills a lane's next batch when the one before is answered. */
static void tell(sd_event *loop, struct load *load, unsigned int node, uint64_t first, uint64_t sources,
		 uint64_t changed)
{
	struct eb_exchange *exchange = load->nodes[node];

	for (uint64_t i = 0; i < changed; i++) {
		struct eb_exchange_item item;
		unsigned int lane;

		make_item((first + i) % sources, &item);
		lane = eb_exchange_lane(item.field);
		while (eb_exchange_add(exchange, lane, &item, false, eb_monotonic_us()))
			wait_free(loop, exchange, lane);
	}
	eb_exchange_send(exchange);
	while (!eb_exchange_are_all_free(exchange))
		(void)sd_event_run(loop, UINT64_MAX);
}

static void open_nodes(sd_event *loop, uint16_t port, struct load *load)
{
	struct eb_redis_config *config = eb_redis_config_new();
	const struct eb_exchange_events events = {
		.up = on_up, .down = on_down, .answered = on_answered, .wants_views = on_wants_views,
		.refused = on_down, .arg = load,
	};

	config->nodes[0].port = port;
	for (unsigned int i = 0; i < load->node_count; i++)
		if (eb_exchange_new(loop, config, "bench", &events, &load->nodes[i]))
			on_down("out of memory", load);
	while (load->ups < load->node_count)
		(void)sd_event_run(loop, UINT64_MAX);
}

int main(int argc, char **argv)
{
	struct figures before, after;
	struct load load = { 0 };
	redisContext *server;
	sd_event *loop;
	uint64_t sources, changed, ticks, began;
	double per;

	if (argc != 6)
		return 2;
	load.node_count = atoi(argv[2]) < NODES_MAX ? atoi(argv[2]) : NODES_MAX;
	sources = strtoull(argv[3], NULL, 10);
	changed = strtoull(argv[4], NULL, 10);
	ticks = strtoull(argv[5], NULL, 10);
	server = redisConnect("127.0.0.1", atoi(argv[1]));
	if (sd_event_new(&loop) < 0 || !server || server->err)
		return 1;
	open_nodes(loop, atoi(argv[1]), &load);
	for (unsigned int node = 0; node < load.node_count; node++)
		tell(loop, &load, node, 0, sources, changed); /* connections, scripts, memory */
	look(server, &before);
	began = eb_monotonic_ns();
	for (uint64_t tick = 0; tick < ticks; tick++)
		for (unsigned int node = 0; node < load.node_count; node++)
			tell(loop, &load, node, tick * changed, sources, changed);
	per = ticks * load.node_count;
	look(server, &after);
	printf("%u\t%s\t%s\t%.2f\t%.2f\t%.2f\t%.0f\t%.0f\t%.0f\n", load.node_count, argv[3], argv[4],
	       (eb_monotonic_ns() - began) / 1e6 / per, (after.client_ms - before.client_ms) / per,
	       (after.server_ms - before.server_ms) / per, (after.commands - before.commands) / per,
	       (after.in - before.in) / per, (after.out - before.out) / per);
	return 0;
}
