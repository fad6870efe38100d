#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Two hosts with one node name: it is noticed, and reported in log and status. The other host is a boot_id that is not
# ours in the meta record: what a second agent on this machine could not have.
# shellcheck source=../lib/persistence.sh
. "$(dirname "$0")/../lib/persistence.sh"

other=01234567-89ab-cdef-0123-456789abcdef
noticed() { status_is ".other_writer == \"$other\""; }

# What is left of an earlier boot is no other host.
start_redis
redis hset "$key:meta" schema 1 boot_id "$other" saved_at "$(date +%s%N)" agent 0.0.9 > /dev/null
slow_rules | persist_config
start_agent
sleep 0.5 # some ticks
status_is '.other_writer == null' || fail "an earlier boot is taken for another host"
send 10.8.0.1 -n 10
wait_mirrored

redis hset "$key:meta" boot_id "$other" saved_at "$(date +%s%N)" agent 0.0.9 > /dev/null
until_true "the other host to be noticed" noticed
log_has "another host also writes.* boot_id=$other agent=0.0.9 " || fail "the log does not say so"
eb status | grep -q "$other" || fail "the status for people does not say so"
# They take turns: our own name in the record does not mean that the other is gone.
send 10.8.0.2 -n 10
wait_mirrored
until_true "our own name in the record" eval '[ "$(redis hget "$key:meta" boot_id)" != "$other" ]'
sleep 1
noticed || fail "the other host is forgotten at once"

# One whose clock is behind: another record each time, and not an earlier content of ours. The fields may be its.
lost() { grep -c "the store had lost buckets" "$log" || true; }
before=$(lost)
for second in 1 2 3 4 5; do
	redis hset "$key:meta" boot_id "$other" saved_at $((1700000000 + second))000000000 > /dev/null
	redis hdel "$key" 'slow|10.8.0.1/32' > /dev/null
	sleep 0.5
done
[ $(($(lost) - before)) -le 1 ] || fail "$(($(lost) - before)) times the other host was taken for a loss"
stop_agent
