#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# What faults do to a fleet: packets are limited, the bound holds, and afterwards nothing was forgotten or counted twice
# that docs/fleet.md does not say.
# shellcheck source=../lib/fleet.sh
. "$(dirname "$0")/../lib/fleet.sh"

is_lost() { on_each_node eval '[ "$(fleet .lost)" = true ] || return 1'; }
is_found() { on_each_node eval '[ "$(fleet .lost)" = false ] && [ "$(fleet .up)" = true ] || return 1'; }

hang() {
	local before began after
	kill -STOP "$redis_pid"
	until_true "the fleet to be lost" is_lost
	began=$(mono)
	before=$(passed_all 10.8.0.1)
	sleep 2
	# Each has half of it, and not all.
	after=$(passed_all 10.8.0.1)
	within "passed while the fleet is lost" 0 "200 + 1.3 * $rate * ($(mono) - $began)" $((after - before))
	kill -CONT "$redis_pid"
	until_true "the fleet to be back" is_found
}

make_fleet 2
fleet_rules | fleet_config
start_fleet

# A Redis that hangs.
spend 10.8.0.1
under_fire 10.8.0.1 hang
converges 10.8.0.1

# One node is cut off for a while; then an agent stands still.
cut_off() { cut 1 && sleep 2 && mend 1; }
under_fire 10.8.0.1 cut_off
converges 10.8.0.1
suspended() { kill -STOP "${agents[2]}" && sleep 2 && kill -CONT "${agents[2]}"; }
under_fire 10.8.0.1 suspended
converges 10.8.0.1

# A server without what was written, as after a failover that lost it: the nodes say what they know.
lose_all() {
	kill_redis
	start_fleet_redis
	until_true "the fleet to be back" is_found
	until_true "the nodes to say what they know" eval '[ -n "$(in_lane 10.8.0.1 full)" ]'
}
under_fire 10.8.0.1 lose_all
converges 10.8.0.1

# While a node says what it knows, what it has not told yet stays charged.
use_node 1
from=far1 send 10.10.0.1 -n 30
settle
use_node 1
kill -STOP "$agent_pid"
fire 1 10.10.0.1
until_true "the burst to be spent" eval '[ "$(passed_all 10.10.0.1)" -ge 100 ]'
redis flushall > /dev/null
use_node 1
kill -CONT "$agent_pid"
settle
until_true "the node to say what it knows" eval '[ -n "$(in_lane 10.10.0.1 full)" ]'
cease_fire
within "passed while a node said what it knows" 100 103 "$(passed_all 10.10.0.1)"

# A source that is gone from one node is told again by it, before it comes to another one.
use_node 1
from=far1 send 10.10.0.2 -n 100
settle
redis flushall > /dev/null
until_true "the node to say what it knows of a source that is gone" eval '[ -n "$(in_lane 10.10.0.2 full)" ]'
use_node 2
from=far2 send 10.10.0.2 -n 1
settle
use_node 2
from=far2 send 10.10.0.2 -n 60
within "passed of a source that moved" 100 103 "$(passed_all 10.10.0.2)"

# A server whose clock is an hour behind, and one whose clock is two hours ahead of that.
key=$(in_lane 10.8.0.1 key)
for hour in -3600000000 7200000000; do
	redis hincrby "$key" shift $hour > /dev/null
	converges 10.8.0.1
done

# What others left in the keys.
for value in "hset $key cursor x" "hset $key time -1" "del $key:$(fleet .incarnation)"; do
	# shellcheck disable=SC2086 # words
	redis $value > /dev/null
	under_fire 10.8.0.1 sleep 0.5
done
redis rename "$key" away > /dev/null
redis set "$key" nonsense > /dev/null
under_fire 10.8.0.1 sleep 1
redis rename away "$key" > /dev/null
converges 10.8.0.1

# An agent that is killed: the node goes on with what it knows, and the next agent tells it.
kill_one() {
	use_node 1
	kill_agent
	sleep 0.5
	start_node
	until_true "the node to be back" shares 2
}
under_fire 10.8.0.1 kill_one
converges 10.8.0.1

# Two nodes with one name.
use_node 2
stop_node
node_name=node1 write_node_config
start_node
until_true "the other of the same name to be noticed" eval '[ "$(fleet .namesake)" = true ]'
converges 10.8.0.1

on_each_node stop_node
