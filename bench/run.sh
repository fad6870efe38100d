#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# The benchmark: measures floods in rounds, each contestant once a round, and reports medians as tables, as JSON and as a plot.
# See README.md. Everything happens in a network and a mount namespace of this script's own, which end with it.
#
#   BUILD                   where edgebucket.bpf.o is; results go to $BUILD/bench.json and $BUILD/bench.svg
#   EB_BENCH_PARTS          of "cost flood exact survive persist"
#   EB_BENCH_CONTESTANTS    for cost and flood, see below; edgebucket-N is edgebucket with N rules
#   EB_BENCH_SOURCES        of "one 65536 new", for flood
#   EB_BENCH_ROUNDS         of floods and of writes to Redis, 3
#   EB_BENCH_SECONDS        of one flood measurement, 0.5
#   EB_BENCH_EXACT_SECONDS  5
#   EB_BENCH_SURVIVE_SECONDS, EB_BENCH_SURVIVE_RATE    of one flood around honest clients, 2; its packets/s, 2000000
#   EB_BENCH_BUCKETS        to write to Redis, 1000000
#   EB_BENCH_SEND_CPU, EB_BENCH_RECEIVE_CPU    0, 1

set -euo pipefail
cd "$(dirname "$0")"
: "${BUILD:?where edgebucket.bpf.o is}"

parts=${EB_BENCH_PARTS:-cost flood exact survive persist}
flood_contestants="drop parse xdp-filter edgebucket edgebucket-64 edgebucket-list gcra-lru spin-lock nftables hashlimit"
flood_contestants=${EB_BENCH_CONTESTANTS:-$flood_contestants}
cost_contestants=${EB_BENCH_CONTESTANTS:-drop parse edgebucket edgebucket-5 edgebucket-64 edgebucket-list gcra-lru
	spin-lock}
sources=${EB_BENCH_SOURCES:-one 65536 new}
rounds=${EB_BENCH_ROUNDS:-3}
seconds=${EB_BENCH_SECONDS:-0.5}
survive_contestants=${EB_BENCH_CONTESTANTS:-nothing edgebucket edgebucket-64 nftables hashlimit}
survive_seconds=${EB_BENCH_SURVIVE_SECONDS:-2}
survive_rate=${EB_BENCH_SURVIVE_RATE:-2000000}
exact_seconds=${EB_BENCH_EXACT_SECONDS:-5}
table_size=1048576 # BENCH_TABLE_SIZE of bench.h
bench=$BUILD/bench/bench
raw=$BUILD/bench/raw.tsv

if [ "${1:-}" != inside ]; then
	[ "$(id -u)" = 0 ] || { echo "bench: must be root" >&2; exit 1; }
	[ "$(nproc)" -ge 2 ] || { echo "bench: needs two CPUs" >&2; exit 1; }
	./build.sh
	exec unshare --net --mount --propagation private -- "$PWD/run.sh" inside
fi

# The interfaces' threads are found by name, and names are seen from every namespace.
id=$(($$ % 100000))
from=g$id to=r$id
from2=h$id to2=s$id

make_pair() { # sender receiver
	ip link add "$1" type veth peer name "$2"
	# Without a program, an interface has NAPI with GRO only, and only then takes frames from XDP.
	ethtool -K "$1" gro on
	ethtool -K "$2" gro on
	ip link set "$1" up
	ip link set "$2" up
}

drop_pair() { # sender
	ip link del "$1"
}

list() {
	local IFS=,
	echo "$*"
}

# What passes a contestant is counted and dropped at the first place behind it.
drop_behind() { # receivers
	nft -f - <<-END
		table netdev bench {
			counter admitted { }
			chain early {
				type filter hook ingress devices = { $(list "$@") } priority 0; policy accept;
				ip saddr 10.0.0.1 counter name admitted
				drop
			}
		}
	END
}

# The set that the manual page of nft shows for limits per source, where it costs least.
limit_by_nftables() { # rate burst receivers
	local rate=$1 burst=$2
	shift 2
	nft -f - <<-END
		table netdev bench {
			counter admitted { }
			set over {
				type ipv4_addr
				size $table_size
				flags dynamic, timeout
				timeout 1m
			}
			chain early {
				type filter hook ingress devices = { $(list "$@") } priority 0; policy accept;
				update @over { ip saddr limit rate over $rate/second burst $burst packets } drop
				ip saddr 10.0.0.1 counter name admitted
				drop
			}
		}
	END
}

