#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# The benchmark still runs, all of its parts in the shortest form, and what it writes is complete. No figure is judged.
# shellcheck source=../lib/network.sh
. "$(dirname "$0")/../lib/network.sh"

# What a part must have measured: everything that its rows name is there, and no figure is missing.
expect() {
	jq -e "$2" "$dir/bench.json" > /dev/null && return
	jq . "$dir/bench.json" | tail -n 60
	fail "$1"
}

# So many buckets that writing them lasts for a few windows of windows.c, in which packets are counted.
BUILD=$BUILD EB_BENCH_OUT=$dir EB_BENCH_CONTESTANTS=edgebucket EB_BENCH_SOURCES=one EB_BENCH_COUNTS="1 16" \
	EB_BENCH_ROUNDS=1 EB_BENCH_SECONDS=0.05 \
	EB_BENCH_REPEAT_SECONDS=0 EB_BENCH_EXACT_SECONDS=0.2 EB_BENCH_SURVIVE_SECONDS=0.2 EB_BENCH_SURVIVE_RATE=100000 \
	EB_BENCH_BUCKETS=300000 "$(dirname "$0")/../../bench/run.sh" > "$dir/tables" || fail "the benchmark did not run"
cat "$dir/tables"

expect "the machine is not described" '[.machine, .kernel, .clang, .rounds, .load] | all(. != null and . != "")'
expect "cost is not complete" '[.cost[] | select(.ns > 0) | .verdict] == ["refused", "admitted"]'
expect "the cost by number of sources is not complete" '[.sources[] | select(.ns > 0) | [.contestant, .sources]] | sort ==
	[["edgebucket", "1"], ["edgebucket", "16"], ["edgebucket-small", "1"], ["edgebucket-small", "16"],
	["gcra-lru", "1"], ["gcra-lru", "16"]]'
expect "floods are not complete" '[.flood[] | select(.mpps > 0 and .ns > 0) | .verdict] ==
	["refused", "limited", "admitted"]'
expect "one and two CPUs are not complete" '[.scale[] | select(.mpps > 0 and .ns > 0) | [.verdict, .cpus]] ==
	[["refused", 1], ["refused", 2], ["admitted", 1], ["admitted", 2]]'
expect "exactness is not complete" '[.exact[] | select(.admitted > 0) | .scenario] == ["two-cpus", "spoofed"]'
expect "clients are not complete" '[.survive[] | select(.answered_percent > 0 and .p99_us > 0) | .sources] ==
	["nobody", "one"]'
expect "Redis is not complete" '[.persist[] | select(.median != null) | .what] |
	contains(["write", "restore", "bare-write", "bare-read", "benchmark-128", "idle-mpps", "busy-mpps", "few-share"])'
[ -s "$dir/bench-sources.svg" ] || fail "there is no plot by number of sources"
[ -s "$dir/bench.svg" ] || fail "there is no plot"
