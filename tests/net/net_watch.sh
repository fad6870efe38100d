#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# edgebucket watch tells of refused packets, one JSON document a line, and ends cleanly.
# shellcheck source=../lib/network.sh
. "$(dirname "$0")/../lib/network.sh"

watch() {
	: > "$dir/events"
	nsenter --net="/var/run/netns/$card" "$BUILD/edgebucket" -c "$config" --json watch > "$dir/events" \
		2> "$dir/errors" 9>&- &
	watcher=$!
}

# end_watch SIGNAL
end_watch() {
	local status=0
	kill "-$1" $watcher
	wait $watcher || status=$?
	[ $status = 0 ] || fail "watch ended with $status on $1: $(cat "$dir/errors")"
	[ ! -s "$dir/errors" ] || fail "watch complained on $1: $(cat "$dir/errors")"
}

has_events() { [ "$(wc -l < "$dir/events")" -ge "$1" ]; }

make_network
write_config <<- END
	  - name: limited
	    match: { src: [10.8.0.0/16] }
	    action: limit
	    packets: { rate: 1/h, burst: 5 }
	  - name: enemy
	    match: { src: ["2001:db8:8::/48"] }
	    action: deny
END
start_agent
start_fire 10.8.0.1 -p 99
watch
until_true "events" has_events 3
jq -es 'all(.rule == "limited" and .verdict == "drop" and .address == "10.8.0.1" and .source == "10.8.0.1/32" and
	.dst == "10.7.0.1" and .proto == "udp" and .dport == 99 and .length == 60)' "$dir/events" > /dev/null ||
	fail "events: $(head -n 3 "$dir/events")"
end_watch INT
events=$(wc -l < "$dir/events")
stop_fire
# A sample: each CPU tells of at most one packet in 5 ms.
within "events, of $sent frames" 3 "$(nproc) * (($last_high - $first_low) / 0.005 + 1)" "$events"

# Without an agent, and whatever ends it.
stop_agent
start_fire 2001:db8:8::1
for signal in INT TERM; do
	watch
	until_true "events without an agent" has_events 3
	end_watch $signal
done
jq -es 'all(.rule == "enemy" and .address == "2001:db8:8::1")' "$dir/events" > /dev/null ||
	fail "events: $(head -n 3 "$dir/events")"
eb --json watch | head -n 2 | jq -es 'length == 2' > /dev/null || fail "watch into a pipe that closes"
[ "${PIPESTATUS[0]}" = 0 ] || fail "watch into a pipe that closes: ${PIPESTATUS[0]}"
eb watch -n 1 | grep -q 'enemy .*2001:db8:8::1 > 2001:db8:7::1' || fail "watch as text"
stop_fire
