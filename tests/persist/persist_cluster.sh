#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# A cluster under fire: the slot of the hash moves to another node while it is written, and a node that has nothing to
# do with it dies. Packets are limited exactly all the time, and Redis soon holds what the maps hold.
# shellcheck source=../lib/redis_servers.sh
. "$(dirname "$0")/../lib/redis_servers.sh"

nodes=(7001 7002 7003)
at() { local port=$1; shift; redis "$@"; }

# at_ok PORT COMMAND...: redis-cli ends with 0 after an error too.
at_ok() {
	local reply
	reply=$(at "$@")
	[ "$reply" = OK ] || fail "port $*: $reply"
}

agree() {
	local node
	for node in "${nodes[@]}"; do
		at "$node" cluster info | grep -q '^cluster_state:ok' || return 1
		[ "$(at "$node" cluster nodes | grep -c ' connected ')" = 3 ] || return 1
	done
}

for node in "${nodes[@]}"; do
	start_server "$node" --cluster-enabled yes --cluster-node-timeout 1000 --cluster-require-full-coverage no
done
in_card redis-cli --cluster create "${nodes[@]/#/127.0.0.1:}" --cluster-yes > "$dir/create" 2>&1 ||
	fail "no cluster: $(cat "$dir/create")"
until_true "the nodes to agree" agree

# Who has the slot, who will get it, and who has nothing to do with it.
slot=$(at 7001 cluster keyslot "$key")
owner=$(at 7001 hlen "$key" 2>&1 | sed -n 's/.*MOVED.*://p')
owner=${owner:-7001}
others=()
for node in "${nodes[@]}"; do
	[ "$node" = "$owner" ] || others+=("$node")
done
heir=${others[0]} bystander=${others[1]}
owner_id=$(at "$owner" cluster myid) heir_id=$(at "$heir" cluster myid)

slow_rules | persist_config
cat >> "$config" <<- END
	redis:
	  cluster: [127.0.0.1:7001, 127.0.0.1:7002, 127.0.0.1:7003]
	  tick: $tick
END
port=$owner
start_agent
start_counted_fire
send 10.8.0.1 -n 40
send 2001:db8:8::1 -n 30
wait_mirrored
store_is_up redis || fail "the cluster is there, but said to be away"

# Being moved: the keys are still where they were.
at_ok "$heir" cluster setslot "$slot" importing "$owner_id"
at_ok "$owner" cluster setslot "$slot" migrating "$heir_id"
send 10.8.0.2 -n 20
wait_mirrored

# The keys have gone, the slot not yet: writers are sent on with ASK. Writes run all along.
start_writing
at_ok "$owner" migrate 127.0.0.1 "$heir" "" 0 5000 keys "$key" "$key:meta"
send 10.8.0.3 -n 50
in_redis() { printf 'ASKING\nHGETALL %s\n' "$key" | at "$heir" | tail -n +2 | read_fields; }
arrived() { in_redis | jq -e 'has("slow|10.8.0.3/32")' > /dev/null; }
until_true "a write by way of ASK" arrived
still_limited "while the slot moves"
at_ok "$heir" cluster setslot "$slot" node "$heir_id"
at_ok "$owner" cluster setslot "$slot" node "$heir_id"
at_ok "$bystander" cluster setslot "$slot" node "$heir_id"
send 10.8.0.4 -n 60
stop_writing

port=$heir
in_redis() { redis hgetall "$key" | read_fields; }
wait_mirrored
same_sources
store_is_up redis || fail "the cluster is there, but said to be away"

# Who has nothing to do with it, dies.
kill_server "$bystander"
send 10.8.0.1 -n 10
send 10.8.0.5 -n 10
wait_mirrored
lost() { at "$heir" cluster nodes | grep -q ' master,fail '; }
until_true "the cluster to notice" lost
send 10.8.0.5 -n 10
wait_mirrored
store_is_up redis || fail "down for the sake of a node without the slot"
stop_counted_fire

# A restore does not need it either.
count=$(fields)
power_cut
start_agent
log_has " restored=$count " || fail "$(grep restored "$log")"
equal "tokens after a restore" 50 tokens 10.8.0.1/32
equal "tokens after a restore" 50 tokens 10.8.0.3/32
equal "tokens after a restore" 40 tokens 10.8.0.4/32
equal "tokens after a restore" 80 tokens 10.8.0.5/32
equal "tokens after a restore" 0 tokens "$fired/32"
