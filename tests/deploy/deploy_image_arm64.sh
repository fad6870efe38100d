#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# The same Dockerfile makes the image for arm64, where it is built by that processor or, as here, by qemu's emulation of
# one (binfmt_misc): its programs are of arm64, find their libraries, and read a configuration. The first build takes
# half an hour.
# shellcheck source=containers.sh
. "$(dirname "$0")/containers.sh"

command -v qemu-aarch64-static > /dev/null || { echo "skipped: qemu-user-static is not installed" && exit 77; }

# What interprets programs of arm64 in each container: with F, the kernel opens the interpreter now. (The kernel has one
# list of these for all mount namespaces.)
binfmt=/proc/sys/fs/binfmt_misc
interpret_arm64() {
	local magic='\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00'
	local mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
	[ -e $binfmt/register ] || mount -t binfmt_misc binfmt_misc $binfmt
	[ -e $binfmt/qemu-aarch64 ] ||
		echo ":qemu-aarch64:M::$magic:$mask:$(command -v qemu-aarch64-static):F" > $binfmt/register
}

make_debian_arm64() {
	podman image exists docker.io/library/debian:bookworm-slim && return
	quietly debootstrap --arch=arm64 --variant=minbase --include=ca-certificates bookworm "$dir/debian"
	tar -C "$dir/debian" -c . |
		quietly podman import --os linux --arch arm64 - docker.io/library/debian:bookworm-slim
	rm -rf "$dir/debian"
}

run() { podman run --rm --network=none --platform=linux/arm64 --volume="$dir/etc:/etc/edgebucket:ro" "$@"; }

# The storage of the other image has the same names.
store=$store/arm64
mkdir -p "$store"
write_settings
interpret_arm64
make_debian_arm64
quietly podman build "${build_options[@]}" --platform=linux/arm64 -f "$root/deploy/Dockerfile" -t edgebucket "$root"

[ "$(podman image inspect --format '{{.Os}}/{{.Architecture}}' edgebucket)" = linux/arm64 ] ||
	fail "the image is for $(podman image inspect --format '{{.Os}}/{{.Architecture}}' edgebucket)"
mkdir "$dir/etc"
cat > "$dir/etc/edgebucket.yaml" <<- END
	interfaces: [eth0]
	state_dir: /var/lib/edgebucket
	rules:
	$(slow_rules)
END
run edgebucket --version > "$dir/version" || fail "the agent does not run"
grep -q '^edgebucketd [0-9]' "$dir/version" || fail "it says: $(cat "$dir/version")"
run edgebucket --check > "$dir/check" 2>&1 || fail "the configuration: $(cat "$dir/check")"
run --entrypoint /usr/sbin/edgebucket edgebucket --help > "$dir/help" || fail "the command line does not run"
grep -q 'buckets' "$dir/help" || fail "it says: $(cat "$dir/help")"
say "an image of $(podman image inspect --format '{{.Size}}' edgebucket) bytes for linux/arm64"
