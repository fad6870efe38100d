#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Nodes that come and go: one that is rebooted, or replaced under another name, continues the budget; those that are cut
# from all others take their part of it; one that is gone for good is forgotten; and a fleet that is renamed leaves
# nothing for ever.
# shellcheck source=../lib/fleet.sh
. "$(dirname "$0")/../lib/fleet.sh"

lost_after=1s
keys='token_bucket_fallback:fleet:{edge'

# No token comes back while the test runs.
hourly_rule() {
	cat <<- END
		  - name: hourly
		    match: { src: [10.14.0.0/16] }
		    action: limit
		    packets: { rate: 1/h, burst: 100 }
		    share: fleet
	END
}

# send_to NODE SOURCE COUNT: and until all was told.
send_to() {
	from=far$1 send "$2" -n "$3"
	settle
}

# What a power cut takes. Nothing is sent to the node meanwhile.
lose_node() {
	use_node "$1"
	kill_agent
	ip -n "$card" link set dev card0 xdp off
	rm -rf "$pin_dir" "$dir/node$1/run"
}

make_fleet 3
{ fleet_rules && hourly_rule; } | fleet_config
start_fleet
spend 10.8.0.1
send_to 1 10.14.0.1 60
send_to 2 10.14.0.1 40
equal "passed" 100 passed_all 10.14.0.1

# One is rebooted, and hears of what it had mirrored before its first packet. Another one is replaced under another
# name: one packet passes by what it knows, none after it told that.
mark 10.8.0.1
fire 3 10.8.0.1 -r 4000
use_node 1
eb flush > /dev/null
lose_node 1
start_node
lose_node 2
sed -i 's/^node: .*/node: spare/' "$config"
start_node
until_true "the spare node to see both others, and the one that it replaces no more" shares
passes 10.8.0.1 "$rate"
cease_fire
exactly 10.8.0.1
send_to 1 10.14.0.1 50
equal "passed after a reboot" 100 passed_all 10.14.0.1
send_to 2 10.14.0.1 1
send_to 2 10.14.0.1 50
equal "passed after a replacement" 101 passed_all 10.14.0.1

# Two of three are cut off: each has a third, and the one that is not has it all.
are_lost() { [ "$(use_node 1 && fleet .lost) $(use_node 2 && fleet .lost)" = "true true" ]; }
cut_two() {
	local began before after
	spend_again 10.8.0.1
	cut 1
	cut 2
	until_true "two nodes to have lost the fleet" are_lost
	began=$(mono)
	before=$(passed_all 10.8.0.1)
	until_true "packets to pass" eval "[ \$(passed_all 10.8.0.1) -gt $((before + 2 * rate)) ]"
	after=$(passed_all 10.8.0.1)
	within "passed while two are cut off" 0 "300 + 2 * $rate * ($(mono) - $began)" $((after - before))
	mend 1
	mend 2
	on_each_node until_true "node $node to see the others again" shares
}
under_fire 10.8.0.1 cut_two
converges 10.8.0.1

# Gone for good: forgotten after a day, and not before.
# last_seen NODE AGO: makes its field say so, in seconds.
last_seen() {
	local seen rest
	read -r seen rest <<< "$(redis hget "$keys:nodes}" "$1")"
	redis hset "$keys:nodes}" "$1" "$((seen - $2 * 10 ** 6)) $rest" > /dev/null
}
knows() { eb --json fleet | jq -e --arg node "$1" 'any(.nodes[]; .node == $node)' > /dev/null; }
lose_node 3
nodes=2
on_each_node until_true "node $node to miss another" shares 2
last_seen node2 $((23 * 3600))
last_seen node3 $((25 * 3600))
until_true "a node to be forgotten" eval '[ "$(redis hexists "$keys:nodes}" node3)" = 0 ]'
on_each_node until_true "node $node to forget it" eval '! knows node3'
on_each_node eval 'knows node2 && knows spare || fail "the nodes: $(eb fleet)"'

# Renamed: keys that are not written any more, and expire.
on_each_node eval 'sed -i "s/name: edge,/name: other,/" "$config" && eb reload > /dev/null || fail "reload"'
on_each_node until_true "the nodes to see one another" shares
for key in $(redis --scan --pattern "$keys*"); do
	within "how long $key lasts" 1 "2000 * (100 * 3600 + 60)" "$(redis pttl "$key")"
done
within "how long the nodes last" 1 86400000 "$(redis pttl "$keys:nodes}")"
redis --scan --pattern "$keys*" | xargs -n 100 nsenter --net="/var/run/netns/$far" redis-cli del > /dev/null
fleet_name=other
converges 10.8.0.1
[ -z "$(redis --scan --pattern "$keys*")" ] || fail "written again: $(redis --scan --pattern "$keys*")"

on_each_node stop_node
