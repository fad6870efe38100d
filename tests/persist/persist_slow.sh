#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Redis behind a link of 500 kbit/s, which both directions share: what takes ten seconds to come is restored, and as
# much is written, over one connection.
# shellcheck source=../lib/redis_servers.sh
. "$(dirname "$0")/../lib/redis_servers.sh"

sources=8000

start_server "$port"
slow_rules | persist_config
cat >> "$config" <<- END
	redis:
	  host: 127.0.0.1
	  port: $port
	  tick: $tick
END
start_agent
send 10.8.64.0 -k $sources -n $sources
in_redis_all() { [ "$(fields)" = $sources ]; }
until_true "all to be in Redis" in_redis_all
power_cut

ip -n "$card" link set lo mtu 1500
in_card tc qdisc add dev lo root tbf rate 500kbit burst 16kb limit 256kb
start_agent
until_true "the restore" status_is '.restore.state == "done"'
equal "buckets restored" $sources restored buckets
! log_has "cannot read the buckets" || fail "$(grep "cannot read the buckets" "$log")"
equal "tokens" 99 tokens 10.8.64.7/32

# All of it is written anew, and what changes meanwhile.
send 10.8.1.1 -n 10
wait_log 'msg="buckets written".*reason=redis_recovered'
until_true "a change to be in Redis" eval 'field "slow|10.8.1.1/32" | grep -q .'
equal "connections" 1 eval "grep -c 'msg=connected store=redis' '$log'"
! log_has "cannot write" || fail "$(grep "cannot write" "$log")"
store_is_up redis || fail "Redis is there, but said to be away"
