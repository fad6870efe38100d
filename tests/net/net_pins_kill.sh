#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# An agent that replaces the pinned maps by larger or smaller ones, and is killed before any of the steps of it: the
# next one starts, and no source has got back a token, whether it spent them before, or after the agent was killed.
# Every fourth step is tried, or every one with EB_KILL_EVERY=1 (`make soak`).
# shellcheck source=../lib/network.sh
. "$(dirname "$0")/../lib/network.sh"

: "${EB_KILL_EVERY:=4}"

rules() {
	write_config <<- END
		  - name: limited
		    match: { src: [10.8.0.0/16, 10.9.0.0/16] }
		    action: limit
		    packets: { rate: 1/h, burst: 100 }
	END
}

other_size() { if [ $table_size = 4096 ]; then table_size=8192; else table_size=4096; fi; }

is_settled() { log_has "msg=\"dropped privileges\"" || ! agent_runs; }

# launch_killed CALL N: an agent that is killed as it makes this system call for the Nth time.
launch_killed() {
	log=$dir/agent.log
	: > "$log"
	nsenter --net="/var/run/netns/$card" strace -o "$dir/trace" -e trace="/^$1(at2?)?$" \
		-e inject="/^$1(at2?)?$:signal=KILL:when=$2" "$BUILD/edgebucketd" -c "$config" 2> "$log" 9>&- &
	agent_pid=$!
	until_true "the agent to start or to be killed" is_settled
}

# killed_at CALL N: fails when the start has no Nth such call any more.
killed_at() {
	local source=$((++starts)) was_killed=true
	send "10.8.$source.1" -n 60
	send "10.9.$source.1" -n 200
	other_size
	rules
	kill_agent
	launch_killed "$1" "$2"
	if agent_runs; then
		was_killed=false
		kill -KILL "$(cut -d ' ' -f 1 "$dir/run/edgebucketd.lock")"
	fi
	{ wait "$agent_pid" || true; } 2> /dev/null
	send "10.8.$source.1" -n 30
	send "10.9.$source.1" -n 10
	start_agent
	status_is ".table_size == $table_size" || fail "killed at $1 $2, status: $(eb --json status)"
	send "10.8.$source.1" -n 30
	send "10.9.$source.1" -n 10
	equal "killed at $1 $2, passed of who spent meanwhile" 100 passed "10.8.$source.1"
	equal "killed at $1 $2, passed of who had spent before" 100 passed "10.9.$source.1"
	$was_killed
}

make_network
table_size=4096 starts=0
rules
start_agent
for call in mkdir rename link unlink rmdir; do
	n=1
	while killed_at $call $n; do n=$((n + EB_KILL_EVERY)); done
	say "killed at up to $((n - 1)) calls of $call"
done
[ $starts -gt $((40 / EB_KILL_EVERY)) ] || fail "killed only $starts times"
[ -z "$(find "$pin_dir" -mindepth 1 -type d)" ] || fail "left in pin_dir: $(find "$pin_dir")"
