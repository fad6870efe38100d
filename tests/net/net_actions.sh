#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# allow, deny, limit and monitor; the first rule that matches decides; nothing matches: pass. With pings, whose answers
# show what passed.
# shellcheck source=../lib/network.sh
. "$(dirname "$0")/../lib/network.sh"

# pings SOURCE COUNT: how many of them were answered.
pings() {
	local to=10.7.0.1
	case $1 in *:*) to=2001:db8:7::1 ;; esac
	in_far ping -q -n -c "$2" -i 0.002 -W 1 -I "$1" $to > "$dir/ping" || true
	sed -n 's/.* \([0-9]*\) received.*/\1/p' "$dir/ping"
}

# decided RULE VERDICT COUNT
decided() { equal "rule $1, $2" "$3" rule "$1" "$2.packets"; }

make_network
for source in 10.8.0.1 10.8.0.2 10.9.0.1 10.10.0.1 10.11.0.1 10.12.0.1; do
	ip -n "$far" address add $source/32 dev far0
done
for source in 2001:db8:8::1 2001:db8:9::1 2001:db8:10::1; do
	ip -n "$far" address add $source/128 dev far0 nodad
done
write_config <<- END
	  - name: friend
	    match: { src: [10.8.0.1, "2001:db8:8::/64"] }
	    action: allow
	  - name: enemy
	    match: { src: [10.8.0.0/24, "2001:db8:9::/64"] }
	    action: deny
	  - name: tried-deny
	    match: { src: [10.9.0.0/16] }
	    action: deny
	    mode: monitor
	  - name: tried-limit
	    match: { src: [10.10.0.0/16] }
	    action: limit
	    packets: { rate: 1/h, burst: 10 }
	    mode: monitor
	  - name: elsewhere
	    match: { src: [10.11.0.0/16], dst: [10.7.0.99] }
	    action: deny
	  - name: pings
	    match: { src: [10.11.0.0/16, "2001:db8:10::/48"], proto: icmp }
	    action: limit
	    packets: { rate: 1/h, burst: 7 }
	  - name: pings6
	    match: { src: ["2001:db8:10::/48"], proto: icmpv6 }
	    action: limit
	    packets: { rate: 1/h, burst: 6 }
	  - name: discard
	    match: { src: [10.11.0.0/16], proto: udp, dport: [7, "9-10"] }
	    action: deny
END
start_agent

equal "answers to an allowed source" 30 pings 10.8.0.1 30
equal "answers to an allowed IPv6 source" 30 pings 2001:db8:8::1 30
decided friend pass 60
equal "answers to a denied source" 0 pings 10.8.0.2 15
equal "answers to a denied IPv6 source" 0 pings 2001:db8:9::1 15
decided enemy drop 30
equal "passed of a denied source" 0 passed 10.8.0.2
equal "answers to a monitored deny" 20 pings 10.9.0.1 20
decided tried-deny would_drop 20
equal "answers to a monitored limit" 30 pings 10.10.0.1 30
decided tried-limit pass 10
decided tried-limit would_drop 20
equal "answers by protocol" 7 pings 10.11.0.1 20
decided pings pass 7
decided pings drop 13
equal "answers by protocol, IPv6" 6 pings 2001:db8:10::1 10
decided pings6 drop 4

send 10.11.0.1 -n 10 -p 9
send 10.11.0.1 -n 10 -p 7
decided discard drop 20
before=$(frames unmatched)
send 10.11.0.1 -n 10 -p 11
send 10.11.0.2 -n 10 -p 6
equal "frames without a rule" $((before + 20)) frames unmatched
equal "passed without a rule" 10 passed 10.11.0.2
equal "answers without a rule" 10 pings 10.12.0.1 10
