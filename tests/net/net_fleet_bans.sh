#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Bans that a fleet shares: what one node bans or lifts is banned or lifted on all within two ticks, also what a rule
# bans, and costs what it is; a node that was away catches up, and what it banned before and others lifted stays lifted;
# whoever writes nonsense to the keys is refused, one by one; and the keys last no longer than bans and nodes.
# shellcheck source=../lib/fleet.sh
. "$(dirname "$0")/../lib/fleet.sh"

shared='token_bucket_fallback:fleet:{edge}:bans'
journal=$shared:journal
rules() {
	cat <<- END
		  - name: all
		    match: { src: [10.8.0.0/16] }
		    action: limit
		    packets: { rate: 1/h, burst: 10 }
		    penalty: { after: 20, within: 1h, ban: 1h }
	END
}
banned() { eb --json bans | jq -r '[.[] | select(.banned) | .prefix] | sort | join(" ")'; }
of_ban() { eb --json bans | jq -r --arg prefix "$1" '.[] | select(.prefix == $prefix) | '"$2"; }
# send_to NODE SOURCE COUNT
send_to() { nsenter --net="/var/run/netns/$far" "$BUILD/tests/sendframes" -i "far$1" -s "$2" -d 10.7.0.1 -n "$3" > /dev/null; }
at() {
	use_node "$1"
	shift
	"$@"
}
is_banned() { [ "$(banned)" = "$1" ]; }
on_all() { on_each_node until_true "node $node to ban \"$1\", not \"$(banned)\"" is_banned "$1"; }

shared_status() { eb --json status | jq ".bans.fleet.$1"; }

# within_two_ticks NODE OTHER COMMAND...: what COMMAND changes on NODE is told in the round that begins next, and in
# force on OTHER in the round that begins next there. Rounds are counted, so that it does not matter how long they take.
within_two_ticks() {
	local from=$1 to=$2
	shift 2
	use_node "$to"
	heard=$(shared_status heard)
	use_node "$from"
	told=$(shared_status told)
	eb "$@" > /dev/null || fail "$*"
	in_next_round told "$told"
	use_node "$to"
	in_next_round heard "$heard"
}
in_next_round() {
	local round
	round=$(shared_status rounds)
	until_true "node $node to have $1" eval '[ "$(shared_status '"$1"')" -gt '"$2"' ]'
	[ "$(shared_status "$1")" -le $((round + 1)) ] || fail "$1 in round $(shared_status "$1"), after round $round"
}

# lasts KEY LEAST MOST: in seconds.
lasts() { within "the time that $1 lasts" "$2" "$3" "$(redis ttl "$1")"; }

make_fleet 2
rules | fleet_config
on_each_node eval 'echo "bans: { share: fleet, max: 1000 }" >> "$config"'
start_fleet

at 1 eb ban 10.8.1.0/24 --for 1h --reason 'a flood' > /dev/null || fail "ban"
on_all 10.8.1.0/24
[ "$(at 2 of_ban 10.8.1.0/24 '"\(.from) \(.reason) \(.for > 3500 and .for <= 3600)"')" = "fleet a flood true" ] ||
	fail "bans: $(at 2 eb --json bans)"
[ "$(at 1 of_ban 10.8.1.0/24 .from)" = operator ] || fail "the node's own: $(at 1 eb --json bans)"
send_to 2 10.8.1.7 5
equal "passed" 0 eval 'at 2 passed 10.8.1.7'

# The keys last for an hour longer than the longest ban, and for an unban's day.
for key in "$shared" "$journal"; do lasts "$key" 7100 7200; done

# What is lifted on the other node, or within.
at 2 eb unban 10.8.1.9 > /dev/null || fail "unban within"
until_true "node 1 to spare it" eval '[ "$(at 1 of_ban 10.8.1.9/32 .banned)" = false ]'
at 2 eb unban 10.8.1.0/24 > /dev/null || fail "unban"
on_all ""
at 1 eb ban 10.8.1.0/24 > /dev/null || fail "ban again"
on_all 10.8.1.0/24
at 1 eb unban 10.8.1.0/24 > /dev/null || fail "unban"
on_all ""
for key in "$shared" "$journal"; do lasts "$key" "30 * 86400 - 60" "30 * 86400"; done

# A change costs what it is: without another reading of all.
whole=$(at 1 shared_status read_whole)/$(at 2 shared_status read_whole)
seq -f '10.10.%.0f.0/24' 0 199 | at 1 eb ban --from - > /dev/null || fail "a list"
until_true "node 2 to have all" eval '[ "$(at 2 banned | wc -w)" = 200 ]'
at 2 eb unban 10.10.0.0/16 > /dev/null || fail "unban"
on_all ""
equal "readings of all" "$whole" eval 'echo "$(at 1 shared_status read_whole)/$(at 2 shared_status read_whole)"'

# What a rule bans.
send_to 1 10.8.0.1 31
on_all 10.8.0.1/32
[ "$(at 2 of_ban 10.8.0.1/32 '"\(.from) \(.reason)"')" = "fleet all" ] || fail "bans: $(at 2 eb --json bans)"

