#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# The agent's log: every line is one JSON object or one of logfmt, with the priority for the journal and a time for
# everybody else; what repeats is limited and counted; and nobody who does not read it can stop the agent.
# shellcheck source=../lib/network.sh
. "$(dirname "$0")/../lib/network.sh"

good() { write_config <<< '  - { name: open, action: allow }'; }
bad() { write_config <<< $'  - { name: open, action: "a\\tb\\u20ac", colour: "\\x1b[31m" }'; }

# What happens in the life of an agent, from a warning to a refusal.
live() {
	write_config <<< $'  - { name: all, action: allow }\n  - { name: never, action: deny }'
	start "$@"
	bad
	! eb reload > /dev/null 2>&1 || fail "a bad configuration was taken"
	good
	eb reload > /dev/null || fail "reload"
	ip -n "$card" link set dev card0 xdp off
	until_true "the program to be put back" is_protected
	stop_agent
}

is_protected() { [ -n "$(prog_on card0)" ]; }

# The program of an agent before may still be there.
is_up() { [ -S "$dir/run/control.sock" ] && is_protected; }

start() {
	launch_agent "$@"
	until_true "the agent to attach" is_up
}

messages='starting,created new maps,rules in force,attached,reload refused,reloaded,another process detached the program,stopping'

# has_messages COMMAND...: its output has one of each.
has_messages() {
	local message
	"$@" > "$dir/messages"
	while read -rd, message; do
		grep -q "^$message" "$dir/messages" || fail "no line says \"$message\""
	done <<< "$messages,"
}

# every_line CONDITION: of a line of the log, as text.
every_line() {
	[ -s "$log" ] || fail "nothing is logged"
	jq -Rr "select((try ($1) catch false) | not)" "$log" > "$dir/wrong"
	[ ! -s "$dir/wrong" ] || fail "no such line: $(head -n 3 "$dir/wrong")"
}

make_network

# JSON, one object a line.
live --log-format json --log-level debug
every_line 'fromjson | keys_unsorted[:3] == ["time", "level", "msg"] and
	(.time | test("^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}[.][0-9]{3}Z$")) and
	(.level | IN("error", "warning", "info", "debug")) and (.msg | length > 0)'
jq -es 'map(select(.msg == "attached")) | length >= 2 and
	all(.[]; .level == "info" and .interface == "card0" and .mode == "native" and .program > 0)' "$log" > /dev/null ||
	fail "who was attached: $(grep '"attached"' "$log")"
jq -es --arg config "$config" 'map(select(.msg | startswith("reload refused"))) | length == 1 and
	all(.[]; .level == "error" and .config == $config and (.error | contains("colour")))' "$log" > /dev/null ||
	fail "what was refused: $(grep refused "$log")"
jq -es 'any(.[]; .level == "warning" and (.reason // "" | contains("never")))' "$log" > /dev/null ||
	fail "the warning: $(grep warning "$log")"
has_messages jq -r .msg "$log"
! LC_ALL=C grep -q '[[:cntrl:]]' "$log" || fail "control characters in the log"

# logfmt, as those who parse it do.
live
every_line 'test("^time=[-0-9T:.]+Z level=[a-z]+ msg=.") and
	test("^[a-z_]+=(\"([^\"\\\\]|\\\\.)*\"|[^ \"=]+)( [a-z_]+=(\"([^\"\\\\]|\\\\.)*\"|[^ \"=]+))*$")'
messages=${messages/created new maps/adopted} has_messages sed -E 's/.* msg="?//' "$log"
! LC_ALL=C grep -q '[[:cntrl:]]' "$log" || fail "control characters in the log"

# The journal's own stream, by device and inode; and one that is only inherited.
log=$dir/agent.log
JOURNAL_STREAM=$(stat -c %d:%i "$log")
export JOURNAL_STREAM
live --log-format json
! grep -vE '^<[3-7]>\{"level":' "$log" || fail "lines without a priority"
sed 's/^<[3-7]>//' "$log" | jq -e '.level and (has("time") | not)' > /dev/null || fail "what follows is not JSON"
grep -q '^<3>.*reload refused' "$log" || fail "an error has not the priority of one"
grep -q '^<4>.*another process detached' "$log" || fail "a warning has not the priority of one"
grep -q '^<6>.*"reloaded"' "$log" || fail "information has not the priority of it"
JOURNAL_STREAM=${JOURNAL_STREAM}0
good
start
unset JOURNAL_STREAM
! grep -v '^time=' "$log" || fail "taken for the journal"

# The same again and again: as many lines as there can be interfaces, and the rest counted.
bad
for ((i = 0; i < 150; i++)); do
	eb reload 2>> "$dir/refusals" || true
done
told=$(grep -c colour "$dir/refusals")
lines=$(grep -c 'reload refused' "$log")
within "lines of $told refusals" 64 "64 + $SECONDS / 10 + 1" "$lines"
wait_log 'more lines like this were suppressed'
good
eb reload > /dev/null || fail "reload"
log_has msg=reloaded || fail "one message took another's place"
stop_agent
lines=$(grep -c 'msg="reload refused' "$log")
suppressed=$(sed -nE 's/.*level=error msg="more lines .* like="reload refused.* suppressed=//p' "$log" | jq -s add)
within "$lines refusals logged and $suppressed suppressed" "$told" 150 $((lines + suppressed))

# What cannot start says so in the same way, and to somebody who asks, plainly.
bad
launch_agent --log-format json
wait "$agent_pid" && fail "a bad configuration was taken"
[ "$(jq -r '[.level, .msg] | join(" ")' "$log")" = "error cannot start, the configuration is refused" ] ||
	fail "at start: $(cat "$log")"
! "$BUILD/edgebucketd" -c "$config" --check 2> "$dir/out" || fail "checked a bad configuration"
grep -q "^edgebucketd: $config:[0-9]" "$dir/out" || fail "a check: $(cat "$dir/out")"
"$BUILD/edgebucketd" --log-format xml 2> "$dir/out" && fail "no such format was taken"
grep -q 'no log format xml: logfmt or json' "$dir/out" || fail "no such format: $(cat "$dir/out")"

# A reader that stopped, with a pipe that is full.
good
mkfifo "$dir/pipe"
exec 8<> "$dir/pipe"
{ yes '' | dd of="$dir/pipe" bs=4096 iflag=fullblock oflag=nonblock 2> /dev/null; } || true
nsenter --net="/var/run/netns/$card" "$BUILD/edgebucketd" -c "$config" --log-level debug 2> "$dir/pipe" 8>&- 9>&- &
agent_pid=$!
until_true "the agent behind a full pipe" is_up
eb reload > /dev/null || fail "reload"
cat "$dir/pipe" > "$log" 8>&- 9>&- &
wait_log ' level=warning msg="lines of this log were lost: .* lost=[1-9]'
eb reload > /dev/null || fail "reload"
wait_log msg=reloaded
stop_agent
exec 8>&-

# One that is gone, and none at all.
for to in closed none; do
	if [ $to = none ]; then
		nsenter --net="/var/run/netns/$card" "$BUILD/edgebucketd" -c "$config" 2>&- 9>&- &
	else
		nsenter --net="/var/run/netns/$card" "$BUILD/edgebucketd" -c "$config" 2> >(:) 9>&- &
	fi
	agent_pid=$!
	until_true "the agent without a reader" is_up
	for i in 1 2 3; do
		eb reload > /dev/null || fail "reload $i"
	done
	stop_agent
done
