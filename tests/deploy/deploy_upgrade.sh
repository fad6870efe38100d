#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# From the package of the released version, built from its own sources, to that of this tree and back: no bucket is
# refilled, neither by the installation, with a source under fire, nor after a reboot, when the other version reads what
# is in Redis or in the embedded store.
# shellcheck source=machine.sh
. "$(dirname "$0")/machine.sh"

# 0.1.0 as it was released: the last state with maps of schema 1.
released=4ae1613ddaed3db7eef70f2a9f8c2b2e07d5df5b
schema=$(sed -n 's/^#define EB_SCHEMA //p' "$source_dir/include/edgebucket.h")
port=7000
stores=redis

# build SOURCES DIR [VERSION]: leaves the package in DIR.
build() {
	local sources=$1 to=$2
	shift 2
	DEB_BUILD_OPTIONS=nocheck BUILD=$dir/build "$sources/debian/build.sh" "$@" > "$dir/build.log" 2>&1 ||
		{ tail -n 30 "$dir/build.log"; fail "build of the package from $sources"; }
	mkdir -p "$to.new"
	mv "$dir"/build/deb/edgebucket_*.deb "$to.new/edgebucket.deb"
	rm -rf "$dir/build"
	mv "$to.new" "$to"
}

# Once: it does not change any more.
build_released() {
	[ ! -e "$BUILD/deploy/$released" ] || return 0
	mkdir "$dir/released"
	git -C "$source_dir" archive "$released" | tar -x -C "$dir/released"
	build "$dir/released" "$BUILD/deploy/$released"
}

build_both() {
	git -C "$source_dir" cat-file -e "$released" 2> /dev/null || skip "no history with the released version, $released"
	build_released
	cp -r "$BUILD/deploy/$released" "$root/root/released"
	build "$source_dir" "$root/root/tree" "$(cd "$source_dir" && dpkg-parsechangelog -S Version)+tree"
}

# put released|tree
put() {
	in_machine dpkg --force-confold --install "/root/$1/edgebucket.deb" > "$dir/dpkg.log" 2>&1 ||
		{ cat "$dir/dpkg.log"; fail "dpkg --install of $1"; }
}

pinned_schema() {
	bpftool -j map lookup pinned "$dir/bpf/edgebucket/state" key 0 0 0 0 | jq .formatted.value.schema
}

redis() { in_card redis-cli -p "$port" "$@"; }
redis_answers() { [ "$(redis ping 2> /dev/null)" = PONG ]; }

start_redis() {
	nsenter --net="/var/run/netns/$card" redis-server --port "$port" --bind 127.0.0.1 --dir "$dir" --save '' \
		--appendonly no > "$dir/redis.log" 2>&1 9>&- 8>&- &
	redis_pid=$!
	until_true "redis-server" redis_answers
}

# use redis|lmdb: where the buckets are stored.
use() {
	stores=$1
	cat > "$root/etc/edgebucket/edgebucket.yaml" <<- END
		node: edge
		interfaces: [card0]
		table_size: 65536
		$([ "$1" != redis ] || echo "redis: { port: $port, tick: 100ms }")
		rules:
		  - name: packets
		    match: { src: [10.8.0.0/16, "2001:db8:8::/48"] }
		    action: limit
		    packets: { rate: 1/h, burst: 20 }
		  - name: bytes
		    match: { src: [10.9.0.0/16] }
		    action: limit
		    per: { ipv4: 24 }
		    bytes: { rate: 1B/s, burst: 30000 }
	END
}

# spend N: 5 frames of each source of group N, of which each bucket admits 20.
spend() {
	send "10.8.$1.0" -k 100 -n 500
	send "2001:db8:8:$1::1" -n 5
	send "10.9.$1.1" -l 1500 -n 5
}

# spend_rest N: they get the other 15 and no more.
spend_rest() {
	send "10.8.$1.0" -k 100 -n 3000
	send "2001:db8:8:$1::1" -n 30
	send "10.9.$1.2" -l 1500 -n 30
	equal "of group $1, packets passed" 2000 passed "10.8.$1."
	equal "of group $1, IPv6 packets passed" 20 passed "2001:db8:8:$1::1"
	equal "of group $1, long packets passed" 20 passed "10.9.$1."
}

# reboot_into released|tree: what a reboot loses is lost, and what is no store of these.
reboot_into() {
	in_machine systemctl stop edgebucketd || fail "stop"
	ip -n "$card" link set dev card0 xdp off
	rm -rf "$dir/bpf/edgebucket"
	in_machine rm -rf /run/edgebucket
	[ $stores != redis ] || in_machine sh -c 'rm -rf /var/lib/edgebucket/*'
	put "$1"
	in_machine systemctl start edgebucketd || fail "start of $1 after a reboot"
	[ -n "$(prog_on card0)" ] || fail "after a reboot, $1 does not limit"
}

build_both
start_redis

say "the released version"
put released
use redis
in_machine systemctl start edgebucketd || fail "start"
equal "schema of the released version" 1 pinned_schema
drain 10.8.0.1
spend 1
spend 2

say "upgrade"
pid=$(main_pid)
keeps 10.8.0.1 put tree
another_pid "$pid" || fail "the agent of the released version runs"
equal "schema after the upgrade" "$schema" pinned_schema
spend_rest 1
spend 3

say "downgrade"
keeps 10.8.0.1 put released
equal "schema after the downgrade" 1 pinned_schema
spend_rest 2
spend_rest 3

say "what the released version left in Redis"
spend 4
spend 5
reboot_into tree
spend_rest 4
spend 6

say "what this one left in Redis"
reboot_into released
spend_rest 5
spend_rest 6

say "what the released version left in the embedded store"
use lmdb
in_machine systemctl restart edgebucketd || fail "restart"
kill "$redis_pid"
spend 7
spend 8
reboot_into tree
spend_rest 7
spend 9

say "what this one left in the embedded store"
reboot_into released
spend_rest 8
spend_rest 9
