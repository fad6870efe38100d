#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# edgebucket suggest says what sources really sent, admitted or not, and what limits they need; its lines are YAML.
# shellcheck source=../lib/network.sh
. "$(dirname "$0")/../lib/network.sh"

pids=()

rules() {
	write_config <<- END
		  - name: steady
		    match: { src: [10.8.0.0/16, "2001:db8:8::/48"] }
		    action: limit
		    mode: monitor
		    packets: { rate: 30/s, burst: 20 }
		  - name: tight
		    match: { src: [10.9.0.0/16] }
		    action: limit
		    bytes: { rate: 1kB/s, burst: 3kB }
		    levels:
		      - { per: { ipv4: 24, ipv6: 48 }, times: 100 }
		  - name: friend
		    action: allow
	END
}

# suggest ARGUMENT...: in the background, until it counts. end_suggest: interrupts it; the answer is in $dir/report.
suggest() {
	: > "$dir/notes" # of the one before, which would be taken for this one's
	nsenter --net="/var/run/netns/$card" "$BUILD/edgebucket" -c "$config" --json suggest "$@" > "$dir/report" \
		2> "$dir/notes" 9>&- &
	suggest_pid=$!
	until_true "the measurement" grep -q measuring "$dir/notes"
}

end_suggest() {
	kill -INT $suggest_pid
	wait $suggest_pid || fail "suggest: $(cat "$dir/notes")"
	[ "$(answer .complete)" = true ] || fail "packets are missing: $(cat "$dir/notes")"
}

start_capture() {
	: > "$dir/tcpdump"
	nsenter --net="/var/run/netns/$card" tcpdump -i card0 -tt -n -q -l udp dst port 9 > "$dir/capture" \
		2> "$dir/tcpdump" 9>&- &
	capture_pid=$!
	until_true tcpdump grep -q listening "$dir/tcpdump"
}

captured() { grep -c "^[0-9]" "$dir/capture"; }

steady() {
	nsenter --net="/var/run/netns/$far" "$BUILD/tests/sendframes" -i far0 -s "$1" -d "$2" -n "$3" -r "$4" \
		> "$dir/sent.$1" 9>&- &
	pids+=($!)
}

answer() { jq "$1" "$dir/report"; }

compare() { python3 "$(dirname "$0")/suggest.py" "$dir/report" "$dir/capture" "$1" || fail "the report is not true"; }

# Each line that is suggested, in a configuration.
check_yaml() {
	local line
	jq -r '.packets, .bytes | .limits[]?.yaml' "$dir/report" > "$dir/lines"
	[ -s "$dir/lines" ] || fail "nothing is suggested"
	while read -r line; do
		write_config <<- END
			  - name: steady
			    action: limit
			    $line
		END
		"$BUILD/edgebucketd" --check -c "$config" > "$dir/check" 2>&1 || fail "$line: $(cat "$dir/check")"
	done < "$dir/lines"
	rules
}

make_network
rules
start_agent

# Twenty sources, each at its own rate, and one that sends as much as any of them, but at once. Most of it would be
# refused.
start_capture
suggest steady --for 10min -n 100
for i in $(seq 18); do
	steady "10.8.0.$i" 10.7.0.1 $((15 * i)) $((5 * i))
done
for i in 19 20; do
	steady "2001:db8:8:$i::" 2001:db8:7::1 $((15 * i)) $((5 * i))
done
for pid in "${pids[@]}"; do
	wait "$pid" || fail "sending"
done
send 10.8.1.1 -n 400
sent=$(($(cat "$dir"/sent.* | awk '{ sum += $1 } END { print sum }') + 400))
equal "captured" $sent captured
end_suggest
kill $capture_pid
compare packets
[ "$(answer .bytes)" = null ] || fail "a limit that the rule does not have"
[ "$(rule steady would_drop.packets)" -gt 300 ] || fail "too little was refused to prove anything"
answer '.packets.limits[-1].refused | map(.source)' | grep -q 10.8.1.1 || fail "the burst is not named"
check_yaml

# What is refused counts too, in packets and in bytes.
suggest tight
send 10.9.0.1 -n 100
send 10.9.0.2 -n 100 -l 300
equal "refused" $((200 - 50 - 10)) rule tight drop.packets
end_suggest
[ "$(answer '[.sources, .offered.packets, .offered.bytes]' | tr -d ' \n')" = "[2,200,36000]" ] || fail "not all: $(cat "$dir/report")"
[ "$(answer '.bytes.limits[0].burst >= 30000')" = true ] || fail "too small: $(cat "$dir/report")"
[ "$(answer .packets)" = null ] || fail "a limit that the rule does not have"
check_yaml

# A level, which is offered what the rule's own bucket admits.
suggest tight --level /24,/48
send 10.9.3.1 -n 100
send 10.9.3.2 -n 100
equal "refused" $((140 + 100)) rule tight drop.packets
end_suggest
[ "$(answer '[.sources, .offered.packets]' | tr -d ' \n')" = "[1,100]" ] || fail "level: $(cat "$dir/report")"

# It goes on over a reload that keeps the rule, and ends with it.
suggest steady
send 10.8.2.1 -n 10
sed -i 's/burst: 20/burst: 40/' "$config"
eb reload > /dev/null 2>&1 || fail "reload"
send 10.8.2.1 -n 10
sed -i 's/name: steady/name: other/' "$config"
eb reload > /dev/null 2>&1 || fail "reload"
wait $suggest_pid || fail "suggest: $(cat "$dir/notes")"
[ "$(answer '[.sources, .offered.packets]' | tr -d ' \n')" = "[1,20]" ] || fail "over a reload: $(cat "$dir/report")"
answer .ended | grep -q "not in force" || fail "does not say why it ended"
rules
eb reload > /dev/null 2>&1 || fail "reload"

# One at a time. One that is killed does not stand in the way for long, and leaves nothing behind.
suggest steady
eb suggest steady --for 1s > /dev/null 2> "$dir/second" && fail "two at a time"
grep -q "another measurement" "$dir/second" || fail "unclear: $(cat "$dir/second")"
kill -KILL $suggest_pid
{ wait $suggest_pid || true; } 2> /dev/null
one_more() { eb suggest steady --for 1s > "$dir/text" 2> /dev/null; }
until_true "the killed one's end" one_more
grep -q "no packet" "$dir/text" || fail "no packets: $(cat "$dir/text")"
[ "$(bpftool map dump pinned "$pin_dir/demand" | grep -c inner_map_id)" = 0 ] || fail "it left its maps"

eb suggest friend 2> "$dir/error" && fail "a rule without a limit"
grep -q 'rule "friend" has no limit' "$dir/error" || fail "unclear: $(cat "$dir/error")"
eb suggest nobody 2> /dev/null && fail "a rule that is not there"
eb suggest tight --level /8 2> /dev/null && fail "a level that is not there"
exit 0
