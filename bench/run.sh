#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# The benchmark: measures floods in rounds, each contestant once a round, and reports medians as tables, as JSON and as a
# plot. See README.md. Everything happens in a network and a mount namespace of this script's own, which end with it.
#
#   BUILD                   where edgebucket.bpf.o is
#   EB_BENCH_OUT            where bench.json, bench.svg, bench-sources.svg and bench/raw.tsv go, $BUILD
#   EB_BENCH_PARTS          of "cost sources flood scale wide exact survive persist"
#   EB_BENCH_CONTESTANTS    for all parts but persist, of those named below; edgebucket-N is edgebucket with N rules,
#                           edgebucket-two and edgebucket-four with one rule and as many buckets for a packet,
#                           edgebucket-wide with one rule and a level of all sources,
#                           edgebucket-denied and edgebucket-banned with all sources denied, or banned
#   EB_BENCH_SOURCES        of "one 65536 million new", for cost, flood and survive
#   EB_BENCH_COUNTS         of sources, for the part of that name: powers of two up to 2^20
#   EB_BENCH_ROUNDS         of all parts but cost, sources and exact, 3
#   EB_BENCH_SECONDS        of one measurement of flood and scale, 0.5
#   EB_BENCH_REPEAT_SECONDS from the start, until which floods among far CPUs are measured again, 420
#   EB_BENCH_EXACT_SECONDS  5
#   EB_BENCH_SURVIVE_SECONDS, EB_BENCH_SURVIVE_RATE    of one flood around honest clients, 2; its packets/s, 2000000
#   EB_BENCH_BUCKETS        to write to Redis, 1000000
#   EB_BENCH_SEND_CPU, EB_BENCH_RECEIVE_CPU    0, 1

set -euo pipefail
cd "$(dirname "$0")"
: "${BUILD:?where edgebucket.bpf.o is}"

parts=${EB_BENCH_PARTS:-cost sources flood scale wide exact survive persist}
cost_contestants=${EB_BENCH_CONTESTANTS:-drop parse edgebucket edgebucket-5 edgebucket-64 edgebucket-list
	edgebucket-denied edgebucket-banned edgebucket-two edgebucket-four gcra-lru spin-lock}
refused_contestants=${EB_BENCH_CONTESTANTS:-drop parse xdp-filter edgebucket edgebucket-64 edgebucket-list
	edgebucket-denied edgebucket-banned gcra-lru spin-lock nftables hashlimit}
limited_contestants=${EB_BENCH_CONTESTANTS:-edgebucket edgebucket-64 gcra-lru spin-lock nftables hashlimit}
admitted_contestants=${EB_BENCH_CONTESTANTS:-nothing edgebucket edgebucket-64 gcra-lru nftables hashlimit}
scale_contestants=${EB_BENCH_CONTESTANTS:-drop nothing edgebucket gcra-lru spin-lock nftables}
exact_contestants=${EB_BENCH_CONTESTANTS:-edgebucket gcra-lru spin-lock nftables hashlimit}
survive_contestants=${EB_BENCH_CONTESTANTS:-nothing edgebucket nftables hashlimit}
sources=${EB_BENCH_SOURCES:-one 65536 million new}
counts=${EB_BENCH_COUNTS:-1 16 256 4096 16384 65536 131072 262144 524288 1048576}
rounds=${EB_BENCH_ROUNDS:-3}
seconds=${EB_BENCH_SECONDS:-0.5}
survive_seconds=${EB_BENCH_SURVIVE_SECONDS:-2}
survive_rate=${EB_BENCH_SURVIVE_RATE:-2000000}
exact_seconds=${EB_BENCH_EXACT_SECONDS:-5}
repeat_seconds=${EB_BENCH_REPEAT_SECONDS:-420}
table_size=1048576 # BENCH_TABLE_SIZE of bench.h
bench=$BUILD/bench/bench
out=${EB_BENCH_OUT:-$BUILD}
raw=$out/bench/raw.tsv

if [ "${1:-}" != inside ]; then
	[ "$(id -u)" = 0 ] || { echo "bench: must be root" >&2; exit 1; }
	[ "$(nproc)" -ge 2 ] || { echo "bench: needs two CPUs" >&2; exit 1; }
	./build.sh
	mkdir -p "$out/bench"
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
	# What IPv6 sends of itself could come from the other CPU, which would then keep the interface's work.
	ip link set "$1" addrgenmode none
	ip link set "$2" addrgenmode none
	sysctl -q -w "net.ipv6.conf.$1.disable_ipv6=1" "net.ipv6.conf.$2.disable_ipv6=1"
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
				update @over { ip saddr limit rate over $rate burst $burst packets } drop
				ip saddr 10.0.0.1 counter name admitted
				drop
			}
		}
	END
}

