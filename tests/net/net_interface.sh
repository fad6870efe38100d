#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# An interface that is not there yet is waited for; one that goes and comes back, by whatever name it had meanwhile, is
# protected again, by the same buckets.
# shellcheck source=../lib/network.sh
. "$(dirname "$0")/../lib/network.sh"

is_protected() { [ -n "$(prog_on card0)" ]; }

was_missed() { [ "$(grep -c 'no such interface yet.* interface=card0' "$log")" -ge "$1" ]; }

make_network
ip -n "$card" link delete card0
limit_to 40
launch_agent
wait_log "no such interface yet.* interface=card0"

# Rules are in force all the same, and tools say what is the matter.
until_true "the agent's status" \
	status_is '.agent.running and (.interfaces[0] | .name == "card0" and (.attached or .exists | not))'

back() {
	add_link card0 far0
	up card0 far0
	add_addresses
	in_card nft flush ruleset
	count_on card0
	until_true "$1" is_protected
}

back "card0, that came at last"
start_fire 10.8.0.1 -x
until_true "refusals" is_empty 10.8.0.1/32
equal "passed on the first card0" 40 passed 10.8.0.1

# Deleted under fire, and made again.
ip -n "$card" link delete card0
stop_fire
until_true "the agent to notice" was_missed 2
back "card0, made again"
send 10.8.0.1 -n 20
equal "passed on the second card0" 0 passed 10.8.0.1

# Away under another name: somebody else's business then, but back under its own.
ip -n "$card" link set card0 down
ip -n "$card" link set card0 name other0
until_true "status to tell" status_is '.interfaces[0].exists | not'
ip -n "$card" link set other0 name card0
ip -n "$card" link set card0 up
until_true "card0 by its old name" is_protected
send 10.8.0.1 -n 20
equal "passed after renaming" 0 passed 10.8.0.1

# Down and up.
ip -n "$card" link set card0 down
ip -n "$card" link set card0 up
send 10.8.0.1 -n 20
equal "passed after down and up" 0 passed 10.8.0.1
is_protected || fail "card0 is not protected after down and up"

# Deleted while the agent attaches, at any moment of it, and made again: in native mode like any other, though an attempt
# failed.
mkfifo "$dir/never"
exec 8<> "$dir/never"
for away in $(seq 0.1 0.1 1); do
	stop_agent
	ip -n "$card" link delete card0
	add_link card0 far0
	up card0 far0
	rm -rf "$pin_dir"
	launch_agent
	until [[ $(< "$log") == *"in force"* ]]; do :; done
	read -rt 0.02 -u 8 || true # a sleep without a process, which would take longer
	kill -STOP "$agent_pid"
	ip -n "$card" link delete card0
	kill -CONT "$agent_pid"
	read -rt "$away" -u 8 || true
	add_link card0 far0
	up card0 far0
	until_true "card0, made again" is_protected
	equal "its mode" '"native"' eval 'eb --json status | jq ".interfaces[0].mode"'
done