# A node that was away: what it had banned and the other one lifted stays lifted, and it has what came meanwhile.
at 2 eb ban 10.8.3.1 > /dev/null || fail "ban"
on_all "10.8.0.1/32 10.8.3.1/32"
at 2 stop_node
at 1 eb unban 10.8.3.1 > /dev/null || fail "unban"
at 1 eb ban 10.8.3.2 > /dev/null || fail "ban"
until_true "the unban to be told" eval '[[ $(redis hget "$shared" 10.8.3.1/32) = *" unban "* ]]'
at 2 start_node
on_all "10.8.0.1/32 10.8.3.2/32"

# A Redis that lost all: what nodes banned themselves is told again.
redis flushall > /dev/null
until_true "the key to be there again" eval '[ "$(redis hexists "$shared" 10.8.3.2/32)" = 1 ]'
on_all "10.8.0.1/32 10.8.3.2/32"

# A key that a node still needs is renewed; one whose journal was trimmed is read whole.
redis pexpire "$shared" 60000 > /dev/null
until_true "the key to be renewed" eval '[ "$(redis ttl "$shared")" -gt 86400 ]'
now=$(date +%s)000000000
redis hset "$shared" 10.8.3.3/32 "forever operator $now" 10.8.3.4/32 "forever operator $now" > /dev/null
redis xadd "$journal" maxlen 1 '*' 10.8.3.4/32 "forever operator $now" > /dev/null
on_all "10.8.0.1/32 10.8.3.2/32 10.8.3.3/32 10.8.3.4/32"
at 1 eb unban --from - > /dev/null <<< $'10.8.3.3\n10.8.3.4' || fail "unban"
on_all "10.8.0.1/32 10.8.3.2/32"

# What is over goes as others come.
redis hset "$shared" 10.8.5.1/32 "$((now - 7200 * 10**9)) operator $((now - 9000 * 10**9))" > /dev/null
clean() {
	at 1 eb ban 10.8.5.2 > /dev/null
	at 1 eb unban 10.8.5.2 > /dev/null
	[ "$(redis hexists "$shared" 10.8.5.1/32)" = 0 ]
}
until_true "what is over to be removed" clean
on_all "10.8.0.1/32 10.8.3.2/32"

# Nonsense, in the journal and in the hash.
nonsense=(0.0.0.0/0 "forever operator $now" 64.0.0.0/7 "forever operator $now" \
	::/0 "forever operator $now" 2000::/15 "forever operator $now" nonsense x 10.8.4.1 "forever operator $now" \
	10.8.4.2/32 "soon operator $now" 10.8.4.3/32 "9999999999999999999 operator $now" \
	10.8.4.4/32 "forever nobody $now" 10.8.4.5/32 "forever operator" \
	10.8.4.6/32 "forever operator $((now + 3600 * 10**9))" 10.8.4.7/32 "$((now - 1)) operator $((now - 10))" \
	10.8.4.8/32 "forever operator $now $(printf 'x%.0s' {1..41})" 10.8.4.9/32 "forever operator $now right")
redis xadd "$journal" '*' "${nonsense[@]}" > /dev/null
on_all "10.8.0.1/32 10.8.3.2/32 10.8.4.9/32"
refusals='.bans.fleet.refused == { "prefix": 2, "time": 1, "from": 1, "since": 2, "reason": 1, "too wide": 4,
	"time too far ahead": 1 }'
on_each_node until_true "node $node to refuse it" status_is "$refusals"
on_each_node eval 'log_has "bans of the fleet were refused.* reason=\"too wide\" " || fail "the log of node $node"'
redis hset "$shared" "${nonsense[@]}" 10.8.4.10 x "$(printf 'x%.0s' {1..1000})" x > /dev/null
redis del "$journal" > /dev/null
on_each_node until_true "node $node to refuse it in the hash" status_is "${refusals/2,/4,}"

# More than bans.max.
for i in {0..4}; do for j in {0..249}; do echo "hset $shared 10.9.$i.$j/32 \"forever operator $now\""; done; done |
	redis > /dev/null
redis xadd "$journal" '*' 10.9.0.0/32 "forever operator $now" > /dev/null
on_each_node until_true "node $node to have as many as it may" status_is '.bans.count == 1000'
on_each_node until_true "node $node to refuse the others" status_is '.bans.fleet.refused["more than bans.max"] > 200'

# In two ticks, which are long enough to be counted.
redis flushall > /dev/null
slow_down() {
	sed -i 's/tick: 100ms, lost_after: 2s/tick: 1s, lost_after: 5s/' "$config"
	eb reload > /dev/null || fail "reload"
}
on_each_node slow_down
at 1 eb unban --all > /dev/null || fail "unban"
on_all ""
for i in 1 2; do
	within_two_ticks 1 2 ban 10.8.2.0/24
	is_banned 10.8.2.0/24 || fail "not in force on node $node: $(banned)"
	within_two_ticks 2 1 unban 10.8.2.0/24
	is_banned "" || fail "in force on node $node: $(banned)"
done
on_each_node stop_node
