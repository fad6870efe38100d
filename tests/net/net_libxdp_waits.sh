#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# libxdp does not get on, as when another process holds its lock: the agent goes on all the same. It answers, stops,
# detaches and reloads, and attaches once libxdp is through. A kernel that cannot chain programs asks libxdp once, for
# which it opens its dispatcher: here that is a pipe.
# shellcheck source=../lib/network.sh
. "$(dirname "$0")/../lib/network.sh"

# hold: from here on libxdp waits, until somebody opens the pipe for writing.
hold() {
	rm -f "$dir/bpf/xdp-dispatcher.o"
	mkfifo "$dir/bpf/xdp-dispatcher.o"
}

# release: it fails, and finds its file when it is asked again.
release() {
	mv "$dir/bpf/xdp-dispatcher.o" "$dir/pipe"
	cp "$dispatcher" "$dir/bpf/"
	timeout 10 bash -c ": > '$dir/pipe'" || fail "nobody waits for the pipe"
}

waits() { [ -n "$(children)" ]; }
waits_no_more() { ! waits; }
children() { cat "/proc/$agent_pid/task/$agent_pid/children"; }
is_protected() { [ -n "$(prog_on card0)" ]; }
is_held() { log_has "not attached yet.* interface=$interfaces .*cannot attach yet: libxdp is still working"; }

launch_held() {
	hold
	launch_agent
	until_true "libxdp to wait" is_held
}

dispatcher=$(find /usr/lib -name xdp-dispatcher.o | head -n 1)
[ -n "$dispatcher" ] || fail "libxdp's dispatcher is not installed"
mkdir "$dir/bpf"
export LIBXDP_OBJECT_PATH=$dir/bpf
make_network
limit_to 30
launch_held
status_is '.agent.running and (.interfaces[0].attached | not)' || fail "status: $(eb --json status)"
eb reload > /dev/null || fail "reload"
ip -n "$card" link set card0 alias touched
status_is .agent.running || fail "no answer after the interface changed"
waits || fail "libxdp does not wait"

say "detach, and reload after it"
eb detach > /dev/null || fail "detach"
waits && fail "the child of a detached agent is still there"
eb reload > /dev/null || fail "reload"
until_true "libxdp to wait again" waits
is_protected && fail "attached by a libxdp that waits"

say "what was left out meanwhile is attached at last"
release
until_true "the program" is_protected
send 10.8.0.1 -n 40
counted limited 10.8.0.1 30 10
until_true "the child to end" waits_no_more
stop_agent

say "a stop does not wait"
eb detach > /dev/null || fail "detach without an agent"
launch_held
child=$(children)
stop_agent
[ ! -e "/proc/${child% }" ] || fail "the child outlives its agent"

say "a failure that comes late is explained as one at once"
ip -n "$card" link add bridge0 type bridge stp_state 0
ip -n "$card" link set bridge0 up
interfaces=bridge0
settings="attach: native"
limit_to 30
launch_held
release
wait_log "interface=bridge0 .*no native XDP; use attach: generic"
! log_has "cannot attach: Operation not supported" || fail "the first message does not say what to do"
