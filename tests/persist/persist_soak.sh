#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Through many reloads and Redis connections the agent keeps nothing: descriptors, BPF maps and programs stay as many as
# they were, and its memory as much in the second half as in the first; what ever was is gone in the end. SOAK_RELOADS
# and SOAK_RECONNECTS say how many; make soak does a thousand and a hundred, also with LeakSanitizer.
# shellcheck source=../lib/persistence.sh
. "$(dirname "$0")/../lib/persistence.sh"

reloads=${SOAK_RELOADS:-50} reconnects=${SOAK_RECONNECTS:-8}
each=$((reloads / reconnects))

# The rules of every other reload: a list of prefixes, a rule more, and other limits.
some_rules() {
	slow_rules
	[ $(($1 % 2)) = 0 ] || cat <<- END
		  - name: listed
		    match: { src_file: $dir/list.txt, proto: udp, dport: [53, "1000-2000"] }
		    action: limit
		    packets: { rate: $1/s, burst: 100 }
	END
}

seq -f '10.200.%g.0/24' 0 255 > "$dir/list.txt"

# ---- what the agent has ----

descriptors() { find "/proc/$agent_pid/fd" -mindepth 1 | wc -l; }
anonymous_kib() { awk '/^RssAnon:/ { print $2 }' "/proc/$agent_pid/status"; }

# ids KIND: of the BPF objects that it holds open (map or prog), and of the maps in its maps of tries and filters.
ids() {
	{
		sed -n "s/^$1_id:[[:space:]]*//p" "/proc/$agent_pid/fdinfo/"* 2> /dev/null
		[ "$1" = prog ] || for outer in prefixes_v4 prefixes_v6 filters; do
			bpftool -j map dump pinned "$pin_dir/$outer" | jq -r '.[] | .inner_map_id // empty'
		done
	} | sort -un
}

count() { ids "$1" | wc -l; }

# The agent's connections to Redis, as Redis numbers them: of buckets and of bans.
connections() { redis client list type normal | sed -nE "/ cmd=client/!s/^id=([0-9]+) .*/\\1/p" | sort; }
has_new_connections() {
	[ "$(connections | wc -l)" = 2 ] && [ -z "$(comm -12 <(echo "$1") <(connections))" ] && store_is_up redis
}

# ---- a round: a reconnection, and reloads while it is under way ----

round=0
one_round() {
	local old i
	old=$(connections)
	for i in $old; do
		redis client kill id "$i" > /dev/null
	done
	# The same sources: for each one more, the mirror touches memory that it has but never used.
	send 10.8.0.1 -n 1
	send 10.9.0.1 -n 5
	for ((i = 0; i < each; i++)); do
		some_rules "$((round * each + i + 1))" | persist_config
		eb reload > /dev/null || fail "reload $i of round $round"
		ids map >> "$dir/maps"
		ids prog >> "$dir/progs"
	done
	until_true "other connections to Redis" has_new_connections "$old"
	round=$((round + 1))
}

# What it has after a round with the same rules, when nothing is under way.
figures() {
	some_rules 0 | persist_config
	eb reload > /dev/null
	wait_mirrored
	echo "$(descriptors) descriptors, $(count map) maps, $(count prog) programs"
}

is_settled() { [ "$(figures)" = "$before" ]; }

some_rules 0 | persist_config
start_redis
start_agent
until_true "Redis" store_is_up redis
for ((warm = 0; warm < 2; warm++)); do one_round; done
before=$(figures)
begin=$(anonymous_kib)
while [ $round -lt $((reconnects / 2)) ]; do one_round; done
middle=$(anonymous_kib)
while [ $round -lt "$reconnects" ]; do one_round; done
until_true "the agent to have $before again" is_settled
end=$(anonymous_kib)
say "$((round * each)) reloads, $round connections: $before; memory of $begin KiB, $middle KiB, $end KiB"
# What glibc keeps of small blocks, for the next of their sizes, fills up within the first half.
is_sanitized || within "KiB more memory in the second half" -100000 128 $((end - middle))

prog_on card0 >> "$dir/progs"
stop_agent
ip -n "$card" link set dev card0 xdp off
rm -rf "$pin_dir"

# is_gone KIND FILE: nothing of what was noted is in the kernel any more.
is_gone() {
	local all
	all=$(bpftool -j "$1" list | jq -r '.[].id')
	! sort -un "$2" | grep -Fxq -f - <(echo "$all")
}
until_true "the kernel to forget the maps" is_gone map "$dir/maps"
until_true "the kernel to forget the programs" is_gone prog "$dir/progs"
