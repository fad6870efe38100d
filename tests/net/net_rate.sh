#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# What passes over time is burst + rate x the time that really passed, for packets and for bytes.
# shellcheck source=../lib/network.sh
. "$(dirname "$0")/../lib/network.sh"

rate=1000
burst=3000

# One source empties its bucket, then sends six times its rate for a second and a half.
flood() {
	local source=$1 first total
	refused_before=$(refused)
	send "$source" -n $((burst + 200))
	first=$sent began=$first_low emptied=$last_high
	total=$(passed "$source")
	send "$source" -n 9000 -r 6000 -t $rate -e "$emptied"
	equal "$source, frames accounted for" $((first + sent)) accounted "$source"
	passed=$(($(passed "$source") - total))
	say "$source: $passed of $sent passed, at least $(least $rate $burst "$emptied")"
	within "$source, tokens that came meanwhile" "$(least $rate $burst "$emptied")" \
		"$burst + $rate * ($last_high - $began) - $total" $passed
}

refused() { echo $(($(rule by-packets drop.packets) + $(rule by-bytes drop.packets))); }
accounted() { echo $(($(passed "$1") + $(refused) - refused_before)); }

make_network
write_config <<- END
	  - name: by-packets
	    match: { src: [10.8.0.0/16, "2001:db8:8::/48"] }
	    action: limit
	    packets: { rate: $rate/s, burst: $burst }
	  - name: by-bytes
	    match: { src: [10.9.0.0/16] }
	    action: limit
	    bytes: { rate: $((rate * 60 * 8))bit/s, burst: $((burst * 60))B }
END
start_agent
flood 10.8.0.1
flood 2001:db8:8::
flood 10.9.0.1
