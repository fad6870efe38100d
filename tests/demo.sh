#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Shows edgebucket at work, on a private network with real traffic, and checks every number it shows. Leaves nothing
# behind. Exit code 1 when a number is not the expected one.
#
#   far (the sources) --- veth pair, as the card and its cable --- card (the protected node)
# shellcheck source=lib/network.sh
. "$(dirname "$0")/lib/network.sh"

bold='' green='' red='' dim='' plain=''
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ] && [ "${TERM:-dumb}" != dumb ]; then
	bold=$'\e[1m' green=$'\e[32m' red=$'\e[31m' dim=$'\e[2m' plain=$'\e[0m'
fi

step_number=0 failures=0
rows=()

step() {
	step_number=$((step_number + 1))
	printf '\n%s%d. %s%s\n' "$bold" $step_number "$*" "$plain"
}

note() { printf '   %s\n' "$*"; }
indent() { sed 's/^/   /'; }

# run COMMAND...: shows the command and what it prints.
run() {
	printf '   %s$ %s%s\n' "$dim" "$*" "$plain"
	case $1 in
	edgebucket) shift && eb "$@" 2>&1 | indent ;;
	*) in_card "$@" 2>&1 | indent ;;
	esac
}

# ---- the numbers ----

# row SOURCE TRAFFIC RULE OFFERED PASSED DROPPED LOW HIGH: passed by the count behind XDP, dropped by edgebucket's own.
row() {
	local expected=$7 verdict=ok
	[ "$7" = "$8" ] || expected="$7 to $8"
	if [ "$5" -lt "$7" ] || [ "$5" -gt "$8" ] || [ $(($5 + $6)) != "$4" ]; then
		verdict=NOT
		failures=$((failures + 1))
	fi
	rows+=("$1|$2|$3|$4|$5|$6|$expected|$verdict")
	note "$1, $2: $4 sent, $5 passed, $6 dropped"
}

print_rows() {
	local row source traffic rule offered passed dropped expected verdict colour
	printf '   %s%-15s %-12s %-9s %8s %8s %8s  %12s  %s%s\n' "$bold" SOURCE TRAFFIC RULE OFFERED PASSED DROPPED \
		EXPECTED '' "$plain"
	for row in "${rows[@]}"; do
		IFS='|' read -r source traffic rule offered passed dropped expected verdict <<< "$row"
		colour=$green
		[ "$verdict" = ok ] || colour=$red
		printf '   %-15s %-12s %-9s %8d %8d %8d  %12s  %s%s%s\n' "$source" "$traffic" "$rule" "$offered" "$passed" \
			"$dropped" "$expected" "$colour" "$verdict" "$plain"
	done
}

# Counts lag behind the last frame by a moment.
settled() { [ $(($(passed "$1") + $(rule "$2" drop.packets))) = "$3" ]; }

before() {
	passed_before=$(passed "$1")
	dropped_before=$(rule "$2" drop.packets)
}

# udp SOURCE RULE EXPECTED COUNT [OPTION]...: UDP frames, of which as many as expected may pass.
udp() {
	local source=$1 rule=$2 expected=$3 count=$4
	shift 4
	before "$source" "$rule"
	send "$source" -n "$count" "$@"
	until_true "the counts" settled "$source" "$rule" $((passed_before + dropped_before + count))
	row "$source" "UDP" "$rule" "$count" $(($(passed "$source") - passed_before)) \
		$(($(rule "$rule" drop.packets) - dropped_before)) "$expected" "$expected"
}

# udp_over_time SOURCE RULE RATE BURST: empties the bucket, then sends four times its rate for three seconds.
udp_over_time() {
	local source=$1 rule=$2 rate=$3 burst=$4 count began emptied
	before "$source" "$rule"
	send "$source" -n $((burst + 50))
	count=$sent began=$first_low emptied=$last_high
	send "$source" -n $((rate * 12)) -r $((rate * 4)) -t "$rate" -e "$emptied"
	count=$((count + sent))
	until_true "the counts" settled "$source" "$rule" $((passed_before + dropped_before + count))
	row "$source" "UDP for 3 s" "$rule" "$count" $(($(passed "$source") - passed_before)) \
		$(($(rule "$rule" drop.packets) - dropped_before)) \
		$((burst + $(least "$rate" "$burst" "$emptied"))) \
		"$(jq -n "$burst + $rate * ($last_high - $began) | floor")"
}

