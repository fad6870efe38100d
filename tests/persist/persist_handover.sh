#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# An agent that is started while another one is still stopping waits for it, and goes on with its buckets: no frame
# beyond the bound passes meanwhile, and the limits are never off. One that is told to stop while it waits does.
# shellcheck source=../lib/persistence.sh
. "$(dirname "$0")/../lib/persistence.sh"

# The agent has something to write that Redis does not take, and is held up while it waits for that. Sets first.
start_stopping() {
	first=$agent_pid
	kill -STOP "$redis_pid"
	send 10.8.0.2 -n 5
	kill -TERM "$first"
	wait_log "msg=stopping signal=TERM"
	kill -STOP "$first" || fail "the agent was gone before it could be held up"
}

start_redis
slow_rules | persist_config
start_agent
drain 10.8.0.1
wait_mirrored
start_fire 10.8.0.1
program=$(prog_on card0)

start_stopping
launch_agent
wait_log "waiting for another agent to stop.*with pid $first, is stopping"
[ "$(prog_on card0)" = "$program" ] || fail "an agent that waits replaced the program"

# One that is stopped while it waits.
end_agent TERM
[ "$agent_status" = 0 ] || fail "an agent that was stopped while it waited ended with $agent_status"
launch_agent
wait_log "waiting for another agent"

kill -CONT "$redis_pid" "$first"
wait "$first" || fail "the first agent ended with $?"
wait_log "msg=attached interface=card0"
log_has "adopted the pinned maps" || fail "the maps were not adopted"
[ "$(prog_on card0)" != "$program" ] || fail "the program was not replaced"
stop_fire
counted slow 10.8.0.1 100 $((sent + 10))
wait_mirrored
