#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# In a guest that is rebooted: drains buckets, is rebooted without the agent being told (`reboot -f`), then crashes, and
# each time has a new boot_id, no maps, and sources that are still limited: in all, nobody gets more than the burst, the
# rate, and what may be lost, rate x (tick + time to write). Redis is outside, at 10.0.2.2.
#
# Runs once for every boot; what must outlive one is in $kept.
# shellcheck source=../lib/persistence.sh
. "$(dirname "$0")/../lib/persistence.sh"

kept=/run/vm
rate=2
burst=2000
tick=1s

redis() { in_card redis-cli -h 10.0.2.2 "$@"; }

keep() { echo "$2" > "$kept/$1"; }
kept() { cat "$kept/$1"; }

config() {
	write_config <<- END
		  - name: slow
		    match: { src: [10.8.0.0/16] }
		    action: limit
		    packets: { rate: 1/h, burst: 100 }
		  - name: quick
		    match: { src: [10.9.0.0/16] }
		    action: limit
		    packets: { rate: $rate/s, burst: $burst }
		redis:
		  host: 10.0.2.2
		  tick: $tick
		  connect_timeout: 5s
		  restore_timeout: 10s
	END
}

# The guest's card for Redis goes where the agent is.
connect() {
	local card_name
	card_name=$(basename "$(dirname "$(ls -d /sys/class/net/*/device | head -n 1)")")
	ip link set "$card_name" netns "$card"
	ip -n "$card" link set "$card_name" name outside up
	ip -n "$card" address add 10.0.2.15/24 dev outside
	until_true "Redis outside" redis_answers
}

redis_has_both() { [ "$(fields)" = 2 ]; }

all_counted() { [ $(($(passed 10.9.0.1) + $(rule quick drop.packets))) = "$offered" ]; }

# Sends all that the source has, and more.
offered=0
use_up() {
	send 10.9.0.1 -n $((burst + 500))
	offered=$((offered + sent))
	until_true "the frames to be counted" all_counted
}

# In this boot and before.
count_passed() { keep total $((passed_before + $(passed 10.9.0.1))); }

# lose COMMAND...: what is admitted since the last write is lost by what the command does.
lose() {
	until_true "Redis to have both sources" redis_has_both
	use_up
	count_passed
	keep gap "$(jq -n "$(date +%s.%N) - $(redis hget "$key:meta" saved_at) / 1e9")"
	keep boot_id "$(cat /proc/sys/kernel/random/boot_id)"
	say "boot $boot ends $(kept gap) s after the last write"
	"$@"
	sleep infinity
}

# Nobody has more than was promised. That it is not much less, either, shows that the limits are not just shut.
judge() {
	local now
	keep gaps "$(jq -n "$(kept gaps) + $(kept gap)")"
	use_up
	now=$(date +%s.%N)
	count_passed
	within "boot $boot: passed in all" \
		"$burst + $rate * ($now - $(kept began)) * 0.9 - $rate * 3" \
		"$burst + $rate * ($now - $(kept began)) + $rate * $(kept gaps) + 1" "$(kept total)"
	say "boot $boot: passed $(kept total), $(jq -n "$burst + $rate * ($now - $(kept began)) | floor") allowed," \
		"$(jq -n "$rate * $(kept gaps) | ceil") more could have been"
}

restored_limits() {
	[ "$(cat /proc/sys/kernel/random/boot_id)" != "$(kept boot_id)" ] || fail "the same boot_id"
	[ -z "$(ls /sys/fs/bpf)" ] || fail "something is in bpffs: $(ls /sys/fs/bpf)"
	start_agent
	equal "state" '"done"' eval 'eb --json status | jq .restore.state'
	equal "restored buckets" 2 restored buckets
	send 10.8.0.1 -n 20
	counted slow 10.8.0.1 0 20
	judge
}

passed_before=$(cat "$kept/total" 2> /dev/null || echo 0)
boot=$(($(cat "$kept/boots" 2> /dev/null || echo 0) + 1))
keep boots $boot
connect
config
case $boot in
1)
	keep gaps 0
	start_agent
	drain 10.8.0.1
	keep began "$(date +%s.%N)"
	use_up
	lose busybox reboot -f
	;;
2)
	restored_limits
	lose bash -c 'echo c > /proc/sysrq-trigger'
	;;
3)
	restored_limits
	;;
esac
