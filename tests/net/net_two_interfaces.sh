#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# One agent, two interfaces, one set of buckets; interfaces join and leave by a reload.
# shellcheck source=../lib/network.sh
. "$(dirname "$0")/../lib/network.sh"

rules() {
	write_config <<- END
		  - name: limited
		    match: { src: [10.8.0.0/16, "2001:db8:8::/48"] }
		    action: limit
		    packets: { rate: 1/h, burst: 60 }
	END
}

send_on() {
	local from=$1
	shift
	send "$@"
}

make_network
add_link card1 far1
up card1 far1
count_on card1
interfaces=card0,card1
rules
start_agent

send_on far0 10.8.0.1 -n 40
send_on far1 10.8.0.1 -n 40
equal "passed on card0" 40 passed 10.8.0.1
equal "passed on card1" 20 passed 10.8.0.1 card1
equal "refused" 20 bucket 10.8.0.1/32 .dropped
send_on far1 2001:db8:8::1 -n 80
send_on far0 2001:db8:8::1 -n 80
equal "IPv6, passed on card1" 60 passed 2001:db8:8::1 card1
equal "IPv6, passed on card0" 0 passed 2001:db8:8::1
status_is '[.interfaces[] | select(.attached and .mode == "native") | .name] == ["card0", "card1"]' ||
	fail "status does not show both interfaces: $(eb --json status)"

interfaces=card1
rules
eb reload > /dev/null || fail "reload"
equal "the program on an interface that left" "" prog_on card0
send_on far0 10.8.0.1 -n 10
equal "passed on card0 without a program" 50 passed 10.8.0.1
send_on far1 10.8.0.1 -n 10
equal "passed on card1" 20 passed 10.8.0.1 card1

interfaces=card0,card1
rules
eb reload > /dev/null || fail "reload"
[ -n "$(prog_on card0)" ] || fail "card0 did not join again"
send_on far0 10.8.0.1 -n 10
equal "passed on card0 again" 50 passed 10.8.0.1
