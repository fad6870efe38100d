#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# With `share: { fleet: careful }`, a node admits at most its part of the burst of a source between two looks at the
# fleet, and the rate of the rule in the long run, on however many nodes.
# shellcheck source=../lib/fleet.sh
. "$(dirname "$0")/../lib/fleet.sh"

share="{ fleet: careful }"
lost_after=5min # is not what is tested at first
slow=100 # the burst of the rule with a token a minute

bursts() { echo 2; }

# Nodes hear nothing of one another in the meantime, for any length of it.
deaf() {
	kill -STOP "$redis_pid"
	"$@"
	kill -CONT "$redis_pid"
	settle
}

# flood SOURCE NODES...: more than the burst, to each of them. Sets total: what has passed on all.
flood() {
	local source=$1 node
	shift
	for node in "$@"; do
		from=far$node send "$source" -n $((2 * slow))
	done
	total=$(passed_all "$source")
}

# Refills at a token a minute; each of these takes less than three.
is_about() { within "passed of $1" "$2" "$2 + 3" "$total"; }

# A source that is new to all of N nodes gets one burst at once. Those that told first know least of the others, and let
# it have up to the bound before they look again.
new_on_all() {
	local source=10.10.$nodes.1 part=$((slow / nodes))
	# shellcheck disable=SC2046 # words
	set -- $(seq "$nodes")
	deaf flood "$source" "$@"
	is_about "a new source on $nodes nodes" $((nodes * part))
	flood "$source" "$@"
	within "passed of it, and of what they told" 0 "2 * $slow - $part + 3" "$total"
	settle
	set -- "$total" "$@"
	flood "$source" "${@:2}"
	within "passed of it later" 0 "$1 + 3" "$total"
}

gets_burst() {
	flood "$1" 1
	settle
	[ "$total" -ge $slow ]
}

spends_part() {
	flood "$1" 1
	use_node 1
	eb explain "$1" --proto udp --dport 9 > "$dir/explain"
	grep -q "^Why: .*its part of the burst, one of $nodes," "$dir/explain" || fail "explain: $(cat "$dir/explain")"
}

# One that spends it on one node first gets a part more on each of the others, which is the bound.
new_on_others() {
	local source=10.10.$nodes.2 part=$((slow / nodes))
	deaf spends_part "$source"
	is_about "a source on one node" "$part"
	until_true "a source on one node to get its burst" gets_burst "$source"
	is_about "a source on one node in the end" $slow
	# shellcheck disable=SC2046 # words
	deaf flood "$source" $(seq 2 "$nodes")
	is_about "a source on the other nodes" $((slow + (nodes - 1) * part))
}

make_fleet 3
nodes=2
fleet_rules | fleet_config
start_fleet
[ "$(eb --json rules | jq -c '.[0] | [.share, .careful]')" = '["fleet",true]' ] || fail "rules do not say how they share"

new_on_all
new_on_others

nodes=3
fleet_rules | fleet_config
use_node 3
start_node
on_each_node until_true "the nodes to see one another" shares
new_on_all
new_on_others

# Its rate, on all nodes and on one.
owes() { jq -en "$(in_lane "$1" owes) > $burst / $rate - 5" > /dev/null; }
has_more() { [ "$(passed_all "$1")" -ge $((passed_by + rate)) ]; }

# gets_rate SOURCE NODES...
gets_rate() {
	local source=$1 node wait
	shift
	since=$(mono)
	passed_by=0
	for wait in owes has_more; do
		for node in "$@"; do
			fire "$node" "$source" -r 10000
		done
		until_true "$source to be refused, then to get its rate" $wait "$source"
		cease_fire
		[ $wait = has_more ] || mark "$source"
	done
	exactly "$source"
}
# shellcheck disable=SC2046 # words
gets_rate 10.8.0.1 $(seq "$nodes")
gets_rate 10.9.0.1 1

# While the fleet is lost, each has the whole limit, or its part of it.
is_lost() { on_each_node eval '[ "$(fleet .lost)" = true ] || return 1'; }
is_found() { on_each_node eval '[ "$(fleet .lost)" = false ] && [ "$(fleet .up)" = true ] || return 1'; }
lose() {
	kill -STOP "$redis_pid"
	until_true "the fleet to be lost" is_lost
	flood "$1" $(seq "$nodes")
	kill -CONT "$redis_pid"
	until_true "the fleet to be back" is_found
}
# on_lost HOW: from now on.
on_lost() {
	lost_after=2s
	fleet_settings=", on_lost: $1"
	fleet_rules | fleet_config
	on_each_node eb reload > /dev/null
	on_each_node until_true "the nodes to see one another" shares
}

on_lost node
lose 10.10.0.3
is_about "a source while each node is alone" $((nodes * slow))
on_lost share
lose 10.10.0.4
within "passed of a source while each node has its part" $((slow / nodes)) $slow "$total"

on_each_node stop_node