limit_by_hashlimit() { # rate burst
	iptables -w -t raw -A PREROUTING -m hashlimit --hashlimit-above "$1/second" --hashlimit-burst "$2" \
		--hashlimit-mode srcip --hashlimit-name "eb$id" --hashlimit-htable-size $table_size \
		--hashlimit-htable-max $table_size -j DROP
	iptables -w -t raw -A PREROUTING -s 10.0.0.1 -j DROP
	iptables -w -t raw -A PREROUTING -j DROP
}

forget_limits() {
	nft delete table netdev bench 2>/dev/null || true
	iptables -w -t raw -F PREROUTING 2>/dev/null || true
}

# The name of the program that limits, for bench; and its rules.
program_of() { # contestant
	case $1 in
	xdp-filter | nftables | hashlimit | nothing) echo none 1 ;;
	edgebucket-*) echo edgebucket "${1#edgebucket-}" ;;
	gcra-lru) echo gcra_lru 1 ;;
	spin-lock) echo spin_hash 1 ;;
	*) echo "$1" 1 ;;
	esac
}

is_available() { # contestant
	case $1 in
	xdp-filter) command -v xdp-filter ;;
	nftables) command -v nft ;;
	hashlimit) command -v iptables ;;
	esac >/dev/null
}

set_up() { # contestant rate burst receivers
	local contestant=$1 rate=$2 burst=$3
	shift 3
	case $contestant in
	nftables) limit_by_nftables "$rate" "$burst" "$@" ;;
	hashlimit) limit_by_hashlimit "$rate" "$burst" ;;
	xdp-filter)
		drop_behind "$@"
		xdp-filter load --mode native --policy deny --features ipv4 "$1" >/dev/null
		;;
	*) drop_behind "$@" ;;
	esac
}

tear_down() { # contestant receiver
	[ "$1" != xdp-filter ] || xdp-filter unload "$2" >/dev/null
	forget_limits
}

# Who inserts every new source refuses none.
refuses() { # contestant sources
	[[ $2 != new || $1 != gcra-lru && $1 != spin-lock ]]
}

run_cost() {
	local contestant source program
	for source in one 65536 million new; do
		for contestant in $cost_contestants; do
			read -ra program < <(program_of "$contestant")
			[ "${program[0]}" != none ] || continue
			program+=("$contestant")
			"$bench" cost "${program[@]}" admitted "$source"
			if refuses "$contestant" "$source"; then "$bench" cost "${program[@]}" refused "$source"; fi
		done
	done
}

# Least distance of the CPUs, in ns, during floods of a contestant and sources; and of all. See README.md.
declare -A distance
nearest=1000000

flood_with() { # contestant sources
	local contestant=$1 program measured ns
	read -ra program < <(program_of "$contestant")
	set_up "$contestant" 1 5 "$to"
	measured=$("$bench" flood "${program[@]}" "$contestant" "$2" "$seconds" "$from" "$to")
	tear_down "$contestant" "$to"
	echo "$measured"
	ns=${measured##*$'\t'}
	((ns >= ${distance[$1 $2]:-1000000})) || distance[$1 $2]=$ns
	((ns >= nearest)) || nearest=$ns
}

was_near() { # contestant sources
	((${distance[$1 $2]:-1000000} <= 2 * nearest))
}

run_flood() { # all or far: only what was not measured among near CPUs yet
	local contestant source
	make_pair "$from" "$to"
	echo 1 > "/sys/class/net/$to/threaded"
	for source in $sources; do
		for contestant in $flood_contestants; do
			is_available "$contestant" || continue
			if [ "$1" = all ] || ! was_near "$contestant" "$source"; then
				flood_with "$contestant" "$source"
			fi
		done
	done
	drop_pair "$from"
}

# Nothing counts or drops behind the contestants: what passes reaches the server.
limit_for_server() { # contestant rate burst
	case $1 in
	nftables)
		nft -f - <<-END
			table netdev bench {
				set over {
					type ipv4_addr
					size $table_size
					flags dynamic, timeout
					timeout 1m
				}
				chain early {
					type filter hook ingress device $to priority 0; policy accept;
					update @over { ip saddr limit rate over $2/second burst $3 packets } drop
				}
			}
		END
		;;
	hashlimit)
		iptables -w -t raw -A PREROUTING -i "$to" -m hashlimit --hashlimit-above "$2/second" \
			--hashlimit-burst "$3" --hashlimit-mode srcip --hashlimit-name "eb$id" \
			--hashlimit-htable-size $table_size --hashlimit-htable-max $table_size -j DROP
		;;
	esac
}

