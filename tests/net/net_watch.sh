#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# edgebucket watch tells of refused packets, one JSON document a line, and ends cleanly; or writes them to a capture
# file that tcpdump and tshark read.
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

# As evidence.
eb watch -w "$dir/two.pcapng" -n 2 2> "$dir/errors" || fail "watch -w: $(cat "$dir/errors")"
grep -q "2 packets written to $dir/two.pcapng" "$dir/errors" || fail "watch -w: $(cat "$dir/errors")"
[ "$(stat -c %a "$dir/two.pcapng")" = 600 ] || fail "the file is $(stat -c %A "$dir/two.pcapng")"
tshark -r "$dir/two.pcapng" -T fields -e frame.comment -e frame.interface_name -e ipv6.src -e ipv6.dst -e udp.dstport \
	-e frame.len 2> "$dir/errors" | tr '\t' ' ' > "$dir/read"
line='rule=enemy verdict=drop source=2001:db8:8::1/128 card0 2001:db8:8::1 2001:db8:7::1 9 62'
printf '%s\n' "$line" "$line" | sed "s|source=2001:db8:8::1/128|$(cut -d ' ' -f 3 "$dir/read" | head -n 1)|" |
	diff - "$dir/read" > "$dir/diff" || fail "tshark reads: $(cat "$dir/diff" "$dir/errors")"
tcpdump -n -r "$dir/two.pcapng" 2> /dev/null | grep -c 'IP6 2001:db8:8::1.[0-9]* > 2001:db8:7::1.9: UDP' > "$dir/read"
[ "$(cat "$dir/read")" = 2 ] || fail "tcpdump reads: $(tcpdump -n -r "$dir/two.pcapng" 2>&1)"

# Cut, by source, through a pipe that closes.
[ "$(eb watch -w - --snaplen 54 --src 2001:db8:8::/64 -n 3 | tshark -r - -T fields -e frame.cap_len 2> /dev/null |
	sort -u)" = 54 ] || fail "--snaplen"
eb watch -w - | head -c 2000 > "$dir/part"
[ "${PIPESTATUS[0]}" = 0 ] || fail "watch -w into a pipe that closes: ${PIPESTATUS[0]}"
snaplen() { bpftool -j map dump pinned "$pin_dir/state" | jq '.[].formatted.value.snaplen'; }
nsenter --net="/var/run/netns/$card" "$BUILD/edgebucket" -c "$config" watch -w "$dir/none.pcapng" --src 10.9.0.0/16 \
	2> "$dir/errors" 9>&- &
watcher=$!
equal "bytes that are copied" 128 snaplen
kill -INT $watcher
wait $watcher || fail "watch -w ended with $?: $(cat "$dir/errors")"
grep -q '^edgebucket: 0 packets written' "$dir/errors" || fail "another source's: $(cat "$dir/errors")"
equal "bytes that are still copied" 0 snaplen
eb watch -w "$dir/x" --json > /dev/null 2> "$dir/errors" && fail "-w with --json"
eb watch --snaplen 9 2> "$dir/errors" && fail "--snaplen without -w"
stop_fire
