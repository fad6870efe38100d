#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# What the exchange of a fleet costs, by nodes, by sources and by changed buckets a tick: milliseconds until all is
# answered, CPU milliseconds of the node and of one Redis, scripts and bytes, each per node and tick.
#
#   BUILD           where bench/fleet_load is (bench/build.sh)
#   EB_BENCH_PORT   of the Redis that it starts and ends, 7399
set -euo pipefail
: "${BUILD:?where bench/fleet_load is}"
port=${EB_BENCH_PORT:-7399}

redis-server --port "$port" --bind 127.0.0.1 --save '' --appendonly no > /dev/null &
server=$!
trap 'kill "$server"' EXIT
until [ "$(redis-cli -p "$port" ping 2> /dev/null)" = PONG ]; do sleep 0.1; done

load() {
	redis-cli -p "$port" flushall > /dev/null
	"$BUILD/bench/fleet_load" "$port" "$@"
}

printf 'nodes\tsources\tchanged\tms\tnode_ms\tredis_ms\tscripts\tbytes_in\tbytes_out\n'
for nodes in 2 4 8 16; do load "$nodes" 10000 10000 3; done
for sources in 1000 10000 100000 1000000; do load 2 "$sources" 1000 20; done
for changed in 1000 10000 100000; do load 2 "$changed" "$changed" 5; done
