#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# A reload changes where Redis is and how it is used: the other one gets everything, and the one before is written to
# until it has. Limits hold all the while, and no counter goes back.
# shellcheck source=../lib/redis_servers.sh
. "$(dirname "$0")/../lib/redis_servers.sh"

metrics=127.0.0.1:9499
settings="metrics: $metrics"
first=7000 other=7001 db=0

redis() { in_card redis-cli -p "$port" -n "$db" --no-auth-warning "$@"; }

# use [LINE]...: reloads with a redis part of these lines; none without.
configure() {
	slow_rules | persist_config
	sed -i '/^metrics: off$/d' "$config"
	[ $# = 0 ] || printf '%s\n' redis: "${@/#/  }" >> "$config"
}
use() {
	configure "$@"
	eb reload > "$dir/answer" 2>&1 || fail "the reload was refused: $(cat "$dir/answer")"
}

on() {
	local port=$1
	shift
	"$@"
}
clients() { redis client list | grep -c "cmd=hset\|cmd=hdel\|cmd=pexpireat\|cmd=hgetall\|cmd=hscan\|cmd=ping" || true; }
left() { [ "$(on "$1" clients)" = 0 ]; }
counter() { in_card curl -fsS "http://$metrics/metrics" | sed -n "s/^$1 //p"; }
is_at() { status_is ".redis.up and .redis.address == \"127.0.0.1:$1\""; }

start_server $first
start_server $other
# What an agent left there long ago.
redis_cleared() { [ -z "$(on $other field "slow|10.8.9.9/32")" ]; }
on $other redis hset "$key" "slow|10.8.9.9/32" "1700000000000000000 0" > /dev/null

configure "port: $first" "tick: $tick"
start_agent
start_counted_fire
send 10.8.0.1 -n 40
send 2001:db8:8::1 -n 30
wait_mirrored
passes=$(counter 'edgebucket_mirror_writes_total{kind="tick"}')
sets=$(counter 'edgebucket_mirror_fields_total{op="set"}')

# Another server, in whose place nobody has to be restarted.
use "port: $other" "tick: $tick"
until_true "the other server" is_at $other
port=$other
wait_mirrored
until_true "the first one to be left" left $first
until_true "what was left there to be cleared away" redis_cleared
send 10.8.0.2 -n 20
wait_mirrored
[ -z "$(on $first field "slow|10.8.0.2/32")" ] || fail "the server that was left is written to"
[ "$(counter 'edgebucket_mirror_writes_total{kind="tick"}')" -ge "$passes" ] || fail "a counter went back"
[ "$(counter 'edgebucket_mirror_fields_total{op="set"}')" -ge "$sets" ] || fail "a counter went back"
equal "recoveries" 0 counter 'openclaw_fallback_writes_total{reason="redis_recovered"}'

# Another key, database, user and password; then the password alone.
redis acl setuser edge on '>one' '~other:*' +@all > /dev/null
use "port: $other" "tick: $tick" "key: other" "db: 3" "username: edge" "password: one"
db=3
wait_mirrored "other:{test}"
redis acl setuser edge resetpass '>two' > /dev/null
use "port: $other" "tick: $tick" "key: other" "db: 3" "username: edge" "password: two"
send 10.8.0.3 -n 10
wait_mirrored "other:{test}"
until_true "the redis part to be up" is_at $other
db=0

# A server that is not there yet: the one before is written to until it is, also by a shutdown.
third=7002
use "port: $third" "tick: $tick"
until_true "the status to say so" eval 'eb --json status | jq -r .redis.last_error | grep -q "Connection refused"'
! store_is_up redis || fail "up, without the server"
send 10.8.0.4 -n 10
db=3
wait_mirrored "other:{test}"
still_limited "between two servers"
db=0
eb flush > /dev/null || fail "no flush between two servers"
start_server $third
until_true "the third server" is_at $third
port=$third
wait_mirrored
until_true "the second one to be left" left $other

# None at all, and one again.
use
status_is '.redis.configured | not' || fail "configured, without a redis part"
until_true "the third server to be left" left $third
send 10.8.0.5 -n 10
use "port: $first" "tick: $tick"
port=$first
wait_mirrored

# A wrong address at boot: what the right one has is restored once a reload names it.
stop_counted_fire
power_cut
configure "port: 7009" "tick: $tick" "restore_timeout: 200ms"
start_agent
status_is '.restore.state == "waiting"' || fail "$(eb --json status | jq -c .restore)"
send 10.8.0.1 -n 5
use "port: $first" "tick: $tick" "restore_timeout: 200ms"
until_true "the late restore" status_is '.restore.state == "done"'
equal "40 and 5 tokens" 55 tokens 10.8.0.1/32
equal "tokens that only Redis knew" 70 tokens 2001:db8:8::/64
wait_mirrored

# The same, but that nobody asks Redis any more.
power_cut
configure "port: 7009" "tick: $tick" "restore_timeout: 200ms"
start_agent
use
until_true "the restore to be given up" status_is '.restore.state == "done"'
use "port: $first" "tick: $tick"
send 10.8.0.6 -n 10
until_true "the first server to be written to" eval 'field "slow|10.8.0.6/32" | grep -q .'

# Not on trial: a power cut during it would restore from where nobody writes any more.
configure "port: $other" "tick: $tick"
mv "$config" "$dir/new.yaml"
configure "port: $first" "tick: $tick"
! eb apply "$dir/new.yaml" --confirm 60s > "$dir/answer" 2>&1 || fail "another Redis was taken on trial"
grep -q "new.yaml: redis cannot change on trial: apply without --confirm" "$dir/answer" || fail "$(cat "$dir/answer")"
is_at $first || fail "a trial that was refused changed Redis"
eb apply "$dir/new.yaml" > /dev/null || fail "apply"
port=$other
until_true "the other server to be written to" eval 'field "slow|10.8.0.6/32" | grep -q .'
stop_agent
