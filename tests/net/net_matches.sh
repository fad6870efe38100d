#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# What rules can ask for beside addresses, protocols and destination ports, on real packets; and interfaces that come
# and are renamed.
# shellcheck source=../lib/network.sh
. "$(dirname "$0")/../lib/network.sh"

# dropped RULE COUNT
dropped() { equal "refused by $1" "$2" rule "$1" drop.packets; }

# by_explain RULE OPTION...
by_explain() {
	local rule=$1
	shift
	equal "the rule that explain finds for $*" "\"$rule\"" explained_rule "$@"
}
explained_rule() { eb --json explain "$@" | jq .rule; }

ping_far() { in_far ping -q -n -c 3 -i 0.002 -W 1 "$@" 10.7.0.1 > /dev/null || true; }

# connect PORT [SECONDS]
connect() { in_far timeout "${2:-0.2}" bash -c "< /dev/tcp/10.7.0.1/$1" 2> /dev/null || true; }

knows_card1() { [ "$(bpftool -j map dump pinned "$pin_dir/interfaces" | jq length)" = "$1" ]; }

make_network
in_far ethtool -K far0 txvlan off > /dev/null 2>&1 || true
interfaces=card0,card1
write_config <<- END
	  - { name: tagged, match: { vlan: [7, "200-299"] }, action: deny }
	  - { name: second, match: { interface: card1 }, action: deny }
	  - { name: from, match: { proto: udp, sport: "39999-40000", src: [10.8.0.1] }, action: deny }
	  - { name: short, match: { proto: udp, length: "0-99" }, action: deny }
	  - { name: pieces, match: { fragment: true }, action: deny }
	  - { name: ping, match: { icmp_type: echo-request }, action: deny }
	  - { name: open, match: { proto: tcp, tcp_flags: syn, dport: 81 }, action: deny }
END
launch_agent
wait_log "msg=attached interface=card0 "

send 10.8.0.2 -n 10 -v 7 -l 200
send 10.8.0.2 -n 10 -v 9 -v 7 -l 200
dropped tagged 10
send 10.8.0.1 -n 10 -l 200
dropped from 10
send 10.8.0.3 -n 10 -l 113
send 10.8.0.3 -n 10 -l 114
dropped short 10
equal "passed of what is long enough" 10 passed 10.8.0.3
ping_far
dropped ping 3
ping_far -s 3000
dropped pieces 9
connect 80
dropped open 0
# On a busy machine it takes long to send anything.
patience=0
refuses_open() { connect 81 $((patience++)).2; [ "$(rule open drop.packets)" -ge 1 ]; }
until_true "the start of a connection to be refused" refuses_open

# explain says the same.
by_explain tagged 10.8.0.2 --vlan 250
by_explain from 10.8.0.1 --proto udp --sport 40000
by_explain short 10.8.0.3 --proto udp --length 113
by_explain pieces 10.8.0.3 --fragment first
by_explain ping 10.8.0.3 --icmp-type 8
by_explain ping 2001:db8::1 --icmp-type echo-request
by_explain open 10.8.0.3 --tcp-flags syn --dport 81
eb explain 10.8.0.3 > "$dir/explained"
grep -q 'rule open would decide with --proto tcp --dport 81 --tcp-flags syn$' "$dir/explained" ||
	fail "explain names no way to rule open: $(cat "$dir/explained")"

# The second interface comes, and another one takes its name.
from=far1
add_link card1 far1
up card1 far1
wait_log "msg=attached interface=card1 "
send 10.8.0.4 -n 10 -l 200
dropped second 10
by_explain second 10.8.0.4 --interface card1
ip -n "$card" link set card1 down
ip -n "$card" link set card1 name other1
until_true "the agent to forget card1" knows_card1 1
add_link card1 far2
up card1 far2
from=far2
until_true "the agent to know the new card1" knows_card1 2
until_true "the program on the new card1" prog_on card1
send 10.8.0.4 -n 10 -l 200
dropped second 20
