#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Random traffic, power cuts, reboots, kills of the agent and of Redis, against a model of the buckets: every packet is
# limited exactly, no restore leaves a source more tokens than min(burst, last mirrored + rate x elapsed), none fewer
# than it should have had, and what a power cut loses was consumed within tick + write time.
#
# EB_SEED repeats a run as far as time lets it be repeated; EB_MODEL_SECONDS is how long it takes.
# shellcheck source=../lib/persistence.sh
. "$(dirname "$0")/../lib/persistence.sh"

seed=${EB_SEED:-$((SRANDOM % 32768))}
RANDOM=$seed
say "seed $seed"

sources=4 rate=20 burst=50 tick=300ms
cost=$((10**9 / rate)) slack=$((300 * 10**6 + 500 * 10**6)) # tick, and time to write on a busy machine
# The mirror looks at two clocks, one after the other.
epsilon=$((20 * 10**6))

# By source: the earliest and latest time that its bucket can be full again at, in ns; what passed so far; and what was
# sent when: "<end> <earliest full_at after it>" per item.
earliest=(0 0 0 0) latest=(0 0 0 0) seen=(0 0 0 0) history=('' '' '' '')

now() { local time=$EPOCHREALTIME; echo "${time/[.,]/}000"; }
max() { echo $(($1 > $2 ? $1 : $2)); }

# Tokens at a time, of a bucket that is full again at another.
tokens_at() { local debt=$(($1 > $2 ? $1 - $2 : 0)); echo $(((burst * cost - debt) / cost)); }

# traffic I COUNT: sends, and compares what passed with the model.
traffic() {
	local i=$1 count=$2 before after least most got=-1 last=-2 end=$((SECONDS + 10))
	before=$(now)
	send "10.12.0.$i" -n "$count"
	after=$(now)
	least=$(tokens_at "${latest[i]}" "$before") most=$(tokens_at "${earliest[i]}" "$after")
	[ "$least" -ge 0 ] || least=0
	[ "$least" -le "$count" ] || least=$count
	[ "$most" -le "$count" ] || most=$count
	until [ "$got" = "$last" ] && [ "$got" -ge "$least" ]; do
		[ $SECONDS -lt $end ] || break
		last=$got
		got=$(($(passed "10.12.0.$i") - seen[i]))
	done
	[ "$got" -ge "$least" ] && [ "$got" -le "$most" ] ||
		fail "seed $seed: of $count packets of source $i, $got passed instead of $least to $most"
	seen[i]=$((seen[i] + got))
	earliest[i]=$(($(max "${earliest[i]}" "$before") + got * cost))
	latest[i]=$(($(max "${latest[i]}" "$after") + got * cost))
	history[i]+="$after ${earliest[i]}"$'\n'
}

# What Redis holds is what the sources get: as late as the model says at most, and with everything that was consumed
# before `since`.
take_over() {
	local since=$1 i value full_at sent_at at least
	for i in 0 1 2 3; do
		value=$(field "model|10.12.0.$i/32")
		full_at=${value%% *}
		full_at=${full_at:-0}
		[ "$full_at" -le $((latest[i] + epsilon)) ] ||
			fail "seed $seed: source $i would have fewer tokens than it should, by $(((full_at - latest[i]) / 10**6)) ms"
		least=0
		while read -r sent_at at; do
			[ -z "$sent_at" ] || [ "$sent_at" -gt "$since" ] || least=$at
		done <<< "${history[i]}"
		[ "$least" -lt "$(now)" ] || [ "$full_at" -ge $((least - epsilon)) ] ||
			fail "seed $seed: source $i would have what it consumed by then, by $(((least - full_at) / 10**6)) ms"
		earliest[i]=$((full_at - epsilon)) latest[i]=$((full_at + epsilon)) history[i]=''
	done
}

# As the maps have it now.
check_tokens() {
	local i before after got least most buckets
	before=$(now)
	buckets=$(eb --json buckets)
	after=$(now)
	for i in 0 1 2 3; do
		got=$(jq --arg source "10.12.0.$i/32" "map(select(.source == \$source) | .packets.tokens) | .[0] // $burst" \
			<<< "$buckets")
		least=$(tokens_at "${latest[i]}" "$before") most=$(tokens_at "${earliest[i]}" "$after")
		[ "$got" -ge "$least" ] && [ "$got" -le "$most" ] ||
			fail "seed $seed: source $i has $got tokens instead of $least to $most"
	done
}

start_redis
persist_config <<- END
	  - name: model
	    match: { src: [10.12.0.0/16] }
	    action: limit
	    packets: { rate: $rate/s, burst: $burst }
END
start_agent

cuts=0 reboots=0 kills=0 losses=0 packets=0
end=$((SECONDS + ${EB_MODEL_SECONDS:-15}))
while [ $SECONDS -lt $end ]; do
	case $((RANDOM % 12)) in
	0 | 1)
		cuts=$((cuts + 1))
		sleep "$((RANDOM % 2))"
		cut=$(now)
		power_cut
		take_over $((cut - slack))
		start_agent
		check_tokens
		;;
	2)
		reboots=$((reboots + 1))
		reboot
		take_over "$(now)"
		start_agent
		check_tokens
		;;
	3)
		kills=$((kills + 1))
		kill_agent
		start_agent
		check_tokens
		;;
	4)
		losses=$((losses + 1))
		kill_redis
		traffic $((RANDOM % sources)) $((RANDOM % 20 + 1))
		start_redis
		wait_mirrored
		;;
	5 | 6) sleep "0.$((RANDOM % 900 + 100))" ;;
	*)
		count=$((RANDOM % (burst + 20) + 1))
		packets=$((packets + count))
		traffic $((RANDOM % sources)) $count
		;;
	esac
done
say "$packets packets, $cuts power cuts, $reboots reboots, $kills kills of the agent, $losses of Redis"
wait_mirrored
