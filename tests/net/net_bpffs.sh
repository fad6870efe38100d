#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Where bpffs is not mounted, the agent mounts it, and says so where that mount ends with a mount namespace of its own:
# there, the maps are gone at the next start. A bpffs that was there is fine wherever it is.
# shellcheck source=../lib/network.sh
. "$(dirname "$0")/../lib/network.sh"

# launch_in MOUNTS OPTION...: an agent in other namespaces, in which a shell line sets up the mounts.
launch_in() {
	local mounts=$1
	shift
	log=$dir/agent.log
	: > "$log"
	nsenter --net="/var/run/netns/$card" unshare --mount "$@" \
		sh -c "$mounts && exec \"\$@\"" - "$BUILD/edgebucketd" -c "$config" 2> "$log" 9>&- &
	agent_pid=$!
	wait_log "msg=attached"
}

# ends: the agent, by its own pid: it may be the first process of a namespace, with unshare as its parent.
ends() {
	local own
	own=$(eb --json status | jq .agent.pid)
	[ "$own" != 1 ] || own=$(pgrep -P "$agent_pid")
	kill -TERM "$own"
	wait "$agent_pid" || fail "the agent ended badly"
	agent_pid=
	ip -n "$card" link set dev card0 xdp off
}

says_it() { status_is '.pins.problem | test("mount -t bpf bpf /sys/fs/bpf")' && eb status | grep -q '^Pins: '; }

is_private() {
	until_true "the status of $1" says_it
	log_has "msg=\"the maps will not be found by the next agent\"" || fail "the log of $1 says nothing"
	log_has "msg=\"created new maps\"" || fail "the maps of $1 were there"
	ends
}

is_fine() {
	until_true "an answer of $1" status_is '.agent.running'
	status_is '.pins.problem == null' || fail "status of $1: $(eb --json status)"
	ends
}

unmounted="umount --lazy /sys/fs/bpf"

make_network
write_config <<- END
	  - { name: limited, action: limit, packets: { rate: 1/h, burst: 30 } }
END
launch_in "$unmounted" --propagation private
is_private "a mount namespace"
launch_in "$unmounted" --propagation private
is_private "the next start"
launch_in "$unmounted" --pid --fork --mount-proc
is_private "a container"
launch_in "$unmounted && mount --make-shared /sys" --pid --fork --mount-proc
is_fine "a container that passes its mounts on"
launch_in true --pid --fork --mount-proc
is_fine "a container with the bpffs of the machine"
launch_in "$unmounted && mount -t bpf bpf /sys/fs/bpf" --propagation private
is_fine "a bpffs that was mounted before"
