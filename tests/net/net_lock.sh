#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# One agent at a time: a second one is refused, says who is there, and disturbs nothing. Another agent with places of
# its own is welcome.
# shellcheck source=../lib/network.sh
. "$(dirname "$0")/../lib/network.sh"

rules() { limit_to "$1"; }

make_network
rules 30
start_agent
first=$agent_pid program=$(prog_on card0)
send 10.8.0.1 -n 40
counted limited 10.8.0.1 30 10

rules 300
if in_card "$BUILD/edgebucketd" -c "$config" 2> "$dir/second"; then
	fail "a second agent ran"
fi
grep -q "$first" "$dir/second" || fail "the second agent does not name the first, $first: $(cat "$dir/second")"
[ "$(prog_on card0)" = "$program" ] || fail "a refused agent replaced the program"
send 10.8.0.1 -n 10
counted limited 10.8.0.1 30 20
status_is ".agent.running and .agent.pid == $first" || fail "status: $(eb --json status)"

# The lock is the process's, whatever file it leaves.
kill_agent
rules 30
start_agent
status_is ".agent.pid == $agent_pid" || fail "status after a killed agent: $(eb --json status)"

# hold_lock SECONDS, as a child of an agent that was killed, until that has ended. Sets holder.
hold_lock() {
	: > "$dir/held"
	python3 - "$dir/run/edgebucketd.lock" "$1" > "$dir/held" 9>&- <<- 'END' &
		import fcntl, os, struct, sys, time
		lock = os.open(sys.argv[1], os.O_RDWR)
		fcntl.fcntl(lock, 37, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0)) # F_OFD_SETLK
		print("held", flush=True)
		time.sleep(float(sys.argv[2]))
	END
	holder=$!
	until_true "the lock to be held" grep -q held "$dir/held"
}

# What is left of an agent that was killed is waited for: by the next one, and by commands for a moment.
kill_agent
hold_lock 3600
eb detach > "$dir/out" 2>&1 && fail "detached while somebody holds the lock: $(cat "$dir/out")"
launch_agent
wait_log 'msg="waiting for another agent to stop" reason=.*was killed'
kill -KILL $holder
{ wait $holder || true; } 2> /dev/null
wait_log "msg=attached interface=card0 "
kill_agent
hold_lock 0.5
eb detach > "$dir/out" 2>&1 || fail "a detach behind the killed agent: $(cat "$dir/out")"
[ -z "$(prog_on card0)" ] || fail "the killed agent's program is still there"
wait $holder
start_agent

# One that holds the lock and does not listen yet is waited for.
kill_agent
log=$dir/agent.log
: > "$log"
nsenter --net="/var/run/netns/$card" strace -o /dev/null -e trace=listen -e inject=listen:delay_enter=2s \
	"$BUILD/edgebucketd" -c "$config" 2> "$log" 9>&- &
tracer=$!
until_true "the agent to start" log_has "msg=\"rules in force\""
! log_has "msg=attached" || fail "it was not held up"
eb reload > /dev/null || fail "reload of an agent that starts"
! eb status | grep -q "does not answer" || fail "status: $(eb status)"
agent_pid=$(eb --json status | jq .agent.pid)
kill -TERM "$agent_pid"
wait $tracer || fail "the agent that was held up ended badly"
agent_pid=

# One that hangs is said to.
start_agent
kill -STOP "$agent_pid"
eb status 2> "$dir/error" | grep -q "^Agent: .* does not answer" || fail "status of an agent that hangs"
grep -q "did not answer in time" "$dir/error" || fail "it said $(cat "$dir/error")"
kill -CONT "$agent_pid"

# Another instance, on another interface.
add_link card1 far1
up card1 far1
count_on card1
first=$agent_pid
mkdir "$dir/other"
sed -e "s|$pin_dir|$pin_dir-other|; s|$dir/run|$dir/other/run|; s|card0|card1|; s|burst: 30|burst: 7|" "$config" \
	> "$dir/other/edgebucket.yaml"
config=$dir/other/edgebucket.yaml interfaces=card1
start_agent
from=far1
send 10.8.0.1 -n 20
equal "passed by the other instance" 7 passed 10.8.0.1 card1
stop_agent
kill -0 "$first" || fail "the first agent is gone"
