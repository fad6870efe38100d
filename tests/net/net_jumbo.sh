#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Jumbo frames, which come in several buffers: they pass unharmed, and every byte of them counts.
# shellcheck source=../lib/network.sh
. "$(dirname "$0")/../lib/network.sh"

make_network
ip -n "$card" link set card0 mtu 9000
ip -n "$far" link set far0 mtu 9000
write_config <<- END
	  - name: pings
	    match: { proto: icmp }
	    action: allow
	  - name: by-bytes
	    match: { src: [10.8.0.0/16, "2001:db8:8::/48"] }
	    action: limit
	    bytes: { rate: 1B/s, burst: 90200 }
END
start_agent
status_is '.interfaces[0].mode == "native"' || fail "not in native mode"

send 10.8.0.1 -n 20 -l 9014
counted by-bytes 10.8.0.1 10 10
equal "bytes passed" 90140 rule by-bytes pass.bytes
equal "bytes dropped" 90140 rule by-bytes drop.bytes
send 2001:db8:8::1 -n 20 -l 9014
counted by-bytes 2001:db8:8::1 10 10 2001:db8:8::/64

# Whole pings come back whole.
in_far ping -q -n -c 50 -i 0.002 -W 1 -M "do" -s 8972 10.7.0.1 > "$dir/ping" || true
grep -q ' 50 received' "$dir/ping" || fail "jumbo pings: $(cat "$dir/ping")"
equal "bytes of pings" $((50 * 9014)) rule pings pass.bytes
