#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# edgebucket detach: a running agent leaves the program off until the next reload; without an agent it is taken off
# directly. The buckets stay, unless the maps are to go too.
# shellcheck source=../lib/network.sh
. "$(dirname "$0")/../lib/network.sh"

is_protected() { [ -n "$(prog_on card0)" ]; }

make_network
limit_to 20
start_agent
send 10.8.0.1 -n 30
counted limited 10.8.0.1 20 10

eb detach > "$dir/out" || fail "detach"
equal "the program after detach" "" prog_on card0
# What would make an agent attach: the link changes.
ip -n "$card" link set card0 down
ip -n "$card" link set card0 up
ip -n "$card" link set card0 alias touched
status_is '.agent.running and (.interfaces[0].attached | not)' || fail "status: $(eb --json status)"
send 10.8.0.1 -n 30
equal "passed while detached" 50 passed 10.8.0.1
is_protected && fail "the agent attached although it was told not to"
eb detach > "$dir/out" || fail "detach for a second time"

eb reload > /dev/null || fail "reload"
until_true "the reload to attach" is_protected
send 10.8.0.1 -n 30
counted limited 10.8.0.1 50 40

stop_agent
is_protected || fail "on_exit: keep did not keep the program"
eb detach > "$dir/out" || fail "detach without an agent"
grep -q card0 "$dir/out" || fail "detach does not say from where: $(cat "$dir/out")"
equal "the program after detach without an agent" "" prog_on card0
eb detach > "$dir/out" || fail "detach of nothing"
[ "$(eb --json detach | jq -c .detached)" = "[]" ] || fail "detach of nothing: $(eb --json detach)"
send 10.8.0.1 -n 30
equal "passed without a program" 80 passed 10.8.0.1
start_agent
send 10.8.0.1 -n 30
counted limited 10.8.0.1 80 70

# attach puts it on again as reload does, without reading the configuration.
eb detach > /dev/null || fail "detach"
is_protected && fail "detach left the program"
eb attach > /dev/null || fail "attach"
is_protected || fail "attach did not attach"
eb attach > /dev/null || fail "attach for a second time"
eb detach > /dev/null || fail "detach"
eb status | grep -q '^Detached:.*or a restart' || fail "status does not say so: $(eb status)"
kill_agent
start_agent
is_protected || fail "a detach held over a restart"

say "detach --stay, over restarts of every kind"
stays_off() {
	status_is '.detached and .stays' || fail "$1: status: $(eb --json status)"
	eb status | grep -q '^Detached:.*over restarts' || fail "$1: status does not say so: $(eb status)"
	equal "$1: the program" "" prog_on card0
}

restart_held() {
	[ -z "$agent_pid" ] || end_agent "$1"
	launch_agent
	wait_log "nothing is limited.*edgebucket attach"
	until_true "the agent to answer" status_is '.agent.running'
	ip -n "$card" link set card0 alias "touched by $1"
}

for ends in attach reload apply; do
	eb detach --stay > /dev/null || fail "detach --stay"
	stays_off "at once"
	restart_held TERM
	stays_off "after a restart"
	restart_held KILL
	eb detach > /dev/null || fail "a second detach"
	stays_off "after a crash"
	case $ends in
	apply) eb apply "$config" > /dev/null || fail apply ;;
	*) eb $ends > /dev/null || fail $ends ;;
	esac
	until_true "$ends to attach" is_protected
	status_is '(.detached or .stays) | not' || fail "$ends: status: $(eb --json status)"
	stop_agent
	start_agent
	is_protected || fail "the detach is back after $ends and a restart"
done

# Without an agent; what was left on by one that was killed over it is taken off by the next.
kill_agent
eb detach --stay > /dev/null || fail "detach --stay without an agent"
stays_off "without an agent"
eb attach | grep -q "the next one will attach" || fail "attach without an agent"
if eb attach 2> "$dir/out"; then
	fail "attach without an agent and without a detach"
fi
start_agent
is_protected || fail "the next agent did not attach"
kill_agent
: > "$dir/run/detached"
restart_held KILL
stays_off "with a program of an agent that was killed"
eb attach > /dev/null || fail "attach"
is_protected || fail "attach did not attach"

# A trial that is not confirmed leaves things as they were; one that is confirmed ends it.
eb detach --stay > /dev/null || fail "detach --stay"
sed 's/burst: 20/burst: 21/' "$config" > "$dir/trial.yaml"
eb apply --confirm 1min "$dir/trial.yaml" > /dev/null || fail "apply --confirm"
until_true "a trial to attach" is_protected
eb rollback > /dev/null || fail "rollback"
stays_off "after a rollback"
eb apply --confirm 1min "$dir/trial.yaml" > /dev/null || fail "apply --confirm"
eb confirm > /dev/null || fail "confirm"
[ ! -e "$dir/run/detached" ] || fail "a trial that was confirmed did not end it"

if eb detach --maps > "$dir/out" 2>&1; then
	fail "the maps of a running agent were removed"
fi
grep -q "an agent is running" "$dir/out" || fail "why not is not said: $(cat "$dir/out")"
is_protected || fail "a refused detach took the program off"
stop_agent
eb detach --maps > "$dir/out" || fail "detach --maps"
equal "the program after detach --maps" "" prog_on card0
[ ! -e "$pin_dir" ] || fail "left in $pin_dir: $(ls "$pin_dir")"
eb detach --maps > "$dir/out" || fail "detach --maps where nothing is"
