/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What interfaces see: one on which nearly nothing is IP has the program, and is not limited. Compares what the program
 * counts of frames that are not IP with what the driver counts of all.
 */
#ifndef EB_INTAKE_H
#define EB_INTAKE_H

#include <stdbool.h>
#include <stdint.h>

struct eb_maps;

/* One interface's; zeroed is a beginning. */
struct eb_intake {
	uint64_t not_ip, received; /* frames since the interface is there */
	bool is_mostly_not_ip;     /* by the last look that had enough frames to say */
	/* of this look */
	int ifindex; /* that the counts are of */
	uint64_t begun_ns; /* CLOCK_MONOTONIC */
	uint64_t not_ip_before, received_before;
};

/* Begins a look: to be called when the program was attached, so that no frame is missed. `ifindex` 0 for none. */
void eb_intake_begin(struct eb_intake *intake, const struct eb_maps *maps, int ifindex, uint64_t now_ns);

/* Counts; to be called about every second. `ifindex` 0 for none. Returns true when is_mostly_not_ip became true. */
bool eb_intake_look(struct eb_intake *intake, const struct eb_maps *maps, int ifindex, uint64_t now_ns);

#endif
