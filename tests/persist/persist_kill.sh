#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# An agent that is killed loses nothing: the next one adopts the maps and reads nothing from Redis. Killed in the middle
# of a restore, it leaves no half of it behind.
# shellcheck source=../lib/persistence.sh
. "$(dirname "$0")/../lib/persistence.sh"

start_redis
slow_rules | persist_config
start_agent
send 10.8.0.1 -n 40
wait_mirrored

# What Redis says does not count while the maps are there.
kill_agent
redis hset "$key" 'slow|10.8.0.1/32' "$(($(date +%s%N) + 90 * 3600 * 10**9)) 0" \
	'slow|10.8.0.2/32' "$(($(date +%s%N) + 90 * 3600 * 10**9)) 0" 'slow|10.8.0.3/32' '1700000000000000000 0' > /dev/null
start_agent
log_has "adopted the pinned maps" || fail "the maps were not adopted"
equal "state" '"adopted"' eval 'eb --json status | jq .restore.state'
! log_has "buckets restored" || fail "an agent that adopted the maps read the buckets"
equal "tokens" 60 tokens 10.8.0.1/32
equal "tokens of a source that Redis alone knows" "" tokens 10.8.0.2/32
# What changes is written again, and what nobody holds any more goes when its time has passed.
was_mirrored() { [ "$(field 'slow|10.8.0.1/32' | cut -c 1-10)" -lt "$(date -d '+41 hours' +%s)" ]; }
until_true "the maps to be written over what Redis held" was_mirrored
until_true "a field of the past to go" no_field 'slow|10.8.0.3/32'
redis hdel "$key" 'slow|10.8.0.2/32' > /dev/null
wait_mirrored

# At any moment of a restore, of more fields than one scan step takes.
redis eval 'for i = 1, 40000 do
	redis.call("HSET", KEYS[1], "slow|10.8." .. math.floor(i / 250) % 250 .. "." .. i % 250 .. "/32", ARGV[1])
	redis.call("HSET", KEYS[1], "slow|2001:db8:8:" .. string.format("%x", i) .. "::/64", ARGV[1]) end' \
	1 "$key" "$(($(date +%s%N) + 50 * 3600 * 10**9)) 0" > /dev/null
count=$(fields)
power_cut
for delay in 0.03 0.06 0.09 0.12 0.15 0.2; do
	launch_agent
	sleep "$delay"
	kill_agent
	# Either it had finished, or nobody knows of its maps.
	if [ -e "$pin_dir/state" ]; then
		lose_maps
	fi
done
kill -STOP "$redis_pid"
launch_agent
wait_log "created new maps"
kill_agent
[ ! -e "$pin_dir/state" ] || fail "maps are pinned before they are restored"
kill -CONT "$redis_pid"

# Reloads in the middle of one take nothing of it.
launch_agent
mkfifo "$dir/never"
exec 8<> "$dir/never"
# Sleeping a moment without starting a process, which would take longer.
nap() { read -rt 0.003 -u 8 || true; }
until [[ $(< "$log") == *"created new maps"* ]]; do nap; done
until [[ $(< "$log") == *"buckets restored"* ]]; do kill -HUP "$agent_pid" && nap; done
wait_log "msg=attached interface=card0"
log_has "created new maps" || fail "maps of an unfinished restore were adopted"
equal "restored and not" "$count" eval 'eb --json status | jq ".restore | .buckets + (.refused[\"no room\"] // 0)"'
send 10.8.1.1 -n 100
counted slow 10.8.1.1 50 50
