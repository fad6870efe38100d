#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# A source has one budget on all nodes of a fleet: at any moment no more passes on all together than the stated bound,
# and once the burst is spent, what passes is the rule's rate, to a thousandth.
# shellcheck source=../lib/fleet.sh
. "$(dirname "$0")/../lib/fleet.sh"

rate=1000
burst=10000
round_trip=1 # at most, on a machine that is busy

# The bound: rate x t + N x (burst + rate x (tick + round trip)).
below_bound() {
	local total
	total=$(passed_all "$1")
	within "passed of $1 in all" 0 "$rate * ($(mono) - $since) + $nodes * ($burst + $rate * (0.1 + $round_trip))" "$total"
}

# mark SOURCE: what has passed, and until when that is owed.
mark() {
	settle
	passed_by=$(passed_all "$1")
	full_by=$(shared_full "$1")
	[ -n "$full_by" ] || fail "Redis has no bucket of $1"
}

# spend SOURCE: its burst, on all nodes.
spend() {
	since=$(mono)
	on_each_node eval "fire \$node $1 -r 20000"
	until_true "the burst of $1 to be spent" eval "[ \$(passed_all $1) -ge $burst ]"
	cease_fire
	below_bound "$1"
	mark "$1"
}

# exactly SOURCE: since the mark, so much has passed as the time has moved on at which the bucket is full.
exactly() {
	local before=$passed_by full=$full_by
	below_bound "$1"
	mark "$1"
	say "$1 on $nodes nodes: passed $((passed_by - before)), for $(jq -n "$full_by - $full") s"
	[ $((passed_by - before)) -gt $rate ] || fail "hardly anything passed"
	within "passed of $1" "0.999 * $rate * ($full_by - $full) - 1" "1.001 * $rate * ($full_by - $full) + 1" \
		$((passed_by - before))
}

make_fleet "${NODES:-3}"
fleet_config <<- END
	  - name: quick
	    match: { src: [10.8.0.0/16] }
	    action: limit
	    packets: { rate: $rate/s, burst: $burst }
	    share: fleet
	  - name: heavy
	    match: { src: [10.9.0.0/16] }
	    action: limit
	    per: { ipv4: 32 }
	    bytes: { rate: 60kB/s, burst: 600kB }
	    share: fleet
END
start_fleet

# in_turns SOURCE NODES...: on these at the same time ("1 2"), then on those of the next argument, until enough passed.
in_turns() {
	local source=$1 turn node
	shift
	until [ "$(passed_all "$source")" -ge $((passed_by + 2 * rate)) ]; do
		for turn in "$@"; do
			for node in $turn; do
				fire "$node" "$source" -r 4000
			done
			sleep 0.3
			cease_fire
		done
		below_bound "$source"
	done
}

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

on_each_node stop_node
