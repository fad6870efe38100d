#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# What it costs to keep a million buckets in Redis: the agent with a real server on a unix socket, beside what hiredis
# and redis-benchmark do on the same server in turns with it. Called by run.sh, in whose namespaces it works, with both
# ends of a veth pair. Prints: persist, what, value; one line for each round. See README.md.
#
#   EB_BENCH_BUCKETS    1000000
#   EB_BENCH_ROUNDS     3

set -euo pipefail
from=$1 to=$2
buckets=${EB_BENCH_BUCKETS:-1000000}
rounds=${EB_BENCH_ROUNDS:-3}
other_cpu=${EB_BENCH_SEND_CPU:-0}
bench=$BUILD/bench/bench
pin_dir=/sys/fs/bpf/edgebucket
key='token_bucket_fallback:{bench}'
dir=$(mktemp -d)
socket=$dir/redis.sock log=$dir/agent.log
agent='' server='' flood=''

end() { # process
	[ -z "$1" ] || { kill -KILL "$1" && wait "$1"; } 2>/dev/null || true
}

clean_up() {
	end "$flood"
	end "$agent"
	end "$server"
	rm -rf "$dir"
}
trap clean_up EXIT

say() { echo "bench: persist: $*" >&2; }

report() { # what value
	printf 'persist\t%s\t%s\n' "$1" "$2"
}

ratio() { awk -v a="$1" -v b="$2" -v scale="${3:-1}" 'BEGIN { printf "%.2f", a / b * scale }'; }

less() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.6f", a - b }'; }

wait_for() { # what command
	local end=$((SECONDS + 60)) what=$1
	shift
	until "$@" >/dev/null 2>&1; do
		if [ $SECONDS -ge $end ]; then
			say "waited in vain for $what"
			[ ! -f "$log" ] || tail "$log" >&2
			exit 1
		fi
		sleep 0.02
	done
}

# ---- server and agent ----

redis() { redis-cli -s "$socket" "$@"; }

start_server() {
	redis-server --port 0 --unixsocket "$socket" --save '' --appendonly no --dir "$dir" > "$dir/redis.log" &
	server=$!
	wait_for redis-server redis ping
}

configure() { # tick
	cat > "$dir/edgebucket.yaml" <<-END
		node: bench
		interfaces: [$to]
		pin_dir: $pin_dir
		run_dir: $dir/run
		state_dir: ""
		metrics: off
		table_size: 1048576
		redis: { socket: $socket, tick: $1, restore_timeout: 30s }
		rules:
		  - name: everyone
		    action: limit
		    packets: { rate: 1/h, burst: 500 }
	END
}

# Each line of the log after the time when it came.
stamp() {
	local line
	while read -r line; do
		echo "$EPOCHREALTIME $line"
	done
}

logged() { grep -qF "$1" "$log"; }

start_agent() {
	rm -f "$log" # the last agent's
	"$BUILD/edgebucketd" -c "$dir/edgebucket.yaml" 2> >(stamp > "$log") &
	agent=$!
	wait_for "the agent" logged "msg=attached interface=$to "
	wait_for "the agent's connection" logged "msg=connected store=redis"
}

# What a reboot leaves of it: nothing.
lose_agent() {
	end "$agent"
	ip link set dev "$to" xdp off
	rm -rf "$pin_dir"
}

time_of() { # line of the log
	awk -v text="$1" 'index($0, text) { print $1; exit }' "$log"
}

# Milliseconds.
cpu_of_agent() {
	cat "/proc/$agent/task/"*/schedstat | awk '{ ns += $1 } END { printf "%.3f", ns / 1e6 }'
}

memory_of_agent() { # VmRSS or VmHWM; MiB
	awk -v name="$1:" '$1 == name { printf "%.1f", $2 / 1024 }' "/proc/$agent/status"
}

# ---- writing ----

# One more token of debt for every STEPth source.
charge() { "$bench" fill "$pin_dir" "$buckets" "$1" > "$dir/charged"; }

# Sets fields, took (seconds) and cpu (milliseconds).
flush() {
	local began=$EPOCHREALTIME cpu_before
	cpu_before=$(cpu_of_agent)
	began=$EPOCHREALTIME
	"$BUILD/edgebucket" -c "$dir/edgebucket.yaml" --json flush > "$dir/flush"
	took=$(less "$EPOCHREALTIME" "$began")
	cpu=$(less "$(cpu_of_agent)" "$cpu_before")
	fields=$(jq .set "$dir/flush")
}

benchmark() { # requests [field value]...
	local requests=$1
	shift
	redis-benchmark -s "$socket" -c 1 -P 64 -r 1000000 -n "$requests" --csv HSET bench:copy "$@" |
		awk -F '","' 'END { print $2 }'
	redis del bench:copy >/dev/null
}

