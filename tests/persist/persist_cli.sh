#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# What the command line says of the stores is what they hold: buckets --redis, restore --dry-run, status, flush; and a
# rehearsed restore is the one that comes. Real redis-server on a unix socket, and the embedded store.
# shellcheck source=../lib/persistence.sh
. "$(dirname "$0")/../lib/persistence.sh"

password=not-for-any-output
acl="on >$password resetchannels -@all ~token_bucket_fallback:* +hset +hdel +hscan +hlen +hgetall +pexpire +ping +select"

# The options that agent and command line have in common.
options=(--redis-config "$dir/redis.json")
ebr() { eb "${options[@]}" "$@"; }

# says JQ COMMAND...: the JSON that it prints makes this true. shows: the same for text and a pattern.
says() {
	local filter=$1
	shift
	ebr --json "$@" > "$dir/json" 2> "$dir/error" || fail "$*: exit code $?: $(cat "$dir/error")"
	jq -e "$filter" "$dir/json" > /dev/null || fail "$*: not $filter: $(cat "$dir/json")"
	keeps_quiet "$@"
}

shows() {
	local pattern=$1
	shift
	ebr "$@" > "$dir/text" 2> "$dir/error" || fail "$*: exit code $?: $(cat "$dir/error")"
	grep -q -- "$pattern" "$dir/text" || fail "$*: no \"$pattern\" in: $(cat "$dir/text")"
	keeps_quiet "$@"
}

# exits CODE SECONDS PATTERN COMMAND...: that soon, with a message that fits.
exits() {
	local want=$1 most=$2 pattern=$3 got=0 begin=$SECONDS
	shift 3
	ebr "$@" > "$dir/text" 2> "$dir/error" || got=$?
	[ $got = "$want" ] || fail "$*: exit code $got, expected $want: $(cat "$dir/error")"
	grep -q -- "$pattern" "$dir/error" || fail "$*: no \"$pattern\" in: $(cat "$dir/error")"
	within "seconds that $* took" 0 "$most" $((SECONDS - begin))
	keeps_quiet "$@"
}

keeps_quiet() {
	if grep -q -- "$password" "$dir/text" "$dir/json" "$dir/error" "$log" 2> /dev/null; then
		fail "$*: the password is shown"
	fi
}

start_redis
# shellcheck disable=SC2086
redis ACL SETUSER edgebucket $acl > /dev/null
(umask 077 && cat > "$dir/redis.json") <<- END
	{"socket": "$redis_socket", "username": "edgebucket", "password": "$password", "tick": "100ms",
	 "connect_timeout": "300ms", "restore_timeout": "1s"}
END
write_config <<- END
	  - name: heavy
	    match: { src: [10.12.0.0/16] }
	    action: limit
	    packets: { rate: 1/h, burst: 30 }
	    bytes: { rate: 8bit/s, burst: 100kB }
	  - name: everyone
	    match: { src: [10.0.0.0/8, "2001:db8:8::/48"] }
	    action: limit
	    per: { ipv4: 24, ipv6: 56 }
	    packets: { rate: 6/h, burst: 20 }
END

# ---- Redis beside the maps ----

exits 1 5 'no agent\|pinned\|no maps\|No such' buckets
says '. == []' buckets --redis
says '.maps == false and .restored == 0 and .complete and .stores[0].store == "redis"' restore --dry-run
start_agent "${options[@]}"
send 10.11.1.1 -n 50
send 10.11.2.1 -n 5
send 10.12.0.1 -n 7
send 2001:db8:8::1 -n 9
shows '^flushed: [0-9]* buckets written, [0-9]* removed$' flush
equal "fields in Redis" 4 fields
says 'map([.rule, .source, .only_in]) == [["heavy", "10.12.0.1/32", null], ["everyone", "10.11.1.0/24", null],
	["everyone", "10.11.2.0/24", null], ["everyone", "2001:db8:8::/56", null]]' buckets --redis
says 'map(.packets | [.tokens, .stored_tokens, .burst, .difference]) ==
	[[23, 23, 30, 0], [0, 0, 20, 0], [15, 15, 20, 0], [11, 11, 20, 0]]' buckets --redis
