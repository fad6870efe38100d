#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# json.sock: requests of other programs, a line each over one connection; what a feed may do to the operator's bans; who
# may connect; and clients that send what is no request.
# shellcheck source=../lib/network.sh
. "$(dirname "$0")/../lib/network.sh"

socket=$dir/run/json.sock
rules() {
	settings="control_group: $1"
	write_config <<- END
		  - name: all
		    action: limit
		    packets: { rate: 1M/s, burst: 1M }
	END
}

# ask [COMMAND…] < LINES: prints the answers. The command, setpriv say, runs the client.
ask() {
	"$@" timeout 20 python3 -c '
import socket, sys
peer = socket.socket(socket.AF_UNIX)
peer.connect(sys.argv[1])
try:
    peer.sendall(sys.stdin.buffer.read())
    peer.shutdown(socket.SHUT_WR)
except BrokenPipeError:
    pass  # what it answered can still be read
while data := peer.recv(65536):
    sys.stdout.buffer.write(data)
    sys.stdout.flush()' "$socket"
}
request() { ask <<< "$1" > "$dir/answer"; }
answered() { jq -e "$1" "$dir/answer" > /dev/null || fail "not answered: $1: $(cat "$dir/answer")"; }
of_ban() { eb --json bans | jq -r --arg prefix "$1" '.[] | select(.prefix == $prefix) | '"$2"; }
count_bans() { eb --json bans | jq length; }

make_network
chmod go+x "$dir"
rules 4242
start_agent

# Two requests and an empty line in one write, and the last line without its end.
printf '%s\n\n%s' \
	'{"request":"ban","from":"feed","bans":[{"prefix":"10.8.0.1","for":"1h","reason":"jail"},{"prefix":"x"}]}' \
	'{"request":"ban","bans":[{"prefix":"10.8.2.0/24"},{"prefix":"10.8.3.1","for":"1h"}]}' | ask > "$dir/answer"
[ "$(jq -c '[.ok, .done, .refused_count]' "$dir/answer" | xargs)" = '[true,1,1] [true,2,0]' ] ||
	fail "two requests: $(cat "$dir/answer")"
[ "$(of_ban 10.8.0.1/32 '"\(.from) \(.reason)"')" = "feed jail" ] || fail "of a feed: $(eb --json bans)"
send 10.8.0.1 -n 10
equal "passed of 10.8.0.1" 0 passed 10.8.0.1

# A feed neither shortens the operator's bans nor ends them, nor opens them by a hole.
request '{"request":"ban","from":"feed","bans":[{"prefix":"10.8.3.1","for":"1s"},{"prefix":"10.8.2.7","for":"1h"}]}'
answered '.done == 2'
[ "$(of_ban 10.8.3.1/32 '"\(.from) \(.for > 3000)"')" = "operator true" ] || fail "shortened: $(eb --json bans)"
request '{"request":"unban","from":"feed","prefixes":["10.8.3.1","10.8.2.7","10.8.0.0/16","10.8.0.1"]}'
answered '.done == 2'
equal "bans" 2 count_bans
send 10.8.2.7 -n 10
equal "passed of 10.8.2.7" 0 passed 10.8.2.7
request '{"request":"unban","prefixes":["10.8.2.7"]}'
send 10.8.2.7 -n 10
equal "passed of 10.8.2.7, unbanned by the operator" 10 passed 10.8.2.7
request '{"request":"unban","all":true}'

# Ten thousand over one connection, ended by a half-closed one.
for first in {0..9}; do
	jq -nc --arg first "$first" '{ request: "ban", from: "feed", bans: [range(1000) |
		{ prefix: "10.\(100 + ($first | tonumber)).\(. / 200 | floor).\(. % 200)", for: "4h", reason: "many" }] }'
done > "$dir/many"
ask < "$dir/many" > "$dir/answer"
[ "$(jq .done "$dir/answer" | sort | uniq -c | xargs)" = '10 1000' ] || fail "many: $(head -c 1000 "$dir/answer")"
equal "bans" 10000 count_bans

# What takes many steps is answered when it is done, and in its turn: of all within a prefix, some stay banned; and one is
# banned again behind it.
{
	cat "$dir/many"
	echo '{"request":"unban","prefixes":["10.104.0.0/14"]}'
	echo '{"request":"ban","bans":[{"prefix":"10.104.0.1"}]}'
	echo '{"request":"unban","all":true}'
	echo '{"request":"ban","bans":[{"prefix":"10.104.0.2"}]}'
} > "$dir/steps"
ask < "$dir/steps" > "$dir/answer"
[ "$(jq -c .done "$dir/answer" | tail -n 4 | xargs)" = '4000 1 6001 1' ] || fail "steps: $(tail -n 4 "$dir/answer")"
[ "$(eb --json bans | jq -c 'map(.prefix)')" = '["10.104.0.2/32"]' ] || fail "after steps: $(eb --json bans)"
request '{"request":"unban","all":true}'

# What is no request is answered, and those behind it are.
for line in garbage '[]' '{"request":"flush"}' '{"request":"ban"}' '{"request":"ban","from":1,"bans":[]}' \
	'{"request":"unban","prefixes":{}}'; do
	printf '%s\n{"request":"unban","prefixes":[]}\n' "$line" | ask > "$dir/answer"
	[ "$(jq -s -c 'map(.ok)' "$dir/answer")" = '[false,true]' ] || fail "$line: $(cat "$dir/answer")"
done
head -c 300000 /dev/zero | tr '\0' '[' | ask > "$dir/answer" 2> /dev/null || true
answered '(.ok | not) and (.error | test("longer than"))'

# Who may: root, and the group, as the first of its members' groups or another. A client that is not let in keeps nobody
# out, nor do those that say nothing.
[ "$(stat -c %a "$socket")" = 666 ] || fail "mode with a group: $(stat -c %a "$socket")"
one='{"request":"unban","prefixes":["10.1.0.1"]}'
for groups in "--regid 4242 --clear-groups" "--regid 4243 --groups 1,4242"; do
	# shellcheck disable=SC2086 # words
	ask setpriv --reuid 4240 $groups <<< "$one" | jq -e .ok > /dev/null || fail "$groups is refused"
done
[ -z "$(ask setpriv --reuid 4240 --regid 4243 --groups 1,2 <<< "$one" 2> /dev/null)" ] || fail "another group is let in"
stop_agent
rules nobodys
start_agent
log_has 'control_group names no group of this system' || fail "a group that is not there is not said"
[ "$(stat -c %a "$socket")" = 600 ] || fail "mode without a group: $(stat -c %a "$socket")"
request "$one"
answered .ok
stop_agent
[ ! -e "$socket" ] || fail "the socket is left"
