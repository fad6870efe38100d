#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Bans in Redis and in the embedded store: restored after a reboot before the first packet passes, kept by kills and by a
# store that lost them; what ran out or was lifted meanwhile stays out, and what is not to be trusted is refused one by
# one.
# shellcheck source=../lib/persistence.sh
. "$(dirname "$0")/../lib/persistence.sh"

bans_key=$key:bans
ban() { eb ban "$@" > "$dir/out" 2>&1 || fail "ban $*: $(cat "$dir/out")"; }
unban() { eb unban "$@" > "$dir/out" 2>&1 || fail "unban $*: $(cat "$dir/out")"; }
banned() { eb --json bans | jq -r '[.[] | select(.banned) | .prefix] | sort | join(" ")'; }
of_ban() { eb --json bans | jq -r --arg prefix "$1" '.[] | select(.prefix == $prefix) | '"$2"; }
in_store() { redis hkeys "$bans_key" | sort | xargs; }
stored() { [ "$(in_store)" = "$*" ]; }
drops() {
	local before
	before=$(passed "$1")
	send "$1" -n 5
	equal "passed of $1" "$before" passed "$1"
}
spares() {
	local before
	before=$(passed "$1")
	send "$1" -n 5
	equal "passed of $1" "$((before + 5))" passed "$1"
}

embedded=1
start_redis
slow_rules | persist_config
start_agent
ban 10.8.0.1 --for 1h --reason 'a flood'
ban 10.8.1.0/24
ban 10.8.0.2 --for 300ms
ban fd00:7::/64 --for 10min
unban 10.8.1.5
eb flush > /dev/null || fail "flush"
[ "$(redis hget "$bans_key" 10.8.1.0/24)" = 'forever operator' ] || fail "Redis: $(redis hgetall "$bans_key")"
[ "$(redis hget "$bans_key" 10.8.1.5/32)" = 'forever unban' ] || fail "Redis: $(redis hgetall "$bans_key")"
redis hget "$bans_key" 10.8.0.1/32 | grep -qE '^[0-9]{19} operator a flood$' || fail "Redis: $(redis hgetall "$bans_key")"
within "the end" "$(date +%s) + 3500" "$(date +%s) + 3600" "$(redis hget "$bans_key" 10.8.0.1/32 | cut -c 1-10)"

short=$(redis hget "$bans_key" 10.8.0.2/32 | cut -d ' ' -f 1) # none where it was over by then

# A power cut: everything is back before the first packet, and what ran out meanwhile is not.
power_cut
until_true "a short ban to be over" eval '[ "$(date +%s%N)" -gt "${short:-0}" ]'
eb restore --dry-run > "$dir/out" || fail "restore --dry-run"
grep -q '^bans: of [a-z]*, 4 of [45] fields, [01] over by now$' "$dir/out" || fail "restore --dry-run: $(cat "$dir/out")"
eb --json restore --dry-run | jq -e '.bans.restored == 4 and .bans.refused == {}' > /dev/null || fail "restore --dry-run"
start_agent
log_has 'bans restored.* restored=4 ' || fail "the log does not say what was restored"
drops 10.8.0.1
drops 10.8.1.7
spares 10.8.1.5
spares 10.8.0.2
[ "$(of_ban 10.8.0.1/32 '"\(.reason) \(.from) \(.for > 3400 and .for <= 3600)"')" = "a flood operator true" ] ||
	fail "bans: $(eb --json bans)"

# What an agent that is killed had no time to write, or a command without an agent, is written by the next one.
kill_agent
ban 10.8.0.3
unban 10.8.0.1
start_agent
until_true "Redis to hold it" stored 10.8.0.3/32 10.8.1.0/24 10.8.1.5/32 fd00:7::/64

# What is lifted is no loss.
ban 10.8.0.5
until_true "Redis to hold it" stored 10.8.0.3/32 10.8.0.5/32 10.8.1.0/24 10.8.1.5/32 fd00:7::/64
unban 10.8.0.5
until_true "Redis to hold it no more" stored 10.8.0.3/32 10.8.1.0/24 10.8.1.5/32 fd00:7::/64
eb flush > /dev/null || fail "flush"
log_has 'the store had lost bans' && fail "a lifted ban counts as lost"

