# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# For tests of several nodes that share budgets: node N is a namespace with card0, an agent and maps of its own; farN
# is the other end of its card0, in the namespace far. The one Redis listens in far; each node reaches it over its
# card0, so that node N is cut off by `cut N`. What passed is counted behind XDP on each node.
# shellcheck source=../lib/network.sh
. "$(dirname "${BASH_SOURCE[0]}")/network.sh"

nodes=0
tick=100ms
lost_after=2s
fleet_name=edge
fleet_settings=
share=fleet
declare -A agents=()
declare -A senders=() # process: where it writes

# What follows is about node N: its namespace, configuration, maps and agent.
use_node() {
	node=$1
	card=ebtest-$name-node$1
	pin_dir=/sys/fs/bpf/ebtest-$name-node$1
	config=$dir/node$1/edgebucket.yaml
	log=$dir/node$1/agent.log
	agent_pid=${agents[$1]:-}
}

on_each_node() {
	local i
	for i in $(seq "$nodes"); do
		use_node "$i"
		"$@"
	done
}

add_node() {
	use_node "$1"
	mkdir -p "$dir/node$1"
	ip netns add "$card"
	ip -n "$card" link set lo up
	ip link add card0 netns "$card" address 02:00:00:00:00:01 type veth peer name "far$1" netns "$far" \
		address 02:00:00:00:00:02
	ip -n "$card" link set card0 up addrgenmode none
	ip -n "$far" link set "far$1" up addrgenmode none
	ip -n "$card" address add "10.7.$1.1/24" dev card0
	ip -n "$far" address add "10.7.$1.2/24" dev "far$1"
	count_on card0
}

# make_nodes N: without a Redis.
make_nodes() {
	nodes=$1
	ip netns add "$far"
	ip -n "$far" link set lo up
	for i in $(seq "$nodes"); do
		add_node "$i"
	done
}

# make_fleet N: nodes, and the Redis.
make_fleet() {
	make_nodes "$1"
	start_fleet_redis
}

start_fleet_redis() {
	mkdir -p "$dir/redis"
	nsenter --net="/var/run/netns/$far" redis-server --port 6379 --bind 0.0.0.0 --protected-mode no --dir "$dir/redis" \
		--save '' --appendonly no > "$dir/redis.log" 2>&1 9>&- &
	redis_pid=$!
	until_true "redis-server" redis_answers
}

redis() { in_far redis-cli --no-auth-warning "$@"; }

redis_answers() { [ "$(redis ping 2> /dev/null)" = PONG ]; }

# The background job is waited for, so that its end is not printed.
kill_redis() {
	kill -KILL "$redis_pid"
	{ wait "$redis_pid" || true; } 2> /dev/null
}

# Servers on ports of an address of far that all nodes can reach.
address=10.7.0.254
declare -A server_pids=()

add_server_address() {
	ip -n "$far" address add $address/32 dev lo
	on_each_node eval 'ip -n "$card" route add $address via "10.7.$node.2"'
}

at() { local port=$1; shift; in_far redis-cli -h $address -p "$port" --no-auth-warning "$@"; }

# launch_server PORT [OPTION]...: does not wait.
launch_server() {
	local port=$1
	shift
	mkdir -p "$dir/$port"
	nsenter --net="/var/run/netns/$far" redis-server "$@" --dir "$dir/$port" > "$dir/$port/log" 2>&1 9>&- &
	server_pids[$port]=$!
}

start_server() {
	local port=$1
	launch_server "$@" --port "$port" --bind 0.0.0.0 --protected-mode no --save '' --appendonly no
	until_true "the server on port $port" eval "[ \"\$(at $port ping 2> /dev/null)\" = PONG ]"
}

kill_server() {
	kill -KILL "${server_pids[$1]}"
	{ wait "${server_pids[$1]}" || true; } 2> /dev/null
}

# cut_replication PORT: its replica gets no more of what is written there.
cut_replication() {
	local to
	to=$(at "$1" client list type replica | sed 's/.* addr=[^ ]*:\([0-9]*\) .*/\1/')
	in_far nft "table ip replication { chain in { type filter hook input priority 0;
		tcp sport $1 tcp dport $to drop; }; }"
}

# fleet_config: rules from stdin, to all nodes.
fleet_config() {
	cat > "$dir/rules"
	on_each_node write_node_config
}

