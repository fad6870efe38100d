# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# Guests: real kernels in qemu, by software emulation, with the host's root as their own; those of another architecture
# than the host's, $EB_ARCH, with the root that root.sh made. A guest gets a job, a shell script, and a directory that it
# shares with the host, /run/vm in the guest. It has no network, unless it is asked for.

tests_vm=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(cd "$tests_vm/../.." && pwd)
: "${BUILD:=$top/build}"
guest_arch=${EB_ARCH:-amd64}
guest_cpus=${EB_CPUS:-2}

# $guest_root: what the guest has as its root, and where it finds the tree as it is here.
case $guest_arch in
amd64) guest_root= guest_machine='qemu-system-x86_64 -machine q35 -cpu max' guest_console=ttyS0 ;;
# The usual algorithm of pointer authentication takes half of the time of an emulated CPU.
arm64)
	guest_root=$BUILD/root guest_console=ttyAMA0
	guest_machine="qemu-system-aarch64 -machine virt -cpu ${EB_CPU:-max,pauth-impdef=on}"
	;;
*) echo "there are no guests of $guest_arch" >&2 && exit 1 ;;
esac

# Where packages for guests come from, see ../lib/apt.sh.
apt_arch=$guest_arch
guest_sources=('deb Debian-Security bullseye-security' 'deb Debian bookworm' 'deb Debian-Security bookworm-security'
	'deb Debian trixie-backports')

# run_guest VERSION DIR SECONDS [QEMU OPTION]...: boots a kernel and waits for its end. The job is read from stdin; DIR
# has then output and status of it, and the console. The guest stays in its test's group, and so ends with it.
run_guest() {
	local kernel=$BUILD/vm/kernels/$1 dir=$2 limit=$3
	shift 3
	mkdir -p "$dir"
	rm -f "$dir/status" "$dir/output"
	cat > "$dir/job"
	# shellcheck disable=SC2086 # a list of words
	timeout --foreground --kill-after=5 "$limit" $guest_machine -accel tcg,thread=multi -smp "$guest_cpus" -m 2048 \
		-nodefaults -display none -no-user-config -serial "file:$dir/console" -device virtio-rng-pci \
		-kernel "$kernel/vmlinuz" -initrd "$kernel/initrd" \
		-append "console=$guest_console quiet panic=1 eb.root=$guest_root eb.tree=$top eb.kernel=$kernel" \
		-virtfs local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap \
		-virtfs "local,path=$dir,mount_tag=job,security_model=none" "$@" < /dev/null > "$dir/qemu" 2>&1
}
