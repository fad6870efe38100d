#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Redis is there, but takes nothing: out of memory, a replica, unable to save, loading, too many clients. It is written
# again until it is taken, the embedded store is the second line meanwhile, and the agent does not grow.
# shellcheck source=../lib/persistence.sh
. "$(dirname "$0")/../lib/persistence.sh"

embedded=1
rss() { awk '/^VmRSS/ { print $2 }' "/proc/$agent_pid/status"; }
in_status() { eb --json status | jq -r ".$1"; }

start_redis
slow_rules | persist_config
start_agent
send 10.8.0.1 -n 10
wait_mirrored
memory=$(rss)
last=1
kept_out() { ! store_is_up redis && in_status redis.last_error | grep -q 'maximum number of clients\|max number'; }

# refused_with TEXT: a change is not taken, with this error, and goes to the embedded store.
refused_with() {
	local embedded_before
	embedded_before=$(in_status embedded.fields_set)
	last=$((last + 1))
	send "10.8.0.$last" -n "$last"
	send 10.8.1.1 -k 2000 -n 2000
	has_error() { in_status redis.last_error | grep -q "$1"; }
	until_true "the error \"$1\"" has_error "$1"
	second_line() { [ "$(in_status embedded.fields_set)" -gt "$embedded_before" ]; }
	until_true "the embedded store" second_line
	no_field "slow|10.8.0.$last/32" || fail "Redis took it"
	! store_is_up redis || fail "Redis takes nothing, but is said to be up"
	status_is '.agent.running' || fail "the agent is gone"
}

redis config set maxmemory 1 > /dev/null
refused_with OOM
redis config set maxmemory 0 > /dev/null
wait_mirrored
until_true "Redis to be up again" store_is_up redis

redis config set min-replicas-to-write 1 > /dev/null
refused_with NOREPLICAS
redis config set min-replicas-to-write 0 > /dev/null
wait_mirrored

redis replicaof 127.0.0.1 1 > /dev/null
refused_with READONLY
redis replicaof no one > /dev/null
wait_mirrored

# It cannot write its snapshot: its directory is gone.
redis config set save '3600 1' > /dev/null
redis config set dir "$dir/redis" > /dev/null
mkdir "$dir/redis/dump.rdb"
redis bgsave > /dev/null
until_true "the snapshot to fail" eval 'redis info persistence | grep -q rdb_last_bgsave_status:err'
refused_with MISCONF
redis config set save '' stop-writes-on-bgsave-error no > /dev/null
wait_mirrored
rmdir "$dir/redis/dump.rdb"

# One right missing.
redis acl setuser default -hset > /dev/null
refused_with NOPERM
redis acl setuser default +hset > /dev/null
wait_mirrored

# Not a client more: whoever keeps the agent out is in.
{
	printf '%s\n' 'config set maxclients 1' 'client kill type normal'
	until_true "the agent to be kept out" kept_out
	echo 'config set maxclients 100'
} | redis > /dev/null
wait_mirrored

# Loading: twenty keys, which a debugging option makes slow, and long enough that Redis answers in between.
redis config set rdbcompression no > /dev/null
redis eval "for i = 1, 20 do redis.call('set', 'filler-' .. i, string.rep('x', 4096)) end" 0 > /dev/null
redis save > /dev/null
kill_redis
mkdir -p "$dir/redis"
redis-server --port 0 --unixsocket "$redis_socket" --dir "$dir/redis" --save '' --key-load-delay 300000 \
	--loading-process-events-interval-bytes 1024 > "$dir/redis.log" 2>&1 9>&- &
redis_pid=$!
until_true "Redis to load" eval 'redis ping 2>&1 | grep -q LOADING'
send 10.8.0.98 -n 7
until_true "Redis to have loaded" redis_answers
wait_mirrored
is_sanitized || within "memory in KiB after all of it, from $memory" 0 "$memory + 12288" "$(rss)"
