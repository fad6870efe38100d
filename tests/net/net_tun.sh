#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# A TUN device, whose frames begin with the IP header: limited like an Ethernet one beside it, refused with the reason
# when its type says that nobody knows what they begin with, and found again when it was made anew.
# shellcheck source=../lib/network.sh
. "$(dirname "$0")/../lib/network.sh"

# Both are read when the process that holds tun0 has done what it was told.
tun() {
	echo "$*" >&"${TUN[1]}"
	read -r -t 20 answer <&"${TUN[0]}" && [ "$answer" = done ] || fail "tun0 did not do: $*"
}

make_tun() {
	coproc TUN { exec nsenter --net="/var/run/netns/$card" python3 "$(dirname "$0")/tun.py" tun0 9>&-; }
	read -r -t 20 answer <&"${TUN[0]}" || fail "no TUN device"
	ip -n "$card" link set tun0 up
}

# ARPHRD_ of linux/if_arp.h.
ppp=512 radiotap=803

has_type() { tun_down; tun type "$1"; ip -n "$card" link set tun0 up; }
tun_down() { ip -n "$card" link set tun0 down; }
interface_is() { eb --json status | jq -e --arg name "$1" ".interfaces[] | select(.name == \$name) | $2" > /dev/null; }
health() { curl -s --unix-socket "$dir/metrics" -w '%{http_code}' http://agent/healthz; }
is_healthy() { [[ $(health) = *200 ]]; }

make_network
make_tun
count_on tun0
interfaces=card0,tun0
write_config <<- END
	  - name: limited
	    match: { src: [10.8.0.0/16, "2001:db8:8::/48"] }
	    action: limit
	    packets: { rate: 1/h, burst: 30 }
	  - name: by-port
	    match: { src: [10.9.0.0/16], proto: udp, dport: 9 }
	    action: deny
END
sed -i "s|metrics: off|metrics: unix:$dir/metrics|" "$config"
start_agent

tun send 10.8.0.1 50
equal "passed on tun0" 30 passed 10.8.0.1 tun0
equal "refused on tun0" 20 bucket 10.8.0.1/32 .dropped
equal "bytes, without an Ethernet header" $((30 * 60)) rule limited pass.bytes
tun send 2001:db8:8::1 50
equal "IPv6, passed on tun0" 30 passed 2001:db8:8::1 tun0
tun send 10.9.0.1 5
equal "denied by port on tun0" 5 rule by-port drop.packets
# The bucket is the same one on both.
send 10.8.0.1 -n 20
equal "passed on card0" 0 passed 10.8.0.1
send 10.8.0.2 -n 20
tun send 10.8.0.2 20
equal "passed on card0 first" 20 passed 10.8.0.2
equal "passed on tun0 then" 10 passed 10.8.0.2 tun0
[ "$(prog_on card0)" != "$(prog_on tun0)" ] || fail "one program for both"
until_true "the agent to be healthy" is_healthy

# Of a type with headers of its own, nothing could be limited.
has_type $radiotap
wait_log 'cannot attach.*tun0: not all of its frames begin with'
equal "program" "" prog_on tun0
interface_is tun0 '(.attached | not) and (.problem | contains("link type 803"))' || fail "no reason: $(eb --json status)"
eb status | grep -q 'tun0 NOT attached: tun0: not all of its frames begin' || fail "not said: $(eb status)"
[[ $(health) = *'not all of its frames begin with'*503 ]] || fail "healthy: $(health)"
interface_is card0 .attached || fail "card0 lost its program"

# A pattern leaves it out, and that is all.
take() { sed -i "s/^interfaces: .*/interfaces: [card0, $1]/" "$config" && eb reload > /dev/null || fail "reload"; }
take '"tun?"'
until_true "the agent to be healthy without tun0" is_healthy
status_is '.patterns[0].left_out | length == 1 and (.[0].reason | contains("link type 803"))' ||
	fail "not left out: $(eb --json status)"
take tun0
has_type $ppp
until_true "the program on tun0" interface_is tun0 .attached
tun send 10.8.0.3 50
equal "passed with another type" 30 passed 10.8.0.3 tun0

# Ethernet and back: the program is exchanged for the one that reads such frames.
before=$(prog_on tun0)
has_type 1
equal "the program for Ethernet" "$(prog_on card0)" prog_on tun0
has_type $ppp
equal "the program for IP" "$before" prog_on tun0

# Another agent takes over, and a device made anew is found.
stop_agent
start_agent
tun send 10.8.0.4 50
equal "passed with another agent" 30 passed 10.8.0.4 tun0
commands=${TUN[1]}
exec {commands}>&-
until_true "tun0 to go" interface_is tun0 '.exists | not'
in_card nft delete table netdev behind_tun0
make_tun
until_true "the program on the new tun0" interface_is tun0 .attached
count_on tun0
tun send 10.8.0.5 50
equal "passed on the new device" 30 passed 10.8.0.5 tun0
