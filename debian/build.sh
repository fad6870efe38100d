#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Builds the binary package in $BUILD/deb, from a copy of the tree; with $HOST_ARCH, for that architecture, by Debian's
# cross compiler and the libraries of that architecture. The optional argument is a version for the changelog, for a
# package that is not a release.
set -eu
cd "$(dirname "$0")/.."
command -v dh > /dev/null || { echo "$0: apt-get install debhelper dpkg-dev" >&2; exit 1; }
: "${BUILD:=$PWD/build}"
source=$(dpkg-parsechangelog -S Source)
version=$(dpkg-parsechangelog -S Version)
copy=$BUILD/deb/$source-${version%-*}

unset BUILD MAKEFLAGS MFLAGS MAKELEVEL # set by the make that runs this script

rm -rf "$copy"
mkdir -p "$copy"
tar -c --exclude-vcs --exclude=./build . | tar -x -C "$copy"
cd "$copy"
if [ $# = 1 ]; then
	{
		printf '%s (%s) UNRELEASED; urgency=medium\n\n  * A build of its own.\n\n' "$source" "$1"
		dpkg-parsechangelog | sed -n 's/^Maintainer: \(.*\)/ -- \1/p; s/^Date: /  /p' | paste -s -d '\0'
		echo
		cat debian/changelog
	} > debian/changelog.new
	mv debian/changelog.new debian/changelog
fi
dpkg-buildpackage ${HOST_ARCH:+--host-arch "$HOST_ARCH"} -us -uc -b
rm -rf "$copy"
