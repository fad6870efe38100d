#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Fuzzes for long: every target of $BUILD/tests, or those named, one after the other, each for FUZZ_SECONDS (60) or for
# RUNS inputs. What is learned stays in $BUILD/corpus and is where the next run goes on; what breaks a target is kept in
# $BUILD/found. Closes with a table of executions.
set -u
cd "$(dirname "$0")/../.." || exit 1
: "${BUILD:=$PWD/build/fuzz}" "${FUZZ_SECONDS:=60}"
limit=${RUNS:+-runs=$RUNS}
failed=0
table=

# stat NAME LOG: one of libFuzzer's figures.
stat() { sed -n "s/^stat::$1: *//p" "$2"; }

fuzz() {
	local target=$1 log=$BUILD/$1.log executions rate edges
	mkdir -p "$BUILD/corpus/$target"
	# shellcheck disable=SC2046 # a list of words
	nice -n 19 "$BUILD/tests/fuzz_$target" $(fuzz_options "$target" "$BUILD/found") \
		"${limit:--max_total_time=$FUZZ_SECONDS}" -print_final_stats=1 "$BUILD/corpus/$target" "tests/fuzz/corpus/$target" > "$log" 2>&1 || {
		failed=1
		echo "FAIL  $target: $(grep -o "$BUILD/found/.*" "$log")"
		grep -E 'SUMMARY|^fuzz_|^world:' "$log"
	}
	executions=$(stat number_of_executed_units "$log") rate=$(stat average_exec_per_sec "$log")
	edges=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)
	table+="$target $executions $rate $edges"$'\n'
}

# shellcheck source=options.sh
. tests/fuzz/options.sh
[ $# != 0 ] || for target in "$BUILD"/tests/fuzz_*; do set -- "$@" "${target##*/fuzz_}"; done
for target in "$@"; do
	fuzz "$target"
done
printf '%s' "$table" | awk '
	BEGIN { printf "%-10s %12s %8s %8s\n", "target", "executions", "per s", "edges" }
	{ printf "%-10s %12d %8d %8d\n", $1, $2, $3, $4; sum += $2 }
	END { printf "%-10s %12d\n", "together", sum }'
exit $failed
