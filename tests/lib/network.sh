# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# What all scripts share. A script sources it first, or a neighbour that builds on it. It then has two private
# namespaces, "card" with the interface card0 that edgebucket protects and "far" with its other end far0, and
# nothing of them is left behind.
#
#   card0  10.7.0.1/16  2001:db8:7::1/64  02:00:00:00:00:01
#   far0   10.7.0.2/16  2001:db8:7::2/64  02:00:00:00:00:02
#
# What passes is counted by nftables behind XDP, what is offered by sendframes, which answers for every frame having
# arrived. Exit codes: 0 passed, 1 failed, 77 skipped.
set -eu

# shellcheck source=jq.sh
. "$(dirname "${BASH_SOURCE[0]}")/jq.sh"

name=$(basename "$0" .sh)
name=${name#net_}
: "${BUILD:=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)/build}"
card=ebtest-$name-card
far=ebtest-$name-far
pin_dir=/sys/fs/bpf/ebtest-$name
dir= agent_pid= log=
interfaces=card0
settings=
table_size=65536

say() { echo "$name: $*"; }

fail() {
	say "FAILED: $*"
	[ -z "$log" ] || [ ! -f "$log" ] || sed 's/^/    agent: /' "$log" | tail -n 30
	exit 1
}

skip() {
	say "skipped: $*"
	exit 77
}

# Without `ip netns exec`, which would hide the host's bpffs.
in_ns() { local ns=$1; shift; nsenter --net="/var/run/netns/$ns" "$@"; }
in_card() { in_ns "$card" "$@"; }
in_far() { in_ns "$far" "$@"; }

remove_namespaces() {
	local ns
	for ns in /var/run/netns/ebtest-"$name"-*; do
		[ ! -e "$ns" ] || ip netns delete "${ns##*/}"
	done
}

# An agent that is left at the end of a test must end well, too: a sanitizer reports leaks then.
end_well() {
	end_agent TERM
	[ "$agent_status" = 0 ] && return
	status=1
	say "FAILED: the agent ended with $agent_status"
	sed 's/^/    agent: /' "$log" | tail -n 30
}

cleanup() {
	local status=$? pid
	trap - EXIT
	set +e
	[ $status != 0 ] || [ -z "$agent_pid" ] || ! agent_runs || end_well
	for pid in $(jobs -p); do
		{ kill -KILL "$pid" && wait "$pid"; } 2> /dev/null
	done
	# A tracer that was killed leaves its agent behind, which would pin its maps again.
	[ -z "$dir" ] || pkill -KILL -f -- "edgebucketd -c $dir/"
	remove_namespaces
	rm -rf "$pin_dir" "$pin_dir"-*
	[ -z "$dir" ] || rm -rf "$dir"
	exit $status
}

# One run of a test at a time: a second one waits. What a killed run left is removed.
begin() {
	[ "$(id -u)" = 0 ] || skip "needs root"
	exec 9> "/run/lock/ebtest-$name.lock"
	flock 9
	trap cleanup EXIT
	trap 'exit 1' INT TERM HUP
	remove_namespaces
	rm -rf "$pin_dir" "$pin_dir"-*
	dir=$(mktemp -d "/tmp/ebtest-$name.XXXXXX")
	config=$dir/edgebucket.yaml
}

# ---- the network ----

# add_link CARD_IF FAR_IF: a veth pair between the namespaces.
add_link() {
	ip link add "$1" netns "$card" address 02:00:00:00:00:01 type veth peer name "$2" netns "$far" \
		address 02:00:00:00:00:02
	ip -n "$card" link set "$1" addrgenmode none
	ip -n "$far" link set "$2" addrgenmode none
}

up() {
	ip -n "$card" link set "$1" up
	ip -n "$far" link set "$2" up
}

add_addresses() {
	ip -n "$card" address add 10.7.0.1/16 dev card0
	ip -n "$far" address add 10.7.0.2/16 dev far0
	ip -n "$card" address add 2001:db8:7::1/64 dev card0 nodad
	ip -n "$far" address add 2001:db8:7::2/64 dev far0 nodad
	# Answers to any other source that a test uses.
	ip -n "$card" route replace 10.0.0.0/8 dev card0
	ip -n "$card" route replace 2001:db8::/32 dev card0
}

make_network() {
	ip netns add "$card"
	ip netns add "$far"
	in_card sysctl -q -w net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0
	ip -n "$card" link set lo up
	add_link card0 far0
	up card0 far0
	add_addresses
	count_on card0
}

# Counts by source what comes out of XDP on these interfaces; frames to the discard port end here.
count_on() {
	local devices=${*// /, }
	in_card nft -f - <<- END
		table netdev behind_$1 {
			set v4 { type ipv4_addr; size 100000; flags dynamic; counter; }
			set v6 { type ipv6_addr; size 100000; flags dynamic; counter; }
			chain ingress {
				type filter hook ingress devices = { ${devices// /, } } priority 0;
				meta protocol ip update @v4 { ip saddr }
				icmpv6 type { 133-137, 143 } accept
				meta protocol ip6 update @v6 { ip6 saddr }
				udp dport 9 drop
			}
		}
	END
}

# passed SOURCE [TABLE]: packets of a source, or of all sources below a prefix given as its text up to there ("10.9."),
# that came out of XDP.
passed() {
	local set=v4
	case $1 in *:*) set=v6 ;; esac
	in_card nft -j list set netdev "behind_${2:-card0}" "$set" | jq --arg source "$1" '
		[.nftables[].set.elem? // [] | .[].elem | select(.val == $source or
			($source | test("[.:]$")) and (.val | startswith($source))) | .counter.packets] | add // 0'
}

read_sent() { read -r sent first_low first_high last_low last_high left most < "$1"; }

# send SOURCE [OPTION]...: frames to the discard port from far0, see sendframes.c. Sets sent, and the times that
# it tells.
send() {
	local source=$1 to=10.7.0.1
	shift
	case $source in *:*) to=2001:db8:7::1 ;; esac
	in_far "$BUILD/tests/sendframes" -i "${from:-far0}" -s "$source" -d "$to" "$@" > "$dir/sent" ||
		fail "sending from $source"
	read_sent "$dir/sent"
}

# launch_frames FILE OPTION...: sendframes in the background, as $!, which writes into FILE at its end. end_frames PID: ends
# it; a signal that comes before it is ready for one is ignored, and sent again.
launch_frames() {
	local file=$1
	shift
	trap '' TERM
	nsenter --net="/var/run/netns/$far" "$BUILD/tests/sendframes" "$@" > "$file" 9>&- &
	trap 'exit 1' TERM
}

end_frames() {
	local looks=0
	while kill -TERM "$1" 2> /dev/null; do
		pause $((looks += 2))
	done
}

# start_fire SOURCE [OPTION]...: the same as send, in the background, without end. stop_fire: sets sent.
start_fire() {
	local source=$1 to=10.7.0.1
	shift
	case $source in *:*) to=2001:db8:7::1 ;; esac
	launch_frames "$dir/fire" -i far0 -s "$source" -d "$to" -n 0 -r 5000 "$@"
	fire_pid=$!
}

