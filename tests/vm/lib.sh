# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# Guests: real kernels in qemu, by software emulation, with the host's root as their own. A guest gets a job, a shell
# script, and a directory that it shares with the host, /run/vm in the guest. It has no network, unless it is asked for.

: "${BUILD:=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)/build}"
tests_vm=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# run_guest VERSION DIR SECONDS [QEMU OPTION]...: boots a kernel and waits for its end. The job is read from stdin; DIR
# has then output and status of it, and the console.
run_guest() {
	local kernel=$BUILD/vm/kernels/$1 dir=$2 limit=$3
	shift 3
	mkdir -p "$dir"
	rm -f "$dir/status" "$dir/output"
	cat > "$dir/job"
	timeout --kill-after=5 "$limit" qemu-system-x86_64 -machine q35 -accel tcg,thread=multi -cpu max -smp 2 -m 2048 \
		-nodefaults -display none -no-user-config -serial "file:$dir/console" -device virtio-rng-pci \
		-kernel "$kernel/vmlinuz" -initrd "$kernel/initrd" \
		-append "console=ttyS0 quiet panic=1 eb.guest=$tests_vm/guest.sh eb.kernel=$kernel" \
		-virtfs local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap \
		-virtfs "local,path=$dir,mount_tag=job,security_model=none" "$@" < /dev/null > "$dir/qemu" 2>&1
}