# pings SOURCE RULE EXPECTED COUNT: an answer shows that the ping has passed.
pings() {
	local source=$1 rule=$2 count=$4 to=10.7.0.1 dropped answers
	case $source in *:*) to=2001:db8:7::1 ;; esac
	dropped=$(rule "$rule" drop.packets)
	in_far ping -q -n -c "$count" -i 0.005 -W 1 -I "$source" $to > "$dir/ping" || true
	answers=$(sed -n 's/.* \([0-9]*\) received.*/\1/p' "$dir/ping")
	row "$source" "ping" "$rule" "$count" "$answers" $(($(rule "$rule" drop.packets) - dropped)) "$3" "$3"
}

# ---- the steps ----

step_network() {
	step "A private network: namespace \"$far\" sends, namespace \"$card\" has the card"
	make_network
	for source in 10.1.0.1 10.2.0.1 10.3.0.1 10.4.0.1; do
		ip -n "$far" address add $source/32 dev far0
	done
	ip -n "$far" address add 2001:db8:3::1/128 dev far0 nodad
	run ip -brief address show dev card0
	note "nftables counts behind XDP what comes through: a second opinion on every number."
}

step_redis() {
	step "A redis-server, on a socket of its own"
	redis-server --port 0 --unixsocket "$dir/redis.sock" --save '' --appendonly no --dir "$dir" \
		> "$dir/redis.log" 2>&1 9>&- &
	until_true "redis-server" redis ping
	note "redis-server listens on redis.sock"
}

redis() { redis-cli -s "$dir/redis.sock" "$@" > "$dir/redis.out" 2>&1; }

# configure SETTINGS: the rules, and how the buckets are kept.
configure() {
	table_size=4096 settings=$1
	write_config <<- END
		  - { name: office, match: { src: [10.1.0.0/16] }, action: allow }
		  - { name: blocked, match: { src: [10.2.0.0/16] }, action: deny }
		  - name: pings
		    match: { src: [10.0.0.0/8], proto: icmp }
		    action: limit
		    packets: { rate: 1/h, burst: 20 }
		  - name: pings6
		    match: { src: ["2001:db8::/32"], proto: icmpv6 }
		    action: limit
		    packets: { rate: 1/h, burst: 20 }
		  - name: video
		    match: { src: [10.4.0.0/16] }
		    action: limit
		    bytes: { rate: 1B/s, burst: 100500B }
		  - name: patient
		    match: { src: [10.5.0.0/16] }
		    action: limit
		    packets: { rate: 1/h, burst: 50 }
		    penalty: { after: 100, within: 10s, ban: 3s, factor: 2, max: 1min }
		  - name: everyone
		    match: { src: [10.0.0.0/8, "2001:db8::/32"] }
		    action: limit
		    packets: { rate: 100/s, burst: 200 }
	END
}

step_config() {
	step "The configuration: who may send how much"
	configure "redis: { socket: $dir/redis.sock, tick: 200ms }"
	sed -n '/^redis:/,$p' "$config" | sed "s|$dir/||" | indent
}

step_start() {
	step "The agent loads the program and attaches it"
	start_agent
	sed 's/^time=[^ ]* //' "$log" | indent
	run edgebucket rules
}

step_traffic() {
	step "Traffic: UDP and pings"
	udp 10.1.0.1 office 1000 1000
	pings 10.1.0.1 office 50 50
	udp 10.2.0.1 blocked 0 1000
	pings 10.2.0.1 blocked 0 20
	udp_over_time 10.3.0.1 everyone 100 200
	pings 10.3.0.1 pings 20 50
	udp 10.4.0.1 video 100 500 -l 1000
	udp_over_time 2001:db8:3::1 everyone 100 200
	pings 2001:db8:3::1 pings6 20 50
}

