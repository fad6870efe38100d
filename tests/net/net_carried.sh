#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Maps of another table_size while an interface keeps the program of the ones before: what that admits counts once it is
# off, however long it takes, and the maps before stay until then. Interfaces that are missing, refused, or another
# owner's do not hold that up.
# shellcheck source=../lib/network.sh
. "$(dirname "$0")/../lib/network.sh"

rules() { limit_to 100; }

# restart_larger INTERFACE: with twice the table, until INTERFACE has the new program.
restart_larger() {
	table_size=$((table_size * 2))
	rules
	[ -z "$agent_pid" ] || stop_agent
	launch_agent
	[ -z "$1" ] || wait_log "msg=attached interface=$1 "
}

is_settled() { [ ! -e "$pin_dir/replacing" ]; }
is_held() { wait_log "the previous program is still attached to an interface.* interface=card1"; ! is_settled; }
put_foreign() { ip -n "$card" link set dev "$1" xdpgeneric obj "$dir/foreign.o" sec xdp; }
take_foreign() { ip -n "$card" link set dev "$1" xdpgeneric off; }

passed_of() { echo $(($(passed "$1") + $(passed "$1" card1))); }
send_old() { from=far1 send "$@"; }

# Another owner's program on what lies on card1 keeps ours on card1: the kernel changes nothing below it.
hold() { put_foreign mv1; }

# tun0, whose frames begin with what the program cannot read (ARPHRD_IEEE80211_RADIOTAP).
make_radiotap() {
	coproc TUN { exec nsenter --net="/var/run/netns/$card" python3 "$(dirname "$0")/tun.py" tun0 9>&-; }
	read -r -t 20 _ <&"${TUN[0]}" || fail "no TUN device"
	echo "type 803" >&"${TUN[1]}"
	read -r -t 20 answer <&"${TUN[0]}"
	[ "$answer" = "done" ] || fail "tun0 has no other type"
}

make_network
add_link card1 far1
up card1 far1
count_on card1
ip -n "$card" link add mv1 link card1 type macvlan
echo '__attribute__((section("xdp"), used)) int foreign(void *ctx) { return 2; }' > "$dir/foreign.c"
clang -O2 -target bpf -c "$dir/foreign.c" -o "$dir/foreign.o" || fail "cannot compile a program"
table_size=4096

# Nothing that has no program of ours holds it up.
interfaces=card0,card1
rules
start_agent
add_link theirs0 far2
put_foreign theirs0
make_radiotap
interfaces=card0,missing0,theirs0,tun0,card1
send 10.8.0.1 -n 60
restart_larger card1
until_true "the maps before to go" is_settled
log_has "level=error .*interface=theirs0" || fail "theirs0 is no other owner's"
log_has "level=error .*interface=tun0" || fail "tun0 is not refused"
send 10.8.0.1 -n 60
equal "passed beside interfaces without our program" 100 passed 10.8.0.1

# It cannot be replaced on card1.
interfaces=card0,card1
send 10.8.0.2 -n 40
hold
restart_larger card0
is_held || fail "the maps before went while card1 charges them"
send_old 10.8.0.2 -n 30
send 10.8.0.2 -n 20
take_foreign mv1
until_true "the maps before to go" is_settled
send 10.8.0.2 -n 40
equal "passed on both interfaces, replaced late" 100 passed_of 10.8.0.2

# card1 is not configured any more, and cannot be left.
interfaces=card0
send 10.8.0.3 -n 40
hold
restart_larger card0
is_held || fail "the maps before went while card1, which was left out, charges them"
send_old 10.8.0.3 -n 30
take_foreign mv1
in_card "$BUILD/edgebucket" -c "$config" reload > /dev/null
ip -n "$card" link set dev card1 xdp off
until_true "the maps before to go" is_settled
send 10.8.0.3 -n 60
equal "passed on both interfaces, one of them left late" 100 passed_of 10.8.0.3

# An operator wants all of them off, and one cannot be taken off.
interfaces=card0,card1
rules
eb reload > /dev/null || fail "reload"
send 10.8.0.4 -n 40
stop_agent
hold
eb detach --stay > /dev/null 2>&1 && fail "detached below another owner's program"
restart_larger ""
is_held || fail "the maps before went while card1, which cannot be taken off, charges them"
send_old 10.8.0.4 -n 30
take_foreign mv1
eb detach --stay > /dev/null || fail "detach"
until_true "the maps before to go" is_settled
eb attach > /dev/null || fail "attach"
send 10.8.0.4 -n 60
equal "passed on both interfaces, taken off late" 100 passed_of 10.8.0.4

# Killed meanwhile: of what both programs admitted, the next agent counts the larger part (docs/limits.md).
send 10.8.0.5 -n 40
hold
restart_larger card0
is_held || fail "the maps before went while card1 charges them"
send_old 10.8.0.5 -n 30
send 10.8.0.5 -n 20
kill_agent
take_foreign mv1
start_agent
until_true "the maps before to go" is_settled
send 10.8.0.5 -n 100
equal "passed on both interfaces, with a kill" 120 passed_of 10.8.0.5
