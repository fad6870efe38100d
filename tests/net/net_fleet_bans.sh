#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Bans that a fleet shares: what one node bans or lifts is banned or lifted on all, also what a rule bans; a node that
# was away catches up, and what it banned before and others lifted stays lifted; and whoever writes nonsense to the key
# is refused, one by one.
# shellcheck source=../lib/fleet.sh
. "$(dirname "$0")/../lib/fleet.sh"

shared='token_bucket_fallback:fleet:{edge}:bans'
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

# What is lifted on the other node, or within.
at 2 eb unban 10.8.1.9 > /dev/null || fail "unban within"
until_true "node 1 to spare it" eval '[ "$(at 1 of_ban 10.8.1.9/32 .banned)" = false ]'
at 2 eb unban 10.8.1.0/24 > /dev/null || fail "unban"
on_all ""
at 1 eb ban 10.8.1.0/24 > /dev/null || fail "ban again"
on_all 10.8.1.0/24
at 1 eb unban 10.8.1.0/24 > /dev/null || fail "unban"
on_all ""

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

# Nonsense, and a mark so that it is read.
now=$(date +%s)000000000
before=$(redis hget "$shared:meta" saved_at)
redis hset "$shared" 0.0.0.0/0 "forever operator $now" 64.0.0.0/7 "forever operator $now" \
	::/0 "forever operator $now" 2000::/15 "forever operator $now" nonsense x 10.8.4.1 "forever operator $now" \
	10.8.4.2/32 "soon operator $now" 10.8.4.3/32 "9999999999999999999 operator $now" \
	10.8.4.4/32 "forever nobody $now" 10.8.4.5/32 "forever operator" \
	10.8.4.6/32 "forever operator $((now + 3600 * 10**9))" 10.8.4.7/32 "$((now - 1)) operator $((now - 10))" \
	10.8.4.8/32 "forever operator $now $(printf 'x%.0s' {1..41})" 10.8.4.9/32 "forever operator $now right" > /dev/null
redis hset "$shared:meta" saved_at $((before + 1)) > /dev/null
on_all "10.8.0.1/32 10.8.3.2/32 10.8.4.9/32"
refusals='.bans.fleet.refused == { "prefix": 2, "time": 1, "from": 1, "since": 2, "reason": 1, "too wide": 4,
	"time too far ahead": 1 }'
on_each_node until_true "node $node to refuse it" status_is "$refusals"
on_each_node eval 'log_has "bans of the fleet were refused.* reason=\"too wide\" " || fail "the log of node $node"'

# More than bans.max.
for i in {0..4}; do for j in {0..249}; do echo "hset $shared 10.9.$i.$j/32 \"forever operator $now\""; done; done |
	redis > /dev/null
redis hset "$shared:meta" saved_at $((before + 2)) > /dev/null
on_each_node until_true "node $node to have as many as it may" status_is '.bans.count == 1000'
on_each_node until_true "node $node to refuse the others" status_is '.bans.fleet.refused["more than bans.max"] > 200'
on_each_node stop_node
