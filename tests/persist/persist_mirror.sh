#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# A tick leaves in Redis exactly what the maps hold: what is in debt, with the time at which it is full again. What
# became full is removed, only what changed is sent, and nothing when nothing did.
# shellcheck source=../lib/persistence.sh
. "$(dirname "$0")/../lib/persistence.sh"

start_redis
slow_rules | persist_config
start_agent

send 10.8.0.1 -n 40
send 10.8.0.2 -n 110
send 2001:db8:8::1 -n 1
send 10.9.0.1 -n 50
wait_mirrored
equal "the fields" 3 fields
[[ "$(field 'slow|10.8.0.1/32')" =~ ^[0-9]{19}\ 0$ ]] || fail "a value: $(field 'slow|10.8.0.1/32')"
no_field 'quick|10.9.0.1/32' || fail "a full bucket was not removed"

# The meta record, and both expire: after the longest refill (100 hours) and a day.
equal "schema" 1 redis hget "$key:meta" schema
equal "boot_id" "$(tr -d '-' < /proc/sys/kernel/random/boot_id)" eval "redis hget '$key:meta' boot_id | tr -d -"
within "saved_at" "$(date +%s) - 60" "$(date +%s) + 1" "$(redis hget "$key:meta" saved_at) / 1e9"
for hash in "$key" "$key:meta"; do
	within "expiry of $hash" "124 * 3600 - 60" "124 * 3600" "$(redis ttl "$hash")"
done

# Ten ticks without a change: the store is asked, and nothing written.
before=$(writes)
sleep 1
[ "$(writes)" = "$before" ] || fail "$(($(writes) - before)) writes while nothing changed"

# Refusals change nothing either.
send 10.8.0.2 -n 50
sleep 0.5
[ "$(writes)" = "$before" ] || fail "$(($(writes) - before)) writes for refused packets"

# One of three changed: that one is sent.
before=$(calls hset)
unchanged=$(field 'slow|10.8.0.2/32')
redis hset "$key" 'slow|10.8.0.2/32' "${unchanged%?}1" > /dev/null # so that it would be seen if it were sent
old=$(field 'slow|10.8.0.1/32')
send 10.8.0.1 -n 1
changed() { [ "$(field 'slow|10.8.0.1/32')" != "$old" ]; }
until_true "the change" changed
[ "$(field 'slow|10.8.0.2/32')" = "${unchanged%?}1" ] || fail "what had not changed was sent"
redis hset "$key" 'slow|10.8.0.2/32' "$unchanged" > /dev/null
wait_mirrored

# A reset source has nothing in Redis any more.
eb reset 10.8.0.1 > /dev/null
until_true "the field of a reset source to go" no_field 'slow|10.8.0.1/32'
wait_mirrored

# Other limits write a source's field from a bucket of their own. The earlier limits come back with theirs as it was.
drain 10.8.0.9
wait_mirrored
sed -i 's|rate: 1/h, burst: 100|rate: 1/h, burst: 50|' "$config"
eb reload > /dev/null
wait_mirrored
sed -i 's|rate: 1/h, burst: 50|rate: 1/h, burst: 100|' "$config"
eb reload > /dev/null
wait_mirrored
stop_agent

# Without a node, the hash is the key itself.
sed -i 's/^node: .*/node: ""/' "$config"
start_agent
wait_mirrored token_bucket_fallback
equal "schema without a node" 1 redis hget token_bucket_fallback:meta schema
