#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# A rule that denies everything does not cut the node off: ARP, neighbour discovery, and what hosts say of the groups
# that they are members of go on, both ways.
# shellcheck source=../lib/network.sh
. "$(dirname "$0")/../lib/network.sh"

# known NAMESPACE ADDRESS: the link-layer address that the neighbour table has for it.
known() { ip -n "$1" -j neighbour show to "$2" | jq -r '.[0].lladdr // empty'; }

forget() {
	ip -n "$card" neighbour flush all
	ip -n "$far" neighbour flush all
}

# asks NAMESPACE ADDRESS: one ping, which nobody answers.
asks() {
	if in_ns "$1" ping -q -n -c 1 -W 1 "$2" > /dev/null; then
		fail "a ping to $2 was answered"
	fi
}

make_network
write_config <<- END
	  - name: everything
	    action: deny
END
start_agent
forget
asks "$far" 10.7.0.1
equal "the card, by ARP" 02:00:00:00:00:01 known "$far" 10.7.0.1
asks "$far" 2001:db8:7::1
equal "the card, by neighbour discovery" 02:00:00:00:00:01 known "$far" 2001:db8:7::1
forget
asks "$card" 10.7.0.2
equal "the other end, by ARP" 02:00:00:00:00:02 known "$card" 10.7.0.2
asks "$card" 2001:db8:7::2
equal "the other end, by neighbour discovery" 02:00:00:00:00:02 known "$card" 2001:db8:7::2
status_is '.frames.not_ip.packets >= 2 and .frames.neighbour_discovery.packets >= 2' ||
	fail "not counted: $(eb --json status)"
send 10.8.0.1 -n 30
equal "passed" 0 passed 10.8.0.1

# The kernel at the other end joins a group of each family, and says so by IGMP and MLD.
members() { eb --json status | jq .frames.group_membership.packets; }
before=$(members)
ip -n "$far" address add 239.7.0.1/32 dev far0 autojoin
until_true "a report of IGMP" eval '[ "$(members)" -gt "$before" ]'
before=$(members)
ip -n "$far" address add ff05::7/128 dev far0 autojoin
until_true "a report of MLD" eval '[ "$(members)" -gt "$before" ]'