write_node_config() {
	cat > "$config" <<- END
		node: ${node_name:-node$node}
		interfaces: [card0]
		pin_dir: $pin_dir
		run_dir: $dir/node$node/run
		state_dir: ""
		metrics: off
		table_size: 4096
		redis: { ${fleet_redis:-host: 10.7.$node.2}, tick: 1s, connect_timeout: 500ms }
		fleet: { name: $fleet_name, tick: $tick, lost_after: $lost_after $fleet_settings }
		rules:
		$(cat "$dir/rules")
	END
}

start_node() {
	: > "$log"
	nsenter --net="/var/run/netns/$card" "$BUILD/edgebucketd" -c "$config" "$@" 2> "$log" 9>&- &
	agent_pid=$! agents[$node]=$!
	wait_log "msg=attached interface=card0 "
}

shares() { [ "$(fleet .nodes_seen)" = "${1:-$nodes}" ] && [ "$(fleet .up)" = true ]; }
fleet() { eb --json status | jq -r ".fleet$1"; }

start_fleet() {
	on_each_node start_node
	on_each_node until_true "the nodes to see one another" shares
}

stop_node() {
	stop_agent
	unset "agents[$node]"
}

cut() {
	in_ns "ebtest-$name-node$1" nft \
		'table ip cut { chain out { type filter hook output priority 0; tcp dport 6379 drop; }; }'
}
mend() { in_ns "ebtest-$name-node$1" nft delete table ip cut; }

# fire NODE SOURCE [OPTION]...: from NODE's far end, until cease_fire.
fire() {
	local to=$1 source=$2
	shift 2
	launch_frames "$dir/fire$to-$source" -i "far$to" -s "$source" -d 10.7.0.1 -n 0 "$@"
	senders[$!]=$dir/fire$to-$source
}

# What sendframes writes at its end says that all frames arrived.
cease_fire() {
	local pid
	for pid in "${!senders[@]}"; do
		end_frames "$pid"
		[ -s "${senders[$pid]}" ] || fail "frames did not all arrive"
	done
	senders=()
}

# passed_all SOURCE: on all nodes together.
passed_all() {
	local i total=0
	for i in $(seq "$nodes"); do
		use_node "$i"
		total=$((total + $(passed "$1")))
	done
	echo $total
}

mono() { python3 -c 'import time; print(time.clock_gettime(time.CLOCK_MONOTONIC))'; }

# in_lane SOURCE WHAT [OPTION]...: of the lane that has the bucket of SOURCE that all share, its "key", when the bucket is
# "full" in seconds of the lane's clock, or what it "owes" in seconds; nothing without such a bucket. Options are for
# redis-cli.
in_lane() {
	local source=$1 what=$2
	shift 2
	in_far redis-cli --raw "$@" eval "
		for _, key in ipairs(redis.call('KEYS', 'token_bucket_fallback:fleet:{$fleet_name:??}')) do
			for _, field in ipairs(redis.call('HKEYS', key)) do
				if string.find(field, '|$source/', 1, true) then
					local full, clock = redis.call('HGET', key, field), redis.call('TIME')
					local now = clock[1] * 1e6 + clock[2] + redis.call('HGET', key, 'shift')
					local said = { key = key, full = string.format('%.6f', full / 1e6),
						owes = string.format('%.6f', (full - now) / 1e6) }
					return said['$what']
				end
			end
		end" 0
}

# All that was charged so far has been told.
settle() {
	sleep 0.3
	on_each_node until_true "node $node to have told all" status_is '.fleet.lag_seconds == 0'
}

# ---- what may pass ----

rate=1000
burst=30000
round_trip=1 # at most, on a machine that is busy

# How many bursts can pass at once.
bursts() { echo "$nodes"; }

# The bound: rate x t + N x (burst + rate x (tick + round trip)).
below_bound() {
	local total
	total=$(passed_all "$1")
	within "passed of $1 in all" 0 \
		"$rate * ($(mono) - $since) + $(bursts) * $burst + $nodes * $rate * (0.1 + $round_trip)" "$total"
}

# mark SOURCE: what has passed, and until when that is owed.
mark() {
	settle
	passed_by=$(passed_all "$1")
	full_by=$(in_lane "$1" full)
	[ -n "$full_by" ] || fail "Redis has no bucket of $1"
}

