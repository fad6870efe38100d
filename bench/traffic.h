/* SPDX-License-Identifier: GPL-2.0-only */
/* Owns the frames: who sends them, from which sources, how fast. */
#ifndef EB_BENCH_TRAFFIC_H
#define EB_BENCH_TRAFFIC_H

#include <linux/if_ether.h>
#include <linux/types.h>
#include <stdint.h>

#include "pattern.h"

#define TRAFFIC_FRAME_LEN 60

/* UDP datagrams. */
#define TRAFFIC_SERVER 0xc0000201 /* 192.0.2.1 */
#define TRAFFIC_SERVER_PORT 53
#define TRAFFIC_CLIENT_PORT 1024

struct traffic_bpf;

struct traffic {
	struct traffic_bpf *skeleton;
	uint8_t frame[TRAFFIC_FRAME_LEN];
};

/* The sources of a run by name: one, 65536, million, new; or their number, a power of two up to 2^20. Returns 0 or
 * -EINVAL. */
int traffic_pattern(const char *name, struct pattern *out);

/* Makes every `mix`th packet come from 10.0.0.1, and the rest from sources that were not in the run before. */
void traffic_pattern_mix(struct pattern *pattern, uint32_t mix);

/* Makes every `mix`th packet come from one of `spread` addresses, which begin at `marked`, in turn. */
void traffic_pattern_mark(struct pattern *pattern, uint32_t mix, uint32_t marked, uint32_t spread);

/* Makes so many packets a second on each CPU, at least 1. */
void traffic_pattern_pace(struct pattern *pattern, double rate);

/* `to` is the receiver's address. Returns 0 or negative errno. */
int traffic_init(const struct pattern *pattern, const uint8_t to[ETH_ALEN], struct traffic *out);

/* Ordinary test run of `program` behind the source-writing prologue: `packets` packets on this CPU. The mean time of
 * one goes to *ns, and XDP's verdict on the last one to *verdict. */
int traffic_test(struct traffic *traffic, int program, uint32_t packets, uint32_t *ns, uint32_t *verdict);

/* Sends out of an interface, on this CPU, until a signal kills the process. Returns only when it cannot: a negative
 * errno. */
int traffic_send(struct traffic *traffic, int ifindex);

/* What all CPUs have sent. */
int traffic_progress(const struct traffic *traffic, struct progress *out);

void traffic_done(struct traffic *traffic);

#endif
