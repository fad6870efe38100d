# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# What the scripts that run images share: the network, the agent's tools and the Redis servers of ../persist, and podman
# with a storage of its own in $BUILD/deploy, which keeps the images for the next run and of which the machine's other
# containers know nothing.
#
# Nothing is pulled from a registry. debian:bookworm-slim is made by debootstrap, and redis:7-alpine of that and the
# redis-server of Debian: a stand-in, with Redis 7 and redis-cli and like the true one without protected mode, but
# neither Alpine nor its entry point.
#
# A script runs in a mount namespace of its own, with a bpf file system, /run/edgebucket, /var/lib/edgebucket and
# network namespaces that nobody else sees. So what is shipped runs as it is, with the paths that it names.
[ "$(id -u)" = 0 ] || { echo "skipped: needs root" && exit 77; }
for tool in podman runc debootstrap docker-compose kubectl python3; do
	command -v $tool > /dev/null || { echo "skipped: $tool is not installed" && exit 77; }
done
[ -n "${EB_OWN_MOUNTS:-}" ] || EB_OWN_MOUNTS=1 exec unshare --mount "$0" "$@"

# One script at a time: they share the images.
exec 8> /run/lock/ebtest-containers.lock
flock 8

# hide_dir DIR TYPE: instead of the machine's, this script sees an empty one of its own.
made_dirs=
hide_dir() {
	if [ ! -d "$1" ]; then
		mkdir -p "$1"
		made_dirs="$1 $made_dirs"
	fi
	mount -t "$2" "$2" "$1"
}
hide_dir /sys/fs/bpf bpf
for hidden in /run/edgebucket /var/lib/edgebucket /run/netns; do hide_dir $hidden tmpfs; done

# shellcheck source=../lib/redis_servers.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib/redis_servers.sh"

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
store=$BUILD/deploy
pin_dir=/sys/fs/bpf/edgebucket

# rlimits are set, as podman would raise them, which needs CAP_SYS_RESOURCE; runc, as crun refuses hybrid cgroups.
write_settings() {
	mkdir -p "$store/run"
	mount -t tmpfs tmpfs "$store/run"
	cat > "$store/run/storage.conf" <<- END
		[storage]
		driver = "overlay"
		graphroot = "$store/storage"
		runroot = "$store/run/storage"
	END
	cat > "$store/run/containers.conf" <<- END
		[containers]
		default_ulimits = [ "nofile=20000:20000", "nproc=16384:16384" ]
		[engine]
		runtime = "runc"
		cgroup_manager = "cgroupfs"
		events_logger = "file"
		lock_type = "file"
		tmp_dir = "$store/run/libpod"
		[network]
		network_backend = "netavark"
		network_config_dir = "$store/run/networks"
	END
	export CONTAINERS_STORAGE_CONF=$store/run/storage.conf CONTAINERS_CONF=$store/run/containers.conf
}

end_containers() {
	local status=$? made
	set +e
	podman rm --all --force --time 0 > /dev/null 2>&1
	podman volume prune --force > /dev/null 2>&1
	podman network prune --force > /dev/null 2>&1
	for made in $made_dirs; do
		umount --lazy "$made" && rmdir "$made"
	done
	(exit $status)
	cleanup
}

trap end_containers EXIT
write_settings

# ---- images ----

# The machine's sources of packages, where they are of the same Debian.
build_options=(--network=host)
if grep -q '^VERSION_CODENAME=bookworm' /etc/os-release; then
	build_options+=(--volume=/etc/apt:/etc/apt:ro)
fi

quietly() { "$@" > "$dir/output" 2>&1 || { tail -n 20 "$dir/output" && fail "$*"; }; }

make_debian() {
	podman image exists docker.io/library/debian:bookworm-slim && return
	quietly debootstrap --variant=minbase --include=ca-certificates bookworm "$dir/debian"
	tar -C "$dir/debian" -c . | quietly podman import - docker.io/library/debian:bookworm-slim
	rm -rf "$dir/debian"
}

make_redis() {
	mkdir "$dir/redis-image"
	cat > "$dir/redis-image/Dockerfile" <<- 'END'
		FROM debian:bookworm-slim
		RUN apt-get update && apt-get install -y --no-install-recommends redis-server redis-tools
		WORKDIR /data
		ENTRYPOINT [ "/bin/sh", "-c", "exec \"$0\" \"$@\" --protected-mode no" ]
		CMD [ "redis-server" ]
	END
	quietly podman build "${build_options[@]}" -t docker.io/library/redis:7-alpine "$dir/redis-image"
}

make_image() {
	quietly podman build "${build_options[@]}" -f "$root/deploy/Dockerfile" -t edgebucket "$root"
}

# ---- containers ----

# The agent's log is its container's.
container_says() {
	log=$dir/$1.log
	podman logs "$1" > "$log" 2>&1
	log_has "$2"
}

wait_container() {
	said_or_ended() { container_says "$@" || [ "$(state_of "$1")" != running ]; }
	until_true "container $1 to say \"$2\"" said_or_ended "$@"
	log_has "$2" || fail "container $1 ended without saying \"$2\""
}

state_of() { podman inspect --format '{{.State.Status}}' "$1"; }
pid_of() { podman inspect --format '{{.State.Pid}}' "$1"; }
