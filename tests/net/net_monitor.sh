#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# edgebucketd --monitor: nothing is dropped, and what would be is counted as it is dropped without it; over reloads and
# trials, from the first packet on, until an agent without it takes over.
# shellcheck source=../lib/network.sh
. "$(dirname "$0")/../lib/network.sh"

rules() {
	write_config <<- END
		  - name: enemy
		    match: { src: [10.9.0.0/16] }
		    action: deny
		  - name: limited
		    match: { src: [10.8.0.0/16] }
		    action: limit
		    packets: { rate: 1/h, burst: 20 }
		  - name: crowd
		    match: { src: [10.10.0.0/16] }
		    action: limit
		    packets: { rate: 1/h, burst: ${1:-20} }
		    new_sources: { rate: 1/h, burst: 10 }
		  - name: friend
		    action: allow
	END
}

# Frames of IPv4 with a header of 4 words, which is none.
send_malformed() {
	in_far python3 - "$1" <<- 'END'
		import socket, sys
		s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
		s.bind(("far0", 0))
		frame = bytes.fromhex("020000000001" "020000000002" "0800" "44").ljust(60, b"\0")
		for _ in range(int(sys.argv[1])): s.send(frame)
	END
}

malformed_passed() { in_card nft -j list chain netdev malformed in | jq '[.. | .packets? // empty] | add'; }
decided() { equal "rule $1, $2" "$3" rule "$1" "$2.packets"; }
says_monitor() { eb status | grep -q 'Monitor:.*nothing is dropped: the agent runs with --monitor'; }

make_network
in_card nft add table netdev malformed
in_card nft add chain netdev malformed in '{ type filter hook ingress device card0 priority -1; }'
in_card nft add rule netdev malformed in meta protocol ip @nh,0,8 0x44 counter

# Without it first, so that what it counts can be compared; and it takes over from rules that drop.
rules
start_agent
send 10.9.0.1 -n 10
send 10.8.0.1 -n 30
send 10.10.0.1 -k 40 -n 40
send_malformed 5
equal "malformed frames" 5 frames malformed
equal "denied" 0 passed 10.9.0.1
equal "limited" 20 passed 10.8.0.1
crowded=$(rule crowd crowded.packets)
equal "of a crowd" $((40 - crowded)) passed 10.10.0.
equal "malformed frames that passed" 0 malformed_passed
status_is '.monitor == false' || fail "status says that nothing is dropped"
stop_agent

start_agent --monitor
log_has "monitor.*nothing is dropped" || fail "the log does not say it"
says_monitor || fail "status does not say it: $(eb status)"
status_is '.monitor == true' || fail "status --json does not say it"
send 10.9.0.1 -n 10
send 10.8.0.1 -n 30
send 10.10.1.1 -k 40 -n 40
send_malformed 5
equal "passed of a denied source" 10 passed 10.9.0.1
equal "passed of an empty bucket" 50 passed 10.8.0.1
equal "passed of a crowd" 40 passed 10.10.1.
equal "malformed frames that passed" 5 malformed_passed
equal "malformed frames" 10 frames malformed
decided enemy drop 10
decided enemy would_drop 10
decided limited would_drop 30
decided crowd crowded $((crowded + 40))
eb --json explain 10.9.0.1 | jq -e '.verdict == "would_drop" and .passes' > /dev/null || fail "explain does not know"

# The flag is the process's: no reload and no trial ends it.
rules 30
eb reload > /dev/null || fail "reload"
says_monitor || fail "a reload ended it"
rules 40
mv "$config" "$config.trial"
rules 30
eb apply "$config.trial" --confirm 10m > /dev/null 2>&1 || fail "apply"
says_monitor || fail "a trial ended it"
eb rollback > /dev/null || fail "rollback"
says_monitor || fail "a rollback ended it"
send 10.9.0.1 -n 10
equal "passed of a denied source" 20 passed 10.9.0.1

# It stays when the agent is gone, and ends with the next one.
kill_agent
status_is '.monitor == true' || fail "status without an agent does not say it"
eb status | grep -q 'Monitor:.*nothing is dropped: every rule only counts' || fail "nor does it say: $(eb status)"
start_agent
status_is '.monitor == false' || fail "an agent without --monitor does not enforce"
send 10.9.0.1 -n 10
equal "passed of a denied source, enforced" 20 passed 10.9.0.1
send_malformed 5
equal "malformed frames" 15 frames malformed
equal "malformed frames that passed" 5 malformed_passed
