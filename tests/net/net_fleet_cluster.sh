#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# A fleet on a Redis Cluster: the slot of a source's bucket moves while the bucket is exchanged, then its master dies
# with writes that its replica did not get. The budget stays one, and what the replica did not get is told again.
# shellcheck source=../lib/fleet.sh
. "$(dirname "$0")/../lib/fleet.sh"

servers=(7001 7002 7003 7004)
fleet_redis="cluster: [$address:7001, $address:7002, $address:7003]"
at_ok() {
	local reply
	reply=$(at "$@")
	[ "$reply" = OK ] || fail "port $*: $reply"
}

agree() {
	local port
	for port in "${servers[@]}"; do
		at "$port" cluster info | grep -q '^cluster_state:ok' || return 1
		[ "$(at "$port" cluster nodes | grep -c ' connected')" = 4 ] || return 1
	done
}

# Of the server that has it, whose port is $owner then.
eval "single_$(declare -f in_lane)"
in_lane() {
	for owner in "${masters[@]}"; do
		single_in_lane "$1" "$2" -h $address -p "$owner" 2> /dev/null | grep . && return
	done
}

fire_on_both() { on_each_node eval "fire \$node $1 -r 4000"; }

make_nodes 2
add_server_address
for port in "${servers[@]}"; do
	start_server "$port" --cluster-enabled yes --cluster-node-timeout 1000 --cluster-announce-ip $address \
		--repl-diskless-sync-delay 0 --cluster-require-full-coverage no
done
masters=(7001 7002 7003)
in_far redis-cli --cluster create "${masters[@]/#/$address:}" --cluster-yes > "$dir/create" 2>&1 ||
	fail "no cluster: $(cat "$dir/create")"
fleet_rules | fleet_config
start_fleet
spend 10.8.0.1

# The slot moves: the keys go one by one, then the slot.
key=$(in_lane 10.8.0.1 key)
in_lane 10.8.0.1 key > /dev/null
slot=$(at "$owner" cluster keyslot "$key")
heir=7001
[ "$owner" != 7001 ] || heir=7002
fire_on_both 10.8.0.1
at_ok "$heir" cluster setslot "$slot" importing "$(at "$owner" cluster myid)"
at_ok "$owner" cluster setslot "$slot" migrating "$(at "$heir" cluster myid)"
for moved in $(at "$owner" cluster getkeysinslot "$slot" 100); do
	at_ok "$owner" migrate $address "$heir" "$moved" 0 5000
	sleep 0.2
done
for port in "${masters[@]}"; do
	at_ok "$port" cluster setslot "$slot" node "$(at "$heir" cluster myid)"
done
sleep 0.5
cease_fire
exactly 10.8.0.1
in_lane 10.8.0.1 key > /dev/null
[ "$owner" = "$heir" ] || fail "the slot did not move"

# Its master dies, with what the replica did not get for three seconds.
id=$(at "$owner" cluster myid)
at_ok 7004 cluster meet $address "$owner"
until_true "the servers to agree" agree
at_ok 7004 cluster replicate "$id"
until_true "the replica to be in sync" eval "at 7004 info replication | grep -q '^master_link_status:up'"
fire_on_both 10.8.0.1
cut_replication "$owner"
sleep 3
kill_server "$owner"
until_true "the replica to be the master" eval "at 7004 role | grep -q '^master'"
masters=(7001 7002 7003 7004)
until_true "the fleet to be back" eval "on_each_node eval '[ \"\$(fleet .up)\" = true ] || return 1'"
sleep 0.5
cease_fire
hardly_more 10.8.0.1
converges 10.8.0.1

on_each_node stop_node
