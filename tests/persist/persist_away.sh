#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Redis is away, or hangs: packets are limited exactly, the agent answers, and what is missing comes later.
# shellcheck source=../lib/persistence.sh
. "$(dirname "$0")/../lib/persistence.sh"

redis_settings='  restore_timeout: 500ms'
start_redis
slow_rules | persist_config
start_agent
send 10.8.0.1 -n 40
send 10.8.0.2 -n 70
send 10.8.0.3 -n 30
wait_mirrored
cp "$config" "$dir/config"

# Away at boot: enforced after the timeout; what was owed before and what is owed since add up, to the burst at most.
power_cut
kill -STOP "$redis_pid" # what it holds stays
mv "$redis_socket" "$redis_socket.away"
start_agent
status_is '.restore.state == "waiting" and .restore.buckets == 0' || fail "$(eb --json status)"
! store_is_up redis || fail "Redis is away, but said to be up"
eb --json status | jq -e '.redis.last_error | length > 0' > /dev/null || fail "no reason why Redis is away"
send 10.8.0.1 -n 30
send 10.8.0.2 -n 50
send 10.8.0.4 -n 20

# The agent ends, by whatever, before Redis is back: the next one adopts the maps, and still gets what is missing.
kill_agent
start_agent
status_is '.restore.state == "waiting"' || fail "the next agent does not wait for Redis"
eb reload > /dev/null || fail "reload while waiting"
stop_agent
start_agent

# Nor is a reload while it reads a reason to forget anything.
kill -CONT "$redis_pid"
mv "$redis_socket.away" "$redis_socket"
for _ in 1 2 3; do
	kill -HUP "$agent_pid"
	sleep 0.02
done
until_true "the late restore" status_is '.restore.state == "done"'
equal "40 and 30 tokens" 30 tokens 10.8.0.1/32
equal "70 and 50 tokens, of 100" 0 tokens 10.8.0.2/32
equal "30 tokens and none since" 70 tokens 10.8.0.3/32
equal "20 tokens since" 80 tokens 10.8.0.4/32
wait_mirrored
kill_agent
start_agent
status_is '.restore.state == "adopted"' || fail "restored twice"
equal "tokens after another start" 30 tokens 10.8.0.1/32

# A hang, longer than every timeout of the agent.
kill -STOP "$redis_pid"
start_fire 10.8.1.1
send 10.8.0.4 -n 100
counted slow 10.8.0.4 100 20
hung() { ! store_is_up redis; }
until_true "the hang to be noticed" hung
eb status > /dev/null || fail "status while Redis hangs"
eb reload > /dev/null || fail "reload while Redis hangs"
! eb flush > /dev/null 2>&1 || fail "a flush that Redis did not take is said to be done"
stop_fire
counted slow 10.8.1.1 100 $((sent - 100))
began=$SECONDS
stop_agent
[ $((SECONDS - began)) -lt 8 ] || fail "the stop waited for its deadline"
! log_has "did not accept the buckets in time" || fail "the stop waited for its deadline"

# Told twice, the agent does not wait for what is under way.
kill -CONT "$redis_pid"
start_agent
wait_mirrored
kill -STOP "$redis_pid"
send 10.8.1.5 -n 10
sleep 0.3 # some ticks
kill -TERM "$agent_pid"
stop_agent

# A hang at boot.
lose_maps
start_agent
send 10.8.1.2 -n 110
counted slow 10.8.1.2 100 10
eb status > /dev/null || fail "status while Redis hangs at boot"
kill -CONT "$redis_pid"
until_true "the late restore" status_is '.restore.state == "done"'
wait_mirrored

# The longest wait for it: the agent answers meanwhile, and a stop is a stop.
stop_agent
sed -i 's/restore_timeout: .*/restore_timeout: 60s/' "$config"
kill -STOP "$redis_pid"
lose_maps
launch_agent
until_true "the status of a restore" status_is '.agent.running and .restore.state == "running"'
status_is '.interfaces[0].attached == false' || fail "enforced before the restore was decided"
eb reload > /dev/null || fail "reload during a restore"
! eb flush > "$dir/out" 2>&1 || fail "a flush before the restore is said to be done"
grep -q "still restoring" "$dir/out" || fail "flush said: $(cat "$dir/out")"
stop_agent
launch_agent
until_true "the status of a restore" status_is '.agent.running and .restore.state == "running"'
kill -CONT "$redis_pid"
until_true "the restore" status_is '.restore.state == "done" and .interfaces[0].attached'
wait_mirrored

# Killed and empty afterwards, while packets come.
start_fire 10.8.1.3
kill_redis
send 10.8.1.4 -n 10
start_redis
wait_mirrored
stop_fire
counted slow 10.8.1.3 100 $((sent - 100))

# Back with old data: a bucket that is full since, and one that we do not have.
redis hset "$key" 'slow|10.8.9.9/32' "1700000000000000000 0" 'slow|10.8.1.4/32' "1700000000000000000 0" > /dev/null
redis hset "$key:meta" saved_at 1700000000000000000 > /dev/null
redis client kill type normal > /dev/null
wait_mirrored

# It answers, and cannot be read: the wait for that comes to an end. What it takes is written from then on.
power_cut
sed -i 's/restore_timeout: .*/restore_timeout: 300ms/' "$config" # a hundred times that is the wait
redis acl setuser default -hscan > /dev/null
start_agent
send 10.8.2.1 -n 10
status_is '.restore.state == "waiting"' || fail "$(eb --json status)"
no_field 'slow|10.8.2.1/32' || fail "written before it was read"
until_true "the end of the wait" status_is '.restore.state == "partial"'
log_has "Redis cannot be read completely.*NOPERM" || fail "the end of the wait is not reported"
until_true "a new bucket in Redis" eval '[ -n "$(field "slow|10.8.2.1/32")" ]'
store_is_up redis || fail "written, and said to be away"
kill_agent
start_agent
status_is '.restore.state == "adopted"' || fail "waits again"
