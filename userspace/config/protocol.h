/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * IP protocols by name and number.
 */
#ifndef EB_PROTOCOL_H
#define EB_PROTOCOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EB_PROTOCOL_NAME_MAX 32

/* A set of numbers from 0 to 255, of protocols or of types of ICMP: number N is bit N % 64 of word N / 64. */
struct eb_octets {
	uint64_t words[4];
};

void eb_octets_add(struct eb_octets *set, int proto);
bool eb_octets_have(const struct eb_octets *set, int proto);

/* Parses "udp", "UDP" or "17". Returns the number, 0-255, or -EINVAL. */
int eb_protocol_parse(const char *text);

/* Prints the name of the protocol, or its number if it has no name. Returns `out`. */
char *eb_protocol_print(int proto, char out[EB_PROTOCOL_NAME_MAX]);

/* Bits of TCP's flags. */
#define EB_TCP_SYN 0x02
#define EB_TCP_ACK 0x10

/* "syn" in upper or lower case: its bit; or -EINVAL. */
int eb_tcp_flag_parse(const char *text);

/* The names of flags, each bit's with `before` ahead of it: "syn,ack". Returns the characters written to `out`. */
int eb_tcp_flags_print(uint8_t set, const char *before, char *out, size_t size);

/* A type of ICMP, or of ICMPv6: "echo-request" or "8". Returns the number, or -EINVAL. */
int eb_icmp_parse(const char *text, bool is_6);

/* Its name, or the number as text. Returns `out`. */
char *eb_icmp_print(int type, bool is_6, char out[EB_PROTOCOL_NAME_MAX]);

/* The name that looks most like a wrong one, of ICMP, of ICMPv6 or of both; NULL when none does. */
const char *eb_icmp_nearest(const char *text, bool is_4, bool is_6);

/* Whether the packets of this protocol begin with a source and a destination port. */
bool eb_protocol_has_port(int proto);

#endif
