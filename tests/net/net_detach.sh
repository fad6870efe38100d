#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# edgebucket detach: a running agent leaves the program off until the next reload; without an agent it is taken off
# directly. The buckets stay, unless the maps are to go too.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

is_protected() { [ -n "$(prog_on card0)" ]; }

make_network
write_config <<- END
	  - name: limited
	    match: { src: [10.8.0.0/16] }
	    action: limit
	    packets: { rate: 1/h, burst: 20 }
END
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
is_protected || fail "reload did not attach"
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