says '.[0].bytes | .burst == 100000 and .tokens > 99000 and .tokens < 99900 and (.difference | fabs) <= 1' buckets --redis
says 'map(.bytes)[1:] == [null, null, null] and .[1].dropped == 30 and all(.[]; .store == "redis")' buckets --redis
shows '^RULE  *SOURCE  *PACKETS IN MAPS  *PACKETS IN REDIS  *BYTES IN MAPS  *BYTES IN REDIS  *DIFFERENCE$' buckets --redis
shows '^everyone  *10.11.2.0/24  *15/20  *15/20 .*same$' buckets --redis
says 'map(.source) == ["10.11.2.0/24"]' buckets --redis 10.11.2.9
says 'map(.source) == ["10.12.0.1/32"]' buckets --redis --rule heavy
says 'length == 2' buckets --redis -n 2
says '.redis | .configured and .up and .fields == 4 and .last_write_age_seconds >= 0' status
says '.embedded.configured == false and .other_writer == null and .restore.buckets == 0' status
shows '^Redis: *connected to [^ ]*/redis.sock, 4 buckets, last write .* ago$' status

# Nobody mirrors now: maps and Redis part, and Redis holds what no agent wrote.
kill_agent
send 10.11.3.1 -n 3
send 10.11.2.1 -n 2
soon=$(($(date +%s) + 1200))000000000 late=$(($(date +%s) + 86400))000000000
redis HDEL "$key" 'everyone|2001:db8:8::/56' > /dev/null
redis HSET "$key" 'everyone|10.11.9.0/24' "$soon 0" > /dev/null
redis HSET "$key" 'everyone|10.11.8.0/24' "$late 0" 'heavy|10.12.0.9/32' '1000000000 1000000000' > /dev/null
redis HSET "$key" 'everyone|10.11.6.0/24' '9999999999999999999 0' > /dev/null
redis HSET "$key" 'gone|10.11.8.0/24' "$soon 0" 'everyone|10.11.8.1/32' "$soon 0" 'everyone|10.11.7.0/24' 'much 0' \
	$'\e[31m' 1 > /dev/null
says 'map({key: .source, value: .only_in}) | from_entries == {"10.12.0.1/32": null, "10.11.1.0/24": null,
	"10.11.2.0/24": null, "2001:db8:8::/56": "maps", "10.11.3.0/24": "maps", "10.11.8.0/24": "store",
	"10.11.9.0/24": "store"}' buckets --redis
says 'map(select(.source == "10.11.2.0/24"))[0].packets | .tokens == 13 and .stored_tokens == 15 and .difference == 2' \
	buckets --redis
says 'map(select(.source == "10.11.9.0/24"))[0].packets | .tokens == 20 and .stored_tokens == 18' buckets --redis
shows '10.11.9.0/24 .*only in redis$' buckets --redis
shows '10.11.3.0/24 .*only in maps$' buckets --redis
grep -q 'not shown because a restore would refuse them (unknown rule): 1$' "$dir/error" || fail "no word of refused fields"

refused='{"unknown rule": 1, "prefix length": 1, "value": 1, "rule name": 1, "time out of range": 1}'
rehearsed='.restored == 5 and .clamped == 1 and .complete and (.stores | length) == 1 and
	(.stores[0] | .store == "redis" and .error == null and .in_debt == 5 and .full == 1 and .clamped == 1 and
	.age_seconds < 600 and .fields == 11 and .refused == '"$refused"')'
says "$rehearsed and .maps" restore --dry-run
exits 0 5 'an agent that starts now adopts them' restore --dry-run
before=$(redis HGETALL "$key" | sort)
lose_maps
says "$rehearsed and .maps == false" restore --dry-run
says '.buckets | map({key: .source, value: [.packets.tokens, .clamped, .store]}) | from_entries == {
	"10.12.0.1/32": [23, false, "redis"], "10.11.1.0/24": [0, false, "redis"], "10.11.2.0/24": [15, false, "redis"],
	"10.11.8.0/24": [0, true, "redis"], "10.11.9.0/24": [18, false, "redis"]}' restore --dry-run
says '.restored == 5 and (.buckets | length) == 2' restore --dry-run --limit 2
shows '^everyone  *10.11.8.0/24  *0/20 .*clamped$' restore --dry-run
shows '^a restore now would bring back 5 buckets, 1 of them clamped$' restore --dry-run
says 'all(.[]; .only_in == "store" and .packets.tokens == null and .packets.difference == null)' buckets --redis
[ "$before" = "$(redis HGETALL "$key" | sort)" ] || fail "a rehearsal changed Redis"
[ ! -e "$pin_dir" ] || fail "a rehearsal made maps"
exits 2 1 'the agent restores' restore
exits 2 1 'one argument too many' restore --dry-run 10.0.0.1

