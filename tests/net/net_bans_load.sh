#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# A long list of bans is loaded and lifted while a source floods: the flood never gets more than its limit meanwhile,
# and all bans are in force afterwards. EB_BANS=1000000 loads a million.
# shellcheck source=../lib/network.sh
. "$(dirname "$0")/../lib/network.sh"

count=${EB_BANS:-100000}
rate=1000
burst=2000
source=10.8.0.1

nth() { echo "11.$(($1 / 65536)).$(($1 / 256 % 256)).$(($1 % 256))"; }
now() { date +%s.%N; }

# What was admitted so far is no more than the limit.
check_flood() {
	local got
	got=$(passed $source)
	within "passed of the flood" 1 "$burst + $rate * ($(now) - $since)" "$got"
}

# under_flood WHAT COMMAND...: says how long it took, and how many frames a second were refused meanwhile.
under_flood() {
	local what=$1 begun refused pid
	shift
	refused=$(rule limited drop.packets)
	begun=$(now)
	"$@" > "$dir/out" 2>&1 9>&- &
	pid=$!
	while kill -0 $pid 2> /dev/null; do
		check_flood
		pause 20
	done
	wait $pid || fail "$what: $(cat "$dir/out")"
	refused=$(($(rule limited drop.packets) - refused))
	check_flood
	[ $refused -gt 0 ] || fail "$what: nothing of the flood was refused"
	say "$what: $(jq -n "[($(now) - $begun) * 10, $refused / ($(now) - $begun)] | map(floor) | \
		\"\(.[0] / 10) s, \(.[1]) frames of the flood refused a second\"" -r)"
}

# The first, the last and one in between are dropped.
check_banned() {
	local index before
	for index in 0 $((count / 2)) $((count - 1)); do
		before=$(frames banned)
		send "$(nth "$index")" -n 10
		equal "banned packets of $(nth "$index")" $((before + 10)) frames banned
		equal "passed of $(nth "$index")" 0 passed "$(nth "$index")"
	done
}

make_network
write_config <<- END
	  - name: limited
	    action: limit
	    packets: { rate: $rate/s, burst: $burst }
	bans: { max: $count }
END
awk -v count="$count" 'BEGIN {
	for (i = 0; i < count; i++)
		printf "11.%d.%d.%d 1h\n", i / 65536, i / 256 % 256, i % 256
}' > "$dir/list"
start_agent
since=$(now)
start_fire $source -r 0
until_true "the flood to be refused" eval '[ "$(rule limited drop.packets)" -gt 0 ]'

under_flood "nothing else" sleep 1
under_flood "$count bans" in_card "$BUILD/edgebucket" -c "$config" ban --from "$dir/list"
status_is ".bans.count == $count" || fail "status: $(eb --json status | jq -c .bans)"
check_banned
under_flood "to lift them" in_card "$BUILD/edgebucket" -c "$config" unban --all
status_is ".bans.count == 0" || fail "status: $(eb --json status | jq -c .bans)"
send "$(nth 0)" -n 10
equal "passed of $(nth 0)" 10 passed "$(nth 0)"
stop_fire
check_flood
