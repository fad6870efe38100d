#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Installs the packages that building, testing and the demo need, if any is missing; as "deploy" also those of
# `make check-deploy`; as "vm" only those that guests need, as "compilers" those of Debian 12's clangs that there are, as
# "arm64" those for `make check-arm64`. As "list", prints what another architecture's root must have for that.
# Debian 12 and newer, Ubuntu 24.04 and newer.
set -eu

tools='gcc make pkg-config clang llvm libclang-rt-dev bpftool gcovr mandoc gnuplot-nox systemd prometheus tshark'
libraries='libbpf-dev libxdp-dev libelf-dev zlib1g-dev linux-libc-dev libyaml-dev libjansson-dev libmnl-dev libsystemd-dev
libhiredis-dev liblmdb-dev libssl-dev libmicrohttpd-dev libcap-ng-dev libcmocka-dev'
programs='iproute2 iputils-ping nftables iptables ethtool jq python3-scapy redis-server redis-tools strace curl openssl
xdp-tools procps util-linux tcpdump'
packages="$tools $libraries $programs"
deploy='debhelper dpkg-dev lintian debootstrap podman runc docker-compose netavark aardvark-dns nodejs npm python3-yaml
kubernetes-client qemu-user-static'
case "${1:-}" in
deploy) packages="$packages $deploy" ;;
vm) packages='qemu-system-x86 busybox-static cpio kmod xz-utils bsdextrautils' ;;
arm64) packages='gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-system-arm cpio kmod xz-utils zstd bsdextrautils' ;;
list)
	echo "$libraries libc6-dev $programs bpftool"
	exit
	;;
compilers)
	packages=
	for package in clang-14 clang-16 clang-19; do
		! apt-cache show "$package" > /dev/null 2>&1 || packages="$packages $package"
	done
	;;
esac

[ "$(id -u)" = 0 ] || { echo "run this as root, with sudo" >&2; exit 1; }

missing=
# Ubuntu has bpftool in linux-tools-common; node and kubectl are often there from elsewhere. (deploy_kubernetes wants a
# kubectl of 1.27 or newer, which Debian 12 does not have.)
is_there() {
	case $1 in
	bpftool | npm) command -v "$1" ;;
	nodejs) command -v node ;;
	kubernetes-client) command -v kubectl ;;
	*) false ;;
	esac > /dev/null
}

for package in $packages; do
	! is_there "$package" || continue
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