limit_by_hashlimit() { # rate burst
	iptables -w -t raw -A PREROUTING -m hashlimit --hashlimit-above "$1" --hashlimit-burst "$2" \
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
	local contestant=$1 rate=$2 burst=$3 receiver
	shift 3
	case $contestant in
	nftables) limit_by_nftables "$rate" "$burst" "$@" ;;
	hashlimit) limit_by_hashlimit "$rate" "$burst" ;;
	xdp-filter)
		drop_behind "$@"
		for receiver; do
			xdp-filter load --mode native --policy deny --features ipv4 "$receiver" >/dev/null
		done
		;;
	*) drop_behind "$@" ;;
	esac
}

tear_down() { # contestant receivers
	local contestant=$1 receiver
	shift
	if [ "$contestant" = xdp-filter ]; then
		for receiver; do xdp-filter unload "$receiver" >/dev/null; done
	fi
	forget_limits
}

# Who inserts every new source refuses none; and who has a list of sources has none that are new.
refuses() { # contestant sources
	[[ $2 != new || $1 != gcra-lru && $1 != spin-lock && $1 != edgebucket-denied && $1 != edgebucket-banned ]]
}

admits() { # contestant
	[[ $1 != edgebucket-denied && $1 != edgebucket-banned ]]
}

run_cost() {
	local contestant source program
	for source in $sources; do
		for contestant in $cost_contestants; do
			read -ra program < <(program_of "$contestant")
			[ "${program[0]}" != none ] || continue
			program+=("$contestant")
			if admits "$contestant"; then "$bench" cost "${program[@]}" admitted "$source"; fi
			if refuses "$contestant" "$source"; then "$bench" cost "${program[@]}" refused "$source"; fi
		done
	done
}

# What a refused packet costs by the number of sources, in tables of two sizes.
run_sources() {
	local count
	for count in $counts; do
		"$bench" cost gcra_lru 1 gcra-lru refused $count
		"$bench" cost edgebucket 1 edgebucket refused $count
		((count > 131072)) ||
			EB_BENCH_TABLE_SIZE=131072 "$bench" cost edgebucket 1 edgebucket-small refused $count
	done | sed 's/^cost/sources/'
}

drops_all() { # contestant
	[[ " drop parse xdp-filter " = *" $1 "* ]]
}

# Whether there is something to measure: new sources are for the gate to refuse, and the highest limit that hashlimit
# takes is a million packets a second. A list takes seconds to load, and costs what it costs for all sources.
makes_sense() { # contestant verdict sources
	if [ "$2" = limited ]; then
		[ "$3" = one ] && ! drops_all "$1" && [ "$1" != nothing ] && admits "$1"
	elif [ "$2" = refused ]; then
		[ "$1" != nothing ] && [ "$1 $3" != "edgebucket-list million" ] && { admits "$1" || [ "$3" != new ]; }
	else
		! drops_all "$1" && admits "$1" && [ "$3" != new ] && [ "$1 $3" != "hashlimit one" ]
	fi
}

# The limit of contestant_limit_of() as nft and iptables can say it.
set_up_for() { # verdict contestant receivers
	local verdict=$1 contestant=$2
	shift 2
	case $contestant,$verdict in
	*,refused) set_up "$contestant" 1/hour 1 "$@" ;;
	*,limited) set_up "$contestant" 1000/second 1000 "$@" ;;
	hashlimit,admitted) set_up "$contestant" 1000000/second 1000000 "$@" ;;
	*,admitted) set_up "$contestant" 1000000/second 4000000000 "$@" ;;
	esac
}

# Least distance of the CPUs, in ns, during floods of a contestant, verdict and sources; and of all. See README.md.
declare -A distance
nearest=1000000

