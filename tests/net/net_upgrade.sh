#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# on_exit: keep leaves the program at work, and a new version of the agent replaces it atomically; on_exit: detach takes
# it off. Either way the buckets stay.
# shellcheck source=../lib/network.sh
. "$(dirname "$0")/../lib/network.sh"

rules() {
	settings="on_exit: $1"
	limit_to 100
}

old_is_gone() { ! bpftool prog show id "$program" > /dev/null 2>&1; }

make_network
rules keep
start_agent
program=$(prog_on card0)
start_fire 10.8.0.1
until_true "refusals" is_empty 10.8.0.1/32
stop_agent
equal "the program after on_exit: keep" "$program" prog_on card0
equal "the tokens without an agent" 0 bucket 10.8.0.1/32 .packets.tokens

# Whatever replaced it did so in one step: netlink tells of every change.
ip -n "$card" -o monitor link > "$dir/changes" 9>&- &
monitor=$!
start_agent
[ "$(prog_on card0)" != "$program" ] || fail "the program was not replaced"
until_true "the kernel to let the old program go" old_is_gone
stop_fire
kill $monitor
grep -q 'xdp' "$dir/changes" || fail "no change was seen"
if grep 'card0' "$dir/changes" | grep -qv 'xdp'; then
	fail "card0 was without a program for a moment: $(cat "$dir/changes")"
fi
fired=$sent
counted limited 10.8.0.1 100 $((fired - 100))

# Same rules, on_exit: detach.
rules detach
eb reload > /dev/null || fail "reload"
stop_agent
equal "the program after on_exit: detach" "" prog_on card0
send 10.8.0.1 -n 30
equal "passed without a program" 130 passed 10.8.0.1
for map in buckets_v4 buckets_v6 counters policy; do
	[ -e "$pin_dir/$map" ] || fail "$map is not pinned any more"
done
start_agent
send 10.8.0.1 -n 30
equal "passed with a new agent" 130 passed 10.8.0.1
refused_by 10.8.0.1/32 $((fired - 100 + 30))
