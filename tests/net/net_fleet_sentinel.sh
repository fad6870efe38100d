#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# A fleet whose Redis has Sentinels: the master dies under fire, with writes that its replica did not get. The budget
# stays one, the fleet follows to the new master, and what that did not get is told again.
# shellcheck source=../lib/fleet.sh
. "$(dirname "$0")/../lib/fleet.sh"

master=7001 replica=7002 sentinels=(7101 7102 7103)
fleet_redis="sentinel: { master: edge, nodes: [$address:7101, $address:7102, $address:7103] }"

start_sentinel() {
	mkdir -p "$dir/$1"
	cat > "$dir/$1/config" <<- END
		port $1
		bind $address
		sentinel monitor edge $address $master 2
		sentinel down-after-milliseconds edge 300
		sentinel failover-timeout edge 2000
	END
	launch_server "$1" "$dir/$1/config" --sentinel
}

knows_all() {
	at "$1" --raw sentinel master edge | paste - - |
		awk '$1 == "num-slaves" && $2 == 1 || $1 == "num-other-sentinels" && $2 == 2 { known++ }
			END { exit known != 2 }'
}

# Of the master of the time.
eval "single_$(declare -f in_lane)"
in_lane() { single_in_lane "$1" "$2" -h $address -p "$master"; }

make_nodes 2
add_server_address
start_server $master --repl-diskless-sync-delay 0
start_server $replica --repl-diskless-sync-delay 0 --replicaof $address $master
until_true "the replica to be in sync" eval "at $replica info replication | grep -q '^master_link_status:up'"
for sentinel in "${sentinels[@]}"; do
	start_sentinel "$sentinel"
done
fleet_rules | fleet_config
start_fleet
spend 10.8.0.1
for sentinel in "${sentinels[@]}"; do
	until_true "sentinel $sentinel to know all" knows_all "$sentinel"
done

lose_master() {
	cut_replication $master
	passes 10.8.0.1 $((3 * rate))
	kill_server $master
	until_true "the replica to be the master" eval "at $replica role | grep -q '^master'"
	master=$replica
	on_each_node until_true "node $node to follow" eval '[ "$(fleet .up) $(fleet .lost)" = "true false" ]'
}
under_fire 10.8.0.1 lose_master
hardly_more 10.8.0.1
converges 10.8.0.1
on_each_node eval '[ "$(fleet .views)" -gt 0 ] || fail "node $node did not tell again what the new master did not get"'
on_each_node stop_node
