#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# A master dies under fire, and Sentinel makes its replica the master: packets are limited exactly all the time, and the
# new master soon holds what the maps hold, even if the old one had not told it everything.
# shellcheck source=../lib/redis_servers.sh
. "$(dirname "$0")/../lib/redis_servers.sh"

master=7001 replica=7002 sentinels=(7101 7102 7103)

start_sentinel() {
	mkdir -p "$dir/$1"
	cat > "$dir/$1/config" <<- END
		port $1
		bind 127.0.0.1
		sentinel monitor edge 127.0.0.1 $master 2
		sentinel down-after-milliseconds edge 300
		sentinel failover-timeout edge 2000
	END
	launch_server "$1" "$dir/$1/config" --sentinel
}

# What every sentinel must know before a failover can be expected: the replica and the other two.
knows_all() {
	port=$1 redis --raw sentinel master edge | paste - - |
		awk '$1 == "num-slaves" && $2 == 1 || $1 == "num-other-sentinels" && $2 == 2 { known++ }
			END { exit known != 2 }'
}

replica_in_sync() { port=$replica redis info replication | grep -q '^master_link_status:up'; }

start_server $master --repl-diskless-sync-delay 0
start_server $replica --repl-diskless-sync-delay 0 --replicaof 127.0.0.1 $master
until_true "the replica to be in sync" replica_in_sync
for sentinel in "${sentinels[@]}"; do
	start_sentinel "$sentinel"
done

port=$master
{
	slow_rules | persist_config
	cat >> "$config" <<- END
		redis:
		  sentinel:
		    master: edge
		    nodes: [127.0.0.1:${sentinels[0]}, 127.0.0.1:${sentinels[1]}, 127.0.0.1:${sentinels[2]}]
		  tick: $tick
	END
}
start_agent
start_counted_fire
send 10.8.0.1 -n 40
send 10.8.0.2 -n 70
send 2001:db8:8::1 -n 30
wait_mirrored
store_is_up redis || fail "Redis is there, but said to be away"
for sentinel in "${sentinels[@]}"; do
	until_true "sentinel $sentinel to know all" knows_all "$sentinel"
done

# Of one write the replica has not heard.
port=$replica
until_true "the replica to hold what the maps hold" redis_is_maps
redis config set replica-read-only no > /dev/null
redis hdel "$key" 'slow|10.8.0.2/32' > /dev/null
! redis_is_maps || fail "the replica cannot be told apart"

start_writing
kill_server $master
away() { ! store_is_up redis; }
until_true "the master's end to be noticed" away
send 10.8.0.1 -n 10
send 10.8.0.3 -n 20
still_limited "without a master"
until_true "the agent to follow the failover" store_is_up redis
[ "$(redis role | head -n 1)" = master ] || fail "up, but not with the new master"
stop_writing
wait_mirrored
same_sources
still_limited "after the failover"

# It goes on like that, and a restore finds the new master.
send 10.8.0.2 -n 5
wait_mirrored
stop_counted_fire
count=$(fields)
power_cut
start_agent
log_has " restored=$count " || fail "$(grep restored "$log")"
equal "tokens after a restore" 50 tokens 10.8.0.1/32
equal "tokens after a restore" 25 tokens 10.8.0.2/32
equal "tokens after a restore" 80 tokens 10.8.0.3/32
equal "tokens after a restore" 0 tokens "$fired/32"
