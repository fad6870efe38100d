#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# A fleet keeps rates of ten and of a million tokens a second as it keeps those between, and refuses nothing of what is
# below a rate.
# shellcheck source=../lib/fleet.sh
. "$(dirname "$0")/../lib/fleet.sh"

make_fleet 2
fleet_config <<- END
	  - name: ten
	    match: { src: [10.11.0.0/16] }
	    action: limit
	    packets: { rate: 10/s, burst: 1000 }
	    share: fleet
	  - name: million
	    match: { src: [10.12.0.0/16] }
	    action: limit
	    bytes: { rate: 1000000B/s, burst: 60000000B }
	    share: fleet
	  - name: packets
	    match: { src: [10.13.0.0/16] }
	    action: limit
	    packets: { rate: 1M/s, burst: 1M }
	    share: fleet
END
start_fleet

# limited SOURCE COUNT: its burst passes, until all nodes refuse it; then as much as its rate is, so many at least.
limited() {
	since=$(mono)
	under_fire "$1" spend_again "$1"
	mark "$1"
	under_fire "$1" passes "$1" "$2"
	exactly "$1"
}

fired_rule=ten rate=10 burst=1000 fire_options="-r 400"
limited 10.11.0.1 10

# In packets of a thousand bytes.
fired_rule=million rate=1000 burst=60000 fire_options="-r 8000 -l 1000"
limited 10.12.0.1 2000

# More packets than a machine of tests sends: what is below the rate passes, wherever it arrives.
rate=1000000 burst=1000000
since=$(mono)
on_each_node eval 'fire $node 10.13.0.1'
until_true "packets to pass" eval '[ "$(passed_all 10.13.0.1)" -gt 60000 ]'
fired=("${senders[@]}")
cease_fire
below_bound 10.13.0.1
settle
sent=$(awk '{ sent += $1 } END { print sent }' "${fired[@]}")
say "10.13.0.1 on $nodes nodes: passed $sent in $(jq -n "$(mono) - $since") s"
equal "passed below the rate" "$sent" passed_all 10.13.0.1
on_each_node eval 'status_is ".fleet.told > 10" || fail "told: $(fleet .told)"'
on_each_node stop_node
