#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# An interface by another name of its own (altname): the same card, whatever it is called. Restarts leave nothing
# unlimited, and two names of one card are an error, also when they become that later.
# shellcheck source=../lib/network.sh
. "$(dirname "$0")/../lib/network.sh"

rules() { limit_to 50; }

watch_changes() {
	ip -n "$card" -o monitor link > "$dir/changes" 9>&- &
	monitor=$!
}

# stayed_on WHAT: since watch_changes, card0 was never without a program.
stayed_on() {
	kill $monitor
	grep -q 'card0.*xdp' "$dir/changes" || fail "$1: the program was not replaced"
	grep 'card0' "$dir/changes" | grep -qv xdp && fail "$1: card0 was without a program: $(cat "$dir/changes")"
	log_has "no longer one of interfaces" && fail "$1: the agent left its own card"
	return 0
}

make_network
ip -n "$card" link property add dev card0 altname wan0
interfaces=wan0
rules
start_agent
equal "passed of 80" 50 eval "send 10.8.0.1 -n 80; passed 10.8.0.1"
status_is '[.interfaces[] | [.name, .attached]] == [["wan0", true]]' || fail "status: $(eb --json status)"

for names in wan0 card0 wan0; do
	watch_changes
	stop_agent
	interfaces=$names
	rules
	start_agent
	stayed_on "a restart with $names"
done
program=$(prog_on card0)
interfaces=card0
rules
eb reload > /dev/null || fail "reload"
equal "the program after a reload by another name" "$program" prog_on card0
log_has "another process detached the program" && fail "the agent takes itself for somebody"

interfaces=card0,wan0
rules
eb reload 2> "$dir/refused" && fail "two names of one card were accepted"
grep -q 'interfaces\[1\]: "card0" and "wan0" are two names of one interface' "$dir/refused" ||
	fail "the refusal: $(cat "$dir/refused")"

# The names come later than the configuration: the other name is waited for, then told of.
ip -n "$card" link property del dev card0 altname wan0
eb reload > /dev/null || fail "reload"
wait_log "no such interface yet.* interface=wan0"
ip -n "$card" link property add dev card0 altname wan0
wait_log "two names of one interface.* interface=wan0 other=card0"
equal "the program on card0" "$program" prog_on card0
interfaces=wan0
rules
eb reload > /dev/null || fail "reload"
equal "the program after the other name is left out" "$program" prog_on card0
send 10.8.0.1 -n 20
equal "passed in all" 50 passed 10.8.0.1

# A card that comes back is known by its other name too.
ip -n "$card" link delete card0
wait_log "no such interface yet.* interface=wan0"
add_link card0 far0
up card0 far0
ip -n "$card" link property add dev card0 altname wan0
until_true "card0 by its other name" status_is '.interfaces[0].attached'