# A store that loses them gets them again; and so does one that was away, with what was said meanwhile.
redis flushall > /dev/null
until_true "Redis to hold it again" stored 10.8.0.3/32 10.8.1.0/24 10.8.1.5/32 fd00:7::/64
log_has 'the store had lost bans' || fail "the loss is not in the log"
redis hdel "$bans_key" 10.8.0.3/32 > /dev/null
until_true "Redis to hold what was removed" stored 10.8.0.3/32 10.8.1.0/24 10.8.1.5/32 fd00:7::/64
kill_redis
unban 10.8.1.0/24
ban 10.8.0.4
start_redis
until_true "a Redis that was away to hold it" stored 10.8.0.3/32 10.8.0.4/32 fd00:7::/64

# Redis missed what the embedded store has: that one was written later, and no ban that was lifted comes back.
kill_redis
unban 10.8.0.3
eb flush > /dev/null || fail "flush without Redis"
power_cut
sed -i 's/restore_timeout.*//; s/tick: .*/tick: 100ms\n  restore_timeout: 200ms/' "$config"
start_agent
log_has 'bans restored.* store=embedded restored=2 ' || fail "the embedded store was not restored"
spares 10.8.0.3
drops 10.8.0.4
start_redis
until_true "Redis to hold it" stored 10.8.0.4/32 fd00:7::/64

# Redis that answers late still counts; over a restart before it does, too.
power_cut
rm -f "$dir/state/"*
redis config set requirepass later > /dev/null
start_agent
spares 10.8.0.4
stop_agent
start_agent
redis -a later config set requirepass '' > /dev/null
until_true "the late restore" eval '[ "$(banned)" = "10.8.0.4/32 fd00:7::/64" ]'
drops 10.8.0.4

# What is wrong in Redis is refused one by one, and does not stop what is right.
power_cut
rm -f "$dir/state/"*
now=$(date +%s)000000000
redis hset "$bans_key" 10.8.2.1/32 "forever feed what is right" 10.8.2.2/32 "$((now + 3600 * 10**9)) rule" \
	10.8.2.3 "forever operator" nonsense "forever operator" 10.8.2.9/24 "forever operator" 10.8.2.4/33 "forever feed" \
	10.8.2.5/32 "soon operator" 10.8.2.6/32 "" 10.8.2.7/32 "-1 operator" 10.8.2.8/32 "forever" \
	10.8.2.10/32 "forever somebody" 10.8.2.11/32 "9999999999999999999999999 operator" \
	10.8.2.12/32 "9999999999999999999 operator" 10.8.2.13/32 "$((now - 1)) operator" \
	10.8.2.14/32 "forever operator $(printf 'x%.0s' {1..41})" 2001:DB8::/32 "forever operator" \
	"10.8.2.15/32"$'\n' "forever operator" > /dev/null
start_agent
equal "restored" "10.8.0.4/32 10.8.2.1/32 10.8.2.2/32 fd00:7::/64" banned
for reason in prefix=6 time=4 from=2 reason=1; do
	log_has "bans were not restored.* fields=${reason#*=} reason=${reason%=*} " ||
		fail "$reason: $(grep 'not restored' "$log")"
done
log_has 'reason="time too far ahead" example=10.8.2.12/32 ' || fail "the far future: $(grep 'not restored' "$log")"
status_is '.bans.stored.restored == 4 and .bans.stored.refused.prefix == 6' || fail "status: $(eb --json status | jq .bans)"
until_true "Redis to be cleaned" stored 10.8.0.4/32 10.8.2.1/32 10.8.2.2/32 fd00:7::/64

# More than bans.max: as many as that.
stop_agent
lose_maps
rm -f "$dir/state/"*
for i in {0..199}; do echo "hset $bans_key 10.9.0.$i/32 forever\\ operator"; done | sed "s/forever.*/\"forever operator\"/" |
	redis > /dev/null
echo 'bans: { max: 100 }' >> "$config"
start_agent
log_has 'reason="more than bans.max" .*raise bans.max' || fail "too many: $(grep 'not restored' "$log")"
equal "restored" 100 eval 'eb --json bans | jq length'
