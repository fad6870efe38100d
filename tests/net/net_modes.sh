#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# attach: native, generic and auto, on an interface whose driver has native XDP and on one whose driver has not.
# shellcheck source=../lib/network.sh
. "$(dirname "$0")/../lib/network.sh"

rules() {
	settings="attach: $1"
	write_config <<- END
		  - name: limited
		    match: { src: [10.8.0.0/16, "2001:db8:8::/48"] }
		    action: limit
		    packets: { rate: 1/h, burst: 40 }
	END
}

# mode_is INTERFACE MODE: by the kernel's word, and by ours.
mode_is() {
	local mode=1 # XDP_ATTACHED_DRV of linux/if_link.h
	[ "$2" = native ] || mode=2
	equal "the mode of $1" $mode xdp_mode "$1"
	status_is ".interfaces[] | select(.name == \"$1\") | .attached and .mode == \"$2\"" ||
		fail "status does not say that $1 is in $2 mode: $(eb --json status)"
}

xdp_mode() { ip -n "$card" -j -d link show dev "$1" | jq '.[0].xdp.mode'; }

make_network
rules generic
start_agent
mode_is card0 generic
log_has "msg=attached interface=card0 mode=generic" || fail "the log does not name the mode"
send 10.8.0.1 -n 100 -r 20000
counted limited 10.8.0.1 40 60
send 2001:db8:8::1 -n 100 -r 20000
counted limited 2001:db8:8::1 40 60 2001:db8:8::/64

# From one mode to the other, by reload and by restart.
rules native
eb reload > /dev/null || fail "reload"
mode_is card0 native
rules auto
eb reload > /dev/null || fail "reload"
mode_is card0 native
stop_agent
rules generic
start_agent
mode_is card0 generic
stop_agent
rules auto
start_agent
send 10.8.0.1 -n 100
counted limited 10.8.0.1 40 160
stop_agent
ip -n "$card" link set dev card0 xdp off
ip -n "$card" link set dev card0 xdpgeneric off

# A driver without native XDP: a bridge's.
ip -n "$card" link add bridge0 address 02:00:00:00:00:01 type bridge stp_state 0
ip -n "$card" link set card0 master bridge0
ip -n "$card" link set bridge0 up
interfaces=bridge0
rules native
launch_agent
wait_log "interface=bridge0 .*no native XDP; use attach: generic"
stop_agent
rules auto
start_agent
mode_is bridge0 generic
in_card nft delete table netdev behind_card0 # drops what a bridge should get
count_on bridge0
send 10.8.0.2 -n 100
equal "passed by a bridge" 40 passed 10.8.0.2 bridge0
equal "refused by a bridge" 60 bucket 10.8.0.2/32 .dropped
