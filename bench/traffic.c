// SPDX-License-Identifier: GPL-2.0-only
#include "traffic.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/ip.h>
#include <linux/udp.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "traffic.skel.h"

#define ONE_SOURCE 0x0a000001 /* 10.0.0.1 */

static const struct {
	const char *name;
	struct pattern pattern;
} patterns[] = {
	{ "one", { .base = ONE_SOURCE } },
	{ "65536", { .base = 0x0a010000, .mask = 0xffff } },
	{ "million", { .base = 0x0a100000, .mask = 0xfffff } },
	{ "new", { .mask = ~0U } },
};

/* So many sources, a power of two up to a million. */
static int pattern_of_number(const char *number, struct pattern *out)
{
	unsigned long count = strtoul(number, NULL, 10);

	if (count == 0 || count > 1UL << 20 || (count & (count - 1)))
		return -EINVAL;
	*out = (struct pattern){ .base = 0x0a100000, .mask = count - 1 };
	return 0;
}

int traffic_pattern(const char *name, struct pattern *out)
{
	for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++) {
		if (strcmp(name, patterns[i].name) != 0)
			continue;
		*out = patterns[i].pattern;
		return 0;
	}
	return pattern_of_number(name, out);
}

void traffic_pattern_mix(struct pattern *pattern, uint32_t mix)
{
	traffic_pattern_mark(pattern, mix, ONE_SOURCE, 1);
	pattern->start = 1U << 28;
}

void traffic_pattern_mark(struct pattern *pattern, uint32_t mix, uint32_t marked, uint32_t spread)
{
	pattern->mix = mix;
	pattern->marked = marked;
	pattern->spread = spread;
}

void traffic_pattern_pace(struct pattern *pattern, double rate)
{
	pattern->interval_ns = 1e9 / rate;
}

static uint16_t checksum(const void *header, size_t len)
{
	const uint16_t *words = header;
	uint32_t sum = 0;

	for (size_t i = 0; i < len / 2; i++)
		sum += ntohs(words[i]);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/* A UDP datagram without a checksum of its own; the source is left 0 for the programs to write. Returns the IP header's
 * checksum. */
static uint16_t make_frame(const uint8_t to[ETH_ALEN], uint8_t frame[TRAFFIC_FRAME_LEN])
{
	struct ethhdr eth = { .h_proto = htons(ETH_P_IP) };
	struct iphdr ip = {
		.version = 4,
		.ihl = 5,
		.ttl = 64,
		.protocol = IPPROTO_UDP,
		.tot_len = htons(TRAFFIC_FRAME_LEN - sizeof(eth)),
		.daddr = htonl(TRAFFIC_SERVER),
	};
	struct udphdr udp = {
		.source = htons(TRAFFIC_CLIENT_PORT),
		.dest = htons(TRAFFIC_SERVER_PORT),
		.len = htons(TRAFFIC_FRAME_LEN - sizeof(eth) - sizeof(ip)),
	};

	memcpy(eth.h_dest, to, ETH_ALEN);
	memcpy(eth.h_source, (uint8_t[ETH_ALEN]){ 2, 0, 0, 0, 0, 1 }, ETH_ALEN);
	memset(frame, 0, TRAFFIC_FRAME_LEN);
	memcpy(frame, &eth, sizeof(eth));
	memcpy(frame + sizeof(eth), &ip, sizeof(ip));
	memcpy(frame + sizeof(eth) + sizeof(ip), &udp, sizeof(udp));
	return checksum(&ip, sizeof(ip));
}

int traffic_init(const struct pattern *pattern, const uint8_t to[ETH_ALEN], struct traffic *out)
{
	struct traffic_bpf *skeleton = traffic_bpf__open();
	int err;

	if (!skeleton)
		return -errno;
	memcpy((void *)&skeleton->rodata->pattern, pattern, sizeof(*pattern));
	skeleton->rodata->checksum_of_zero = make_frame(to, out->frame);
	err = traffic_bpf__load(skeleton);
	if (err) {
		traffic_bpf__destroy(skeleton);
		return err;
	}
	out->skeleton = skeleton;
	return 0;
}

int traffic_test(struct traffic *traffic, int program, uint32_t packets, uint32_t *ns, uint32_t *verdict)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = traffic->frame, .data_size_in = sizeof(traffic->frame),
		    .repeat = packets);
	uint32_t zero = 0;
	int err;

	err = bpf_map_update_elem(bpf_map__fd(traffic->skeleton->maps.contestant), &zero, &program, BPF_ANY);
	if (!err)
		err = bpf_prog_test_run_opts(bpf_program__fd(traffic->skeleton->progs.vary), &opts);
	if (err)
		return err;
	*ns = opts.duration;
	*verdict = opts.retval;
	return 0;
}

int traffic_send(struct traffic *traffic, int ifindex)
{
	struct xdp_md ctx = { .data_end = sizeof(traffic->frame), .ingress_ifindex = ifindex };
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = traffic->frame, .data_size_in = sizeof(traffic->frame),
		    .ctx_in = &ctx, .ctx_size_in = sizeof(ctx), .flags = BPF_F_TEST_XDP_LIVE_FRAMES,
		    .repeat = 1U << 30);
	int err;

	do
		err = bpf_prog_test_run_opts(bpf_program__fd(traffic->skeleton->progs.generate), &opts);
	while (!err);
	return err;
}

int traffic_progress(const struct traffic *traffic, struct progress *out)
{
	int cpus = libbpf_num_possible_cpus();
	struct progress *per_cpu, sum = {};
	uint32_t zero = 0;
	int err;

	if (cpus < 0)
		return cpus;
	per_cpu = calloc(cpus, sizeof(*per_cpu));
	if (!per_cpu)
		return -ENOMEM;
	err = bpf_map_lookup_elem(bpf_map__fd(traffic->skeleton->maps.progress), &zero, per_cpu);
	for (int i = 0; !err && i < cpus; i++) {
		sum.marked += per_cpu[i].marked;
		if (per_cpu[i].first_ns && (!sum.first_ns || per_cpu[i].first_ns < sum.first_ns))
			sum.first_ns = per_cpu[i].first_ns;
		if (per_cpu[i].last_ns > sum.last_ns)
			sum.last_ns = per_cpu[i].last_ns;
	}
	free(per_cpu);
	if (!err)
		*out = sum;
	return err;
}

void traffic_done(struct traffic *traffic)
{
	traffic_bpf__destroy(traffic->skeleton);
	traffic->skeleton = NULL;
}
