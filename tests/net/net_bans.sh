#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# edgebucket ban, unban and bans: sources and lists of them, through the agent and without one; over reloads, kills and
# a change of the table's size; and whom an allow rule lets pass all the same.
# shellcheck source=../lib/network.sh
. "$(dirname "$0")/../lib/network.sh"

rules() {
	write_config <<- END
		  - name: own
		    match: { src: [10.7.0.0/16, 10.9.0.2] }
		    action: allow
		  - name: ssh
		    match: { src: [10.9.0.0/16], proto: tcp, dport: 22 }
		    action: allow
		  - name: all
		    action: limit
		    packets: { rate: 1M/s, burst: 1M }
		bans: { max: 1000 }
	END
}

# ban ARGUMENTS…: prints what it says, on both streams.
ban() { eb ban "$@" > "$dir/out" 2>&1; }
said() { grep -q -- "$1" "$dir/out" || fail "not said \"$1\": $(cat "$dir/out")"; }

# drops SOURCE, spares SOURCE: what becomes of ten of its packets at the interface.
drops() {
	local before
	before=$(passed "$1")
	send "$1" -n 10
	equal "passed of $1" "$before" passed "$1"
}
spares() {
	local before
	before=$(passed "$1")
	send "$1" -n 10
	equal "passed of $1" "$((before + 10))" passed "$1"
}
of_ban() { eb --json bans | jq -r --arg prefix "$1" '.[] | select(.prefix == $prefix) | '"$2"; }
count_bans() { eb --json bans | jq length; }
is_over() { [ -z "$(of_ban "$1" .prefix)" ]; }

make_network
rules
start_agent
eb bans | grep -q '^no prefix is banned$' || fail "bans without bans: $(eb bans)"
spares 10.8.0.1
ban 10.8.0.1 --for 10min --reason 'a flood' || fail "ban: $(cat "$dir/out")"
said '^1 prefix banned$'
drops 10.8.0.1
spares 10.8.0.2
ban 10.8.1.0/24 || fail "ban of a prefix: $(cat "$dir/out")"
drops 10.8.1.77
equal "refused" 10 of_ban 10.8.0.1/32 .refused
[ "$(of_ban 10.8.0.1/32 \
	'"\(.reason) \(.from) \(.for > 500 and .for <= 600) \(.banned)"')" = "a flood operator true true" ] ||
	fail "bans --json: $(eb --json bans)"
[ "$(of_ban 10.8.1.0/24 '"\(.until) \(.for)"')" = "null null" ] || fail "for good: $(eb --json bans)"
eb bans 10.8.0.0/24 | grep -q '^10.8.0.1/32 .* operator  *a flood' || fail "bans: $(eb bans)"
equal "banned packets" 20 frames banned
status_is '.bans | del(.stored, .fleet) == { count: 2, max: 1000, from: { operator: 2, rule: 0, feed: 0, fleet: 0 } }' ||
	fail "status: $(eb --json status | jq -c .bans)"
eb explain 10.8.1.3 | grep -q 'Why: .*10.8.1.0/24 is banned for good' || fail "explain: $(eb explain 10.8.1.3)"
eb --json explain 10.8.1.3 | jq -e '.verdict == "drop" and (.passes | not) and .banned == "10.8.1.0/24"' > /dev/null ||
	fail "explain --json: $(eb --json explain 10.8.1.3)"

# On time, without anybody.
ban 10.8.0.3 --for 200ms || fail "a short ban: $(cat "$dir/out")"
until_true "a short ban to be over" is_over 10.8.0.3/32
spares 10.8.0.3

# Whom a rule allows.
ban 10.7.0.1 || fail "ban: $(cat "$dir/out")"
said '10.7.0.1/32: rule "own" allows it, and whom a rule allows is not banned'
spares 10.7.0.1
eb explain 10.7.0.1 | grep -q 'rule own allows it, although it is banned' || fail "explain: $(eb explain 10.7.0.1)"
ban 10.9.0.1 || fail "ban: $(cat "$dir/out")"
said '10.9.0.1/32: what rule "ssh" allows of it still passes'
drops 10.9.0.1

