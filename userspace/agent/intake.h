/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Detects interfaces that receive almost no IP: the program is attached to such an interface, but limits nothing. It
 * compares the program's count of frames that are not IP with the driver's count of all frames.
 */
#ifndef EB_INTAKE_H
#define EB_INTAKE_H

#include <stdbool.h>
#include <stdint.h>

struct eb_maps;

/* The state of one interface. All zeros is the initial state. */
struct eb_intake {
	uint64_t not_ip, received; /* frames since the interface appeared */
	bool is_mostly_not_ip;     /* result of the last period with enough frames to decide */
	/* The current period. */
	int ifindex; /* the interface whose frames are counted */
	uint64_t begun_ns; /* start, CLOCK_MONOTONIC */
	uint64_t not_ip_before, received_before;
};

/* Begins a look: to be called when the program was attached, so that no frame is missed. `ifindex` 0 for none. */
void eb_intake_begin(struct eb_intake *intake, const struct eb_maps *maps, int ifindex, uint64_t now_ns);

/* Updates the counts; must be called about every second. `ifindex` is 0 if the interface does not exist. Returns true
 * if is_mostly_not_ip became true. */
bool eb_intake_look(struct eb_intake *intake, const struct eb_maps *maps, int ifindex, uint64_t now_ns);

#endif
