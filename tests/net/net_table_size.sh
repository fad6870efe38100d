#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Another table_size at a restart keeps the buckets, also those charged meanwhile.
# shellcheck source=../lib/network.sh
. "$(dirname "$0")/../lib/network.sh"

restart_with() {
	table_size=$1
	write_config <<- END
		  - name: limited
		    match: { src: [10.8.0.0/16, 10.9.0.0/16, "2001:db8:8::/48"] }
		    action: limit
		    packets: { rate: 1/h, burst: 100 }
	END
	[ -z "$agent_pid" ] || stop_agent
	start_agent
	status_is ".table_size == $1" || fail "status: $(eb --json status)"
}

restart_with_fire() {
	start_fire 10.8.0.1
	restart_with "$1"
	stop_fire
	equal "passed with a table of $1" 100 passed 10.8.0.1
}

make_network
restart_with 16384
send 10.8.0.1 -n 100
send 10.9.0.1 -k 500 -n 20000
send 2001:db8:8::1 -n 70
equal "passed of 500 sources" 20000 passed 10.9.
for size in 65536 4096 1048576 16384; do
	restart_with_fire $size
done
send 10.9.0.1 -k 500 -n 50000
equal "passed of 500 sources in the end" 50000 passed 10.9.
send 2001:db8:8::1 -n 70
equal "IPv6, passed in the end" 100 passed 2001:db8:8::1

