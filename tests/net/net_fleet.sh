#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# A source has one budget on all nodes of a fleet: at any moment no more passes on all together than the stated bound,
# and once the burst is spent, what passes is the rule's rate, to a thousandth.
# shellcheck source=../lib/fleet.sh
. "$(dirname "$0")/../lib/fleet.sh"

make_fleet "${NODES:-3}"
fleet_rules | fleet_config
start_fleet

spend 10.8.0.1
in_turns 10.8.0.1 "$(seq -s ' ' "$nodes")"
exactly 10.8.0.1

spend 10.8.0.2
# shellcheck disable=SC2046 # words
in_turns 10.8.0.2 $(seq "$nodes")
exactly 10.8.0.2

# By bytes.
spend 10.9.0.3
in_turns 10.9.0.3 "1 2" 1 "$(seq -s ' ' "$nodes")" "$nodes"
exactly 10.9.0.3

# What operators see of it, and a source that is given its burst again.
use_node 1
from=far1 send 10.10.0.4 -n 60
settle
use_node 2
from=far2 send 10.10.0.4 -n 1
settle
from=far2 send 10.10.0.4 -n 60
equal "passed on the other node" 100 passed_all 10.10.0.4
settle
use_node 2
[ "$(eb --json fleet | jq -c '[.nodes[] | .node] | sort')" = "$(seq "$nodes" | jq -cs 'map("node\(.)")')" ] ||
	fail "fleet: $(eb fleet)"
eb fleet | grep -q '^node2 \*  *[0-9]' || fail "fleet: $(eb fleet)"
eb explain 10.10.0.4 --proto udp --dport 9 | grep -q '^Shared: .*fleet' || fail "explain does not say that it is shared"
within "tokens spent on another node" 60 61 "$(eb --json explain 10.10.0.4 | jq .packets.spent_elsewhere)"
eb explain 10.10.0.4 | grep -Eq '^Packets: .* left, 6[01] spent on other nodes, refilled at' ||
	fail "explain: $(eb explain 10.10.0.4)"
use_node 1
equal "tokens spent elsewhere, as the first node knows" 0 jq .packets.spent_elsewhere <(eb --json explain 10.10.0.4)
use_node 2
[ "$(eb --json rules | jq -r '.[0].share')" = fleet ] || fail "rules do not say that they are shared"
eb --json top --fleet --rule slow > "$dir/top"
jq -e 'length == 1 and .[0].source == "10.10.0.4/32" and .[0].tokens <= 1' "$dir/top" > /dev/null ||
	fail "top: $(cat "$dir/top")"
eb top --fleet | grep -q '^slow  *10.10.0.4/32  *packets  *[01]/100 ' || fail "top: $(eb top --fleet)"
on_each_node eval 'eb reset 10.10.0.4 > /dev/null'
[ -z "$(in_lane 10.10.0.4 full)" ] || fail "a bucket that was reset owes $(in_lane 10.10.0.4 owes)"
from=far1 send 10.10.0.4 -n 60
equal "passed after a reset" 160 passed_all 10.10.0.4

on_each_node stop_node
