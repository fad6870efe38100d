#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# A store that lost what was written to it, while the agent stays connected, has all of it again a tick later, though
# no packet comes. A connection that the server closes while it is idle is no loss, and no fault.
# shellcheck source=../lib/persistence.sh
. "$(dirname "$0")/../lib/persistence.sh"

start_redis
slow_rules | persist_config
sed -i 's/^metrics: .*/metrics: 127.0.0.1:9464/' "$config"
start_agent
send 10.8.0.1 -n 40
send 10.8.0.2 -n 110
send 2001:db8:8::1 -n 1
wait_mirrored

# written REASON: how many passes were made for it.
written() {
	in_card curl -s http://127.0.0.1:9464/metrics |
		sed -n "s/^openclaw_fallback_writes_total{reason=\"$1\"} //p" | grep . || echo 0
}

# lost DOING COMMAND...: the store is changed by the command; exactly one pass finds that.
times=0
lost() {
	local doing=$1
	shift
	times=$((times + 1))
	"$@" > /dev/null
	until_true "$doing to be noticed" eval '[ "$(written store_lost)" -ge $times ]'
	redis_is_maps || fail "$doing: Redis holds $(in_redis)"
	[ "$(redis exists "$key:meta")" = 1 ] || fail "$doing: no meta record"
	within "expiry after $doing" "124 * 3600 - 60" "124 * 3600" "$(redis ttl "$key")"
}

# What a snapshot that is put back does: the agent goes on meanwhile.
put_back() {
	redis copy "$key" hash
	redis copy "$key:meta" meta
	send 10.8.0.1 -n 1
	send 10.8.0.3 -n 1
	until_true "the change" eval '[ "$(fields)" = 4 ] && redis_is_maps'
	printf '%s\n' multi "copy hash $key replace" "copy meta $key:meta replace" exec | redis
}

lost "a field that somebody removed" redis hdel "$key" 'slow|10.8.0.2/32'
lost "DEL of the hash" redis del "$key"
lost "DEL of the meta record" redis del "$key:meta"
lost "FLUSHALL" redis flushall
lost "expiry" redis pexpire "$key" 1
lost "a snapshot put back" put_back
equal "losses in all" "$times" written store_lost
equal "messages of losses" "$times" grep -c "the store had lost buckets, wrote all again.* store=redis" "$log"
equal "recoveries" 0 written redis_recovered

# What belongs to no bucket is no loss when it goes, and does not stay: full since, or none in the maps at all.
redis hset "$key" 'slow|10.8.9.9/32' "$(($(date +%s%N) + 50 * 3600 * 10**9)) 0" \
	'slow|10.8.9.8/32' "1700000000000000000 0" > /dev/null
redis del "$key:meta" > /dev/null # a cleaning follows
times=$((times + 1))
wait_mirrored
equal "losses with a cleaning" "$times" written store_lost

# A store that keeps nothing is no store: that is said, and does not go on for ever.
redis config set maxmemory-policy allkeys-lru > /dev/null
redis config set maxmemory 1 > /dev/null
until_true "the loss of all that is written to be reported" log_has "cannot write the buckets.*store=redis"
redis config set maxmemory 0 > /dev/null
wait_mirrored
until_true "Redis to be up" store_is_up redis
stop_agent

# A flush proves it too; no tick is near.
sed -i 's/tick: .*/tick: 1h/' "$config"
start_agent
eb flush > /dev/null || fail "flush"
redis flushall > /dev/null
[ "$(eb --json flush | jq -c '[.ok, .set]')" = '[true,4]' ] || fail "a flush did not see that all was lost"
redis_is_maps || fail "after a flush Redis holds $(in_redis)"

# Idle connections are closed, some of them.
mark=$(wc -l < "$log")
before=$(calls hset pexpire) # a connection begins with an HDEL of nothing
redis config set timeout 1 > /dev/null
for number in 1 2 3; do
	id=$(redis client list | sed -n '/cmd=client/!{s/^id=\([0-9]*\) .*/\1/p;q}')
	[ -z "$id" ] || until_true "close $number" eval '! redis client list | grep -q "^id=$id "'
	until_true "connection $number" eval 'redis client list | grep -v cmd=client | grep -q "^id="'
done
[ "$(calls hset pexpire)" = "$before" ] || fail "closed connections made it write"
equal "recoveries" 0 written redis_recovered
! tail -n "+$((mark + 1))" "$log" | grep -q level=warning || fail "a closed connection is a warning"
store_is_up redis || fail "Redis is said to be away"
redis config set timeout 0 > /dev/null

# Lost while nobody was connected. The agent has a connection for buckets and one for bans.
connections() { redis client list | grep -v cmd=client | grep -c "^id=" || true; }
until_true "both connections" eval '[ "$(connections)" = 2 ]'
redis flushall > /dev/null
redis client kill type normal > /dev/null
until_true "both connections again" eval '[ "$(connections)" = 2 ]'
eb flush > /dev/null || fail "flush after a loss"
redis_is_maps || fail "what was lost while not connected is missing"
stop_agent

# The embedded store's files, while it is open.
redis_settings=none embedded=1
slow_rules | persist_config
start_agent
eb flush > /dev/null || fail "flush to the embedded store"
for files in buckets.mdb buckets.mdb-lock 'buckets.mdb*' ''; do
	# shellcheck disable=SC2086 # a pattern
	until_true "the removal of '$files', which the agent makes anew" rm -rf "$dir/state/"$files
	until_true "files anew after the removal of '$files'" [ -e "$dir/state/buckets.mdb" ]
	until_true "locks anew after the removal of '$files'" [ -e "$dir/state/buckets.mdb-lock" ]
done
eb flush > /dev/null || fail "flush to the embedded store"
log_has "the store had lost buckets, wrote all again.* store=embedded" || fail "a removed file is not reported"
power_cut
start_agent
log_has "store=embedded restored=4 " || fail "$(grep restored "$log")"
