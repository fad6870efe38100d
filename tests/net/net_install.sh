#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# `make install` puts everything where it belongs, with DESTDIR and PREFIX, and `make uninstall` leaves nothing of it;
# systemd accepts the unit as it is installed, and the alerts are where the package has them too.
set -eu
cd "$(dirname "$0")/../.."
: "${BUILD:=$PWD/build}"
dir=$(mktemp -d /tmp/ebtest-install.XXXXXX)
trap 'rm -rf "$dir"' EXIT
dest=$dir/dest log=$dir/log

fail() {
	echo "install: FAILED: $*"
	exit 1
}

# What is built is installed: it may have been built with other flags, those of sanitizers say.
run_make() { make -s -o all BUILD="$BUILD" DESTDIR="$dest" PREFIX="$1" "$2" > "$log" 2>&1 || { cat "$log"; fail "make $2"; }; }

has() {
	local file
	for file in "$@"; do
		[ -s "$dest$file" ] || fail "there is no $file"
	done
}

# check_prefix PREFIX: installs below it, looks, and uninstalls.
check_prefix() {
	local doc=$1/share/doc/edgebucket
	run_make "$1" install
	has "$1/sbin/edgebucket" "$1/sbin/edgebucketd" "$1/share/man/man8/edgebucket.8" "$1/share/man/man8/edgebucketd.8" \
		"$1/share/man/man5/edgebucket.yaml.5" "$1/share/bash-completion/completions/edgebucket" "$doc/README.md" \
		"$doc/docs/operations.md" "$doc/docs/limits.md" \
		"$doc/examples/redis/edgebucket.acl" "$doc/examples/prometheus/rules.yaml" \
		/etc/edgebucket/edgebucket.yaml.sample "$1/lib/systemd/system/edgebucketd.service"
	"$dest$1/sbin/edgebucketd" --check -c "$dest/etc/edgebucket/edgebucket.yaml.sample" > /dev/null || fail "the sample"
	# The unit alone is to be looked at, not those that it names.
	systemd-analyze verify --man=no --recursive-errors=no --root="$dest" edgebucketd.service > "$log" 2>&1 ||
		{ cat "$log"; fail "systemd does not accept the unit"; }

	echo "rules: []" > "$dest/etc/edgebucket/edgebucket.yaml"
	run_make "$1" uninstall
	[ "$(find "$dest" -type f)" = "$dest/etc/edgebucket/edgebucket.yaml" ] || fail "left: $(find "$dest" -type f)"
	rm "$dest/etc/edgebucket/edgebucket.yaml"
	run_make "$1" uninstall
	[ -z "$(find "$dest" -name '*edgebucket*')" ] || fail "left: $(find "$dest" -name '*edgebucket*')"
}

check_prefix /usr/local
check_prefix /usr
