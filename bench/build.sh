#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Builds the benchmark into $BUILD/bench, with the shipped object $BUILD/edgebucket.bpf.o inside, and the modules of
# edgebucket that read and write the maps.
set -e
cd "$(dirname "$0")/.."
out=$BUILD/bench
clang=${CLANG:-clang}
multiarch=$(dpkg-architecture -qDEB_HOST_MULTIARCH)
mkdir -p "$out"

skeleton() { # object name
	bpftool gen skeleton "$1" name "$2_bpf" > "$out/$2.skel.h" 2> "$out/bpftool.log" || {
		cat "$out/bpftool.log" >&2
		return 1
	}
}

for name in contestants traffic; do
	$clang -O2 -g -target bpf -mcpu=v3 -Wall -Wextra -Werror -fno-strict-aliasing -I include -I bpf \
		-I "/usr/include/$multiarch" -c "bench/$name.bpf.c" -o "$out/$name.bpf.o"
	skeleton "$out/$name.bpf.o" "$name"
done
skeleton "$BUILD/edgebucket.bpf.o" edgebucket
# shellcheck disable=SC2046 # one word for each file
${CC:-gcc} -std=gnu11 -D_GNU_SOURCE -O2 -g -Wall -Wextra -Werror -fno-strict-aliasing -I include -I "$out" \
	-I userspace $(find bench -name '*.c' ! -name '*.bpf.c' ! -name fleet_load.c) \
	userspace/maps/buckets.c userspace/maps/bucket_table.c userspace/maps/bucket_changes.c \
	userspace/maps/bucket_groups.c userspace/maps/bucket_upkeep.c userspace/maps/maps.c \
	userspace/maps/pins.c userspace/maps/bans.c userspace/config/prefix.c userspace/base/grow.c \
	userspace/base/error.c \
	userspace/policy/prefix_filter.c \
	-o "$out/bench" -lbpf -lhiredis -lpthread
# shellcheck disable=SC2046 # one word for each file
${CC:-gcc} -std=gnu11 -D_GNU_SOURCE -O2 -g -Wall -Wextra -Werror -I include -I userspace bench/fleet_load.c \
	$(find "$BUILD/userspace" -path '*/agent' -prune -o -path '*/cli' -prune -o -path '*/support' -prune -o \
		-path '*/attach' -prune -o -path '*/ipc' -prune -o -name '*.o' -print) \
	-o "$out/fleet_load" -Wl,--as-needed -lbpf -lyaml -ljansson -lmnl -lsystemd -lhiredis -lssl -lcrypto -llmdb -lelf \
	-lz -lpthread -lcap-ng
