#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# distro.sh SUITE: builds and tests edgebucket in a chroot of another suite of Debian (trixie, sid) below $BUILD/distro:
# the demo, then TESTS, which are all but those in guests unless it says otherwise. The kernel is this machine's.
# debootstrap makes the chroot once; it is mounted in a mount namespace of its own, and nothing of it is left mounted. (In
# a PID namespace of its own, bench/ would not see the kernel's threads.)
set -eu -o pipefail
cd "$(dirname "$0")/.."
top=$PWD
: "${BUILD:=$top/build}" "${TESTS:=net persist redis chaos fuzz xdp unit}"
suite=${1:?which suite?}
root=$BUILD/distro/$suite

die() {
	echo "$*" >&2
	exit 1
}

[ "$(id -u)" = 0 ] || die "run this as root, with sudo"
[ -n "${EB_OWN_MOUNTS:-}" ] || EB_OWN_MOUNTS=1 exec unshare --mount "$0" "$@"

if [ ! -e "$root/etc/os-release" ]; then
	mkdir -p "$BUILD/distro"
	rm -rf "$root.new"
	debootstrap --variant=minbase --include=ca-certificates "$suite" "$root.new" > "$root.log" 2>&1 ||
		die "debootstrap: $(tail -n 3 "$root.log")"
	mv "$root.new" "$root"
fi

# `ip netns` wants the root to be a mount point.
mount --bind "$root" "$root"
cp -L /etc/resolv.conf "$root/etc/resolv.conf"
mkdir -p "$root/src" "$root/build"
mount --bind -o ro "$top" "$root/src"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t bpf bpf "$root/sys/fs/bpf"
mount --rbind /sys/fs/cgroup "$root/sys/fs/cgroup"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"
mkdir -p "$root/run/lock" "$root/run/netns"

cat > "$root/run/check" <<- 'END'
	set -eu
	cd /src
	./tests/install-deps.sh
	dpkg-query -W -f '${Package} ${Version}\n' clang libbpf-dev libxdp-dev libhiredis-dev linux-libc-dev gcc
	make -j"$(nproc)" all tests
	case $TESTS in *fuzz*) make -j"$(nproc)" fuzzers ;; esac
	./tests/demo.sh
	./tests/demo_fleet.sh
	exec ./tests/run.sh $TESTS
END
exec chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 TESTS="$TESTS" BUILD=/build \
	EB_JOBS="${EB_JOBS:-}" bash /run/check
