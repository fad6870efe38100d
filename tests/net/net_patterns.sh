#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Patterns for interfaces: they are attached when they come, and left when they no longer match; those that stay never
# lack their program. `default` follows the default routes. Rules ask for interfaces by patterns too.
# shellcheck source=../lib/network.sh
. "$(dirname "$0")/../lib/network.sh"

rules() {
	write_config <<- END
		  - { name: second, match: { src: [10.8.1.0/24], interface: [card1] }, action: deny }
		  - { name: routed, match: { src: [10.8.2.0/24], interface: default }, action: deny }
		  - { name: cards, match: { src: [10.8.3.0/24], interface: ["card?"] }, action: deny }
	END
}

# on INTERFACE PATTERN,...: it has the program, for these.
on() {
	status_is "any(.interfaces[]; .name == \"$1\" and .attached and (.patterns | join(\",\")) == \"$2\")" &&
		[ -n "$(prog_on "$1")" ]
}
off() { [ -z "$(prog_on "$1")" ] && status_is "all(.interfaces[]; .name != \"$1\")"; }
healthy() { eb probe healthz > "$dir/health" 2>&1; }

# denied RULE N: it has denied so many packets.
denied() { equal "packets that $1 denied" "$2" rule "$1" drop.packets; }

watch_card0() {
	ip -n "$card" -o monitor link dev card0 > "$dir/changes" 9>&- &
	monitor=$!
}

make_network
ip -n "$card" link set card0 down
ip -n "$card" link set card0 name early
ip -n "$card" link set early up
interfaces='"card*", default'
rules
launch_agent
wait_log 'no interface matches yet.* pattern=card\*'
until_true "an agent that waits" grep -q 'in force' "$log"
status_is '.patterns == [{ pattern: "card*", interfaces: [], left_out: [] },
	{ pattern: "default", interfaces: [], left_out: [] }] and .interfaces == []' || fail "status: $(eb --json status)"
healthy && fail "an agent without an interface is healthy"
grep -q 'no interface yet' "$dir/health" || fail "healthz says $(cat "$dir/health")"
eb status | grep -q 'card\*: no interface yet' || fail "status: $(eb status)"

# An interface that gets a name that matches, and one that comes.
ip -n "$card" link set early down
ip -n "$card" link set early name card0
ip -n "$card" link set card0 up
until_true "card0" on card0 'card*'
healthy || fail "healthz with a pattern that waits: $(cat "$dir/health")"
watch_card0
add_link card1 far1
up card1 far1
until_true "card1" on card1 'card*'
status_is '.patterns[0].interfaces == ["card0", "card1"]' || fail "status: $(eb --json status)"

# Two patterns, and the default route, which two interfaces can carry.
ip -n "$card" route add default dev card0
until_true "the route of card0" on card0 'card*,default'
ip -n "$card" -6 route add default dev card1
until_true "the route of card1" on card1 'card*,default'
eb status | grep -q 'card1 (card\*, default) attached' || fail "status: $(eb status)"

# What lies on a card is limited there already; a name counts nevertheless.
ip -n "$card" link add card1.7 link card1 type macvlan
left_out() { status_is '.patterns[0].left_out | map(.name) == ["card1.7"] and (.[0].reason | startswith("lies on card1"))'; }
until_true "the macvlan, left out" left_out
eb status | grep -q 'card1.7 (card\*) left out: lies on card1, where' || fail "status: $(eb status)"
[ -z "$(prog_on card1.7)" ] || fail "card1.7 has a program"
ip -n "$card" link delete card1.7

# Rules go by the interface, whichever entry named it.
send 10.8.1.1 -n 3
send 10.8.3.1 -n 3
from=far1 send 10.8.1.1 -n 5
from=far1 send 10.8.3.1 -n 5
denied second 5
denied cards 8

# A card that is renamed away is left, and one that is gone is forgotten.
ip -n "$card" link set card1 down
ip -n "$card" link set card1 name gone1
until_true "card1 by another name, left" off gone1
ip -n "$card" link delete gone1
until_true "no route but that of card0" status_is '.patterns[1].interfaces == ["card0"]'
kill $monitor
grep -q 'card0' "$dir/changes" && grep 'card0' "$dir/changes" | grep -qv xdp && fail "card0 was without a program"

# The default route moves, and with it the program; while there is none, it stays where it was.
interfaces='default'
rules
eb reload > /dev/null || fail "reload"
add_link card1 far1
up card1 far1
until_true "card0 by its route" on card0 default
send 10.8.2.1 -n 2
ip -n "$card" route del default dev card0
send 10.8.2.1 -n 2
denied routed 4
on card0 default || fail "card0 was left without a default route anywhere"
ip -n "$card" route add default dev card1
until_true "card1 by its route" on card1 default
until_true "card0 to be left" off card0
from=far1 send 10.8.2.1 -n 3
denied routed 7
log_has 'another process detached' && fail "the agent takes itself for somebody"

# Without an agent, the file is asked.
end_agent TERM
status_is '.patterns == [{ pattern: "default", interfaces: ["card1"], left_out: [] }]' ||
	fail "status without an agent: $(eb --json status)"
on card1 default || fail "status without an agent: $(eb --json status)"
launch_agent
until_true "card1 after a restart" on card1 default
