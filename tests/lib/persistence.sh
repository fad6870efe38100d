# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# For tests of what outlives the maps: the network and the agent of network.sh, real Redis servers on unix sockets
# in the test's directory, and a reboot, which is what is lost by one: the program, the maps and run_dir.
# shellcheck source=../lib/network.sh
. "$(dirname "${BASH_SOURCE[0]}")/network.sh"

redis_pid= redis_socket=$dir/redis.sock
key='token_bucket_fallback:{test}'
tick=100ms
redis_settings=

# Rules for most tests: what is refilled meanwhile is less than a token.
slow_rules() {
	cat <<- END
		  - name: slow
		    match: { src: [10.8.0.0/16, "2001:db8:8::/48"] }
		    action: limit
		    packets: { rate: 1/h, burst: 100 }
		  - name: quick
		    match: { src: [10.9.0.0/16] }
		    action: limit
		    packets: { rate: 1000/s, burst: 100 }
	END
}

# ---- Redis ----

# start_redis [OPTION]...: listens on $redis_socket, with what it left in its directory.
start_redis() {
	mkdir -p "$dir/redis"
	redis-server --port 0 --unixsocket "$redis_socket" --dir "$dir/redis" --save '' --appendonly no "$@" \
		> "$dir/redis.log" 2>&1 9>&- &
	redis_pid=$!
	until_true "redis-server" redis_answers
}

redis() { redis-cli -s "$redis_socket" --no-auth-warning "$@"; }

redis_answers() { [ "$(redis ping 2> /dev/null)" = PONG ]; }

# The background job is waited for, so that its end is not printed.
kill_redis() {
	kill -KILL "$redis_pid"
	{ wait "$redis_pid" || true; } 2> /dev/null
}

# calls COMMAND...: how often clients have called these.
calls() {
	local names
	names=$(printf '%s|' "$@")
	redis info commandstats | sed -nE "s/^cmdstat_(${names%|}):calls=([0-9]+).*/\\2/p" | jq -s 'add // 0'
}

writes() { calls hset hdel pexpire; }

# ---- the configuration ----

# persist_config: rules from stdin, and the redis part from $redis_settings, which "none" leaves out; with
# embedded=1 there is an embedded store too.
persist_config() {
	write_config
	[ -z "${embedded:-}" ] || sed -i "s|^state_dir: .*|state_dir: $dir/state|" "$config"
	[ "$redis_settings" = none ] || cat >> "$config" <<- END
		redis:
		  socket: $redis_socket
		  tick: $tick
		$redis_settings
	END
}

# ---- what is held ----

# What the maps hold: {"slow|10.8.0.1/32": seconds until it is full, …}.
in_maps() { eb --json buckets | jq 'map(select(.full_in_seconds > 0) | {key: "\(.rule)|\(.source)",
	value: .full_in_seconds}) | from_entries'; }

# The same of fields and values on lines of their own.
read_fields() {
	jq -Rn '[inputs | select(. != "")] | [range(0; length; 2) as $i | {key: .[$i], value: (.[$i + 1] | split(" ") | map(tonumber) |
		max / 1e9)}] | from_entries'
}

in_redis() { redis hgetall "${1:-$key}" | read_fields; }

# Redis holds exactly what the maps hold: the same buckets, and times that differ by the time of looking at most, and by
# the moment between two looks at two clocks.
redis_is_maps() {
	local before after maps fields
	fields=$(in_redis "$@")
	before=$(date +%s.%N)
	maps=$(in_maps)
	after=$(date +%s.%N)
	jq -en --argjson before "$before" --argjson after "$after" --argjson maps "$maps" --argjson fields "$fields" '
		($maps | keys) == ($fields | keys) and all($maps | keys[]; $maps[.] as $left | $fields[.] |
			. - $after - 0.02 <= $left and $left <= . - $before + 0.02)' > /dev/null
}

wait_mirrored() { until_true "Redis to hold what the maps hold" redis_is_maps "$@"; }

field() { redis hget "$key" "$1"; }
no_field() { [ -z "$(field "$1")" ]; }
fields() { redis hlen "$key"; }

tokens() { bucket "$1" .packets.tokens; }

# With AddressSanitizer, whose allocator keeps for a while what was freed: how much memory there is says little then.
is_sanitized() { grep -q __asan_init "$BUILD/edgebucketd"; }

store_is_up() { status_is ".$1.up"; }

# ---- reboots ----

lose_maps() {
	ip -n "$card" link set dev card0 xdp off 2> /dev/null || true
	rm -rf "$pin_dir" "$dir/run"
}

# What a power cut does: nobody says anything any more.
power_cut() {
	kill_agent
	lose_maps
}

# What `reboot` does.
reboot() {
	stop_agent
	lose_maps
}

restored() { eb --json status | jq -r ".restore.$1"; }

# drained SOURCE [BURST]: sends all its tokens and some more.
drain() {
	send "$1" -n "$((${2:-100} + 10))"
	until_true "$1 to be drained" is_empty "$1/$(case $1 in *:*) echo 64 ;; *) echo 32 ;; esac)"
}

make_network