# spend SOURCE: its burst, on all nodes.
spend() {
	since=$(mono)
	on_each_node eval "fire \$node $1 -r 10000"
	until_true "the burst of $1 to be spent" eval "[ \$(passed_all $1) -ge $burst ]"
	cease_fire
	below_bound "$1"
	mark "$1"
}

# exactly SOURCE [SECONDS]: since the mark, so much has passed as the time has moved on at which the bucket is full; and that is no
# further away than the burst, what all nodes admit in a tick, and what a fault may have let through. So the rate was the
# rule's.
exactly() {
	local before=$passed_by full=$full_by
	below_bound "$1"
	mark "$1"
	say "$1 on $nodes nodes: passed $((passed_by - before)), for $(jq -n "$full_by - $full") s"
	[ $((passed_by - before)) -gt $((rate / 4)) ] || fail "hardly anything passed"
	within "passed of $1" "0.999 * $rate * ($full_by - $full) - 1" "1.001 * $rate * ($full_by - $full) + 1" \
		$((passed_by - before))
	within "what $1 owes" -1e9 "$burst / $rate + $nodes * (0.1 + $round_trip) + ${2:-0}" "$(in_lane "$1" owes)"
}

# hardly_more SOURCE: since the mark, what passed has been counted, once, but for what the nodes admit in two ticks, of
# which one is long on a busy machine: half of what three seconds give, that a server lost.
hardly_more() {
	local before=$passed_by full=$full_by two_ticks="$nodes * $rate * (2 * 0.1 + $round_trip / 2)"
	below_bound "$1"
	mark "$1"
	say "$1: passed $((passed_by - before)), for $(jq -n "$full_by - $full") s"
	within "passed of $1" "$rate * ($full_by - $full) - $two_ticks" "$rate * ($full_by - $full) + $two_ticks" \
		$((passed_by - before))
}

# in_turns SOURCE NODES...: on these at the same time ("1 2"), then on those of the next argument, until enough passed.
in_turns() {
	local source=$1 turn node
	shift
	until [ "$(passed_all "$source")" -ge $((passed_by + 2 * rate)) ]; do
		for turn in "$@"; do
			for node in $turn; do
				fire "$node" "$source" -r 4000
			done
			sleep 0.3
			cease_fire
		done
		below_bound "$source"
	done
}

fire_options="-r 4000"

# under_fire SOURCE COMMAND...: on all nodes, until the command has ended.
under_fire() {
	local source=$1
	shift
	on_each_node eval "fire \$node $source $fire_options"
	"$@"
	cease_fire
	below_bound "$source"
}

declare -a refused_by=()

fired_rule=quick
refusals() { rule $fired_rule drop.packets; }
note_refusals() { refused_by[node]=$(refusals); }
are_refused() { on_each_node eval '[ "$(refusals)" -gt "${refused_by[node]}" ] || return 1'; }

# All nodes refuse it again: on a busy machine, a bucket has refilled by what it had time for.
spend_again() {
	on_each_node note_refusals
	until_true "all nodes to refuse $1 again" are_refused
}

# passes SOURCE COUNT: so many, since the mark.
passes() { until_true "packets of $1 to pass" eval "[ \$(passed_all $1) -ge $((passed_by + $2)) ]"; }

# converges SOURCE: what a fault costs it is what came together in a tick, or two seconds of a clock; on a busy machine
# a tick is long. It never gets more than the bound, and afterwards exactly its rate.
converges() {
	under_fire "$1" spend_again "$1"
	mark "$1"
	under_fire "$1" passes "$1" "$rate"
	exactly "$1" 5
}

# Two rules of rate tokens a second, and one of a token a minute, which are shared.
fleet_rules() {
	cat <<- END
		  - name: quick
		    match: { src: [10.8.0.0/16] }
		    action: limit
		    packets: { rate: $rate/s, burst: $burst }
		    share: $share
		  - name: heavy
		    match: { src: [10.9.0.0/16] }
		    action: limit
		    bytes: { rate: $((rate * 60))B/s, burst: $((burst * 60))B }
		    share: $share
		  - name: slow
		    match: { src: [10.10.0.0/16] }
		    action: limit
		    packets: { rate: 1/min, burst: 100 }
		    share: $share
	END
}
