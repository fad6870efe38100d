#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Attaching to several interfaces that lie on one another, replacing there and detaching take many steps: killed before
# any of them, the next start has its program on all of them, and one detach takes it off all of them. Every tenth step
# is tried, or every one with EB_KILL_EVERY=1, which takes minutes (`make soak` does).
# shellcheck source=../lib/network.sh
. "$(dirname "$0")/../lib/network.sh"

: "${EB_KILL_EVERY:=10}"

on_card() { prog_on card0; prog_on mv0; prog_on vx0; }

# has_one: all three have the same program.
has_one() { [ "$(on_card | wc -l)" = 3 ] && [ "$(on_card | sort -u | wc -l)" = 1 ]; }

is_settled() { log_has "msg=\"dropped privileges\"" || ! agent_runs; }

# traced CALL N COMMAND...: killed as it makes this system call for the Nth time.
traced() {
	local call=$1 n=$2
	shift 2
	exec nsenter --net="/var/run/netns/$card" strace -qq -o "$dir/trace" -e trace=bpf,sendto,unlink,mkdir,rmdir \
		-e inject="$call:signal=KILL:when=$n" "$@"
}

# start_killed CALL N: fails when the start has no Nth such call any more.
start_killed() {
	local was_killed=true
	log=$dir/agent.log
	: > "$log"
	(traced "$1" "$2" "$BUILD/edgebucketd" -c "$config") 2> "$log" 9>&- &
	agent_pid=$!
	until_true "the agent to start or to be killed" is_settled
	if agent_runs; then
		was_killed=false
		kill -KILL "$(cut -d ' ' -f 1 "$dir/run/edgebucketd.lock")"
	fi
	{ wait "$agent_pid" || true; } 2> /dev/null
	agent_pid=
	$was_killed
}

# detach_killed CALL N: likewise, of a detach without an agent.
detach_killed() {
	local status=0
	{ (traced "$1" "$2" "$BUILD/edgebucket" -c "$config" detach) > "$dir/out" 2>&1 || status=$?; } 2> /dev/null
	[ $status != 0 ]
}

# first_step CALL: the first such call of the last trace that makes, replaces or takes off a link.
first_step() {
	awk -v call="$1" '$0 ~ "^" call "[(]" { n++ } /BPF_LINK_/ && !first { first = n ? n : 1 }
		END { print first ? first : 1 }' "$dir/trace"
}

# start_well WHAT: the next start is right, whatever was left.
start_well() {
	start_agent
	until_true "one program on all of them, $1" has_one
	log_has "level=error" && fail "$1: the next start has errors"
	send 10.8.0.1 -n 10
	equal "passed, $1" 50 passed 10.8.0.1
	stop_agent
}

# detach_well WHAT: so is a detach.
detach_well() {
	eb detach > /dev/null || fail "detach, $1"
	equal "programs left, $1" "" on_card
	[ ! -e "$pin_dir-links" ] || fail "$1: left $(ls "$pin_dir-links")"
}

# each_step WHAT BEFORE COMMAND: kills the command at each of its steps, with BEFORE run in front of each time.
each_step() {
	local what=$1 before=$2 command=$3 call n first
	for call in sendto bpf unlink; do
		$before "$what"
		$command "$call" 10000 || true
		first=1
		[ "$call" != bpf ] || first=$(first_step bpf) # hundreds of calls come before
		n=$first
		while $before "$what" && $command "$call" "$n"; do
			start_well "$what, killed at $call $n"
			steps=$((steps + 1)) n=$((n + EB_KILL_EVERY))
		done
		say "$what: killed at calls from $first to $((n - EB_KILL_EVERY)) of $call"
	done
}

nothing() { :; }

make_network
ip -n "$card" link add vx0 type vxlan id 7 dev card0 dstport 4789
ip -n "$card" link add mv0 link card0 type macvlan
ip -n "$card" link set vx0 up
ip -n "$card" link set mv0 up
interfaces=vx0,card0,mv0
limit_to 50
start_agent
send 10.8.0.1 -n 80
stop_agent
steps=0
each_step "a first attach" detach_well start_killed
each_step "a replacement" nothing start_killed
start_well "after replacements"
each_step "a detach" nothing detach_killed
detach_well "at last"
[ $steps -gt $((80 / EB_KILL_EVERY)) ] || fail "killed only $steps times"
say "killed $steps times"
