#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# check.sh [--short] all|VERSION...: runs tests, all or those that $TESTS names, in guests with these kernels, as many
# at a time as there are CPUs. Prints the verifier's figures for each kernel and clang, and closes with "N passed,
# N failed, N skipped". What a guest said stays in $BUILD/vm/logs. Exit code 77: there are no kernels to run.
set -u
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

every='5.10 6.1 6.12 6.18 7.3'
oldest=5.15
compilers='14 16 19'

# Not in guests: benchmarks; what looks at things that last two seconds, in which an emulated curl or Prometheus has
# hardly started; what compiles everything a second time, or installs files.
left_out='net_bench|net_dashboard|net_metrics|net_schema|net_install'
long="$(basename -a -s .c "$top"/tests/xdp/xdp_*.c | tr '\n' ' ')
	$(basename -a -s .sh "$top"/tests/net/net_*.sh | grep -vxE "$left_out" | tr '\n' ' ')
	vm_dispatcher vm_reboot"
short='xdp_frames xdp_verifier net_counts net_upgrade vm_reboot'
if [ "${1:-}" = --short ]; then
	tests=$short compilers=
	shift
else
	tests=${TESTS:-$long}
fi

# What the verifier needs does not depend on the machine.
[ "$guest_arch" = amd64 ] || compilers=

closing='^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$'

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
	echo "cd '$top' && export BUILD='$BUILD' EB_ALLOW_SKIP=1 EB_JOBS=1"
	if is_too_old "$1"; then
		echo "tests/run.sh vm_too_old"
		return
	fi
	cat <<- EOF
		verify() {
			EB_BPF_OBJECT="\$BUILD/vm/clang-\$1/edgebucket.bpf.o" "\$BUILD/tests/xdp_verifier" > /run/vm/verified 2>&1 ||
				{ echo "FAIL  verifier, clang-\$1"; tail -n 40 /run/vm/verified; echo "0 passed, 1 failed, 0 skipped"; }
			sed -n "s/^verified /clang-\$1 /p" /run/vm/verified >> /run/vm/margins
		}
	EOF
	for compiler in $compilers; do
		echo "verify $compiler"
	done
	# The reboot has a guest of its own.
	echo "tests/run.sh ${tests/vm_reboot/}" | tr -s '\n\t' ' '
}

# in_guest VERSION: the tests. A guest that does not come to its end is one failure.
in_guest() {
	local logs=$BUILD/vm/logs/$1/tests
	job "$1" | run_guest "$1" "$logs" 3600
	cat "$logs/output"
	grep -qE "$closing" "$logs/output" ||
		printf 'FAIL  the guest did not come to its end, see %s\n0 passed, 1 failed, 0 skipped\n' "$logs"
}

reboot() {
	local log=$BUILD/vm/logs/$1/reboot
	if "$tests_vm/reboot.sh" "$1" "$log" > "$log.log" 2>&1; then
		printf 'ok    vm_reboot (1)\n1 passed, 0 failed, 0 skipped\n'
	else
		printf 'FAIL  vm_reboot\n'
		sed 's/^/      /' "$log.log" | tail -n 60
		printf '0 passed, 1 failed, 0 skipped\n'
	fi
}

# begin in_guest|reboot VERSION: in the background, as soon as there is a CPU for it. Says what came of it at its end.
begin() {
	local log=$BUILD/vm/logs/$2/$1.output
	while [ "$(jobs -rp | wc -l)" -ge "$(nproc)" ]; do
		wait -n
	done
	{
		"$@" > "$log"
		{ echo "Linux $(cat "$BUILD/vm/kernels/$2/release")" && grep -vE "$closing" "$log"; } | sed '2,$s/^/  /'
	} &
}

check_kernel() {
	rm -rf "$BUILD/vm/logs/$1"
	mkdir -p "$BUILD/vm/logs/$1"
	begin in_guest "$1"
	case $tests in *vm_reboot*) is_too_old "$1" || begin reboot "$1" ;; esac
}

# The closing lines of all guests as one.
add_up() {
	local version
	for version in "$@"; do
		grep -hE "$closing" "$BUILD/vm/logs/$version/"*.output
	done | awk '{ passed += $1; failed += $3; skipped += $5 }
		END { printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped; exit !passed || failed }'
}

# What the verifier needed, by kernel and compiler.
print_margins() {
	local version compiler frames count stack
	for version in "$@"; do
		[ -e "$BUILD/vm/logs/$version/tests/margins" ] || continue
		sed 's/[:,]//g' "$BUILD/vm/logs/$version/tests/margins" | while read -r compiler frames count _ stack _; do
			echo "$version" "$compiler" "$frames" "$count" "$stack"
		done
	done | column -t -N kernel,compiler,frames,instructions,stack -R instructions,stack
}

# shellcheck disable=SC2086 # a list of words
[ "$*" != all ] || set -- $every
build_objects || exit 1
"$tests_vm/kernels.sh" "$@" || exit 77
# What was begun ends with this script.
trap 'trap - TERM && kill 0' INT TERM
for version in "$@"; do
	check_kernel "$version"
done
wait
print_margins "$@"
add_up "$@"