# Within a wider one.
eb unban 10.8.1.5 > "$dir/out" 2>&1 || fail "unban: $(cat "$dir/out")"
spares 10.8.1.5
drops 10.8.1.6
[ "$(of_ban 10.8.1.5/32 .banned)" = false ] || fail "a hole: $(eb --json bans)"
eb unban 10.8.0.0/16 > "$dir/out" 2>&1 || fail "unban: $(cat "$dir/out")"
spares 10.8.0.1
spares 10.8.1.6
eb unban 10.8.0.0/16 | grep -q '^nothing to lift' || fail "unban of nothing"

# Lists, with what is wrong in them.
printf '%s\n' '# comment' '' '10.8.3.1 10min too many requests' '10.8.3.400 1h' '10.8.3.2 soon' '10.8.3.3' > "$dir/list"
ban --from "$dir/list" --for 1h --reason listed && fail "a list with errors: $(cat "$dir/out")"
said "$dir/list:4: \"10.8.3.400\""
said "$dir/list:5: \"soon\" is not a duration"
said '^2 prefixes banned$'
[ "$(of_ban 10.8.3.1/32 .reason)" = 'too many requests' ] || fail "reason: $(eb --json bans)"
[ "$(of_ban 10.8.3.3/32 '"\(.reason) \(.for > 3500)"')" = 'listed true' ] || fail "reason: $(eb --json bans)"
drops 10.8.3.3
printf '10.8.3.1\n10.8.3.3\n' | eb unban --from - > "$dir/out" 2>&1 || fail "unban --from: $(cat "$dir/out")"
spares 10.8.3.3
seq -f '10.8.%.0f.0/24' 0 199 | sed 's/$/ 1h/' | ban --from - || fail "a list: $(cat "$dir/out")"
drops 10.8.77.1
for i in {0..899}; do echo "10.11.$((i / 200)).$((i % 200))"; done | ban --from - && fail "more than bans.max"
said 'standard input:[0-9]*: is one too many: there are 1000 bans, and bans.max is 1000'
eb unban --all > "$dir/out" || fail "unban --all: $(cat "$dir/out")"
equal "bans" 0 count_bans

# What is no ban.
for arguments in '' '10.8.0.1 --from x' '10.8.0.1 --for 0s' '10.8.0.1 --for now' 'oops'; do
	# shellcheck disable=SC2086 # words
	ban $arguments && status=0 || status=$?
	[ "$status" = 2 ] || fail "ban $arguments: $(cat "$dir/out")"
done

# Over a reload, a kill, an agent that is not there and one with another size of the table.
ban 10.8.0.1 --for 1h --reason kept || fail "ban: $(cat "$dir/out")"
ban fd00:7::/64 || fail "ban: $(cat "$dir/out")"
eb reload > /dev/null || fail "reload"
drops 10.8.0.1
kill_agent
drops 10.8.0.1
ban 10.8.0.9 || fail "ban without an agent: $(cat "$dir/out")"
said 'no agent is running'
drops 10.8.0.9
sed -i 's/^table_size: .*/table_size: 8192/' "$config"
grep -q '^table_size: 8192' "$config" || echo 'table_size: 8192' >> "$config"
start_agent
for source in 10.8.0.1 10.8.0.9; do drops $source; done
equal "bans" 3 count_bans
[ "$(of_ban 10.8.0.1/32 .reason)" = kept ] || fail "reason: $(eb --json bans)"
stop_agent
start_agent
log_has 'adopted the pinned maps' || fail "the maps were not adopted"
drops 10.8.0.1
eb unban 10.8.0.1 > /dev/null || fail "unban"
spares 10.8.0.1

# Where all is only watched, nobody is dropped.
stop_agent
start_agent --monitor
before=$(frames would_ban)
spares 10.8.0.9
equal "would be banned" "$((before + 10))" frames would_ban