# The real one is as it was rehearsed.
start_agent "${options[@]}"
says '.restore | .state == "done" and .buckets == 5 and .clamped == 1 and .full == 1 and .age_seconds < 600 and
	.refused == '"$refused" status
shows '^Restore: *5 buckets restored from 11 fields, at an age of ' status
shows '1 full by then, 1 clamped to the burst$' status
shows '1 refused: unknown rule$' status
says 'map({key: .source, value: .packets.tokens}) | from_entries == {"10.12.0.1/32": 23, "10.11.1.0/24": 0,
	"10.11.2.0/24": 15, "10.11.8.0/24": 0, "10.11.9.0/24": 18}' buckets

# ---- resets forget all refusals at once ----

send 10.11.1.1 -n 77
equal "refused after the restore" 77 bucket 10.11.1.0/24 .dropped
ebr reset 10.11.1.1 > /dev/null
[ "$(bucket 10.11.1.0/24 .dropped)" = 0 ] || fail "refused after a reset: $(bucket 10.11.1.0/24 .dropped)"
send 10.11.1.1 -n 31
equal "refused since the reset" 11 bucket 10.11.1.0/24 .dropped
ebr reset --all > /dev/null
says 'all(.[]; .dropped == 0)' buckets

# ---- Redis is away, hangs, refuses ----

send 10.11.1.1 -n 5
ebr flush > /dev/null
kill -STOP "$redis_pid"
exits 1 6 '^edgebucket: redis: ' buckets --redis
exits 1 6 '^edgebucket: redis: ' restore --dry-run
kill -CONT "$redis_pid"
redis ACL SETUSER edgebucket -hscan > /dev/null
exits 1 6 '^edgebucket: redis: .*NOPERM\|permission' buckets --redis
redis ACL SETUSER edgebucket +hscan '>another' "<$password" > /dev/null
exits 1 6 '^edgebucket: redis: .*refused the user name or password' buckets --redis
kill_redis
exits 1 6 '^edgebucket: redis: ' buckets --redis
exits 1 6 '^edgebucket: redis: ' restore --dry-run
says_after_failure() { jq -e "$1" "$dir/json" > /dev/null || fail "not $1: $(cat "$dir/json")"; }
ebr --json restore --dry-run > "$dir/json" 2> /dev/null && fail "a rehearsal without Redis succeeds"
says_after_failure '.complete == false and .restored == 0 and (.stores[0].error | length) > 0'
until_true "the agent to miss Redis" status_is '.redis.up == false'
shows '^Redis: *cannot be written to' status
send 10.11.4.1 -n 1
exits 1 20 'edgebucket: ' flush
stop_agent

# ---- the embedded store alone ----

options=()
lose_maps
exits 1 5 'configures no store' buckets --redis
exits 1 5 'configures no store' restore --dry-run
sed -i "s|^state_dir: .*|state_dir: $dir/state|" "$config"
says '. == []' buckets --redis
says '.restored == 0 and .stores[0].store == "embedded"' restore --dry-run
[ ! -e "$dir/state" ] || fail "a rehearsal made the embedded store"
start_agent
send 10.11.1.1 -n 4
send 2001:db8:8::1 -n 6
shows '^flushed: [0-9]* buckets written' flush
says 'map([.source, .store, .only_in, .packets.stored_tokens]) == [["10.11.1.0/24", "embedded", null, 16],
	["2001:db8:8::/56", "embedded", null, 14]]' buckets --redis
shows '^RULE  *SOURCE  *PACKETS IN MAPS  *PACKETS IN STORE  *DIFFERENCE$' buckets --redis
says '.restored == 2 and (.buckets | map(.store) == ["embedded", "embedded"])' restore --dry-run
says '.embedded.up and .embedded.fields == 2 and .redis.configured == false' status
shows '^Embedded: *in use, 2 buckets, last write .* ago$' status
stop_agent
lose_maps
says '.restored == 2 and .maps == false and .stores[0].age_seconds < 600' restore --dry-run
: > "$dir/state/buckets.mdb"
printf 'damaged' > "$dir/state/buckets.mdb"
exits 1 5 '^edgebucket: embedded: ' buckets --redis
