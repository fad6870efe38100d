#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Installs the packages that building, testing and the demo need, if any is missing; with the argument "vm", those that
# guests need; with "compilers", those of Debian 12's clangs that there are. Debian 12 and newer, Ubuntu 24.04 and newer.
set -eu

packages='gcc make pkg-config clang llvm libbpf-dev libxdp-dev libelf-dev zlib1g-dev linux-libc-dev libyaml-dev
libjansson-dev libmnl-dev libsystemd-dev libhiredis-dev liblmdb-dev libssl-dev libmicrohttpd-dev libcmocka-dev bpftool
iproute2 iputils-ping nftables iptables ethtool jq python3-scapy redis-server redis-tools prometheus curl openssl xdp-tools
mandoc procps util-linux'
case "${1:-}" in
vm) packages='qemu-system-x86 busybox-static cpio kmod xz-utils bsdextrautils' ;;
compilers)
	packages=
	for package in clang-14 clang-16 clang-19; do
		! apt-cache show "$package" > /dev/null 2>&1 || packages="$packages $package"
	done
	;;
esac

[ "$(id -u)" = 0 ] || { echo "run this as root, with sudo" >&2; exit 1; }

missing=
for package in $packages; do
	# Ubuntu has bpftool in linux-tools-common.
	[ "$package" = bpftool ] && command -v bpftool > /dev/null && continue
	case $(dpkg-query -W -f '${Status}' "$package" 2> /dev/null) in
	*' installed') ;;
	*) missing="$missing $package" ;;
	esac
done
[ -n "$missing" ] || exit 0

echo "installing$missing"

# Packages of servers would start them: redis-server and prometheus are only wanted as programs.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
	trap 'rm -f $policy' EXIT
	trap 'exit 1' INT TERM
	printf '#!/bin/sh\nexit 101\n' > $policy
	chmod +x $policy
fi

export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086 # a list of words
apt-get install -y -qq --no-install-recommends $missing > /dev/null
