#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# The penalty of a rule with real packets: the source that goes on is banned by the card, without an agent too, longer
# each time, and released; with mode: monitor it is only counted; with refresh it is banned as long as it goes on.
# shellcheck source=../lib/network.sh
. "$(dirname "$0")/../lib/network.sh"

# rules MODE PENALTY
rules() {
	write_config <<- END
		  - name: ssh
		    match: { src: [10.9.0.0/16] }
		    action: allow
		  - name: all
		    match: { src: [10.8.0.0/16, 10.9.0.0/16, "fd00::/16"] }
		    action: limit
		    mode: $1
		    packets: { rate: 1/h, burst: 10 }
		    penalty: $2
	END
}
of_ban() { eb --json bans | jq -r --arg prefix "$1" '.[] | select(.prefix == $prefix) | '"$2"; }
is_banned() { [ -n "$(of_ban "$1" .prefix)" ]; }
is_free() { ! is_banned "$1"; }
penalties() { eb --json rules | jq '.[] | select(.name == "all") | .penalties'; }

make_network
rules enforce '{ after: 50, within: 1h, ban: 1h, factor: 2, max: 4h }'
start_agent
eb --json rules | jq -e '.[1].penalty == { after: 50, within_seconds: 3600, ban_seconds: 3600, factor: 2,
	max_seconds: 14400, refresh: false }' > /dev/null || fail "rules: $(eb --json rules | jq -c '.[1].penalty')"

# To the packet: ten pass, fifty are refused, and the next one bans.
send 10.8.0.1 -n 60
is_free 10.8.0.1/32 || fail "banned after 50 refusals"
send 10.8.0.1 -n 1
is_banned 10.8.0.1/32 || fail "not banned after 51 refusals"
[ "$(of_ban 10.8.0.1/32 '"\(.from) \(.reason) \(.for > 3500 and .for <= 3600)"')" = "rule all true" ] ||
	fail "bans: $(eb --json bans)"
eb explain 10.8.0.1 | grep -q '10.8.0.1/32 is banned for another' || fail "explain: $(eb explain 10.8.0.1)"
eb explain 10.8.0.2 | grep -q 'Penalty: .*more than 50 refusals within 1h: banned for 1h, then 2 times as long, up to 4h' ||
	fail "explain: $(eb explain 10.8.0.2)"
send 10.8.0.1 -n 7
equal "refused by the ban" 7 of_ban 10.8.0.1/32 .refused
equal "refused by the rule" 51 eval 'eb --json buckets 10.8.0.1 | jq ".[0].dropped"'
until_true "the agent to count it" status_is '.bans.from.rule == 1'
equal "penalties" 1 penalties
send fd00::1 -n 61
is_banned fd00::/64 || fail "IPv6 is not banned"
# Whom a rule allows is never refused.
send 10.9.0.1 -n 200
is_free 10.9.0.1/32 || fail "whom a rule allows is banned"

# Lifted, it begins anew.
eb unban 10.8.0.1 > /dev/null || fail "unban"
send 10.8.0.1 -n 50
is_free 10.8.0.1/32 || fail "banned after 50 refusals more"
send 10.8.0.1 -n 1
is_banned 10.8.0.1/32 || fail "not banned again"

# Without an agent; the next one counts it.
kill_agent
send 10.8.0.3 -n 61
is_banned 10.8.0.3/32 || fail "not banned without an agent"
before=$(passed 10.8.0.3)
send 10.8.0.3 -n 5
equal "passed while banned" "$before" passed 10.8.0.3
start_agent
until_true "the next agent to count it" status_is '.bans.from.rule == 3'
eb unban --all > /dev/null || fail "unban --all"

# On time, and longer the next time.
rules enforce '{ after: 5, within: 1h, ban: 1s, factor: 3600, max: 1h }'
eb reload > "$dir/out" 2>&1 && fail "a factor of 3600 was accepted"
grep -q 'factor: .*from 1 to 100' "$dir/out" || grep -q '1 to 100' "$dir/out" || fail "no reason: $(cat "$dir/out")"
rules enforce '{ after: 5, within: 1h, ban: 1s, factor: 100, max: 1h }'
eb reload > /dev/null || fail "reload"
send 10.8.0.4 -n 16
is_banned 10.8.0.4/32 || fail "not banned"
until_true "the ban to end" is_free 10.8.0.4/32
send 10.8.0.4 -n 6
within "the next ban" 90 100 "$(of_ban 10.8.0.4/32 .for)"

# As long as it goes on.
rules enforce '{ after: 5, within: 1h, ban: 2s, factor: 1, refresh: true }'
eb reload > /dev/null || fail "reload"
send 10.8.0.5 -n 16
first=$(of_ban 10.8.0.5/32 .until)
goes_on() { send 10.8.0.5 -n 1 && jq -en "$(of_ban 10.8.0.5/32 .until) > $first + 1" > /dev/null; }
until_true "the ban to last as long as it goes on" goes_on
until_true "the ban to end" is_free 10.8.0.5/32

# What would be.
rules monitor '{ after: 50, within: 1h, ban: 1h }'
eb reload > /dev/null || fail "reload"
eb unban --all > /dev/null || fail "unban --all"
before=$(penalties)
send 10.8.0.6 -n 300
equal "passed" 300 passed 10.8.0.6
equal "what would be banned" "$((before + 1))" penalties
equal "bans" 0 eval 'eb --json bans | jq length'

# What is no penalty.
while IFS='|' read -r penalty reason; do
	rules enforce "$penalty"
	eb check "$config" > "$dir/out" 2>&1 && fail "accepted: $penalty"
	grep -q "penalty.*$reason" "$dir/out" || fail "$penalty: $(cat "$dir/out")"
done <<- END
	{ after: 0, within: 10s, ban: 1min }|after.*from 1 to 60000
	{ after: 100k, within: 10s, ban: 1min }|after.*from 1 to 60000
	{ after: 10, within: 10ms, ban: 1min }|within.*from 1s to 24h
	{ after: 10, within: 10s, ban: 1min, max: 30s }|max.*less than ban
	{ after: 10, within: 10s }|ban
	{ after: 10, within: 10s, ban: 1y }|ban
	{ after: 10, within: 10s, ban: 1min, per: 3 }|per
END
