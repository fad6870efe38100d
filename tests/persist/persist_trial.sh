#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# No trial while Redis is still to be read: what it has of rules that the trial leaves out would be lost to those that
# come back. And nothing is applied to an agent that is stopping, which could not take it back.
# shellcheck source=../lib/persistence.sh
. "$(dirname "$0")/../lib/persistence.sh"

# try PATTERN [OPTION]...: applying is refused.
try() {
	local pattern=$1
	shift
	! eb apply "$dir/open.yaml" "$@" > "$dir/out" 2>&1 || fail "not refused: $(cat "$dir/out")"
	grep -q "$pattern" "$dir/out" || fail "no \"$pattern\" in: $(cat "$dir/out")"
}

start_redis
config=$dir/open.yaml persist_config <<< '  - { name: open, action: allow }'
slow_rules | persist_config
start_agent
drain 10.8.0.1
wait_mirrored
redis save > /dev/null
kill_redis
power_cut
start_agent
try "no trial before the buckets are restored" --confirm 10m
start_redis
until_true "the late restore" status_is '.restore.state == "done"'
is_empty 10.8.0.1/32 || fail "the debt is not restored"
eb apply "$dir/open.yaml" --confirm 10m > /dev/null 2>&1 || fail "no trial after the restore"
eb rollback > /dev/null || fail "no rollback"
is_empty 10.8.0.1/32 || fail "a trial filled a bucket"
wait_mirrored

kill -STOP "$redis_pid"
send 10.8.0.2 -n 5
kill -TERM "$agent_pid"
wait_log "msg=stopping signal=TERM"
try "the agent is stopping" --confirm 10m
try "the agent is stopping"
kill -CONT "$redis_pid"
wait "$agent_pid" || fail "the agent ended with $?"
agent_pid=
[ "$(eb --json rules | jq -r '.[0].name')" = slow ] || fail "in force are: $(eb rules)"
