#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Interfaces that lie on one another, which the kernel protects from below: attached in any order, replaced without a
# gap, left one by one, and taken off at once. Others' programs among them are told of.
# shellcheck source=../lib/network.sh
. "$(dirname "$0")/../lib/network.sh"

rules() { limit_to 50; }

# What lies on card0. The kernel treats VLANs, bonds and bridges alike.
make_uppers() {
	ip -n "$card" link add vx0 type vxlan id 7 dev card0 dstport 4789
	ip -n "$card" link add mv0 link card0 type macvlan
	ip -n "$card" link set vx0 up
	ip -n "$card" link set mv0 up
}

all_on() { status_is "[.interfaces[] | .attached] == [true, true, true]"; }

none_left() {
	local interface
	for interface in card0 vx0 mv0; do
		equal "the program on $interface" "" prog_on "$interface"
	done
}

# lost_program INTERFACE: a change that netlink told of, without a program.
lost_program() { grep " $1[:@]" "$dir/changes" | grep -qv xdp; }

watch_changes() {
	ip -n "$card" -o monitor link > "$dir/changes" 9>&- &
	monitor=$!
}

# stayed_on: since watch_changes, every program was replaced in one step.
stayed_on() {
	local interface
	kill $monitor
	for interface in card0 vx0 mv0; do
		lost_program $interface && fail "$1: $interface was without a program: $(cat "$dir/changes")"
	done
	grep -q "card0.*xdp" "$dir/changes" || fail "$1: nothing was replaced"
}

make_network
make_uppers
interfaces=vx0,card0,mv0
rules
"$BUILD/edgebucketd" --check -c "$config" > /dev/null 2>&1 || fail "the configuration is refused"
in_card "$BUILD/edgebucketd" --check -c "$config" 2>&1 | grep -q "vx0 lies on card0" ||
	fail "--check does not say that packets are charged twice"
start_agent
log_has "mv0 lies on card0" || fail "the start does not say that packets are charged twice"
all_on || fail "status: $(eb --json status)"
send 10.8.0.1 -n 80
counted limited 10.8.0.1 50 30

say "restarts and kills under fire"
start_fire 10.8.0.2
until_true "refusals" is_empty 10.8.0.2/32
for end in stop_agent kill_agent stop_agent; do
	before=$(prog_on card0)
	watch_changes
	$end
	start_agent
	[ "$(prog_on card0)" != "$before" ] || fail "the program on card0 was not replaced"
	stayed_on "$end"
done
stop_fire
counted limited 10.8.0.2 50 $((sent - 50))

say "nobody takes it off below"
in_card ip link set dev card0 xdp off 2> "$dir/refused" && fail "ip link took the program off"
grep -q "BPF XDP link" "$dir/refused" || fail "ip link says $(cat "$dir/refused")"

say "detach, with an agent and without"
eb detach > /dev/null || fail "detach"
none_left
eb reload > /dev/null || fail "reload"
all_on || fail "status: $(eb --json status)"
stop_agent
eb detach > "$dir/out" || fail "detach without an agent"
none_left
[ ! -e "$pin_dir-links" ] || fail "left: $(ls "$pin_dir-links")"

say "without edgebucket, as the documentation says"
start_agent
stop_agent
ip -n "$card" link set dev vx0 xdpgeneric off
ip -n "$card" link set dev mv0 xdpgeneric off
rm -r "$pin_dir-links"
none_left

say "from below upwards, and back"
interfaces=card0
rules
start_agent
interfaces=card0,mv0,vx0
rules
eb reload > /dev/null || fail "reload"
all_on || fail "status: $(eb --json status)"
interfaces=vx0
rules
eb reload > /dev/null || fail "reload"
equal "the program on card0, left" "" prog_on card0
equal "the program on mv0, left" "" prog_on mv0
interfaces=card0,mv0,vx0
rules
eb reload > /dev/null || fail "reload"
all_on || fail "status: $(eb --json status)"
log_has "another process detached the program" && fail "the agent takes itself for somebody"
send 10.8.0.1 -n 10
equal "passed after all" 50 passed 10.8.0.1
stop_agent

say "left by an agent that knew no links"
eb detach > /dev/null || fail "detach"
interfaces=card0
rules
start_agent
stop_agent
interfaces=card0,mv0,vx0
rules
start_agent
all_on || fail "status: $(eb --json status)"

say "another owner's program above"
eb detach > /dev/null || fail "detach"
stop_agent
interfaces=card0
rules
start_agent
echo '__attribute__((section("xdp"), used)) int foreign(void *ctx) { return 2; }' > "$dir/foreign.c"
clang -O2 -target bpf -c "$dir/foreign.c" -o "$dir/foreign.o" || fail "cannot compile a program"
ip -n "$card" link set dev vx0 xdpgeneric obj "$dir/foreign.o" sec xdp
if eb detach 2> "$dir/refused"; then
	fail "the kernel let the program be taken off below vx0"
fi
grep -q "card0: cannot detach: vx0, which lies on it, has an XDP program" "$dir/refused" ||
	fail "detach does not say why: $(cat "$dir/refused")"
ip -n "$card" link set dev vx0 xdpgeneric off
eb detach > /dev/null || fail "detach after that"