flood_with() { # contestant verdict sources
	local contestant=$1 program measured ns
	read -ra program < <(program_of "$contestant")
	set_up_for "$2" "$contestant" "$to"
	measured=$("$bench" flood "${program[@]}" "$contestant" "$2" "$3" "$seconds" "$from" "$to")
	tear_down "$contestant" "$to"
	echo "$measured"
	ns=${measured##*$'\t'}
	((ns >= ${distance[$*]:-1000000})) || distance[$*]=$ns
	((ns >= nearest)) || nearest=$ns
}

was_near() { # contestant verdict sources
	((${distance[$*]:-1000000} <= 2 * nearest))
}

run_floods() { # all or far, verdict, contestants
	local contestant source which=$1 verdict=$2
	shift 2
	for source in $sources; do
		for contestant; do
			is_available "$contestant" && makes_sense "$contestant" "$verdict" "$source" || continue
			if [ "$which" = all ] || ! was_near "$contestant" "$verdict" "$source"; then
				flood_with "$contestant" "$verdict" "$source"
			fi
		done
	done
}

run_flood() { # all or far: only what was not measured among near CPUs yet
	make_pair "$from" "$to"
	echo 1 > "/sys/class/net/$to/threaded"
	# shellcheck disable=SC2086 # lists
	run_floods "$1" refused $refused_contestants
	# shellcheck disable=SC2086
	run_floods "$1" limited $limited_contestants
	# shellcheck disable=SC2086
	run_floods "$1" admitted $admitted_contestants
	drop_pair "$from"
}

run_scale() {
	local contestant verdict cpus program
	make_pair "$from" "$to"
	make_pair "$from2" "$to2"
	for verdict in refused admitted; do
		for contestant in $scale_contestants; do
			is_available "$contestant" && makes_sense "$contestant" "$verdict" one || continue
			read -ra program < <(program_of "$contestant")
			for cpus in 1 2; do
				set_up_for "$verdict" "$contestant" "$to" "$to2"
				"$bench" scale "${program[@]}" "$contestant" "$verdict" "$cpus" "$seconds" \
					"$from" "$to" "$from2" "$to2"
				tear_down "$contestant" "$to" "$to2"
			done
		done
	done
	drop_pair "$from"
	drop_pair "$from2"
}

# A bucket that all CPUs charge, beside none.
run_wide() {
	local contestant verdict cpus program
	for verdict in refused admitted; do
		for contestant in edgebucket edgebucket-wide; do
			read -ra program < <(program_of "$contestant")
			for ((cpus = 1; cpus <= $(nproc); cpus *= 2)); do
				"$bench" wide "${program[@]}" "$contestant" "$verdict" "$cpus"
			done
		done
	done
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
					update @over { ip saddr limit rate over $2 burst $3 packets } drop
				}
			}
		END
		;;
	hashlimit)
		iptables -w -t raw -A PREROUTING -i "$to" -m hashlimit --hashlimit-above "$2" \
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
	for source in nobody $sources; do
		[ "$source" != million ] || continue
		for contestant in $survive_contestants; do
			is_available "$contestant" && ! drops_all "$contestant" || continue
			read -ra program < <(program_of "$contestant")
			limit_for_server "$contestant" 1/second 2
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
	set_up "$1" 1000/second 1000 "$to" "$to2"
	printf '%s\t%s\n' "$("$bench" exact "${program[0]}" "$1" "$2" "$exact_seconds" "$from" "$to" "$from2" "$to2")" \
		"$(admitted_by "$1")"
	tear_down "$1" "$to" "$to2"
	drop_pair "$from"
	drop_pair "$from2"
}

# Rows that add something: the two that are not exact alone are not so with a full table.
can_be_exact() { # contestant scenario
	case $1,$2 in
	edgebucket,* | gcra-lru,* | nftables,* | spin-lock,two-cpus | hashlimit,two-cpus) ;;
	*) false ;;
	esac
}

run_exact() {
	local contestant scenario
	for scenario in two-cpus spoofed; do
		for contestant in $exact_contestants; do
			can_be_exact "$contestant" $scenario || continue
			exactness_of "$contestant" $scenario
		done
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
	if has_part sources; then
		echo "bench: cost by number of sources" >&2
		run_sources
	fi
	if has_part flood; then
		for ((round = 1; round <= rounds; round++)); do
			echo "bench: floods, round $round of $rounds" >&2
			run_flood all
		done
		for ((round = 1; round <= rounds && SECONDS < repeat_seconds; round++)); do
			run_flood far
		done
	fi
	if has_part scale; then
		for ((round = 1; round <= rounds; round++)); do
			echo "bench: one source on two CPUs, round $round of $rounds" >&2
			run_scale
		done
	fi
	if has_part wide; then
		for ((round = 1; round <= rounds; round++)); do
			echo "bench: a level of all sources, round $round of $rounds" >&2
			run_wide
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
awk -v json="$out/bench.json" -v plot="$out/bench/plot.tsv" -v curve="$out/bench/sources.tsv" -f report.awk "$raw"
if command -v gnuplot > /dev/null && has_part flood && has_part survive; then
	gnuplot -e "data='$out/bench/plot.tsv'; out='$out/bench.svg'" plot.gp
fi
if command -v gnuplot > /dev/null && has_part sources; then
	gnuplot -e "data='$out/bench/sources.tsv'; out='$out/bench-sources.svg'" sources.gp
fi
