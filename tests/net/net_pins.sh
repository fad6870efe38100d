#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Somebody removes pins under a live agent: it goes on, and pins the maps again. Somebody removes them while none runs:
# the next one replaces the program, which it knows by a note in run_dir. Without one, or by that of another pin_dir or boot, the program is somebody else's and left alone:
# the agent stays away, or gets a place beside it where the kernel chains programs.
# shellcheck source=../lib/network.sh
. "$(dirname "$0")/../lib/network.sh"

rules() { limit_to 30; }

is_protected() { status_is '.interfaces[0].attached'; }
is_replaced() { [ "$(prog_on card0)" != "$program" ] || fail "the program was not replaced"; }

map_ids() { for map in "$pin_dir"/*; do bpftool -j map show pinned "$map" | jq .id; done; }

# comes_back WHAT: pinned again, and the same maps.
comes_back() {
	until_true "the removal of $1, which the agent makes anew" rm -rf "$1"
	equal "pins after the loss of $1" "$pinned" map_ids
	[ "$(bucket 10.8.0.1/32 .packets.tokens)" = 0 ] || fail "the bucket is another one after the loss of $1"
}

# lose_pins: the agent is killed, and the program stays. Sets program.
lose_pins() {
	send 10.8.0.1 -n 40
	kill_agent
	rm -r "$pin_dir"
	program=$(prog_on card0)
	[ -n "$program" ] || fail "the program is gone"
}

in_chain() { in_card xdp-loader status card0 | grep -c '=>'; }

# is_left_alone: the next agent leaves the program alone, and says how to take it off.
is_left_alone() {
	local before
	if is_chained; then
		before=$(in_chain)
		launch_agent
		until_true "the agent to attach" is_protected
		equal "programs on card0" $((before + 1)) in_chain
		return
	fi
	launch_agent
	wait_log "card0: another XDP program is attached"
	equal "the program of somebody else" "$program" prog_on card0
	status_is '.interfaces[0].foreign' || fail "status: $(eb --json status)"
}

make_network
rules
start_agent
status_is '.pins.problem == null' || fail "status: $(eb --json status)"
send 10.8.0.1 -n 40
pinned=$(map_ids)
comes_back "$pin_dir"
comes_back "$pin_dir/tags_v4"
log_has "pins of the maps were removed, pinned them again" || fail "nothing is said of it"
lose_pins
equal "passed in all" 30 passed 10.8.0.1
start_agent
is_replaced
is_protected || fail "status: $(eb --json status)"
send 10.8.0.2 -n 40
counted limited 10.8.0.2 30 10
eb detach > /dev/null || fail "detach"
[ -z "$(prog_on card0)" ] || fail "detach left a program"
stop_agent

# Again, of one that adopted its maps, and with another that was killed before it could attach.
start_agent
kill_agent
start_agent
lose_pins
launch_agent
wait_log "created new maps"
kill_agent
start_agent
is_replaced

# An agent with another pin_dir is another one, even in the same run_dir.
lose_pins
cp "$dir/run/last-maps" "$dir/note"
own=$pin_dir
pin_dir=$own-other
rules
is_left_alone
stop_agent
pin_dir=$own
rm -r "$pin_dir-other"

# A note of another boot is as good as none. What the agent says to do lets it in.
sed 's/^[^ ]*/00000000-0000-0000-0000-000000000000/' "$dir/note" > "$dir/run/last-maps"
rules
is_left_alone
is_chained && exit
remove=$(grep -o "ip link set dev card0 [a-z]* off" "$log" | head -n 1)
# shellcheck disable=SC2086 # a command line
in_card $remove || fail "what it says does not work: $remove"
until_true "the program to get in" is_protected
is_replaced
