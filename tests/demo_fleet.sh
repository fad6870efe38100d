#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Shows what a fleet gives: two nodes and one source, with a budget on each node, then with one for both. Checks the
# numbers that it shows, and leaves nothing behind.
# shellcheck source=lib/fleet.sh
. "$(dirname "$0")/lib/fleet.sh"

rate=500
burst=500
failures=0

note() { printf '   %s\n' "$*"; }

# demo_rules SHARE: the one rule of both nodes.
demo_rules() {
	cat <<- END
		  - name: everyone
		    match: { src: [10.8.0.0/16] }
		    action: limit
		    packets: { rate: $rate/s, burst: $burst }
		    share: $1
	END
}

# flood SOURCE TIMES: a source sends more than it may to both nodes; once its burst is spent, TIMES the rule's rate
# passes.
flood() {
	local i before began seconds passed
	for i in 1 2; do
		fire $i "$1" -r $((4 * rate))
	done
	until_true "the burst to be spent" eval "[ \$(passed_all $1) -ge $((4 * burst)) ]"
	before=$(passed_all "$1") began=$(mono)
	sleep 4
	passed=$(($(passed_all "$1") - before)) seconds=$(jq -n "$(mono) - $began")
	cease_fire
	note "$1 sends $((8 * rate)) packets a second: $passed pass in ${seconds%"${seconds#*.??}"} s on both together"
	jq -en "$passed | . >= 0.8 * $2 * $rate * $seconds and . <= 1.2 * $2 * $rate * $seconds" > /dev/null && return
	failures=$((failures + 1))
	note "expected $(jq -n "$2 * $rate * $seconds | round")"
}

printf '\nA fleet: two nodes, a Redis, and a rule of %s packets a second\n' $rate
make_fleet 2
demo_rules node | fleet_config
on_each_node start_node
printf '\nA budget on each node (share: node)\n'
flood 10.8.0.1 2

demo_rules fleet | fleet_config
on_each_node eval 'eb reload > /dev/null || fail "reload: $(cat "$log")"'
on_each_node until_true "the nodes to see one another" shares
printf '\nOne budget on all nodes (share: fleet)\n'
flood 10.8.0.2 1
use_node 2
for command in fleet "top --fleet"; do
	# shellcheck disable=SC2086 # an option, too
	printf '   $ edgebucket %s\n' "$command" && eb $command | sed 's/^/   /'
done
on_each_node stop_node
[ $failures = 0 ] || fail "$failures numbers are not as expected"
note "Every number is as expected."
