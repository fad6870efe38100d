#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# After a reboot no source has more than it had: what Redis holds is restored before the first packet is let through,
# the time that passed counts, and what is not to be trusted is refused one by one.
# shellcheck source=../lib/persistence.sh
. "$(dirname "$0")/../lib/persistence.sh"

start_redis
rules() {
	slow_rules
	cat <<- END
		  - name: minute
		    match: { src: [10.10.0.0/16] }
		    action: limit
		    packets: { rate: 20/s, burst: 1000 }
		    bytes: { rate: 8Mbit/s, burst: 1MB }
	END
}
rules | persist_config
start_agent
send 10.8.0.1 -n 40
send 2001:db8:8::1 -n 70
drain 10.8.0.2
wait_mirrored
before=$(redis hgetall "$key")

# SIGKILL and everything lost: exact, to the packet.
power_cut
start_agent
log_has "buckets restored.* store=redis restored=3 fields=3 " || fail "the log does not say what was restored"
equal "restored" 3 restored buckets
equal "state" '"done"' eval 'eb --json status | jq .restore.state'
within "age" 0 30 "$(restored age_seconds)"
send 10.8.0.1 -n 100
counted slow 10.8.0.1 $((40 + 60)) 40
send 2001:db8:8::1 -n 100
counted slow 2001:db8:8::1 $((70 + 30)) 70 2001:db8:8::/64
send 10.8.0.2 -n 10
counted slow 10.8.0.2 100 10
wait_mirrored

# Elapsed time counts by itself: an empty bucket of 20/s, some time later. The bytes are full by then.
send 10.10.0.1 -n 1000
wait_mirrored
full_at=$(field 'minute|10.10.0.1/32' | cut -d ' ' -f 1)
power_cut
sleep 1
start_agent
before=$(date +%s.%N)
left=$(tokens 10.10.0.1/32)
within "tokens after some time" "1000 - ($full_at / 1e9 - $before) * 20 - 10" \
	"1000 - ($full_at / 1e9 - $(date +%s.%N)) * 20 + 10" "$left"

# A shutdown writes what the last tick did not.
sed -i 's/tick: .*/tick: 1h/' "$config"
stop_agent
start_agent
drain 10.8.0.3
reboot
start_agent
is_empty 10.8.0.3/32 || fail "the shutdown did not write the state"

# What is wrong in Redis is refused one by one, and does not stop what is right.
power_cut
now=$(date +%s)000000000
redis del "$key" > /dev/null
redis hset "$key" 'slow|10.8.1.1/32' "$((now + 180000 * 10**9)) 0" \
	'nonsense' 'nonsense' 'Slow|10.8.1.2/32' "$now 0" '|10.8.1.2/32' "$now 0" \
	'slow|10.8.1.2' "$now 0" 'slow|10.8.1.2/33' "$now 0" 'slow|10.8.1.2/24' "$now 0" \
	'slow|10.8.1.3/32' "-$now 0" 'slow|10.8.1.4/32' "$now" 'slow|10.8.1.5/32' "$now 0 0" 'slow|10.8.1.6/32' '' \
	'slow|10.8.1.7/32' '99999999999999999999999999 0' \
	'other|10.8.1.8/32' "$now 0" \
	'slow|10.8.0.0/16' "$((now + 10**12)) 0" \
	'slow|10.8.1.9/32' "$((now + 10**18)) 0" \
	'quick|10.9.0.1/32' '1 0' > /dev/null
redis hset "$key" "$(printf 'slow|10.8.1.2/32\001\377')" "$now 0" "$(head -c 5000 /dev/zero | tr '\0' x)" "$now 0" > /dev/null
start_agent
log_has "restored=2 fields=18 full=1 clamped=1" || fail "the counts: $(grep restored "$log")"
equal "refused" '{"prefix length":1,"rule name":4,"source prefix":4,"time out of range":1,"unknown rule":1,"value":4}' \
	eval 'eb --json status | jq -cS .restore.refused'
within "the good one" 49 51 "$(tokens 10.8.1.1/32)"
equal "the one further ahead than its burst" 0 tokens 10.8.1.9/32
equal "buckets" 2 eval 'eb --json buckets | jq length'

# The clock was set back a year less a day: no time counts as passed since the buckets were saved.
power_cut
redis del "$key" > /dev/null
redis hset "$key:meta" saved_at $((now + 364 * 86400 * 10**9)) > /dev/null
redis hset "$key" 'slow|10.8.2.1/32' "$((now + (364 * 86400 + 90000) * 10**9)) 0" > /dev/null
start_agent
log_has "the clock was set back" || fail "a clock that was set back is not reported"
within "tokens by a clock that was set back" 74 76 "$(tokens 10.8.2.1/32)"

# A newer schema is somebody else's.
power_cut
redis hset "$key:meta" schema 2 saved_at "$now" > /dev/null
start_agent
log_has "have a newer schema.* store=redis schema=2 " || fail "another schema is not reported"
equal "buckets of another schema" 0 eval 'eb --json buckets | jq length'
drain 10.8.0.1
! eb flush > "$dir/flush" 2>&1 || fail "a store of a newer schema was written"
equal "schema afterwards" 2 redis hget "$key:meta" schema

# No hash at all, or no hash but a string.
power_cut
redis del "$key" "$key:meta" > /dev/null
start_agent
equal "restored of nothing" 0 restored buckets
power_cut
redis set "$key" text > /dev/null
start_agent
log_has "WRONGTYPE" || fail "a key of another type is not reported"
equal "enforcing without" 0 restored buckets
redis del "$key" > /dev/null
equal "state once it can be read" '"done"' eval 'eb --json status | jq .restore.state'
drain 10.8.0.1
[ -n "$before" ]
