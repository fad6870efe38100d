#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# What the agent gives up, and that all it does later works with the rest: reload, interfaces that go and come, a program
# that somebody took off, flush, detach. First as root, then as another user with ambient capabilities.
# shellcheck source=../lib/network.sh
. "$(dirname "$0")/../lib/network.sh"

run_dir=$dir/run state_dir=$dir/state

# write_rules BURST: an embedded store too, for its thread.
write_rules() {
	limit_to "$1"
	sed -i "s|^state_dir: .*|state_dir: $state_dir|; s|^run_dir: .*|run_dir: $run_dir|" "$config"
}

# of_thread ID FIELD: of /proc/PID/task/ID/status.
of_thread() { sed -n "s/^$2:[[:space:]]*//p" "/proc/$agent_pid/task/$1/status"; }

# NET_ADMIN, PERFMON and BPF; SYS_ADMIN too where the kernel chains programs.
expected() { if is_chained; then echo 000000c000201000; else echo 000000c000001000; fi; }

# in_thread ID EFFECTIVE BOUNDING
in_thread() {
	local none=0000000000000000
	[ "$(of_thread "$1" CapEff) $(of_thread "$1" CapPrm)" = "$2 $2" ] &&
		[ "$(of_thread "$1" CapInh) $(of_thread "$1" CapAmb)" = "$none $none" ] &&
		[ "$(of_thread "$1" CapBnd)" = "$3" ] && [ "$(of_thread "$1" NoNewPrivs)" = 1 ]
}

# gave_up BOUNDING: nothing else is left, in no thread, and nothing can be had back. One thread is the embedded store's.
gave_up() {
	local threads=("/proc/$agent_pid/task"/*) thread
	in_thread "$agent_pid" "$(expected)" "$1" && [ ${#threads[@]} -gt 1 ] || return
	for thread in "${threads[@]##*/}"; do
		[ "$thread" = "$agent_pid" ] || in_thread "$thread" 0000000000000000 "$1" || return
	done
}

is_protected() { [ -n "$(prog_on card0)" ]; }

renew_card() {
	ip -n "$card" link delete card0
	add_link card0 far0
	up card0 far0
	add_addresses
}

# limits SOURCE PASSED: of 60 frames.
limits() {
	send "$1" -n 60
	equal "of $1, passed" "$2" passed "$1"
}

works() {
	local net=10.8.$1
	limits "$net.1" 20

	write_rules 30
	eb reload > /dev/null || fail "reload"
	limits "$net.2" 30
	limits "$net.1" 30 # the larger burst is there at once

	ip -n "$card" link set card0 down
	ip -n "$card" link set card0 up
	ip -n "$card" link set dev card0 xdp off
	until_true "the program to be put back on" is_protected
	eb flush > /dev/null || fail "flush"

	eb detach > /dev/null || fail "detach"
	equal "the program after detach" "" prog_on card0
	eb reload > /dev/null || fail "reload after detach"
	limits "$net.3" 30

	in_card nft delete table netdev behind_card0
	renew_card
	until_true "the program on an interface made anew" is_protected
	count_on card0
	limits "$net.4" 30
}

make_network
write_rules 20
start_agent
until_true "the capabilities to be given up" gave_up 0000000000000000
works 1

# What a start needs is there again: a program and tables of the agent before.
kill_agent
table_size=131072
write_rules 30
start_agent
status_is '.table_size == 131072' || fail "the tables did not grow"
until_true "the capabilities to be given up" gave_up 0000000000000000
limits 10.8.1.4 30
eb reload > /dev/null || fail "reload after the tables grew"
stop_agent
[ -e "$state_dir/buckets.mdb" ] || fail "the stop wrote nothing"
eb detach > /dev/null || fail "detach without an agent"

# What the agent will not be able to read is what --check finds, too.
denied="list.txt.* cannot be read: Permission denied, even for root, without CAP_DAC_OVERRIDE: make root its owner"
echo 10.8.0.0/16 > "$dir/list.txt"
chown 65534 "$dir/list.txt"
chmod 600 "$dir/list.txt"
write_config <<< "  - { name: listed, match: { src_file: $dir/list.txt }, action: deny }"
! "$BUILD/edgebucketd" -c "$config" --check 2> "$dir/error" || fail "--check reads what the agent cannot"
grep -q "$denied" "$dir/error" || fail "--check said: $(cat "$dir/error")"
launch_agent
{ wait "$agent_pid" && fail "it read a file of somebody else's"; } 2> /dev/null
log_has "$denied" || fail "what cannot be read is not said"

# Another user: the directories are his, the bpf file system too.
user=65534
mkdir "$dir/bpf" "$dir/home"
mount -t bpf bpf "$dir/bpf"
finish() {
	local status=$?
	set +e
	umount --lazy "$dir/bpf"
	(exit $status)
	cleanup
}
trap finish EXIT
chown $user "$dir/bpf" "$dir/home"
chmod 711 "$dir"
pin_dir=$dir/bpf/pins run_dir=$dir/home/run state_dir=$dir/home/state

# launch_as CAPABILITIES: like launch_agent.
launch_as() {
	log=$dir/agent.log
	: > "$log"
	nsenter --net="/var/run/netns/$card" setpriv --reuid $user --regid $user --clear-groups --inh-caps "-all,$1" \
		--ambient-caps "-all,$1" --bounding-set "-all,$1" "$BUILD/edgebucketd" -c "$config" 2> "$log" 9>&- &
	agent_pid=$!
}

write_rules 20
launch_as +net_admin,+bpf,+perfmon,+sys_admin
until_true "the program" is_protected
[ "$(of_thread "$agent_pid" Uid)" = "$(printf "$user\t$user\t$user\t$user")" ] || fail "runs as $(of_thread "$agent_pid" Uid)"
until_true "the capabilities to be given up" gave_up 000000c000201000
works 2
stop_agent

# Too little is said at once.
launch_as +net_admin,+bpf,+perfmon
{ wait "$agent_pid" && fail "it started without CAP_SYS_ADMIN"; } 2> /dev/null
log_has "CAP_NET_ADMIN, CAP_BPF, CAP_PERFMON" || fail "what is missing is not said"
