/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Writes a capture file: pcapng, draft-ietf-opsawg-pcapng, in the byte order of the host. No library of Debian 12
 * writes pcapng with comments; libpcap only writes the older format, which has none.
 *
 * All functions return 0 or negative errno.
 */
#ifndef EB_PCAPNG_H
#define EB_PCAPNG_H

#include <stdint.h>
#include <stdio.h>

/* LINKTYPE_ of tcpdump.org. */
enum pcapng_link { PCAPNG_ETHERNET = 1, PCAPNG_RAW_IP = 101 };

/* Begins the file: `application` names who writes it. */
int pcapng_begin(FILE *out, const char *application);

/* Adds an interface; packets name it by its number in this order, from 0 on. `snaplen` in bytes, 0 for no limit. */
int pcapng_add_interface(FILE *out, const char *name, enum pcapng_link link, uint32_t snaplen);

struct pcapng_packet {
	uint32_t interface;
	uint64_t time_ns;    /* since the epoch */
	const void *data;
	uint32_t size;       /* of data */
	uint32_t len;        /* of the packet as it came */
	const char *comment; /* UTF-8 */
};

int pcapng_add_packet(FILE *out, const struct pcapng_packet *packet);

#endif
