#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Looks at the sources with clang-tidy, cppcheck, shellcheck and mandoc, as far as they are installed, and at what every
# file must have. Says what it skipped; fails on any finding.
#
# clang-format is not asked: tables and trailing comments are aligned by hand where that reads better.
set -u
cd "$(dirname "$0")/.." || exit 1
: "${BUILD:=$PWD/build}"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failed=0

# Runs the rest of the line, and shows what it said if it did not end well.
run() {
	local name=$1
	shift
	if "$@" > "$scratch/output" 2>&1; then
		echo "ok    $name"
	else
		echo "FAIL  $name"
		sed 's/^/      /' "$scratch/output"
		failed=1
	fi
}

# Whether a tool is there; says so if not.
have() {
	command -v "$1" > /dev/null && return
	echo "skip  $1: not installed"
	return 1
}

# Files of the tree that match the patterns, also those not added yet.
files() {
	git ls-files --cached --others --exclude-standard -- "$@" | sort -u | while read -r file; do
		[ -f "$file" ] && echo "$file"
	done
}

# The commands that build everything, as clang's tools want them: nothing about flags is repeated here.
compile_commands() {
	make -s BUILD="$BUILD" "$BUILD/edgebucket.skel.h" "$BUILD/view.skel.h" > "$scratch/output" 2>&1 || return
	make -Bn V=1 BUILD="$BUILD" all tests | grep -E ' -c [^ ]+\.c -o ' | sed "s,-iquote $BUILD ,-isystem $BUILD ," |
		jq -Rn --arg dir "$PWD" '[inputs | { directory: $dir, command: .,
			file: capture(" -c (?<file>[^ ]+) -o").file }]' > "$scratch/compile_commands.json"
}

# clang-tidy says how many warnings it did not show, whatever is asked of it.
tidy() {
	jq -r '.[].file' "$scratch/compile_commands.json" |
		xargs -P "$(nproc)" -n 1 clang-tidy --quiet -p "$scratch" 2> "$scratch/errors" && return
	grep -E 'error:' "$scratch/errors"
	return 1
}

# The macros of libbpf and jansson, which cppcheck does not look up, as it would read them.
macros() {
	cat <<- 'EOF'
	#define LIBBPF_OPTS(type, name, ...) struct type name = { __VA_ARGS__ }
	#define json_array_foreach(array, i, value) for (i = 0; (value = json_array_get(array, i)); i++)
	#define json_object_foreach(object, key, value) while ((key = next(object)) && (value = get(object, key)))
	EOF
}

# Not the BPF programs, whose macros clang-tidy knows better. Suppressed:
#  - uninitialized variables: outputs are written on success alone, which it does not follow; compilers and
#    sanitizers do;
#  - arithmetic on void pointers: GNU C;
#  - signs in tests: times are modular.
check_c() {
	macros > "$scratch/macros.h"
	# shellcheck disable=SC2046 # a list of words
	cppcheck --quiet --std=c11 --enable=warning,performance,portability --inline-suppr --error-exitcode=1 \
		--include="$scratch/macros.h" -D_GNU_SOURCE -D__x86_64__ -DEB_VERSION='"0"' \
		-I userspace -I include -I bpf \
		--suppress=uninitvar --suppress=legacyUninitvar --suppress=ctuuninitvar \
		--suppress=arithOperationsOnVoidPointer --suppress='signConversion:tests/*' \
		$(files 'userspace/*.c' 'tests/*.c' 'bench/*.c' ':!*.bpf.c')
}

# Excluded: "name= other=" as in "local a= b=" is meant so; `ping -M do` is no loop; what a sourced file sets is used by
# the one that sources it.
check_scripts() {
	files '*.sh' .ci/run | xargs shellcheck -x -P SCRIPTDIR -S warning -e SC1007,SC1010,SC2034
}

check_man() {
	files 'man/*.[58]' | xargs mandoc -T lint -W warning
}

# 120 columns, a tab being eight. A row of a Markdown table cannot be wrapped.
check_lines() {
	files '*.c' '*.h' '*.md' '*.py' | while read -r file; do
		expand "$file" | awk -v file="$file" 'length > 120 && !/^\|/ { print file ":" NR ": " length " columns" }'
		grep -nH '[[:space:]]$' "$file" | sed 's/:\([0-9]*\):.*/:\1: space at the end/'
	done > "$scratch/lines"
	cat "$scratch/lines"
	[ ! -s "$scratch/lines" ]
}

check_licence() {
	! files '*.c' '*.h' '*.sh' '*.py' '*.[58]' Makefile .ci/run |
		xargs grep -L 'SPDX-License-Identifier: GPL-2.0-only' | grep .
}

# Includes point one way, and say which room they mean.
check_rooms() {
	files 'userspace/*.[ch]' | xargs awk -f tests/rooms.awk
}

run "line length" check_lines
run rooms check_rooms
run "licence" check_licence
have mandoc && run mandoc check_man
have shellcheck && run shellcheck check_scripts
have cppcheck && run cppcheck check_c
if have clang-tidy; then
	run "compile commands" compile_commands
	run clang-tidy tidy
fi
exit $failed
