#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# The embedded store: alone where there is no redis part, the second line while Redis is away. Restored is the later
# record of each bucket.
# shellcheck source=../lib/persistence.sh
. "$(dirname "$0")/../lib/persistence.sh"

embedded=1
held() { eb --json status | jq ".embedded.fields"; }

# Alone: its tick is a second.
redis_settings=none
slow_rules | persist_config
start_agent
status_is '.redis.configured == false and .embedded.configured and .embedded.up' || fail "$(eb --json status)"
send 10.8.0.1 -n 40
send 2001:db8:8::1 -n 70
send 10.9.0.1 -n 50
equal "fields held" 2 held # by a tick; a slow machine has one among the packets
eb flush > /dev/null || fail "flush"
power_cut
start_agent
log_has "store=embedded restored=2 " || fail "$(grep restored "$log")"
equal "tokens" 60 tokens 10.8.0.1/32
equal "tokens" 30 tokens 2001:db8:8::/64
send 10.8.0.1 -n 100
counted slow 10.8.0.1 100 40

# At a shutdown, and by a flush.
send 10.8.0.2 -n 20
reboot
start_agent
equal "written by the shutdown" 80 tokens 10.8.0.2/32
send 10.8.0.3 -n 30
eb flush > /dev/null || fail "flush to the embedded store"
power_cut
start_agent
equal "written by a flush" 70 tokens 10.8.0.3/32
stop_agent

# With Redis: it has the first line, and the embedded store nothing to do.
rm -rf "$dir/state"
lose_maps
redis_settings='  restore_timeout: 500ms'
start_redis
slow_rules | persist_config
start_agent
send 10.8.0.1 -n 10
send 10.8.0.2 -n 10
wait_mirrored
status_is '.embedded.fields_set == 0' || fail "written to both"

# Redis goes: the second line has everything, and the shutdown too.
kill -STOP "$redis_pid"
mv "$redis_socket" "$redis_socket.away"
send 10.8.0.1 -n 10
equal "fields of the second line" 2 held
send 10.8.0.3 -n 10
sed -i 's/tick: .*/tick: 1h/' "$config"
reboot
log_has "buckets written.* store=embedded reason=shutdown" || fail "the shutdown did not go to the second line"
start_agent
equal "tokens from the second line" 80 tokens 10.8.0.1/32
equal "tokens from the second line" 90 tokens 10.8.0.2/32
equal "tokens from the second line" 90 tokens 10.8.0.3/32
log_has "store=embedded restored=3 " || fail "$(grep restored "$log")"

# Redis comes late, with what the second line had already: nothing is charged twice.
send 10.8.0.2 -n 5
kill -CONT "$redis_pid"
mv "$redis_socket.away" "$redis_socket"
until_true "the late restore" status_is '.restore.state == "done"'
equal "the second line was later" 80 tokens 10.8.0.1/32
equal "the same in both, and 5 since" 85 tokens 10.8.0.2/32
wait_mirrored

# Both are there: the later record of each, counted once.
redis hset "$key" 'slow|10.8.0.3/32' "$(($(date +%s%N) + 50 * 3600 * 10**9)) 0" > /dev/null
redis hset "$key" 'slow|10.8.0.1/32' "$(($(date +%s%N) + 5 * 3600 * 10**9)) 0" > /dev/null
power_cut
start_agent
equal "Redis was later" 50 tokens 10.8.0.3/32
equal "the second line was later" 80 tokens 10.8.0.1/32
log_has "store=redis,embedded restored=3 fields=6 " || fail "$(grep restored "$log")"
stop_agent

# Redis hangs, and nobody knows yet: what it does not take at the shutdown goes to the second line. A reload while the
# next start waits for Redis loses nothing: neither of what was read already, nor, as it takes longer than the wait, of
# what is there to be read then.
start_agent
wait_mirrored
kill -STOP "$redis_pid"
send 10.8.0.5 -n 5
reboot
log_has "buckets written.* store=embedded reason=shutdown" || fail "a shutdown that Redis did not take went nowhere"
awk 'BEGIN { for (i = 0; i < 900000; i++) printf "11.%d.%d.%d\n", i / 65536, i / 256 % 256, i % 256 }' > "$dir/list.txt"
sed -i "s|^rules:|&\n  - { name: listed, match: { src_file: $dir/list.txt }, action: deny }|" "$config"
launch_agent
wait_log "created new maps"
for _ in 1 2 3 4 5 6; do
	kill -HUP "$agent_pid"
	sleep 0.05
done
wait_log "msg=attached interface=card0"
sed -i '/name: listed/d' "$config"
log_has "no answer in time.* store=redis" || fail "Redis was not waited for"
equal "restored after reloads" 95 tokens 10.8.0.5/32
kill -CONT "$redis_pid"
until_true "the late restore" status_is '.restore.state == "done"'
equal "tokens after the late restore" 95 tokens 10.8.0.5/32
stop_agent

# A broken state_dir is reported, and holds nothing up: Redis is there.
sed -i "s|^state_dir: .*|state_dir: /proc/nowhere|; s/restore_timeout: .*/restore_timeout: 20s/" "$config"
lose_maps
start_agent
log_has "/proc/nowhere" || fail "a state_dir that cannot be used is not reported"
! log_has "no answer in time" || fail "a state_dir that cannot be used was waited for"
equal "restored from Redis" 50 tokens 10.8.0.3/32
stop_agent

# A damaged file too.
lose_maps
sed -i "s|^state_dir: .*|state_dir: $dir/state|" "$config"
head -c 100000 /dev/urandom > "$dir/state/buckets.mdb"
start_agent
equal "restored from Redis" 50 tokens 10.8.0.3/32
