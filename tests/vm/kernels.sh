#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# kernels.sh VERSION...: fetches Debian's newest kernel of each version (6.1, 6.12, ...) into $BUILD/vm/kernels, with an
# initramfs that mounts the host's root. Nothing is installed. What is there is used while it is the newest, and when
# the archive cannot be asked.
set -eu -o pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=../lib/apt.sh
. "$tests_vm/../lib/apt.sh"
vm=$BUILD/vm apt=$BUILD/vm/apt

# ---- what the archive has ----

# newest VERSION: the package of the newest kernel of this version, or nothing. Cloud kernels have no 9p.
newest() {
	apt-cache pkgnames "linux-image-$1." | grep -E "^linux-image-${1//./\\.}\\.[0-9][^-]*(-[0-9]+)?-$guest_arch\$" |
		sort -V | tail -n 1
}

# packages IMAGE: the package and those that it is split into since 6.19.
packages() {
	echo "$1"
	apt-cache depends --important "$1" | sed -n 's/^ *Depends: \(linux-\(base\|binary\|modules\)-[0-9].*\)/\1/p'
}

# ---- one kernel ----

# Drivers and file systems that no guest has a use for are most of a kernel's size.
prune_modules() {
	local kernel=$1/kernel
	rm -rf "$kernel/sound" "$kernel/drivers/net/ethernet" "$kernel/drivers/net/wireless"
	find "$kernel/drivers" -mindepth 1 -maxdepth 1 ! -name net ! -name virtio ! -name char -exec rm -rf {} +
	find "$kernel/fs" -mindepth 1 -maxdepth 1 ! -name 9p ! -name netfs ! -name fscache ! -name overlayfs -exec rm -rf {} +
}

# A kernel for arm64 can be an EFI program that unpacks itself ("zimg" at 4), which qemu before 8.2 cannot load. Offset and
# size of what is packed are at 8 and 12 (Linux, drivers/firmware/efi/libstub/zboot-header.S).
open_zboot() {
	local offset size
	dd if="$1" bs=4 skip=1 count=1 status=none | grep -qx zimg || return 0
	read -r offset size < <(od -A n -t u4 -j 8 -N 8 "$1")
	tail -c "+$((offset + 1))" "$1" | head -c "$size" > "$1.packed"
	case $(dd if="$1" bs=1 skip=24 count=4 status=none) in
	gzip) gzip -dc < "$1.packed" > "$1" ;;
	zstd) zstd -dc < "$1.packed" > "$1" ;;
	*) die "$1 is packed in a way that is not known here" ;;
	esac
	rm "$1.packed"
}

# unpack DIR IMAGE: vmlinuz and lib/modules, with their index.
unpack() {
	local dir=$1 deb release
	mkdir -p "$dir/debs" "$dir/root"
	# shellcheck disable=SC2046 # a list of words
	(cd "$dir/debs" && apt-get download -qq $(packages "$2") > "$apt/log" 2>&1) ||
		die "cannot download $2, see $apt/log"
	for deb in "$dir"/debs/*.deb; do
		dpkg -x "$deb" "$dir/root"
	done
	if [ -d "$dir/root/usr/lib/modules" ]; then
		mv "$dir/root/usr/lib" "$dir/lib"
	else
		mv "$dir/root/lib" "$dir/lib"
	fi
	find "$dir/root/boot" "$dir/lib/modules" -name 'vmlinuz*' -exec mv {} "$dir/vmlinuz" \; 2> /dev/null || true
	open_zboot "$dir/vmlinuz"
	rm -rf "$dir/debs" "$dir/root"
	release=$(basename "$dir"/lib/modules/*)
	prune_modules "$dir/lib/modules/$release"
	depmod -b "$dir" "$release"
	echo "$release" > "$dir/release"
}

# make_initramfs DIR: busybox, and the modules that the host's root needs, in the order in which they go in.
make_initramfs() {
	local dir=$1 module path tree=$1/initramfs
	rm -rf "$tree"
	mkdir -p "$tree"/{bin,dev,proc,modules,host,upper,root}
	cp "$guest_root/bin/busybox" "$tree/bin/busybox"
	install -m 755 "$tests_vm/init" "$tree/init"
	for module in virtio_pci 9pnet_virtio 9p overlay; do
		modprobe -d "$dir" -S "$(cat "$dir/release")" --show-depends "$module"
	done | sed -n 's/^insmod \(.*[^ ]\) *$/\1/p' | awk '!seen[$0]++' | while read -r path; do
		module=$(basename "$path")
		case $path in
		*.xz) xz -dc "$path" > "$tree/modules/${module%.xz}" ;;
		*) cp "$path" "$tree/modules/$module" ;;
		esac
		echo "${module%.xz}" >> "$tree/modules/order"
	done
	(cd "$tree" && find . | cpio -o -H newc --quiet | gzip -1) > "$dir/initrd"
	rm -rf "$tree"
}

fetch() {
	local version=$1 dir=$vm/kernels/$1 image
	image=$(newest "$version")
	[ -n "$image" ] || die "Debian's archives have no kernel $version any more"
	if [ "$(cat "$dir/package" 2> /dev/null)" != "$image" ]; then
		echo "fetching $image"
		rm -rf "$dir"
		unpack "$dir" "$image"
		echo "$image" > "$dir/package"
	fi
	[ "$dir/initrd" -nt "$tests_vm/init" ] && [ "$dir/initrd" -nt "$dir/package" ] || make_initramfs "$dir"
}

[ -n "$guest_root" ] || [ "$(dpkg --print-architecture)" = "$guest_arch" ] ||
	die "guests of $guest_arch have the host's root, which is not of that"
own_apt "$apt" "${guest_sources[@]}"
if ! update_lists "$apt"; then
	for version in "$@"; do
		[ -e "$vm/kernels/$version/package" ] || die "cannot read the package lists, see $apt/log"
	done
	exit 0
fi
for version in "$@"; do
	fetch "$version"
done
