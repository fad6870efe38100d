// SPDX-License-Identifier: GPL-2.0-only
#include "agent/intake.h"
#include "attach/dataplane.h"
#include "netlink/link.h"

/* A look ends when it has so many frames. One that takes longer than this is of an idle interface, on which ARP and the
 * like are all there is. */
#define LOOK_FRAMES 1000
#define LOOK_NS 100000000000ULL

/* Of ten frames. */
#define MOST 9

static void begin(struct eb_intake *intake, uint64_t now_ns)
{
	intake->begun_ns = now_ns;
	intake->not_ip_before = intake->not_ip;
	intake->received_before = intake->received;
}

static bool count(struct eb_intake *intake, const struct eb_maps *maps, int ifindex)
{
	struct eb_link link;

	if (!ifindex || eb_link_read(ifindex, &link) || eb_maps_not_ip(maps, ifindex, (__u64 *)&intake->not_ip))
		return false;
	intake->received = link.received;
	return true;
}

void eb_intake_begin(struct eb_intake *intake, const struct eb_maps *maps, int ifindex, uint64_t now_ns)
{
	*intake = (struct eb_intake){ .ifindex = ifindex, .not_ip = intake->not_ip, .received = intake->received };
	(void)count(intake, maps, ifindex);
	begin(intake, now_ns);
}

bool eb_intake_look(struct eb_intake *intake, const struct eb_maps *maps, int ifindex, uint64_t now_ns)
{
	bool was = intake->is_mostly_not_ip;
	uint64_t not_ip, received;

	if (intake->ifindex != ifindex || !count(intake, maps, ifindex)) {
		eb_intake_begin(intake, maps, ifindex, now_ns);
		return false;
	}
	not_ip = intake->not_ip - intake->not_ip_before;
	received = intake->received - intake->received_before;
	if (received >= LOOK_FRAMES)
		intake->is_mostly_not_ip = not_ip * 10 >= received * MOST;
	else if (now_ns - intake->begun_ns >= LOOK_NS)
		intake->is_mostly_not_ip = false;
	else
		return false;
	begin(intake, now_ns);
	return intake->is_mostly_not_ip && !was;
}
