/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Frames from text, so that a table's row shows what it sends.
 *
 * A frame is a list of words, from the outside in. Lengths, EtherTypes, protocol and next-header fields follow from
 * what comes, unless a word says otherwise. A word is a name, and after a colon settings with commas between them; a
 * setting without a name is the word's usual one, given in brackets here.
 *
 *   eth:[TYPE]                        EtherType (hex) of the header or tag before; the Ethernet header is there anyhow
 *   tag:[TPID],id                     VLAN tag (hex), with all 16 bits as its id
 *   pppoe:len,proto                   PPPoE session; proto of PPP (hex)
 *   ip4:src,dst,ver,ihl,opts,ra,len,frag,ttl,proto   opts: bytes of options, ra: router alert first; frag: flags and
 *                                     offset (hex)
 *   ip6:src,dst,ver,len,nh,hl
 *   hop rt dst [UNITS]                extension headers with UNITS * 8 more bytes; hop:ra=1 with router alert, ra=2
 *                                     behind padding
 *   ah:[LEN]                          LEN as in its length field
 *   frag:off,more,nh                  off in units of 8 bytes
 *   udp tcp sctp dccp udplite [PORT]  destination port; sport; of tcp flags (hex), without them ACK
 *   icmp igmp icmp6 [TYPE]
 *   gre:flags,type                    GRE; flags (hex) that bring a checksum, a key, a sequence number; EtherType (hex)
 *   gue:[WORDS],first,proto           GUE, behind UDP; WORDS of options; its first byte (hex)
 *   vxlan:flags                       VXLAN, behind UDP (hex)
 *   geneve:[WORDS],first,second       Geneve, behind UDP; WORDS of options; its first two bytes (hex)
 *   mac                               the Ethernet header of a frame in a tunnel
 *   next:[PROTO]                      a protocol of which no byte is there
 *   raw:[BYTES]                       payload
 *   pad:[BYTES]                       bytes behind the packet
 *   cut:[BYTES]                       the frame ends after so many bytes
 */
#ifndef EB_TEST_FRAME_H
#define EB_TEST_FRAME_H

#include <stddef.h>
#include <stdint.h>

#define FRAME_MAX (72 * 1024)

/* Where nothing else is asked for. */
#define FRAME_SRC4 "10.0.0.1"
#define FRAME_DST4 "198.51.100.53"
#define FRAME_SRC6 "2001:db8:1::1"
#define FRAME_DST6 "2001:db8::53"

struct frame {
	_Alignas(4) uint8_t align[2]; /* so that IP headers are, as in the kernel */
	uint8_t data[FRAME_MAX];
	size_t len;
	uint8_t family; /* of the innermost IP header; 0 without one */
	uint8_t saddr[16];
	size_t saddr_at; /* where it is in data */
};

/* Fails the test on a word it does not know. */
void frame_make(const char *text, struct frame *out);

#endif
