#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# root.sh: makes $BUILD/root, a root of Debian 12 for guests of $EB_ARCH, from the packages that building and testing
# need. It is also what a cross compiler takes as --sysroot. Nothing in it is run on this host: packages are unpacked,
# and what their scripts would do and the tests need is done here.
set -eu -o pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=../lib/apt.sh
. "$tests_vm/../lib/apt.sh"
apt=$BUILD/vm/apt
packages="$("$tests_vm/../install-deps.sh" list) busybox-static kmod mount base-passwd"

# Directories that are links in Debian 12, before packages are unpacked over them.
make_merged() {
	local name
	mkdir -p "$1/var" "$1/run"
	ln -s ../run "$1/var/run"
	for name in bin sbin lib; do
		mkdir -p "$1/usr/$name"
		ln -s "usr/$name" "$1/$name"
	done
}

# In a sysroot, what links point to is below it.
make_links_relative() {
	local link target
	find "$1" -type l -lname '/*' | while read -r link; do
		target=$(readlink "$link")
		ln -snf "$(realpath -ms --relative-to="$(dirname "$link")" "$1$target")" "$link"
	done
}

# What alternatives and scripts would have made.
configure() {
	ln -s mawk "$1/usr/bin/awk"
	ln -s xtables-nft-multi "$1/usr/sbin/iptables"
	ln -s xtables-nft-multi "$1/usr/sbin/ip6tables"
	cp "$1/usr/share/base-passwd/passwd.master" "$1/etc/passwd"
	cp "$1/usr/share/base-passwd/group.master" "$1/etc/group"
	mkdir -p "$1/tmp"
	chmod 1777 "$1/tmp"
	mkdir -p "$1"/{proc,sys,dev,run,root}
}

wanted=$(echo "$packages" | tr -s '\n\t ' '\n' | sort)
[ "$wanted" != "$(cat "$BUILD/root.packages" 2> /dev/null)" ] || exit 0
own_apt "$apt" "${guest_sources[@]}"
update_lists "$apt" || die "cannot read the package lists, see $apt/log"
echo "fetching packages of $guest_arch"
# shellcheck disable=SC2086 # a list of words
apt-get install -qq --yes --download-only --no-install-recommends --target-release bookworm '?essential' $wanted \
	> "$apt/log" 2>&1 || die "cannot download packages, see $apt/log"
rm -rf "$guest_root" "$guest_root.new"
mkdir "$guest_root.new"
make_merged "$guest_root.new"
for deb in "$apt"/cache/archives/*.deb; do
	dpkg-deb --fsys-tarfile "$deb" | tar -x --keep-directory-symlink -C "$guest_root.new"
done
apt-get clean
make_links_relative "$guest_root.new"
configure "$guest_root.new"
mv "$guest_root.new" "$guest_root"
echo "$wanted" > "$BUILD/root.packages"
