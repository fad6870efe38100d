#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# An interface on which nearly nothing is IP is not limited, and status and metrics say so, of this interface alone.
# shellcheck source=../lib/network.sh
. "$(dirname "$0")/../lib/network.sh"

# mpls COUNT: frames that are not IP, no faster than veth takes them.
mpls() {
	in_far python3 - "$1" <<- END
		import socket, sys, time
		card = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
		card.bind(("far0", 0))
		for i in range(int(sys.argv[1])):
		    card.send(bytes.fromhex("020000000001020000000002" "8847") + bytes(46))
		    if i % 32 == 31:
		        time.sleep(0.002)
	END
}

interface_is() { eb --json status | jq -e --arg name "$1" ".interfaces[] | select(.name == \$name) | $2" > /dev/null; }
metric() { curl -s --unix-socket "$dir/metrics" http://agent/metrics | sed -n "s/^$1 //p"; }
not_ip() { metric 'edgebucket_interface_not_ip_total{interface="card0"}'; }
has_more() { [ "$("$1")" -gt "$2" ]; }

make_network
add_link card1 far1
up card1 far1
interfaces=card0,card1
write_config <<- END
	  - name: limited
	    action: limit
	    packets: { rate: 1/h, burst: 30 }
END
sed -i "s|metrics: off|metrics: unix:$dir/metrics|" "$config"
start_agent

mpls 3000
until_true "card0 to be mostly not IP" interface_is card0 .mostly_not_ip
interface_is card1 '.mostly_not_ip | not' || fail "card1 too: $(eb --json status)"
interface_is card0 '.not_ip > 1000' || fail "not counted: $(eb --json status)"
interface_is card1 '.not_ip < 10' || fail "counted for card1: $(eb --json status)"
eb status | grep -q "card0: almost all frames are not IP" || fail "not said: $(eb status)"
wait_log 'nearly all frames are not IP.*interface=card0'
until_true "the metric of frames that are not IP" has_more not_ip 1000
within "of those received" 1000 "$(metric 'edgebucket_interface_received_total{interface="card0"}')" "$(not_ip)"

# Half of them are enough to limit.
send 10.8.0.1 -n 3000
until_true "card0 to see IP again" interface_is card0 '.mostly_not_ip | not'
