#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# What several nodes admit in total of one source that floods them, beside what one budget would: with the budget shared
# in a fleet, by nodes and tick; divided among the nodes (1/N each); and not shared. The source comes to all nodes
# alike or to one of them. Prints a line for each, tab separated: seconds, packets sent, admitted and exact,
# and the quotient of the latter two; and in milliseconds, how long a node knows nothing of a source whose burst was spent
# on another one, the median of five.
#
#   BUILD             where the programs are, and tests/sendframes
#   EB_BENCH_NODES    2 4 8
#   EB_BENCH_TICKS    100ms 200ms 1s
#   EB_BENCH_SECONDS  of a short flood and of a long one, 5 20
# shellcheck source=../tests/lib/fleet.sh
. "$(dirname "$0")/../tests/lib/fleet.sh"

# shellcheck disable=SC2034 # of the library's configuration
lost_after=10s
rate=500 burst=500
offered=1000 # on each node that the source comes to
read -r short long <<< "${EB_BENCH_SECONDS:-5 20}"
fresh=0

rules() {
	cat <<- END
		  - name: fleet
		    match: { src: [10.21.0.0/16] }
		    action: limit
		    packets: { rate: $rate/s, burst: $burst }
		    share: fleet
		  - name: divided
		    match: { src: [10.22.0.0/16] }
		    action: limit
		    packets: { rate: $((60 * rate / nodes))/min, burst: $((burst / nodes)) }
		  - name: alone
		    match: { src: [10.23.0.0/16] }
		    action: limit
		    packets: { rate: $rate/s, burst: $burst }
		  - name: slow
		    match: { src: [10.24.0.0/16] }
		    action: limit
		    packets: { rate: 1/min, burst: 2000 }
		    share: fleet
	END
}

# flood PREFIX SECONDS NODE...: of a source below it that was not there before. Sets sent, admitted and exact.
flood() {
	local source=$1.$((fresh += 1)) seconds=$2 to files
	shift 2
	for to in "$@"; do
		fire "$to" "$source" -r $offered
	done
	files=("${senders[@]}")
	sleep "$seconds"
	cease_fire
	read -r sent exact < <(cat "${files[@]}" | awk -v rate=$rate -v burst=$burst '
		{ sent += $1; if (!began || $2 < began) began = $2; if ($5 > ended) ended = $5 }
		END { printf "%d %.0f\n", sent, burst + rate * (ended - began) }')
	admitted=$(passed_all "$source")
}

# admits PREFIX WHAT SPREAD SECONDS NODE...: one row.
admits() {
	local prefix=$1 what=$2 spread=$3 seconds=$4
	shift 4
	flood "$prefix" "$seconds" "$@"
	printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\t%.3f\n' "$nodes" "$what" "$spread" "$seconds" "$sent" "$admitted" "$exact" \
		"$(jq -n "$admitted / $exact")"
}

is_told() { [ "$(in_lane "$source" owes | jq '. > 1999 * 60')" = true ]; }

# How long node 2 goes by what it knows, of a source whose burst was spent on node 1.
not_heard() {
	for _ in {1..5}; do
		source=10.24.0.$((fresh += 1))
		from=far1 send "$source" -n 2000
		until_true "the fleet to be told of $source" is_told
		from=far2 send "$source" -n 2500 -r $offered
		use_node 2
		passed "$source"
	done | sort -n | awk -v nodes="$nodes" -v tick="$tick" -v offered=$offered '
		NR == 3 { printf "%d\tfleet, tick %s\tmoves\t\t\t\t\t\t%.0f\n", nodes, tick, 1000 * $1 / offered }'
}

next_tick() {
	write_node_config
	eb reload > /dev/null
}

measure() {
	local all
	read -ra all <<< "$(seq -s ' ' "$nodes")"
	rules | fleet_config
	start_fleet
	admits 10.22.0 "1/N each" even "$short" "${all[@]}"
	admits 10.22.0 "1/N each" one "$short" 1
	admits 10.23.0 "not shared" even "$short" "${all[@]}"
	admits 10.23.0 "not shared" one "$short" 1
	for tick in ${EB_BENCH_TICKS:-100ms 200ms 1s}; do
		on_each_node next_tick
		on_each_node until_true "the nodes to see one another" shares
		admits 10.21.0 "fleet, tick $tick" even "$short" "${all[@]}"
		admits 10.21.0 "fleet, tick $tick" even "$long" "${all[@]}"
		admits 10.21.0 "fleet, tick $tick" one "$short" 1
		not_heard
	done
	on_each_node stop_node
}

printf 'load\t%s\n' "$(cat /proc/loadavg)"
printf 'nodes\tsharing\tspread\tseconds\tsent\tadmitted\texact\tquotient\tms\n'
for count in ${EB_BENCH_NODES:-2 4 8}; do
	make_fleet "$count"
	measure
	kill_redis
	remove_namespaces
done
printf 'load\t%s\n' "$(cat /proc/loadavg)"
