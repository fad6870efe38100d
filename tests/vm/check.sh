#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# check.sh [--short] all|VERSION...: runs tests in guests with these kernels, one after the other, or those that $TESTS
# names. Prints the verifier's figures for each kernel and clang, and closes with "N passed, N failed, N skipped". What a
# guest said stays in $BUILD/vm/logs. Exit code 77: there are no kernels to run.
set -u
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
top=$(cd "$tests_vm/../.." && pwd)

every='5.10 6.1 6.12 6.18 7.3'
oldest=5.15
compilers='14 16 19'

# Not in guests: net_metrics and net_dashboard (look at what lasts two seconds, in which an emulated curl or Prometheus
# has hardly started), net_schema (compiles everything a second time).
long='xdp_buckets xdp_flow xdp_frames xdp_reset xdp_restore xdp_rules xdp_threads xdp_verifier
	net_actions net_cli net_config net_counts net_detach net_interface net_jumbo net_kill net_lock net_million net_modes
	net_neighbours net_new_sources net_rate net_reload net_reload_refused net_start net_table_size net_taken_off
	net_two_interfaces net_upgrade net_vlan net_watch vm_dispatcher vm_reboot'
short='xdp_frames xdp_verifier net_counts net_upgrade vm_reboot'
if [ "${1:-}" = --short ]; then
	tests=$short compilers=
	shift
else
	tests=${TESTS:-$long}
fi

passed=0 failed=0 skipped=0

build_objects() {
	local compiler there=
	for compiler in $compilers; do
		command -v "clang-$compiler" > /dev/null || continue
		there="$there $compiler"
		make -s -C "$top" CLANG="clang-$compiler" BUILD="$BUILD/vm/clang-$compiler" \
			"$BUILD/vm/clang-$compiler/edgebucket.bpf.o" || return
	done
	compilers=$there
}

is_too_old() { [ "$(printf '%s\n' "$1" $oldest | sort -V | head -n 1)" != $oldest ]; }

# job VERSION: the program of each compiler is verified, then come the tests.
job() {
	local compiler
	echo "cd '$top' && export BUILD='$BUILD' EB_ALLOW_SKIP=1"
	if is_too_old "$1"; then
		echo "tests/run.sh vm_too_old"
		return
	fi
	for compiler in $compilers; do
		echo "EB_BPF_OBJECT='$BUILD/vm/clang-$compiler/edgebucket.bpf.o' '$BUILD/tests/xdp_verifier' 2>&1 |" \
			"sed -n 's/^verified /clang-$compiler /p' >> /run/vm/margins"
	done
	# The reboot has a guest of its own.
	echo "tests/run.sh ${tests/vm_reboot/}" | tr -s '\n\t' ' '
}

# Adds up the last line of a run, or counts a guest that did not get there as one failure.
add() {
	local line
	line=$(grep -E '^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$' "$1" | tail -n 1)
	# shellcheck disable=SC2086 # a list of words
	set -- ${line:-0 passed, 1 failed, 0 skipped}
	passed=$((passed + $1)) failed=$((failed + $3)) skipped=$((skipped + $5))
	[ -n "$line" ] || return 1
}

reboot() {
	local version=$1 log=$2
	if "$tests_vm/reboot.sh" "$version" "$log" > "$log.log" 2>&1; then
		echo "ok    vm_reboot (1)"
		passed=$((passed + 1))
	else
		echo "FAIL  vm_reboot"
		sed 's/^/      /' "$log.log" | tail -n 60
		failed=$((failed + 1))
	fi
}

check_kernel() {
	local version=$1 logs=$BUILD/vm/logs/$1
	rm -rf "$logs"
	mkdir -p "$logs"
	echo "Linux $(cat "$BUILD/vm/kernels/$version/release")"
	job "$version" | run_guest "$version" "$logs/tests" 3600
	grep -v '^[0-9]* passed, ' "$logs/tests/output"
	add "$logs/tests/output" || echo "FAIL  the guest did not come to its end, see $logs/tests"
	case $tests in *vm_reboot*) is_too_old "$version" || reboot "$version" "$logs/reboot" ;; esac
}

# What the verifier needed, by kernel and compiler.
print_margins() {
	local version compiler frames count stack
	for version in "$@"; do
		[ -e "$BUILD/vm/logs/$version/tests/margins" ] || continue
		sed 's/[:,]//g' "$BUILD/vm/logs/$version/tests/margins" | while read -r compiler frames count _ stack _; do
			echo "$version" "$compiler" "$frames" "$count" "$stack"
		done
	done | column -t -N kernel,compiler,frames,instructions,'stack (program+functions)' -R instructions
}

# shellcheck disable=SC2086 # a list of words
[ "$*" != all ] || set -- $every
build_objects || exit 1
"$tests_vm/kernels.sh" "$@" || exit 77
for version in "$@"; do
	check_kernel "$version"
done
print_margins "$@"
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ] && [ $passed != 0 ]
