#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Buckets of a source by destination and by port: in the kernel, in what the commands print, over a reboot.
# shellcheck source=../lib/persistence.sh
. "$(dirname "$0")/../lib/persistence.sh"

# send_to DESTINATION PORT COUNT: of one source.
send_to() { send 10.8.0.1 -d "$1" -p "$2" -n "$3"; }
explained() {
	eb --json explain 10.8.0.1 --proto udp "$@" | jq -r ".chain[0] | \"\\(.source) \\(.packets.tokens) \\(.has_bucket)\""
}

start_redis
persist_config <<- END
	  - name: ports
	    match: { dport: [5000-5999] }
	    action: limit
	    also_per: dport
	    packets: { rate: 1/h, burst: 20 }
	  - name: hosts
	    action: limit
	    also_per: dst
	    packets: { rate: 1/h, burst: 30 }
	    levels:
	      - { per: { ipv4: 32, ipv6: 64 }, packets: { rate: 1/h, burst: 50 } }
END
start_agent

send_to 10.7.0.1 9 40
send_to 10.7.0.3 9 40
equal "passed to both" 50 passed 10.8.0.1
send_to 10.7.0.1 5001 25
send_to 10.7.0.3 5001 25
send_to 10.7.0.1 5002 15
equal "refused by port" 30 rule ports drop.packets
equal "left of a destination" 0 bucket '10.8.0.1/32>10.7.0.1' .packets.tokens
equal "left of another" 10 bucket '10.8.0.1/32>10.7.0.3' .packets.tokens
equal "left of the source" 0 bucket 10.8.0.1/32 .packets.tokens
equal "left of a port" 5 bucket '10.8.0.1/32>5002' .packets.tokens
eb rules | grep -q 'hosts /32,/64 ' || fail "rules: $(eb rules)"
[ "$(eb --json rules | jq -c 'map(.per.also)')" = '["dport","dst"]' ] || fail "rules: $(eb --json rules)"
equal "explained by destination" "10.8.0.1/32>10.7.0.1 0 true" explained --dst 10.7.0.1 --dport 9
equal "explained by port" "10.8.0.1/32>5002 5 true" explained --dport 5002
equal "explained without a destination" "10.8.0.1/32 30 null" explained --dport 9
eb explain 10.8.0.1 --proto udp --dport 9 | grep -q '^Bucket: *depends on --dst$' ||
	fail "explain: $(eb explain 10.8.0.1 --proto udp --dport 9)"

# Over a reboot.
wait_mirrored
equal "stored buckets" 5 fields
[ -n "$(redis hget "$key" 'hosts|10.8.0.1/32>10.7.0.3')" ] || fail "Redis has $(redis hkeys "$key")"
reboot
start_agent
equal "restored buckets" 5 restored buckets
equal "left of a port after a reboot" 5 bucket '10.8.0.1/32>5002' .packets.tokens
send_to 10.7.0.1 5002 15
equal "passed after a reboot" 90 passed 10.8.0.1

# A reset fills all that the source has.
eb reset 10.8.0.1 | grep -qx '5 buckets filled' || fail "reset"
equal "stored buckets after a reset" "" redis hkeys "$key"
