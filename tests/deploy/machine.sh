# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# What the scripts that need a machine of their own share: a container of the host's Debian release with systemd as pid 1
# and the network namespace "card" of ../lib/network.sh, which also sends and counts. Its files are in $root, over a base that
# debootstrap makes once in $BUILD/deploy; its bpf file system is its own. It has the libraries that the programs need,
# and nothing of edgebucket.
#
# The container is podman's with runc, privileged. Of systemd, what it cannot show is a boot of the host: bpffs is there
# before, and network.target is reached without a network manager.
# shellcheck source=../lib/network.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib/network.sh"

source_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
base=$BUILD/deploy/base
root=$dir/root
machine=ebtest-$name
export CONTAINERS_CONF=$dir/containers.conf

make_base() {
	local release libraries
	exec 8> "$BUILD/deploy.lock"
	flock 8
	[ ! -e "$base" ] || return 0
	release=$(. /etc/os-release && echo "$VERSION_CODENAME")
	libraries=$(cd "$source_dir" && dpkg-shlibdeps -O "$BUILD/edgebucketd" "$BUILD/edgebucket" |
		sed 's/^shlibs:Depends=//; s/([^)]*)//g; s/ //g; s/libc6,//')
	mkdir -p "$BUILD/deploy"
	rm -rf "$base.new"
	debootstrap --variant=minbase --include="systemd,systemd-sysv,dbus,$libraries" "$release" "$base.new" ||
		fail "debootstrap"
	rm -f "$base.new/usr/sbin/policy-rc.d"
	mv "$base.new" "$base"
}

in_podman() { podman --root "$dir/podman" --runroot "$dir/podman-run" "$@" 9>&- 8>&-; }
in_machine() { in_podman exec "$machine" "$@"; }
eb() { in_machine edgebucket "$@"; }

# Limits are set because a container engine would raise them, which takes CAP_SYS_RESOURCE.
start_machine() {
	cat > "$CONTAINERS_CONF" <<- END
		[containers]
		default_ulimits = ["nofile=20000:20000", "nproc=16384:16384"]
		[engine]
		runtime = "runc"
		cgroup_manager = "cgroupfs"
		events_logger = "none"
	END
	trap stop_machine EXIT
	mkdir "$root" "$dir/upper" "$dir/work" "$dir/bpf"
	mount -t overlay -o "lowerdir=$base,upperdir=$dir/upper,workdir=$dir/work" overlay "$root"
	mount -t bpf bpf "$dir/bpf"
	in_podman run --detach --name "$machine" --hostname edge --privileged --systemd=always \
		--network="ns:/var/run/netns/$card" --volume "$dir/bpf:/sys/fs/bpf" --rootfs "$root" /sbin/init ||
		fail "podman"
	until_true "systemd" is_booted
}

is_booted() { [ "$(in_machine systemctl is-system-running 2> /dev/null)" = running ]; }

stop_machine() {
	local status=$?
	set +e
	trap - EXIT
	[ $status = 0 ] || in_machine journalctl --no-pager -u edgebucketd | tail -n 30 | sed 's/^/    journal: /'
	# Podman gives up on a machine that takes longer to end; it has ended when asked again.
	in_podman rm --force --time 2 "$machine" > /dev/null 2>&1 || in_podman rm --force "$machine" > /dev/null
	findmnt -rno TARGET | grep "^$dir/" | sort -r | xargs -r umount --lazy
	(exit $status)
	cleanup
}

# configure BURST: of a limit on 10.8.0.0/16 without refill.
configure() {
	cat > "$root/etc/edgebucket/edgebucket.yaml" <<- END
		node: edge
		interfaces: [card0]
		table_size: 65536
		rules:
		  - name: limited
		    match: { src: [10.8.0.0/16] }
		    action: limit
		    packets: { rate: 1/h, burst: $1 }
	END
}

unit_is() { [ "$(in_machine systemctl show -P "$1" edgebucketd)" = "$2" ]; }
main_pid() { in_machine systemctl show -P MainPID edgebucketd; }
another_pid() { local pid; pid=$(main_pid) && [ "$pid" != 0 ] && [ "$pid" != "$1" ] && unit_is ActiveState active; }

# journal_has PRIORITY TEXT: a message of the agent's, or of systemd about it.
journal_has() {
	in_machine journalctl -u edgebucketd -o json --no-pager |
		jq -es --arg priority "$1" --arg text "$2" 'any(.PRIORITY == $priority and (.MESSAGE | contains($text)))' > /dev/null
}

# drain SOURCE: sends its 20 tokens, and some more.
drain() {
	send "$1" -n 30
	counted limited "$1" 20 10
}

# keeps SOURCE COMMAND...: nothing of a drained source passes while a command runs, nor after it.
keeps() {
	local source=$1
	shift
	start_fire "$source"
	"$@" || fail "$*"
	send "$source" -n 100
	stop_fire
	equal "of $source, passed" 20 passed "$source"
}

make_base
make_network
start_machine
