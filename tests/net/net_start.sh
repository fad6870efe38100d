#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# A start with an ordinary configuration, and how long it takes until the rules are enforced: printed, not judged.
# shellcheck source=../lib/network.sh
. "$(dirname "$0")/../lib/network.sh"

milliseconds() { echo $((${EPOCHREALTIME/[.,]/} / 1000)); }

started() {
	local begun
	begun=$(milliseconds)
	launch_agent
	wait_log "msg=attached interface=card0"
	say "$1: $(($(milliseconds) - begun)) ms from start to attached"
}

make_network
table_size=1048576
write_config <<- END
	  - { name: office, match: { src: [10.9.0.0/16, "2001:db8:9::/48"] }, action: allow }
	  - { name: dns, match: { proto: udp, dport: 53 }, action: limit, packets: { rate: 200/s, burst: 400 } }
	  - { name: everyone, match: { src: [10.0.0.0/8] }, action: limit, packets: { rate: 1/h, burst: 10 } }
END
started "new maps"
send 10.8.0.1 -n 20
counted everyone 10.8.0.1 10 10
stop_agent
started "adopted maps"
send 10.8.0.1 -n 20
counted everyone 10.8.0.1 10 30
