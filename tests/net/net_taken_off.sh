#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Somebody takes the program off: it is put back. Somebody puts another one there: it is left alone, the agent says so,
# and gets in once that is gone.
# shellcheck source=../lib/network.sh
. "$(dirname "$0")/../lib/network.sh"

make_foreign() {
	echo '__attribute__((section("xdp"), used)) int foreign(void *ctx) { return 2; }' > "$dir/foreign.c"
	clang -O2 -target bpf -c "$dir/foreign.c" -o "$dir/foreign.o" || fail "cannot compile a program"
}

put_foreign() { ip -n "$card" -force link set dev card0 xdp obj "$dir/foreign.o" sec xdp; }

prog_name() { ip -n "$card" -j -d link show dev card0 | jq -r '.[0].xdp.prog.name // empty'; }

is_protected() { status_is '.interfaces[0].attached'; }

make_foreign
make_network
limit_to 30
start_agent
send 10.8.0.1 -n 40
counted limited 10.8.0.1 30 10

ip -n "$card" link set dev card0 xdp off
until_true "the program to be put back" is_protected
log_has "another process detached the program.* interface=card0" || fail "the log does not say who or what"
send 10.8.0.1 -n 40
counted limited 10.8.0.1 30 50

# Another owner's program in place of ours.
put_foreign
wait_log "card0: another XDP program is attached"
log_has 'capabilities_left=".*sys_admin' || log_has "or restart edgebucketd, which gave up CAP_SYS_ADMIN" ||
	fail "the log does not say that the agent could not look at it"
[ "$(prog_name)" = foreign ] || fail "another owner's program was removed"
status_is '.interfaces[0] | .foreign and (.attached | not)' || fail "status: $(eb --json status)"
eb status | grep -q 'another owner' || fail "status does not say why"
eb reload > /dev/null || fail "reload"
eb detach > /dev/null || fail "detach"
[ "$(prog_name)" = foreign ] || fail "another owner's program was removed by reload or detach"
eb reload > /dev/null || fail "reload"
ip -n "$card" link set dev card0 xdp off
until_true "the program to get in" is_protected
send 10.8.0.1 -n 40
counted limited 10.8.0.1 30 90

# Looking at it costs no descriptors.
count_programs() { find "/proc/$agent_pid/fd" -lname 'anon_inode:bpf-prog' | wc -l; }
before=$(count_programs)
for _ in 1 2 3; do
	put_foreign
	until_true "status to tell" status_is '.interfaces[0].foreign'
	eb reload > /dev/null || fail "reload"
	ip -n "$card" link set dev card0 xdp off
	until_true "the program to get in" is_protected
done
[ "$(count_programs)" = "$before" ] || fail "$(count_programs) descriptors of programs instead of $before"

# There before the agent, and still there after it.
stop_agent
put_foreign
settings="on_exit: detach"
write_config <<< '  - { name: none, match: { src: [10.8.0.0/16] }, action: deny }'
launch_agent
wait_log "card0: another XDP program is attached"
stop_agent
[ "$(prog_name)" = foreign ] || fail "another owner's program was removed on exit"
