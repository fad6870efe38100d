#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# A fault writes at once. With a tick of an hour nothing else can have written.
# shellcheck source=../lib/persistence.sh
. "$(dirname "$0")/../lib/persistence.sh"

tick=1h table_size=1024
start_redis
{
	slow_rules
	cat <<- END
		  - name: crowd
		    match: { src: [10.11.0.0/16] }
		    action: limit
		    packets: { rate: 1/h, burst: 100 }
		    new_sources: { rate: 1M/s, burst: 1M }
	END
} | persist_config
start_agent

# In the log, since $mark.
said_since() { tail -n "+$((mark + 1))" "$log" | grep -q -- "$1"; }

# written REASON: the fault has written, and said so; Redis is what the maps are.
written() {
	until_true "the write on $1" said_since "buckets written.* store=redis reason=$1 "
	redis_is_maps || fail "$1: Redis holds $(in_redis), the maps $(in_maps)"
}

next=1
charge() {
	mark=$(wc -l < "$log")
	send "10.8.0.$next" -n "$next"
	next=$((next + 1))
	! redis_is_maps || fail "written without a fault"
}

charge
[ "$(eb --json flush | jq -c '[.ok, .set, .deleted]')" = '[true,1,0]' ] || fail "flush did not report one bucket"
written flush
[ "$(eb --json flush | jq -c '[.ok, .set, .deleted]')" = '[true,0,0]' ] || fail "a second flush wrote again"
charge
eb reset 10.8.0.1 > /dev/null
redis_is_maps || fail "after a reset, Redis holds $(in_redis)"

# Several at once are all answered.
charge
flushers=()
for _ in 1 2 3 4 5 6; do
	eb flush > "$dir/flush.$_" 2>&1 9>&- &
	flushers+=($!)
done
for pid in "${flushers[@]}"; do
	wait "$pid" || fail "one of several flushes was not answered"
done

charge
kill -USR1 "$agent_pid"
written flush

charge
ip -n "$far" link set far0 down
written link_down
ip -n "$far" link set far0 up
until_true "the link to be up" eval 'ip -n "$card" -j link show card0 | jq -e ".[0].operstate == \"UP\"" > /dev/null'

charge
ip -n "$card" link set dev card0 xdp off
written detached
is_back() { [ -n "$(prog_on card0)" ]; }
until_true "the program to be back" is_back

charge
ip -n "$card" link delete card0
written link_down
add_link card0 far0
up card0 far0
ip -n "$card" address add 10.7.0.1/16 dev card0
ip -n "$far" address add 10.7.0.2/16 dev far0
wait_log "msg=attached interface=card0"

# More sources in debt than the table has room for.
mark=$(wc -l < "$log")
send 10.11.0.1 -k 5000 -n 5000
until_true "the write on table_pressure" said_since "buckets written.* store=redis reason=table_pressure "
# Once a tick at most: how often the table is full is up to those who send.
full() { tail -n "+$((mark + 1))" "$log" | grep -c "msg=\"$1"; }
until_true "a table that is full again" eval 'send 10.11.64.1 -k 1000 -n 1000; [ "$(full "the table is full")" -ge 3 ]'
equal "writes while the table is full" 1 full "buckets written.*table_pressure"
# A reset bucket leaves Redis, though others want its entry.
send 10.11.32.1 -k 5000 -n 400000 9>&- &
flood=$!
for net in 0 4 8 12; do
	eb reset "10.11.$net.0/22" > /dev/null
done
wait "$flood"
eb flush > /dev/null
redis_is_maps || fail "after resets in a flood, Redis holds $(fields), not $(in_maps | jq length)"
eb reset --all > /dev/null
[ "$(fields)" = 0 ] || fail "after all were reset, Redis holds $(in_redis)"
# Reset buckets keep their entries for a second: each new source finds room after that. Those before it may or may not,
# as some entries of the resets above are free sooner.
sleep 1.1
send 10.8.2.1 -k 64 -n 64
eb flush > /dev/null
[ "$(fields)" = 64 ] || fail "of 64 new sources, $(fields) found room"

# Redis comes back, with nothing.
send 10.8.1.2 -n 5
eb flush > /dev/null
mark=$(wc -l < "$log")
kill_redis
send 10.8.1.1 -n 3
until_true "the agent to miss Redis" said_since 'msg="the store cannot be reached'
start_redis
written redis_recovered

# So soon that the agent may have missed it for no more than a moment.
mark=$(wc -l < "$log")
kill_redis
start_redis
until_true "the write" said_since 'reason=redis_recovered \|msg="the store had lost buckets, wrote all again"'
redis_is_maps || fail "started again: Redis holds $(in_redis), the maps $(in_maps)"

for signal in TERM INT; do
	charge
	end_agent $signal
	[ "$agent_status" = 0 ] || fail "the agent ended with $agent_status"
	log_has "buckets written.* store=redis reason=shutdown" || fail "$signal: nothing was written"
	redis_is_maps || fail "$signal: Redis holds $(in_redis), the maps $(in_maps)"
	start_agent
done

# Without an agent nobody tells Redis, and the operator is told.
charge
kill_agent
eb reset --all 2>&1 | grep -q "a reboot would restore" || fail "a reset without an agent does not say so"
eb reset --all 2> /dev/null | grep -q "nothing to fill" || fail "a reset without an agent did nothing"
