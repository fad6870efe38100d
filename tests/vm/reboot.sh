#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# reboot.sh VERSION DIR: one guest, rebooted and crashed, see vm_reboot.sh; and a redis-server outside of it, in a network
# namespace of its own.
set -eu
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

if [ -z "${EB_UNSHARED:-}" ]; then
	EB_UNSHARED=1 exec unshare --net "$0" "$@"
fi

version=$1 dir=$2
rm -rf "$dir"
mkdir -p "$dir"
ip link set lo up
redis-server --bind 127.0.0.1 --dir "$dir" --save '' > "$dir/redis.log" 2>&1 &
redis=$!
trap 'kill $redis' EXIT

# The limit ends a guest that hangs; beside other tests, three boots of an emulated machine take a quarter of an hour.
status=0
run_guest "$version" "$dir" 2400 -netdev user,id=outside -device virtio-net-pci,netdev=outside <<- END || status=$?
	modprobe virtio_net
	echo 1 > /proc/sys/kernel/sysrq
	BUILD=$BUILD exec "$tests_vm/vm_reboot.sh" >> /run/vm/log 2>&1
END
cat "$dir/log"
[ $status = 0 ] || { echo "the guest ended with $status:" && tail -n 20 "$dir/console"; }
exit "$(cat "$dir/status" 2> /dev/null || echo $status)"
