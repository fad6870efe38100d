#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Runs tests by kind (unit, xdp, net, redis, persist, fuzz, chaos, vm, deploy) or name (net_rate) from $BUILD and closes
# with "N passed, N failed, N skipped".
# Every cmocka test and every script counts as one. A skip counts as a failure in a full run: EB_ALLOW_SKIP=1 allows it.
# Tests wait more than they work: EB_JOBS of them run at a time, two for each CPU unless it says otherwise, each in
# namespaces of its own for network and mounts.
# What is built with sanitizers reports to files, as a test may ignore how a program ends; any report fails its test.
set -u
cd "$(dirname "$0")/.." || exit 1
: "${BUILD:=$PWD/build}"
export BUILD EB_BPF_OBJECT="$BUILD/edgebucket.bpf.o"

# shellcheck source=fuzz/options.sh
. tests/fuzz/options.sh

: "${EB_JOBS:=$((2 * $(nproc)))}"
begun=0
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
# What was begun ends with this script.
trap 'trap - TERM && kill 0' INT TERM

# Little of what was freed is kept back, so that tests of memory's bounds hold.
export ASAN_OPTIONS="detect_stack_use_after_return=1:quarantine_size_mb=4:${ASAN_OPTIONS:-}"
export UBSAN_OPTIONS="print_stacktrace=1:${UBSAN_OPTIONS:-}"

# alone LOG COMMAND...: its ports, its bpffs and the lock of libxdp there are nobody else's, and reports of sanitizers
# about it go to LOG.report.*. Scripts of deploy/ get packages, so they stay in the network of this machine.
alone() {
	local log=$1 spaces=(--net --mount)
	shift
	case $1 in tests/deploy/*) spaces=(--mount) ;; esac
	export ASAN_OPTIONS="log_path=$log.report:$ASAN_OPTIONS" UBSAN_OPTIONS="log_path=$log.report:$UBSAN_OPTIONS"
	if [ "$(id -u)" = 0 ]; then
		set -- unshare "${spaces[@]}" sh -c 'ip link set lo up
			while umount --lazy /sys/fs/bpf 2> /dev/null; do :; done
			mount -t bpf bpf /sys/fs/bpf && exec "$@"' sh "$@"
	fi
	"$@" > "$log" 2>&1
}

# One cmocka program: its lines "[       OK ]", "[  FAILED  ]" and "[  SKIPPED ]" are counted.
run_program() {
	local name=${1##*/} log=$2 status ok bad skip
	alone "$log" "$1"
	status=$?
	ok=$(grep -c '^\[       OK \]' "$log")
	# cmocka repeats failures in its summary, so count names once.
	bad=$(grep '^\[  FAILED  \] [a-z_0-9]*$' "$log" | sort -u | wc -l)
	skip=$(grep '^\[  SKIPPED \] [a-z_0-9]*$' "$log" | sort -u | wc -l)
	if [ $status != 0 ] && [ "$bad" = 0 ]; then
		bad=1 # crashed, or a sanitizer stopped it
	fi
	if [ $status = 0 ] && [ $((ok + skip)) = 0 ]; then
		bad=1
		echo "no test ran" >> "$log"
	fi
	report "$name" "$ok" "$bad" "$skip" "$log"
}

run_script() {
	local name=${1##*/} log=$2
	alone "$log" "$1"
	case $? in
	0) report "$name" 1 0 0 "$log" ;;
	77) report "$name" 0 0 1 "$log" ;;
	*) report "$name" 0 1 0 "$log" ;;
	esac
}

# One fuzzer, briefly and the same each time: its seeds and found cases, then inputs that are made of them.
run_fuzzer() {
	local name=${1##*/} log=$2
	mkdir "$log.corpus"
	# shellcheck disable=SC2046 # a list of words
	"$1" -seed=1 -runs=10000 $(fuzz_options "${name#fuzz_}" "$BUILD/fuzz/found") "$log.corpus" \
		"tests/fuzz/corpus/${name#fuzz_}" > "$log" 2>&1
	case $? in
	0) report "$name" 1 0 0 "$log" ;;
	*) report "$name" 0 1 0 "$log" ;;
	esac
}

# The short form of `make check-vm`. Where guests are not possible, that is said, and no reason to fail.
run_guests() {
	local log=$2
	echo "0 passed, 0 failed, 0 skipped" > "$log.result"
	if ! tests/install-deps.sh vm > "$log" 2>&1; then
		echo "none  vm: $(tail -n 1 "$log")"
		return
	fi
	tests/vm/check.sh --short 6.1 > "$log" 2>&1
	if [ $? = 77 ]; then
		echo "none  vm: $(tail -n 1 "$log")"
		return
	fi
	if ! tail -n 1 "$log" | grep -q '^[0-9]* passed, [0-9]* failed, [0-9]* skipped$'; then
		report vm 0 1 0 "$log"
		return
	fi
	grep -v '^[0-9]* passed, ' "$log"
	tail -n 1 "$log" > "$log.result"
}

# report NAME PASSED FAILED SKIPPED LOG
report() {
	local bad=$3
	if ls "$5".report.* > /dev/null 2>&1; then
		cat "$5".report.* >> "$5"
		[ "$bad" != 0 ] || bad=1
	fi
	echo "$2 passed, $bad failed, $4 skipped" > "$5.result"
	if [ "$bad" != 0 ]; then
		echo "FAIL  $1"
		sed 's/^/      /' "$5" | tail -n 100
	elif [ "$4" != 0 ]; then
		echo "skip  $1: $(tail -n 1 "$5")"
	else
		echo "ok    $1 ($2)"
	fi
}

# begin RUN TEST: in the background, as soon as fewer than EB_JOBS run. What it says is printed at its end, in one piece.
begin() {
	local log=$logs/$((begun += 1))
	while [ "$(jobs -rp | wc -l)" -ge "$EB_JOBS" ]; do
		wait -n
	done
	{
		"$@" "$log" > "$log.said"
		[ -e "$log.result" ] || echo "FAIL  ${2##*/}: ended without a result" >> "$log.said"
		flock "$logs" cat "$log.said"
	} &
}

begin_each() {
	local run=$1 test
	shift
	for test in "$@"; do
		[ -f "$test" ] && [ -x "$test" ] && begin "$run" "$test"
	done
}

for kind in "$@"; do
	case $kind in
	unit | xdp | redis) begin_each run_program "$BUILD/tests/${kind}_"* ;;
	fuzz) begin_each run_fuzzer "$BUILD"/fuzz/tests/fuzz_* ;;
	net | persist | chaos | deploy) begin_each run_script "tests/$kind/${kind}_"*.sh ;;
	unit_* | xdp_* | redis_*) begin run_program "$BUILD/tests/$kind" ;;
	net_* | persist_* | chaos_* | vm_* | deploy_*) begin run_script "tests/${kind%%_*}/$kind.sh" ;;
	vm) begin run_guests vm ;;
	*)
		echo "no such kind of test: $kind" >&2
		exit 2
		;;
	esac
done
wait

# Each that was begun has said what came of it.
cat "$logs"/*.result | awk -v begun=$begun '{ passed += $1; failed += $3; skipped += $5 }
	END {
		failed += begun - NR
		printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped
		exit failed || !passed || (skipped && ENVIRON["EB_ALLOW_SKIP"] == "")
	}'
