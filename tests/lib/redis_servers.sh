# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# For tests that need Redis servers on ports: in the agent's namespace, on its loopback, so that no port is
# anybody else's. redis, and what is built on it, asks the server on $port.
# shellcheck source=../lib/persistence.sh
. "$(dirname "${BASH_SOURCE[0]}")/persistence.sh"

declare -A servers=() # port: process
port=7000
fired=10.8.1.1
redis_settings=none

redis() { in_card redis-cli -p "$port" --no-auth-warning "$@"; }

# launch_server PORT [OPTION]...: with a directory of its own; does not wait.
launch_server() {
	local port=$1
	shift
	mkdir -p "$dir/$port"
	nsenter --net="/var/run/netns/$card" redis-server "$@" --dir "$dir/$port" > "$dir/$port/log" 2>&1 9>&- &
	servers[$port]=$!
}

# start_server PORT [OPTION]...: one that takes connections on it.
start_server() {
	local port=$1
	launch_server "$@" --port "$port" --bind 127.0.0.1 --save '' --appendonly no
	until_true "the server on port $port" redis_answers
}

# The background job is waited for, so that its end is not printed.
kill_server() {
	kill -KILL "${servers[$1]}"
	{ wait "${servers[$1]}" || true; } 2> /dev/null
}

# ---- a source under fire ----

# Drains $fired, and sends from it until the end of the test, or stop_counted_fire.
start_counted_fire() {
	send "$fired" -n 110
	until_true "$fired to be drained" is_empty "$fired/32"
	start_fire "$fired"
}

# At any time: what passes stays at the burst, whatever becomes of Redis.
still_limited() { equal "packets of $fired that passed, $1" 100 passed "$fired"; }

stop_counted_fire() {
	stop_fire
	counted slow "$fired" 100 $((sent + 10))
}

# Sources that did not send before, one after the other, so that every tick has something to write.
start_writing() {
	launch_frames "$dir/writing" -i far0 -s 10.8.64.0 -d 10.7.0.1 -n 0 -r 200 -k 1000
	writing_pid=$!
}

stop_writing() {
	end_frames "$writing_pid"
	wait "$writing_pid" || fail "the frames of new sources did not all arrive"
}

same_sources() {
	[ "$(redis hkeys "$key" | sort)" = "$(eb --json buckets | jq -r '.[] | "\(.rule)|\(.source)"' | sort)" ] ||
		fail "other sources in Redis than in the maps"
}
