#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# A src_file of a million prefixes loads, decides, is exchanged under fire and costs the rest of the rules nothing.
# shellcheck source=../lib/network.sh
. "$(dirname "$0")/../lib/network.sh"

# 900,000 addresses from 11.0.0.0 on, and 100,000 IPv6 networks.
make_prefixes() {
	awk 'BEGIN {
		print "# a million prefixes"
		for (i = 0; i < 900000; i++)
			printf "11.%d.%d.%d\n", i / 65536, i / 256 % 256, i % 256
		for (i = 0; i < 100000; i++)
			printf "2001:db8:%x:%x::/64  # one of many\n", 256 + i / 65536, i % 65536
	}' > "$dir/prefixes.txt"
}

make_prefixes
make_network
write_config <<- END
	  - { name: blocked, match: { src_file: $dir/prefixes.txt }, action: deny }
	  - name: limited
	    match: { src: [10.8.0.0/16] }
	    action: limit
	    packets: { rate: 1/h, burst: 30 }
END
begun=$SECONDS
start_agent
say "a million prefixes in force after about $((SECONDS - begun)) s"
send 11.0.0.0 -n 10
send 11.13.187.159 -n 10
send 2001:db8:100::1 -n 10
send 2001:db8:101:869f::1 -n 10
equal "dropped, first and last of each" 40 rule blocked drop.packets
send 11.13.187.160 -n 10
send 2001:db8:101:86a0::1 -n 10
equal "passed, one after the last" 10 passed 11.13.187.160
equal "passed, one after the last IPv6" 10 passed 2001:db8:101:86a0::1
[ "$(eb --json explain 11.5.5.5 | jq -r .rule)" = blocked ] || fail "explain: $(eb --json explain 11.5.5.5)"

start_fire 11.5.5.5
for _ in 1 2; do
	eb reload > /dev/null || fail "reload"
done
stop_fire
equal "dropped, with two reloads" $((40 + sent)) rule blocked drop.packets
equal "passed, with two reloads" 0 passed 11.5.5.5
send 10.8.0.1 -n 50
counted limited 10.8.0.1 30 20