step_look() {
	step "What edgebucket says about it"
	run edgebucket status
	run edgebucket top
	run edgebucket explain 10.3.0.1 --proto icmp
	run edgebucket explain 10.4.0.1 --length 1000
}

# The one bucket of rule video, as it lies in the map.
step_bpftool() {
	step "A bucket by bpftool, from the pinned map"
	note "bpftool map dump pinned $pin_dir/buckets_v4, the entry of 10.4.0.1 (network byte order: 0x0100040a)"
	bpftool -j map dump pinned "$pin_dir/buckets_v4" | jq -c '.[].formatted.value.way[]? | select(.key.addr == 16778250)' |
		indent
}

# All debts are in Redis: the three sources that were drained by a limit that hardly refills.
mirrored() {
	redis HKEYS 'token_bucket_fallback:{test}' && [ "$(grep -c '^pings|\|^pings6|\|^video|' "$dir/redis.out")" = 3 ]
}

lose_everything() {
	end_agent KILL
	ip -n "$card" link set dev card0 xdp off
	rm -rf "$pin_dir"
	note "agent killed, program off the card, maps gone"
}

step_mirror() {
	step "What Redis holds of it"
	until_true "the mirror" mirrored
	redis HGETALL 'token_bucket_fallback:{test}'
	paste - - < "$dir/redis.out" | sort | indent
}

step_reboot() {
	step "A reboot, as far as edgebucket can tell: everything is lost, and the agent starts again"
	lose_everything
	start_agent
	grep restored= "$log" | sed 's/^time=[^ ]* //' | indent
	pings 10.3.0.1 pings 0 20
	pings 2001:db8:3::1 pings6 0 20
	udp 10.4.0.1 video 0 20 -l 1000
	note "Who had used up its tokens before has none now."
}

kept_out() { echo $(($(rule "$1" drop.packets) + $(frames banned))); }

all_counted() { [ $(($(passed "$1") + $(kept_out "$2"))) = "$3" ]; }

# udp_or_ban SOURCE RULE EXPECTED COUNT: as udp, also with packets that a ban drops.
udp_or_ban() {
	local passed_before out_before
	passed_before=$(passed "$1") out_before=$(kept_out "$2")
	send "$1" -n "$4"
	until_true "the counts" all_counted "$1" "$2" $((passed_before + out_before + $4))
	row "$1" UDP "$2" "$4" $(($(passed "$1") - passed_before)) $(($(kept_out "$2") - out_before)) "$3" "$3"
}

is_free() { eb --json bans | jq -e --arg source "$1/32" 'all(.prefix != $source)' > /dev/null; }

step_bans() {
	step "Bans: by a rule, by hand, and their end"
	udp_or_ban 10.5.0.1 patient 50 500
	run edgebucket bans
	note "10.5.0.1 went on after 100 refusals, and is banned for 3 s; the next time for 6 s."
	run edgebucket ban 10.6.0.1 --for 2s --reason "by hand"
	udp_or_ban 10.6.0.1 everyone 0 50
	until_true "the end of the ban by hand" is_free 10.6.0.1
	udp_or_ban 10.6.0.1 everyone 50 50
	until_true "the end of the rule's ban" is_free 10.5.0.1
	run edgebucket bans
}

step_without_redis() {
	step "The same without Redis, to compare"
	lose_everything
	configure ''
	start_agent
	pings 10.3.0.1 pings 20 50
	pings 2001:db8:3::1 pings6 20 50
	udp 10.4.0.1 video 100 500 -l 1000
	note "Every source has a full bucket again: what a limiter that keeps its state in memory alone does."
}

step_result() {
	step "The result"
	print_rows
	echo
	if [ $failures = 0 ]; then
		printf '   %sEvery number is as expected.%s\n' "$green" "$plain"
	else
		printf '   %s%d of %d are NOT as expected.%s\n' "$red" $failures ${#rows[@]} "$plain"
		exit 1
	fi
}

step_network
step_redis
step_config
step_start
step_traffic
step_look
step_bpftool
step_mirror
step_reboot
step_bans
step_without_redis
step_result
