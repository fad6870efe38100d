#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# An agent that is killed in a step of writing to the embedded store, from making its file on: the next start restores
# what was committed.
# shellcheck source=../lib/persistence.sh
. "$(dirname "$0")/../lib/persistence.sh"

is_settled() { log_has "msg=attached interface=card0 " || ! agent_runs; }
flushed() { eb flush > /dev/null 2>&1; }

# launch_killed CALL N: an agent that is killed as it makes this system call for the store for the Nth time.
launch_killed() {
	log=$dir/agent.log
	: > "$log"
	nsenter --net="/var/run/netns/$card" strace -f -qq -o /dev/null -P "$dir/state/buckets.mdb" \
		-e inject="$1:signal=KILL:when=$2" "$BUILD/edgebucketd" -c "$config" 2> "$log" 9>&- &
	agent_pid=$!
	until_true "the agent to start or to be killed" is_settled
}

# was_restored: what the last agent committed, or what it was about to.
was_restored() {
	local left
	left=$(tokens "$source/32")
	case ${left:=100} in
	100 | 60 | 30) [ "$left" -le $committed ] || fail "$killed: restored $left tokens, committed $committed" ;;
	*) fail "$killed: restored $left tokens" ;;
	esac
	checks=$((checks + 1))
}

spend() {
	source=10.8.0.$((++sources)) committed=100
	send "$source" -n 40
	! flushed || committed=60
	send "$source" -n 30
	! flushed || committed=30
}

# killed_at CALL N: fails when that many such calls were not made. First looks at what the kill before left.
killed_at() {
	local pid
	launch_killed "$1" "$2"
	is_done=false
	if agent_runs && eb status > "$dir/out" 2>&1; then
		was_restored
		spend
		[ $committed != 30 ] || is_done=true
	fi
	if pid=$(cut -d ' ' -f 1 "$dir/run/edgebucketd.lock"); then
		kill -KILL "$pid" 2> /dev/null || true
	fi
	{ wait "$agent_pid" || true; } 2> /dev/null
	agent_pid=
	lose_maps
	killed="killed at $1 $2"
	! $is_done
}

embedded=1 redis_settings=none
slow_rules | persist_config
source=10.8.0.1 sources=1 committed=100 killed="not killed" checks=0
for call in /^pwrite '/^(fdatasync|fsync|msync)'; do
	rm -rf "$dir/state"
	committed=100 n=1
	while killed_at "$call" $n; do n=$((n + 1 + n / 6)); done # the later ones are alike
	say "killed at up to $n calls of $call"
	[ $n -gt 3 ] || fail "killed only $n times at $call"
done
start_agent
was_restored
[ $checks -gt 8 ] || fail "looked at what was restored $checks times only"
