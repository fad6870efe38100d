#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Process 1 of a guest: makes a usable system of the host's root, runs the job that the host left in /run/vm, leaves its
# status there, and powers off.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8

mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
ln -s /proc/self/fd /dev/fd
ln -s fd/0 /dev/stdin
ln -s fd/1 /dev/stdout
ln -s fd/2 /dev/stderr
mount -t devpts devpts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t tmpfs run /run
mount -t cgroup2 cgroup /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf
mkdir -p /run/vm /run/lock /run/netns
mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144 job /run/vm

parameter() { sed -n "s/.*eb\\.$1=\\([^ ]*\\).*/\\1/p" /proc/cmdline; }

release=$(uname -r)
mkdir -p "/lib/modules/$release"
mount --bind "$(parameter kernel)/lib/modules/$release" "/lib/modules/$release"
ip link set lo up
hostname guest

bash /run/vm/job > /run/vm/output 2>&1 < /dev/null
echo $? > /run/vm/status
sync
busybox poweroff -f
