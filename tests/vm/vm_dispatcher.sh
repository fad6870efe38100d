#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Beside programs of other owners, behind libxdp's dispatcher: attached in both orders, each survives the other's coming
# and going, edgebucket is replaced, and never does a frame of a drained source get past it.
# shellcheck source=../lib/network.sh
. "$(dirname "$0")/../lib/network.sh"

other_pins=$pin_dir-other
object=$BUILD/tests/other.bpf.o

load_other() { in_card xdp-loader load card0 "$object" -n "$1" -p "$other_pins" "${@:2}" > "$dir/loader" 2>&1 ||
	fail "xdp-loader: $(cat "$dir/loader")"; }

unload_other() { in_card xdp-loader unload card0 -i "$(program_id "$1")" > "$dir/loader" 2>&1 ||
	fail "xdp-loader: $(cat "$dir/loader")"; }

program_id() { in_card xdp-loader status card0 | awk -v name="$1" '$1 == "=>" && $3 == name { print $4 }'; }

# The programs on card0, in the order in which they run.
chain() { in_card xdp-loader status card0 | awk '$1 == "=>" { printf "%s%s", sep, $3; sep = " " }'; }

seen() { bpftool -j map dump pinned "$other_pins/seen" | jq ".[] | .formatted | select(.key == $1) | .value"; }
seen_early() { seen 0; }
seen_late() { seen 1; }

# limited SOURCE: exactly its burst gets past edgebucket, and the others see what is theirs to see.
limited() {
	local early late
	early=$(seen_early) late=$(seen_late)
	send "$1" -n 40
	counted limited "$1" 30 10
	case " $(chain) " in *' early '*) equal "frames that early saw" $((early + 40)) seen_early ;; esac
	case " $(chain) " in *' late '*) equal "frames that late saw" $((late + 30)) seen_late ;; esac
}

# free SOURCE: all pass.
free() {
	send "$1" -n 40
	equal "passed without edgebucket" 40 passed "$1"
}

descriptors() { find "/proc/$agent_pid/fd" -mindepth 1 -printf x | wc -c; }

is_behind_dispatcher() { status_is '.interfaces[0] | .attached and .dispatcher'; }

make_network
settings='on_exit: keep'
write_config <<- END
	  - name: limited
	    match: { src: [10.8.0.0/16] }
	    action: limit
	    packets: { rate: 1/h, burst: 30 }
END

say "others first, edgebucket between them"
load_other early
load_other late
start_agent
equal "the chain" "early edgebucket late" chain
is_behind_dispatcher || fail "status: $(eb --json status)"
limited 10.8.1.1

say "others leave and come back under fire"
start_fire 10.8.2.1 -r 1000
until_true "refusals" is_empty 10.8.2.1/32
unload_other early
equal "the chain" "edgebucket late" chain
unload_other late
equal "the chain" edgebucket chain
load_other late
load_other early
equal "the chain" "early edgebucket late" chain
stop_fire
counted limited 10.8.2.1 30 $((sent - 30))
limited 10.8.3.1

say "the agent is replaced under fire"
early=$(seen_early) late=$(seen_late)
start_fire 10.8.2.2 -r 1000
until_true "refusals" is_empty 10.8.2.2/32
for end in stop_agent kill_agent stop_agent; do
	before=$(program_id edgebucket)
	$end
	equal "the chain without an agent" "early edgebucket late" chain
	start_agent
	equal "the chain with the next agent" "early edgebucket late" chain
	[ "$(program_id edgebucket)" != "$before" ] || fail "the program was not replaced"
done
stop_fire
counted limited 10.8.2.2 30 $((sent - 30))
equal "frames that early saw" $((early + sent)) seen_early
equal "frames that late saw" $((late + 30)) seen_late
limited 10.8.4.1

say "edgebucket leaves and comes back"
open_files=$(descriptors)
eb detach > /dev/null || fail "detach"
equal "the chain after detach" "early late" chain
free 10.8.5.1
eb reload > /dev/null || fail "reload"
equal "the chain after reload" "early edgebucket late" chain
limited 10.8.6.1
equal "the agent's open files" "$open_files" descriptors

say "somebody takes everything off"
in_card xdp-loader unload card0 --all > /dev/null || fail "xdp-loader unload"
until_true "the program to be put back" is_behind_dispatcher
limited 10.8.7.1

say "edgebucket first, others after it"
load_other late
load_other early
equal "the chain" "early edgebucket late" chain
limited 10.8.8.1
stop_agent
eb detach > /dev/null || fail "detach without an agent"
equal "the chain after detach without an agent" "early late" chain
free 10.8.9.1
unload_other early
unload_other late

say "beside xdp-filter"
for first in agent filter; do
	[ $first = agent ] && start_agent
	in_card xdp-filter load card0 > "$dir/filter" 2>&1 || fail "xdp-filter: $(cat "$dir/filter")"
	[ $first = filter ] && start_agent
	equal "the chain" "xdpfilt_alw_all edgebucket" chain
	in_card xdp-filter ip "10.8.66.1" --mode src || fail "xdp-filter ip"
	send 10.8.66.1 -n 10
	equal "passed of what xdp-filter drops" 0 passed 10.8.66.1
	equal "the bucket of what xdp-filter drops" "" bucket 10.8.66.1/32 .
	[ $first = agent ] && source=10.8.10.1 || source=10.8.11.1
	limited $source
	in_card xdp-filter unload card0 > "$dir/filter" 2>&1 || fail "xdp-filter: $(cat "$dir/filter")"
	equal "the chain without xdp-filter" edgebucket chain
	send $source -n 10
	counted limited $source 30 20
	stop_agent
	eb detach > /dev/null || fail "detach"
done

say "others are there in generic mode"
load_other early --mode skb
start_agent
equal "the chain" "early edgebucket" chain
status_is '.interfaces[0].mode == "generic"' || fail "status: $(eb --json status)"
limited 10.8.12.1
sed -i 's/^on_exit: keep/&\nattach: native/' "$config"
eb reload > /dev/null || fail "reload"
wait_log "other owners .* attached in generic mode"
limited 10.8.13.1
stop_agent
eb detach > /dev/null || fail "detach"
unload_other early
[ -z "$(prog_on card0)" ] || fail "something is left on card0"