stop_fire() {
	end_frames "$fire_pid"
	wait "$fire_pid" || fail "the frames under fire did not all arrive"
	read_sent "$dir/fire"
}

# ---- the agent ----

# write_config: rules from stdin, as items of `rules:`; the rest from $interfaces and $settings.
write_config() {
	{
		printf '%s\n' "node: test" "interfaces: [$interfaces]" "pin_dir: $pin_dir" "run_dir: $dir/run" \
			'state_dir: ""' "metrics: off" "table_size: $table_size" "$settings" "rules:"
		cat
	} > "$config"
}

# limit_to BURST: one rule, "limited": each source in 10.8.0.0/16 can send BURST packets, and one an hour after that.
limit_to() {
	write_config <<- END
		  - name: limited
		    match: { src: [10.8.0.0/16] }
		    action: limit
		    packets: { rate: 1/h, burst: $1 }
	END
}

# Starts the agent, without waiting. No function in the background: $! would be a shell's.
launch_agent() {
	log=$dir/agent.log
	: > "$log"
	nsenter --net="/var/run/netns/$card" "$BUILD/edgebucketd" -c "$config" "$@" 2> "$log" 9>&- &
	agent_pid=$!
}

# Starts it, and waits until it enforces its rules on all its interfaces.
start_agent() {
	local interface
	launch_agent "$@"
	for interface in ${interfaces//,/ }; do
		wait_log "msg=attached interface=$interface "
	done
}

# end_agent SIGNAL: waits for its end too. Sets agent_status.
end_agent() {
	kill "-$1" "$agent_pid"
	agent_status=0
	{ wait "$agent_pid" || agent_status=$?; } 2> /dev/null
	agent_pid=
}

stop_agent() {
	end_agent TERM
	[ $agent_status = 0 ] || fail "the agent ended with $agent_status"
}

kill_agent() { end_agent KILL; }

agent_runs() { kill -0 "$agent_pid" 2> /dev/null; }

eb() { in_card "$BUILD/edgebucket" -c "$config" "$@"; }

# The program on an interface: its id, or nothing.
prog_on() { ip -n "$card" -j -d link show dev "$1" | jq -r '.[0].xdp.prog.id // empty'; }

# Whether card0 has libxdp's dispatcher, as where the kernel lets programs be chained.
is_chained() { [[ $(bpftool prog show id "$(prog_on card0)") = *xdp_dispatcher* ]]; }

# ---- asking and comparing ----

# rule NAME FIELD: of `edgebucket rules`, as "drop.packets" of the counters.
rule() { eb --json rules | jq --arg rule "$1" ".[] | select(.name == \$rule) | .counters.$2"; }

# bucket SOURCE JQ: of `edgebucket buckets`; nothing without such a bucket.
bucket() { eb --json buckets | jq --arg source "$1" ".[] | select(.source == \$source) | $2"; }

is_empty() { [ "$(bucket "$1" .packets.tokens)" = 0 ]; }

status_is() { eb --json status | jq -e "$1" > /dev/null; }

frames() { eb --json status | jq ".frames.$1.packets"; }

# pause N: N hundredths of a second, a fifth of one at most. Waits grow, as what looks often takes its CPU from the agent.
pause() {
	local hundredths=$(($1 < 20 ? $1 : 20))
	sleep "0.$((hundredths / 10))$((hundredths % 10))"
}

# until_true WHAT COMMAND...: waits for a condition. The bound ends a test that hangs: on a busy machine, loading a long
# list or many programs takes half a minute.
until_true() {
	local what=$1 end=$((SECONDS + 120)) looks=0
	shift
	until "$@"; do
		[ $SECONDS -lt $end ] || fail "waited in vain for $what"
		pause $((looks += 2))
	done
}

log_has() { grep -q -- "$1" "$log"; }

# Waits for a line of the agent's log; fails at once when the agent ends before.
wait_log() {
	log_has_or_ended() { log_has "$1" || ! agent_runs; }
	until_true "the agent to say \"$1\"" log_has_or_ended "$1"
	log_has "$1" || fail "the agent ended without saying \"$1\""
}

# equal WHAT WANT COMMAND...: its output must become this. Counts of packets lag by a moment, hence the wait.
equal() {
	local what=$1 want=$2 got end=$((SECONDS + 60)) looks=0
	shift 2
	until got=$("$@") && [ "$got" = "$want" ]; do
		[ $SECONDS -lt $end ] || fail "$what: ${got:-nothing}, expected $want"
		pause $((looks += 2))
	done
}

# least RATE BURST SINCE: tokens that the last send, with -t RATE -e SINCE, must have used up, of a bucket that was empty
# or better at the time SINCE. The tokens of the last five ticks of the timer, of 10 ms at most, might not have been
# given out yet. None where this machine stood still so long that the bucket may have been full.
least() { jq -n "if $most < $2 then [0, $1 * ($last_low - $3 - 0.05) - $left - 1 | ceil] | max else 0 end"; }

# within WHAT LOW HIGH NUMBER: the bounds may be expressions.
within() {
	jq -en "($2) <= $4 and $4 <= ($3)" > /dev/null || fail "$1: $4, expected $2 to $3"
}

# refused_by BUCKET NUMBER: by its own count, which is exact up to 1024. Beyond, six times its standard deviation.
refused_by() {
	local slack="48 * ([0, $2 - 1024] | max | sqrt)"
	within "refused by the bucket of $1" "$2 - $slack" "$2 + $slack" "$(bucket "$1" .dropped)"
}

# counted RULE SOURCE PASSED DROPPED [BUCKET]: nftables and edgebucket agree on what became of a source's frames, whose
# bucket is shown as SOURCE/32 or SOURCE/64 or as BUCKET.
counted() {
	local length=/32
	case $2 in *:*) length=/64 ;; esac
	refused_by "${5:-$2$length}" "$4"
	equal "rule $1, source $2, passed" "$3" passed "$2"
}

begin
