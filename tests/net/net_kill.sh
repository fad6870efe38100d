#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# An agent that is killed takes nothing with it: the program goes on, the next agent adopts the maps and replaces the
# program without a gap. Killed at any moment of its start, it leaves nothing that the next one cannot use.
# shellcheck source=../lib/network.sh
. "$(dirname "$0")/../lib/network.sh"

map_id() { bpftool -j map show pinned "$pin_dir/$1" | jq .id; }

make_network
write_config <<- END
	  - name: limited
	    match: { src: [10.8.0.0/16, "2001:db8:8::/48"] }
	    action: limit
	    packets: { rate: 1/h, burst: 100 }
END
start_agent
buckets=$(map_id buckets_v4) program=$(prog_on card0)
send 10.8.0.2 -n 40
send 2001:db8:8::2 -n 40
start_fire 10.8.0.1
until_true "refusals" is_empty 10.8.0.1/32

for _ in 1 2 3 4 5; do
	kill_agent
	equal "the program of a killed agent" "$program" prog_on card0
	start_agent
	log_has "adopted" || fail "the maps were not adopted"
	[ "$(prog_on card0)" != "$program" ] || fail "the program was not replaced"
	program=$(prog_on card0)
done
equal "the map of buckets" "$buckets" map_id buckets_v4

# At any moment of the start.
kill_agent
for i in $(seq 20); do
	launch_agent
	sleep "0.0$((i * 37 % 50 + 10))"
	kill_agent
	[ -n "$(prog_on card0)" ] || fail "no program after a kill"
done
start_agent
stop_fire
say "$sent frames while the agent was killed 26 times"
counted limited 10.8.0.1 100 $((sent - 100))
send 10.8.0.2 -n 100
counted limited 10.8.0.2 100 40
send 2001:db8:8::2 -n 100
counted limited 2001:db8:8::2 100 40 2001:db8:8::/64
equal "passed by the rule's count" 300 rule limited pass.packets

# The same where there is nothing yet to adopt.
for i in $(seq 15); do
	kill_agent
	ip -n "$card" link set dev card0 xdp off
	rm -rf "$pin_dir"
	launch_agent
	sleep "0.0$((i * 23 % 50 + 10))"
	kill_agent
	start_agent
done
send 10.8.0.3 -n 101
counted limited 10.8.0.3 100 1
