#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Exactly the burst passes when nothing refills: IPv4 and IPv6, by address and by prefix, by packets and by bytes.
# shellcheck source=../lib/network.sh
. "$(dirname "$0")/../lib/network.sh"

make_network
write_config <<- END
	  - name: by-network
	    match: { src: [10.8.0.0/16, "2001:db8:8::/48"] }
	    action: limit
	    per: { ipv4: 24, ipv6: 56 }
	    packets: { rate: 1/h, burst: 30 }
	  - name: by-bytes
	    match: { src: [10.9.0.0/16, "2001:db8:9::/48"] }
	    action: limit
	    bytes: { rate: 1B/s, burst: 9961 }
	  - name: by-both
	    match: { src: [10.10.0.0/16] }
	    action: limit
	    packets: { rate: 1/h, burst: 8 }
	    bytes: { rate: 1B/s, burst: 9961 }
	  - name: by-address
	    match: { src: [10.11.0.0/16, "2001:db8:11::/48"] }
	    action: limit
	    packets: { rate: 1/h, burst: 25 }
END
start_agent

# Sources of one rule are apart from each other.
send 10.11.0.1 -n 100
send 10.11.0.2 -n 20
send 2001:db8:11:0::1 -n 60
send 2001:db8:11:1::1 -n 26
counted by-address 10.11.0.1 25 75
counted by-address 10.11.0.2 20 0
counted by-address 2001:db8:11::1 25 35 2001:db8:11::/64
counted by-address 2001:db8:11:1::1 25 1 2001:db8:11:1::/64
equal "by-address, passed by its own count" 95 rule by-address pass.packets
equal "by-address, dropped by its own count" 111 rule by-address drop.packets

# 200 sources in one network share its bucket; the next network has its own.
send 10.8.1.1 -k 200 -n 400
send 10.8.2.1 -k 200 -n 200
counted by-network 10.8.1. 30 370 10.8.1.0/24
counted by-network 10.8.2. 30 170 10.8.2.0/24
send 2001:db8:8:0100::1 -n 20
send 2001:db8:8:01ff::1 -n 20
send 2001:db8:8:0200::1 -n 40
equal "one /56, refused" 10 bucket 2001:db8:8:100::/56 .dropped
equal "one /56, first network" 20 passed 2001:db8:8:100::1
equal "one /56, last network" 10 passed 2001:db8:8:1ff::1
counted by-network 2001:db8:8:200::1 30 10 2001:db8:8:200::/56

# Bytes of the frame with its Ethernet header: 9961 pay for 166 frames of 60, or for 6 of 1500 and 16 of 60; the next
# one would take a minute to come.
send 10.9.0.1 -n 300
counted by-bytes 10.9.0.1 166 134
send 10.9.0.2 -n 20 -l 1500
send 10.9.0.2 -n 20
counted by-bytes 10.9.0.2 22 18
send 2001:db8:9::1 -n 20 -l 1000
counted by-bytes 2001:db8:9::1 9 11 2001:db8:9::/64
equal "bytes passed" $((166 * 60 + 6 * 1500 + 16 * 60 + 9 * 1000)) rule by-bytes pass.bytes
equal "bytes dropped" $((134 * 60 + 14 * 1500 + 4 * 60 + 11 * 1000)) rule by-bytes drop.bytes

# Both limits at once: whichever is used up first, and what one refuses costs nothing of the other.
send 10.10.0.1 -n 20
counted by-both 10.10.0.1 8 12
begun=$SECONDS
send 10.10.0.2 -n 10 -l 1500
counted by-both 10.10.0.2 6 4
send 10.10.0.2 -n 10
counted by-both 10.10.0.2 8 12
equal "packet tokens left" 0 bucket 10.10.0.2/32 .packets.tokens
left=$((9961 - 6 * 1500 - 2 * 60))
tokens=$(bucket 10.10.0.2/32 .bytes.tokens)
within "byte tokens left" $left $((left + SECONDS - begun + 1)) "$tokens"