measure_writes() {
	local round pairs=() read written
	for ((round = 0; round < 128; round++)); do
		pairs+=('everyone|__rand_int__/32' '1795522948642442983 0')
	done
	for ((round = 1; round <= rounds; round++)); do
		charge 1
		redis del "$key" >/dev/null # so that both write a new hash; the agent notices, and may write it twice
		flush
		report write "$(ratio "$fields" "$took")"
		report write-cpu "$(ratio "$cpu" "$fields" "$(cat "$dir/charged")")"
		read -r read written < <("$bench" bare "$socket" "$key")
		report bare-read "$read"
		report bare-write "$written"
		report benchmark-one "$(benchmark 200000 "${pairs[@]:0:2}")"
		report benchmark-128 "$(ratio "$(benchmark $((buckets / 128)) "${pairs[@]}")" 1 128)"
	done
	report fields "$(cat "$dir/charged")"
	report rss "$(memory_of_agent VmRSS)"
	report hwm "$(memory_of_agent VmHWM)"
}

# ---- ticks: what a flush does is what a tick does ----

# Of the agent, the only client beside this one.
count_commands() {
	redis info commandstats | tr -d '\r' | awk -F '[_:=,]' '$1 == "cmdstat" && $2 !~ /^(info|config)/ { sum += $4 }
		END { print sum + 0 }'
}

measure_tick() { # name
	redis config resetstat >/dev/null
	flush
	report "$1-cpu" "$cpu"
	report "$1-commands" "$(count_commands)"
	report "$1-fields" "$fields"
}

measure_ticks() {
	local round
	for ((round = 1; round <= rounds; round++)); do
		charge 100
		measure_tick changed
		measure_tick unchanged
	done
}

# ---- packets during writes ----

measure_packets() {
	local round
	taskset -a -p -c "$other_cpu" "$agent" >/dev/null
	taskset -a -p -c "$other_cpu" "$server" >/dev/null
	"$bench" windows 60 "$from" "$to" > "$dir/windows" &
	flood=$!
	wait_for packets test -s "$dir/windows"
	for ((round = 1; round <= rounds; round++)); do
		echo "idle $EPOCHREALTIME $(sleep 1.5)$EPOCHREALTIME"
		charge 1
		echo "busy $EPOCHREALTIME $(flush)$EPOCHREALTIME"
	done > "$dir/phases"
	end "$flood"
	flood=''
	taskset -a -p -c "0-$(($(nproc) - 1))" "$server" >/dev/null
	awk -f windows.awk "$dir/phases" "$dir/windows"
}

# ---- restoring ----

measure_restores() {
	local round began restored
	for ((round = 1; round <= rounds; round++)); do
		lose_agent
		began=$EPOCHREALTIME
		start_agent
		restored=$(sed -n 's/.* restored=\([0-9]*\) .*/\1/p' "$log")
		report restored "$restored"
		report restore "$(ratio "$restored" "$(less "$(time_of restored=)" "$(time_of msg=connected)")")"
		report restore-start "$(ratio "$(less "$(time_of msg=attached)" "$began")" 1 1000)"
		report restore-rss "$(memory_of_agent VmRSS)"
		report restore-hwm "$(memory_of_agent VmHWM)"
	done
}

# ---- the agent at rest ----

# In percent of a core, over ten seconds. With a step, one source of so many changes each second, as a flood would.
share_of_agent() { # [step]
	local before began=$EPOCHREALTIME second
	before=$(cpu_of_agent)
	for ((second = 0; second < 10; second++)); do
		[ -z "${1:-}" ] || charge "$1"
		sleep 1
	done
	ratio "$(less "$(cpu_of_agent)" "$before")" "$(less "$EPOCHREALTIME" "$began")" 0.1
}

# Behind the restores, so that a million are in debt. First comes a pass over all of them.
measure_rest() {
	local round
	lose_agent
	configure 1s
	start_agent
	sleep 15
	for ((round = 1; round <= rounds; round++)); do
		report idle-share "$(share_of_agent)"
		report few-share "$(share_of_agent 1000)"
	done
	report few-fields "$(cat "$dir/charged")"
}

for program in redis-server redis-cli redis-benchmark jq; do
	command -v "$program" >/dev/null || { say "left out: $program is not installed"; exit 0; }
done
# What IPv6 says on its own would make buckets.
sysctl -qw "net.ipv6.conf.$from.disable_ipv6=1" "net.ipv6.conf.$to.disable_ipv6=1"
start_server
configure 1h # so long that none comes: each pass is asked for
start_agent
say "full writes"
measure_writes
say "ticks"
measure_ticks
say "packets"
measure_packets
say "restores"
measure_restores
say "the agent at rest"
measure_rest
