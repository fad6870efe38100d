#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Runs tests by kind (unit, xdp, net, redis, persist, fuzz, chaos, vm, deploy) or name (net_rate) from $BUILD and closes
# with "N passed, N failed, N skipped".
# Every cmocka test and every script counts as one. A skip counts as a failure in a full run: EB_ALLOW_SKIP=1 allows it.
# What is built with sanitizers reports to files, as a test may ignore how a program ends; any report fails its test.
set -u
cd "$(dirname "$0")/.." || exit 1
: "${BUILD:=$PWD/build}"
export BUILD EB_BPF_OBJECT="$BUILD/edgebucket.bpf.o"

# shellcheck source=fuzz/options.sh
. tests/fuzz/options.sh

passed=0 failed=0 skipped=0
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT

# Little of what was freed is kept back, so that tests of memory's bounds hold.
export ASAN_OPTIONS="log_path=$logs/report:detect_stack_use_after_return=1:quarantine_size_mb=4:${ASAN_OPTIONS:-}"
export UBSAN_OPTIONS="log_path=$logs/report:print_stacktrace=1:${UBSAN_OPTIONS:-}"

mount_bpffs() {
	[ "$(id -u)" = 0 ] || return 0
	[ "$(stat -f -c %T /sys/fs/bpf)" = bpf_fs ] || mount -t bpf bpf /sys/fs/bpf
}

# One cmocka program: its lines "[       OK ]", "[  FAILED  ]" and "[  SKIPPED ]" are counted.
run_program() {
	local name=${1##*/} log=$logs/${1##*/} status ok bad skip
	"$1" > "$log" 2>&1
	status=$?
	ok=$(grep -c '^\[       OK \]' "$log")
	bad=$(grep -c '^\[  FAILED  \] [a-z_0-9]*$' "$log")
	skip=$(grep -c '^\[  SKIPPED \] [a-z_0-9]*$' "$log")
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
	local name=${1##*/} log=$logs/${1##*/}
	"$1" > "$log" 2>&1
	case $? in
	0) report "$name" 1 0 0 "$log" ;;
	77) report "$name" 0 0 1 "$log" ;;
	*) report "$name" 0 1 0 "$log" ;;
	esac
}

# One fuzzer, briefly and the same each time: its seeds and found cases, then inputs that are made of them.
run_fuzzer() {
	local name=${1##*/} log=$logs/${1##*/}
	mkdir "$log.corpus"
	# shellcheck disable=SC2046 # a list of words
	"$1" -seed=1 -runs=10000 $(fuzz_options "${name#fuzz_}" "$BUILD/fuzz/found") "$log.corpus" \
		"tests/fuzz/corpus/${name#fuzz_}" > "$log" 2>&1
	case $? in
	0) report "$name" 1 0 0 "$log" ;;
	*) report "$name" 0 1 0 "$log" ;;
	esac
}

# take_reports LOG: moves what sanitizers reported to the log; fails when there is nothing.
take_reports() {
	ls "$logs"/report.* > /dev/null 2>&1 || return
	cat "$logs"/report.* >> "$1"
	rm "$logs"/report.*
}

# The short form of `make check-vm`. Where guests are not possible, that is said, and no reason to fail.
run_guests() {
	local log=$logs/vm
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
	# shellcheck disable=SC2046 # "N passed, N failed, N skipped"
	set -- $(tail -n 1 "$log" | tr -d ,)
	passed=$((passed + $1)) failed=$((failed + $3)) skipped=$((skipped + $5))
}

# report NAME PASSED FAILED SKIPPED LOG
report() {
	! take_reports "$5" || [ "$3" != 0 ] || set -- "$1" "$2" 1 "$4" "$5"
	passed=$((passed + $2)) failed=$((failed + $3)) skipped=$((skipped + $4))
	if [ "$3" != 0 ]; then
		echo "FAIL  $1"
		sed 's/^/      /' "$5" | tail -n 100
	elif [ "$4" != 0 ]; then
		echo "skip  $1: $(tail -n 1 "$5")"
	else
		echo "ok    $1 ($2)"
	fi
}

mount_bpffs
for kind in "$@"; do
	case $kind in
	unit | xdp | redis) for test in "$BUILD"/tests/"$kind"_*; do
		[ -f "$test" ] && [ -x "$test" ] && run_program "$test"
	done ;;
	fuzz) for test in "$BUILD"/fuzz/tests/fuzz_*; do run_fuzzer "$test"; done ;;
	net | persist | chaos | deploy) for test in tests/"$kind"/"$kind"_*.sh; do run_script "$test"; done ;;
	unit_* | xdp_* | redis_*) run_program "$BUILD/tests/$kind" ;;
	net_* | persist_* | vm_*) run_script "tests/${kind%%_*}/$kind.sh" ;;
	vm) run_guests ;;
	*)
		echo "no such kind of test: $kind" >&2
		exit 2
		;;
	esac
done

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ] && [ "$passed" != 0 ] && { [ "$skipped" = 0 ] || [ -n "${EB_ALLOW_SKIP:-}" ]; }