# The sending end in a network namespace of its own, of a process that holds it; sets $clients.
make_clients() {
	local there
	unshare --net sleep infinity &
	clients=$!
	until [ "$(readlink /proc/self/ns/net)" != "$(readlink "/proc/$clients/ns/net")" ]; do sleep 0.01; done
	there="nsenter --net=/proc/$clients/ns/net"
	make_pair "$from" "$to"
	ip link set "$from" netns "$clients"
	$there ip link set lo up
	$there ip link set "$from" up
	$there ip address add 192.0.2.2/24 dev "$from"
	$there ip route add local 198.18.0.0/16 dev lo
	ip address add 192.0.2.1/24 dev "$to"
	ip route add default via 192.0.2.2 dev "$to"
	$there ip neigh replace 192.0.2.1 dev "$from" lladdr "$(cat "/sys/class/net/$to/address")" nud permanent
	ip neigh replace 192.0.2.2 dev "$to" nud permanent \
		lladdr "$($there ip -j link show "$from" | sed 's/.*"address":"\([^"]*\)".*/\1/')"
	echo 1 > "/sys/class/net/$to/threaded"
}

drop_clients() {
	kill "$clients"
	wait "$clients" 2>/dev/null || true
	ip link del "$to" 2>/dev/null || true
}

run_survive() {
	local contestant source program
	make_clients
	for source in nobody one 65536 new; do
		for contestant in $survive_contestants; do
			is_available "$contestant" || continue
			read -ra program < <(program_of "$contestant")
			limit_for_server "$contestant" 1 5
			"$bench" survive "${program[@]}" "$contestant" "$source" "$survive_seconds" "$survive_rate" \
				"$from" "$to" "/proc/$clients/ns/net"
			forget_limits
		done
	done
	drop_clients
}

admitted_by() { # contestant
	if [ "$1" = hashlimit ]; then
		iptables -w -t raw -L PREROUTING 2 -v -x -n | awk '{ print $1 }'
	else
		nft list counter netdev bench admitted | awk '/packets/ { print $2 }'
	fi
}

exactness_of() { # contestant scenario
	local program
	is_available "$1" || return 0
	read -ra program < <(program_of "$1")
	make_pair "$from" "$to"
	make_pair "$from2" "$to2"
	set_up "$1" 1000 1000 "$to" "$to2"
	printf '%s\t%s\n' "$("$bench" exact "${program[0]}" "$1" "$2" "$exact_seconds" "$from" "$to" "$from2" "$to2")" \
		"$(admitted_by "$1")"
	tear_down "$1" "$to"
	drop_pair "$from"
	drop_pair "$from2"
}

run_exact() {
	local contestant
	for contestant in edgebucket gcra-lru spin-lock nftables hashlimit; do
		exactness_of $contestant two-cpus
	done
	for contestant in edgebucket gcra-lru nftables; do
		exactness_of $contestant spoofed
	done
}

run_persist() {
	make_pair "$from" "$to"
	echo 1 > "/sys/class/net/$to/threaded"
	./persist.sh "$from" "$to"
	drop_pair "$from"
}

has_part() { # part
	[[ " $parts " = *" $1 "* ]]
}

describe_machine() {
	printf 'machine\t%s\n' "$(lscpu | sed -n 's/^Model name: *//p'), $(nproc) CPUs"
	printf 'kernel\t%s\n' "$(uname -r)"
	printf 'clang\t%s\n' "$(${CLANG:-clang} --version | sed -n '1s/.*version \([0-9.]*\).*/\1/p')"
	printf 'rounds\t%s\n' "$rounds"
	printf 'survive-rate\t%s\n' "$survive_rate"
	printf 'load\t%s\n' "$(cut -d ' ' -f 1 /proc/loadavg)"
}

measure() {
	local round
	describe_machine
	if has_part cost; then
		echo "bench: cost of a packet" >&2
		run_cost
	fi
	if has_part flood; then
		for ((round = 1; round <= rounds; round++)); do
			echo "bench: floods, round $round of $rounds" >&2
			run_flood all
		done
		for ((round = 1; round <= rounds; round++)); do
			run_flood far
		done
	fi
	if has_part exact; then
		echo "bench: exactness" >&2
		run_exact
	fi
	if has_part survive; then
		for ((round = 1; round <= rounds; round++)); do
			echo "bench: honest clients in floods, round $round of $rounds" >&2
			run_survive
		done
	fi
	if has_part persist; then
		echo "bench: a million buckets in Redis" >&2
		run_persist
	fi
}

mount -t sysfs sysfs /sys
mount -t bpf bpf /sys/fs/bpf
ip link set lo up
measure > "$raw"
awk -v json="$BUILD/bench.json" -v plot="$BUILD/bench/plot.tsv" -f report.awk "$raw"
if command -v gnuplot > /dev/null && has_part flood && has_part survive; then
	gnuplot -e "data='$BUILD/bench/plot.tsv'; out='$BUILD/bench.svg'" plot.gp
fi
