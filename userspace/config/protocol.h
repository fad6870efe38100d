/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * IP protocols by name and number.
 */
#ifndef EB_PROTOCOL_H
#define EB_PROTOCOL_H

#include <stdbool.h>
#include <stdint.h>

#define EB_PROTOCOL_NAME_MAX 32

/* A set of protocol numbers, 0-255: number N is bit N % 64 of word N / 64. */
struct eb_protocols {
	uint64_t words[4];
};

void eb_protocols_add(struct eb_protocols *set, int proto);
bool eb_protocols_have(const struct eb_protocols *set, int proto);

/* Parses "udp", "UDP" or "17". Returns the number, 0-255, or -EINVAL. */
int eb_protocol_parse(const char *text);

/* Prints the name of the protocol, or its number if it has no name. Returns `out`. */
char *eb_protocol_print(int proto, char out[EB_PROTOCOL_NAME_MAX]);

/* Whether the packets of this protocol begin with a source and a destination port. */
bool eb_protocol_has_port(int proto);

#endif
